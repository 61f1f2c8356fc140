"""An attacker who owns the tables changes the journal; the verifier names the first bad entry and what was done to it."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from approved import answered, asked, judged, permitted
from bank_fixtures import bank_template, lasting_bank
from small_night import MODEL

from pipelines import database, objects, registry
from pipelines.contracts import Blocked, ConnectionBroken
from pipelines.registry import anchors, journal
from pipelines.registry.journal import GENESIS, hash_of
from pipelines.settings import Settings

__all__ = ["bank_template", "lasting_bank"]

ENTRIES = 9
Attack = Callable[["Attacker"], None]


class Attacker:
    """Someone who may do everything in the database, and nothing outside it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def run(self, *statements: str, **parameters: object) -> None:
        with database.transaction(self._settings) as connection:
            database.execute(connection, "ALTER TABLE vigil.journal DISABLE TRIGGER journal_append_only")
            for statement in statements:
                database.execute(connection, statement, **parameters)
            database.execute(connection, "ALTER TABLE vigil.journal ENABLE TRIGGER journal_append_only")

    def shift(self, first: int, by: int) -> None:
        """Give the entries from `first` on other numbers."""
        self.run(
            "UPDATE vigil.journal SET entry_no = entry_no + 1000 WHERE entry_no >= :first",
            "UPDATE vigil.journal SET entry_no = entry_no - 1000 + :by WHERE entry_no >= 1000",
            first=first,
            by=by,
        )

    def rehash(self, first: int, last: int) -> None:
        """Make the chain fit again over a range of entries."""
        entries = registry.entries(self._settings)
        previous = entries[first - 2].hash if first > 1 else GENESIS
        for entry in entries[first - 1 : last]:
            digest = hash_of(previous, entry.entry_no, entry.at, entry.model, entry.kind, entry.payload)
            self.run(
                "UPDATE vigil.journal SET previous_hash = :previous, hash = :hash WHERE entry_no = :number",
                previous=previous,
                hash=digest,
                number=entry.entry_no,
            )
            previous = digest

    def forge(self, number: int) -> None:
        """Add an entry of this number that follows the one before it."""
        at = registry.entries(self._settings)[0].at
        previous = registry.entries(self._settings)[number - 2].hash if number > 1 else GENESIS
        self.run(
            "INSERT INTO vigil.journal VALUES (:number, :at, 'small', 'reviewed', '{}', :previous, :hash)",
            number=number,
            at=at,
            previous=previous,
            hash=hash_of(previous, number, at, "small", "reviewed", "{}"),
        )


@pytest.fixture(scope="module")
def written(lasting_bank: Settings) -> Settings:
    """A bank whose journal has nine entries, all anchored."""
    for note in range(ENTRIES - 1):
        with registry.journalled(lasting_bank) as connection:
            registry.append(connection, "small", "reviewed", {"note": note})
    return lasting_bank


@pytest.fixture
def attacked(written: Settings, tmp_path: Path) -> Iterator[Attacker]:
    """The journal and its anchors are put back afterwards."""
    attacker = Attacker(written)
    attacker.run("CREATE TABLE kept AS TABLE vigil.journal")
    shutil.copytree(written.anchor_root, tmp_path / "anchors")
    yield attacker
    shutil.rmtree(written.anchor_root)
    shutil.copytree(tmp_path / "anchors", written.anchor_root)
    attacker.run("DELETE FROM vigil.journal", "INSERT INTO vigil.journal TABLE kept", "DROP TABLE kept")
    assert registry.verify(written).ok


def edit(attacker: Attacker) -> None:
    attacker.run("UPDATE vigil.journal SET payload = :payload WHERE entry_no = 4", payload='{"version":2}')


def edit_and_rehash(attacker: Attacker) -> None:
    edit(attacker)
    attacker.rehash(4, 4)


def edit_and_rehash_some(attacker: Attacker) -> None:
    edit(attacker)
    attacker.rehash(4, 6)


def edit_a_time(attacker: Attacker) -> None:
    attacker.run("UPDATE vigil.journal SET at = at - interval '1 day' WHERE entry_no = 9")


def delete(attacker: Attacker) -> None:
    attacker.run("DELETE FROM vigil.journal WHERE entry_no = 4")


def delete_and_renumber(attacker: Attacker) -> None:
    delete(attacker)
    attacker.shift(5, -1)


def insert_at_the_end(attacker: Attacker) -> None:
    attacker.run(
        "INSERT INTO vigil.journal SELECT 12, at, model, kind, payload, hash, hash FROM kept WHERE entry_no = 9"
    )


def insert_and_renumber(attacker: Attacker) -> None:
    attacker.shift(4, 1)
    attacker.forge(4)


