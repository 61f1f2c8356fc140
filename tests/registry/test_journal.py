"""The journal: numbers without gaps, a hash over everything, one writer at a time, and nothing changed or removed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest
from bank_fixtures import bank_template, lasting_bank
from sqlalchemy.exc import DBAPIError

from pipelines import database, registry
from pipelines.registry import chain, journal
from pipelines.registry.journal import GENESIS, Entry, hash_of
from pipelines.settings import Settings

__all__ = ["bank_template", "lasting_bank"]


@pytest.fixture
def bank(lasting_bank: Settings) -> Iterator[Settings]:
    yield lasting_bank
    assert chain.break_of(registry.entries(lasting_bank)) is None


def add(settings: Settings, **payload: object) -> Entry:
    with database.transaction(settings) as connection:
        return registry.append(connection, "small", "reviewed", payload)


def test_entries_follow_each_other_and_say_what_was_given(bank: Settings) -> None:
    before = registry.entries(bank)[-1]
    made = add(bank, note='quotes " and umlauts ä and \u0000', number=1, nothing=None)
    assert (made.entry_no, made.previous_hash) == (before.entry_no + 1, before.hash)
    [stored] = [entry for entry in registry.entries(bank, "small") if entry.entry_no == made.entry_no]
    assert stored == made
    assert stored.facts == {"note": 'quotes " and umlauts ä and \u0000', "number": 1, "nothing": None}
    assert registry.entries(bank, "another") == ()


def test_the_first_entry_begins_at_the_fixed_genesis(bank: Settings) -> None:
    assert registry.entries(bank)[0].previous_hash == GENESIS


def test_a_transaction_rolled_back_leaves_no_gap(bank: Settings) -> None:
    before = add(bank).entry_no
    with pytest.raises(DBAPIError):
        _killed_after_appending(bank)
    assert add(bank).entry_no == before + 1


def test_writers_at_the_same_time_make_one_chain(bank: Settings) -> None:
    before = len(registry.entries(bank))
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: add(bank, n=n).entry_no, range(40)))
    assert sorted(made) == list(range(before + 1, before + 41))
    times = [entry.at for entry in registry.entries(bank)]
    assert times == sorted(times)


@pytest.mark.parametrize(
    "change", ["UPDATE vigil.journal SET model = ''", "DELETE FROM vigil.journal", "TRUNCATE vigil.journal"]
)
def test_entries_are_never_changed_or_removed(bank: Settings, change: str) -> None:
    with pytest.raises(DBAPIError, match="append-only"), database.transaction(bank) as connection:
        database.execute(connection, change)


def test_a_number_that_is_none_is_refused(bank: Settings) -> None:
    with pytest.raises(ValueError, match="JSON"):
        add(bank, psi=float("nan"))


def test_the_hash_covers_every_part_and_no_two_entries_share_an_encoding() -> None:
    at = datetime(2026, 6, 30, 2, tzinfo=UTC)
    parts = [
        (GENESIS, 1, at, "small", "promoted", "{}"),
        ("0" * 64, 1, at, "small", "promoted", "{}"),
        (GENESIS, 2, at, "small", "promoted", "{}"),
        (GENESIS, 1, at + timedelta(microseconds=1), "small", "promoted", "{}"),
        (GENESIS, 1, at, "smal", "lpromoted", "{}"),
        (GENESIS, 1, at, "small", "promote", "d{}"),
        (GENESIS, 1, at, "small", "promoted", '{"version":2}'),
    ]
    assert len({hash_of(*each) for each in parts}) == len(parts)
    elsewhere = at.astimezone(timezone(timedelta(hours=5)))
    assert hash_of(GENESIS, 1, elsewhere, "small", "promoted", "{}") == hash_of(*parts[0])


def test_ten_thousand_entries_are_verified_well_under_a_second() -> None:
    made: list[Entry] = []
    previous, at = GENESIS, datetime(2026, 6, 30, tzinfo=UTC)
    for number in range(1, 10_001):
        digest = hash_of(previous, number, at, "small", "reviewed", '{"n":1}')
        made.append(Entry(entry_no=number, at=at, model="small", kind="reviewed", payload='{"n":1}',
                          previous_hash=previous, hash=digest))  # fmt: skip
        previous = digest
    spent = []
    for _ in range(3):
        begun = time.perf_counter()
        assert chain.break_of(made) is None
        spent.append(time.perf_counter() - begun)
    assert min(spent) < 0.5
    assert journal.of_model(made, "other") == ()


def _killed_after_appending(settings: Settings) -> None:
    with database.transaction(settings) as connection:
        registry.append(connection, "small", "reviewed", {})
        database.execute(connection, "SELECT 1 / 0")
