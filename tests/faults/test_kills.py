"""SIGKILL at every named point of the night, then the same command again: same rows, same digest, nothing twice.

A reader in a process of its own polls the published scores all the while: it must see the last good batch or the new one,
whole, never a mix and never nothing.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import account_source
import pytest
from bank_fixtures import bank_template, lasting_bank
from dying import killed, server
from killing_points import DAY, INGEST_PLANTS, PUBLISH_PLANTS, SCORE_PLANTS, Seen, look_until_told
from small_night import MODEL, night

from pipelines import database, registry
from pipelines.contracts import IngestState
from pipelines.lake import Lake, connect
from pipelines.scoring import publish, published, score, verify_batch
from pipelines.settings import Settings
from pipelines.training.artefact import load_verified

__all__ = ["bank_template", "lasting_bank"]

ROWS = 2_000
_seeds = count(100)


@pytest.fixture(scope="module")
def bank(lasting_bank: Settings) -> Settings:
    """A bank whose readers have a batch to read before the first kill."""
    corrected(lasting_bank)
    score(lasting_bank, MODEL, DAY)
    publish(lasting_bank, MODEL, DAY)
    return lasting_bank


@pytest.mark.parametrize("point", SCORE_PLANTS)
def test_scoring_killed_and_run_again(bank: Settings, point: str) -> None:
    expected = corrected(bank)
    before = published(bank, MODEL, DAY)
    with polled(bank) as seen:
        assert killed(bank, point, "score") == -9
        batch = score(bank, MODEL, DAY)
        publish(bank, MODEL, DAY)
    assert (batch.digest, batch.rows_scored, batch.challenger_versions) == (expected, ROWS, (2,))
    assert_whole(seen, [before.batch_id, batch.batch_id])
    assert_once(bank, batch.batch_id, expected)


@pytest.mark.parametrize("point", PUBLISH_PLANTS)
def test_publishing_killed_and_run_again(bank: Settings, point: str) -> None:
    expected = corrected(bank)
    before = published(bank, MODEL, DAY)
    batch = score(bank, MODEL, DAY)
    committed = point == "publish: after Postgres committed"
    with polled(bank) as seen:
        assert killed(bank, point, "publish") == -9
        assert published(bank, MODEL, DAY).batch_id == (batch if committed else before).batch_id
        done = publish(bank, MODEL, DAY)
    assert (done.digest, done.already_published) == (expected, committed)
    assert_whole(seen, [before.batch_id, batch.batch_id])
    assert_once(bank, batch.batch_id, expected)


@pytest.mark.parametrize("point", INGEST_PLANTS)
def test_ingest_killed_and_run_again(settings: Settings, point: str) -> None:
    bank = settings.model_copy(update={"chunk_rows": 16})
    account_source.deliver(bank, account_source.rows(100))
    account_source.night(bank, account_source.contract())
    old = account_source.lake_rows(bank, "source/accounts")
    account_source.deliver(bank, account_source.rows(90, balance=[2.0] * 90))

    assert killed(bank, point, "ingest") == -9

    committed = point in ("ingest: after the source's commit", "ingest: before Postgres commits")
    assert (account_source.lake_rows(bank, "source/accounts") == old) is not committed
    done = account_source.night(bank, account_source.contract())
    assert (done.state, done.rows_published, done.control_totals) == (IngestState.REPLACED, 90, {"balance": 180.0})
    rows = account_source.lake_rows(bank, "source/accounts")
    assert len({row["account_token"] for row in rows}) == len(rows) == 90
    assert {row["balance"] for row in rows} == {2.0}
    counted = database.rows(bank, "SELECT count(*) AS n FROM vigil.source_publication")
    assert counted == [{"n": 2}]


def corrected(settings: Settings) -> str:
    """New feature rows for the date; returns the digest an undisturbed batch of them has, computed independently."""
    snapshot = night(settings, DAY, ROWS, seed=next(_seeds))
    champion = registry.champion(settings, MODEL)
    predictor = load_verified(registry.fetch(settings, champion), champion.artefact_digest)
    with connect(settings) as connection:
        Lake(settings).scan(connection, "t", snapshot.table, version=snapshot.lake_version, dates=[DAY])
        rows = connection.sql("FROM t ORDER BY account_token").to_arrow_table()
    scores = zip(rows["account_token"].to_pylist(), predictor.predict(rows).tolist(), strict=True)
    return hashlib.sha256(b"".join(bytes.fromhex(t) + struct.pack(">d", p) for t, p in scores)).hexdigest()


def assert_once(settings: Settings, batch_id: str, digest: str) -> None:
    verified = verify_batch(settings, MODEL, DAY)
    assert (verified.batch_id, verified.digest, verified.rows) == (batch_id, digest, ROWS)
    counted = database.rows(
        settings,
        "SELECT (SELECT count(*) FROM vigil.batch WHERE batch_id = :id) AS batches, count(*) AS rows, "
        "(SELECT count(*) FROM vigil.publication JOIN vigil.batch USING (batch_no) WHERE batch_id = :id) AS times "
        "FROM vigil.score JOIN vigil.batch USING (batch_no) WHERE batch_id = :id",
        id=batch_id,
    )
    assert counted == [{"batches": 1, "rows": ROWS, "times": 1}]
    with connect(settings) as connection:
        Lake(settings).scan(connection, "t", "scores/small", dates=[DAY])
        assert connection.sql("SELECT DISTINCT batch_id, count(*) OVER () FROM t").fetchall() == [(batch_id, ROWS)]


def assert_whole(seen: list[Seen], batches: list[str]) -> None:
    """Every look saw all rows of one of the two batches, always the same rows, and never the old one after the new."""
    assert len(seen) > 3
    assert {(rows, mixed) for _, rows, mixed, _ in seen} == {(ROWS, 1)}
    order = [batch_id for batch_id, *_ in seen]
    assert order == sorted(order, key=batches.index)
    assert len({(batch_id, content) for batch_id, _, _, content in seen}) == len(set(order))


@contextmanager
def polled(settings: Settings) -> Iterator[list[Seen]]:
    """What a reader saw, look by look, filled in when the block ends."""
    seen: list[Seen] = []
    ours, theirs = server().Pipe()
    reader = server().Process(target=look_until_told, args=(settings, theirs))
    reader.start()
    try:
        assert ours.poll(300)
        ours.recv()
        yield seen
    finally:
        ours.send("stop")
        seen += ours.recv()
        reader.join(30)