def insert_a_copy_and_renumber(attacker: Attacker) -> None:
    attacker.shift(4, 1)
    attacker.run(
        "INSERT INTO vigil.journal SELECT 4, at, model, 'retired', payload, previous_hash, hash FROM kept WHERE entry_no = 4"
    )


def reorder(attacker: Attacker) -> None:
    attacker.run(
        "UPDATE vigil.journal SET entry_no = 1000 WHERE entry_no = 4",
        "UPDATE vigil.journal SET entry_no = 4 WHERE entry_no = 6",
        "UPDATE vigil.journal SET entry_no = 6 WHERE entry_no = 1000",
    )


def truncate_the_tail(attacker: Attacker) -> None:
    attacker.run("DELETE FROM vigil.journal WHERE entry_no > 6")


def truncate_all(attacker: Attacker) -> None:
    attacker.run("TRUNCATE vigil.journal")


def rewrite_wholly(attacker: Attacker) -> None:
    attacker.run("UPDATE vigil.journal SET payload = :payload WHERE entry_no = 1", payload='{"version":2}')
    attacker.rehash(1, ENTRIES)


def rewrite_the_rest(attacker: Attacker) -> None:
    edit(attacker)
    attacker.rehash(4, ENTRIES)


def cut_and_write_on(attacker: Attacker) -> None:
    truncate_the_tail(attacker)
    attacker.forge(7)


@pytest.mark.parametrize(
    ("attack", "number", "what", "said"),
    [
        (edit, 4, "edited", "entry 4 was edited: its content does not give its hash"),
        (edit_and_rehash, 4, "edited", "entry 4 was edited and its hash made to fit"),
        (edit_and_rehash_some, 4, "rewritten", "entry 4 is not the one that was anchored"),
        (edit_a_time, 9, "edited", "entry 9 was edited"),
        (delete, 4, "deleted", "entry 4 was deleted; the next one there is entry 5"),
        (delete_and_renumber, 4, "deleted", "entry 4 was deleted: in its place is what was written as entry 5"),
        (insert_at_the_end, 12, "inserted", "entry 12 was inserted: the journal ends at entry 9"),
        (insert_and_renumber, 4, "inserted", "entry 4 was inserted: what stood there is now entry 5"),
        (insert_a_copy_and_renumber, 4, "inserted", "entry 4 was inserted; the later ones were renumbered"),
        (reorder, 4, "reordered", "entry 4 is what was written as entry 6"),
        (truncate_the_tail, 7, "truncated", "entry 7 is gone: the journal ends at entry 6, but entries up to 9"),
        (truncate_all, 1, "truncated", "the journal is empty"),
        (rewrite_wholly, 1, "rewritten", "the journal was rewritten wholly"),
        (rewrite_the_rest, 4, "rewritten", "the journal was rewritten from entry 4 on"),
        (cut_and_write_on, 7, "rewritten", "the journal was rewritten from entry 7 on"),
    ],
)
def test_each_change_is_named_with_the_first_bad_entry(
    written: Settings, attacked: Attacker, attack: Attack, number: int, what: str, said: str
) -> None:
    attack(attacked)
    found = registry.verify(written)
    assert (found.ok, found.first_bad, found.what) == (False, number, what), found.message
    assert said in found.message


@pytest.mark.parametrize("attack", [edit, delete, reorder, insert_and_renumber])
def test_a_journal_that_is_no_chain_is_believed_in_nothing(
    written: Settings, attacked: Attacker, attack: Attack
) -> None:
    attack(attacked)
    with pytest.raises(Blocked, match=r"not as it was written: .*4.*python -m pipelines registry verify"):
        registry.champion(written, MODEL)
    with pytest.raises(Blocked, match="not as it was written"):
        registry.retire(written, MODEL, reason="no more", by="anna@bank.example")


@pytest.mark.parametrize("attack", [truncate_the_tail, truncate_all, rewrite_wholly])
def test_nothing_is_added_to_a_journal_that_departs_from_its_anchors(
    written: Settings, attacked: Attacker, attack: Attack
) -> None:
    attack(attacked)
    held = registry.entries(written)
    with pytest.raises(Blocked, match="Someone changed the journal or its anchors"):
        registry.retire(written, MODEL, reason="no more", by="anna@bank.example")
    assert registry.entries(written) == held
    with pytest.raises(Blocked, match="Nothing was overwritten"):
        registry.anchor(written)


def test_an_entry_forged_over_a_truncated_tail_raises_the_alarm_when_it_would_be_anchored(
    written: Settings, attacked: Attacker, caplog: pytest.LogCaptureFixture
) -> None:
    truncate_the_tail(attacked)
    with registry.journalled(written) as connection:
        registry.append(connection, "small", "reviewed", {"note": "after the cut"})
    assert "journal entry 7: " in caplog.text
    assert [record.levelno for record in caplog.records] == [logging.CRITICAL]


def test_an_anchor_that_was_changed_is_told_from_a_changed_journal(written: Settings) -> None:
    place = Path(written.anchor_root) / "entries" / "0000000005.json"
    content = place.read_bytes()
    place.write_text(json.dumps({"entry_no": 5, "hash": "0" * 64}))
    found = registry.verify(written)
    assert (found.first_bad, found.what) == (5, "anchor")
    place.write_bytes(b"")
    found = registry.verify(written)
    assert (found.first_bad, found.what) == (5, "anchor")
    assert "not readable" in found.message
    place.write_bytes(content)
    assert registry.verify(written).ok


def test_a_store_that_does_not_answer_undoes_nothing_and_is_filled_later(
    written: Settings, attacked: Attacker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> bool:
        raise ConnectionBroken("bucket 'anchors' did not answer")

    with monkeypatch.context() as patch:
        patch.setattr(objects, "put_new", gone)
        patch.setattr(objects, "exists", gone)
        for note in "ab":
            with registry.journalled(written) as connection:
                registry.append(connection, "small", "reviewed", {"note": note})
        anchors.require_agreeing_head(written)
    assert "python -m pipelines registry anchor" in caplog.text
    assert (registry.verify(written).ok, registry.verify(written).not_anchored) == (True, 2)
    done = registry.anchor(written)
    assert (done.put, done.head) == (2, ENTRIES + 2)
    assert json.loads(Path(done.head_object).read_text()) == {"entry_no": ENTRIES + 2, "hash": done.hash}
    assert registry.anchor(written).put == 0
    assert registry.verify(written).not_anchored == 0


def test_the_same_on_an_s3_server(written: Settings, attacked: Attacker, s3_server: str) -> None:
    bank = written.model_copy(update={"anchors": "s3://vigil/anchors"})
    assert registry.verify(bank).not_anchored == ENTRIES
    done = registry.anchor(bank)
    assert (done.put, done.head_object) == (ENTRIES, f"s3://vigil/anchors/heads/{done.day}.json")
    assert (registry.verify(bank).ok, registry.verify(bank).anchored) == (True, ENTRIES)
    rewrite_the_rest(attacked)
    found = registry.verify(bank)
    assert (found.first_bad, found.what) == (4, "rewritten")
    with pytest.raises(Blocked, match="Nothing was overwritten"):
        registry.anchor(bank)


def test_an_anchors_store_that_is_down_is_an_outage_and_not_an_empty_store(
    written: Settings, s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(ConnectionBroken):
        registry.verify(written.model_copy(update={"anchors": "s3://vigil/anchors"}))


@pytest.mark.parametrize(
    ("table", "change", "said"),
    [
        ("permit", "UPDATE vigil.permit SET expires = expires + interval '9 years' WHERE kind = 'approval'", "permit"),
        ("gate_run", "UPDATE vigil.gate_run SET report = replace(report, '0.71', '0.72')", "the report of gate run"),
        ("approval_answer", "UPDATE vigil.approval_answer SET person = 'other@bank.example'", "approval request"),
    ],
)
def test_a_permit_report_or_answer_that_was_changed_since_is_named_by_the_entry_that_recorded_it(
    written: Settings, attacked: Attacker, table: str, change: str, said: str
) -> None:
    gate_run = judged(written, 2)
    request = asked(written, 2, gate_run)
    answered(written, request)
    permit = permitted(written, 2, gate_run, request)
    with database.transaction(written) as connection:
        recorded = {"permit_no": permit.permit_no, "permit_digest": permit.digest, "gate_run_no": gate_run[0],
                    "gate_digest": gate_run[1], "request_no": request,
                    "approval_digest": registry.permits.request_numbered(written, request).digest}  # fmt: skip
        registry.append(connection, "small", "approved", recorded)
    assert registry.verify(written).ok
    with database.transaction(written) as connection:
        database.execute(connection, f"ALTER TABLE vigil.{table} DISABLE TRIGGER {table}_append_only")
        database.execute(connection, change)
        database.execute(connection, f"ALTER TABLE vigil.{table} ENABLE TRIGGER {table}_append_only")
    found = registry.verify(written)
    assert (found.first_bad, found.what) == (ENTRIES + 1, "evidence")
    assert said in found.message
    assert "no longer the one it recorded" in found.message


def test_newest_entries_can_be_paged(written: Settings) -> None:
    numbers = [entry.entry_no for entry in journal.newest(written, 3, below=8)]
    assert numbers == [7, 6, 5]
