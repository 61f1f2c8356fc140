"""Publishing: what readers see changes in one step, once, and only within the limits of permit and policy."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_night import MODEL, SCORING_LIMITS, feature_columns, night, write_policy

from pipelines import database, mlflow_store
from pipelines.completion import completed
from pipelines.contracts import Blocked, DataFault, ScoredBatch
from pipelines.lake import Lake, connect
from pipelines.scoring import publish, published, score, verify_batch
from pipelines.scoring.publish import ensure_partition
from pipelines.settings import Settings

DAY, NEXT_DAY = date(2026, 6, 29), date(2026, 6, 30)
ROWS = 2_000


def scored(settings: Settings, day: date = DAY, **how: object) -> ScoredBatch:
    night(settings, day, ROWS, **how)
    return score(settings, MODEL, day)


def seen(settings: Settings, day: date = DAY) -> dict[str, object]:
    """What a reader of Postgres sees of a date, in one query."""
    return database.rows(
        settings,
        "SELECT count(*) AS rows, count(DISTINCT token) AS tokens, array_agg(DISTINCT batch_id) AS batches, "
        "count(review_reason) AS review, count(*) FILTER (WHERE route = 'review') AS routed "
        "FROM vigil.published_score WHERE model = 'small' AND business_date = :day",
        day=day,
    )[0]


def stored_rows(settings: Settings) -> int:
    return database.rows(settings, "SELECT count(*) AS n FROM vigil.score")[0]["n"]


def history(settings: Settings) -> list[tuple[date, int, int | None]]:
    found = database.rows(settings, "SELECT * FROM vigil.publication ORDER BY publication_no")
    return [(r["business_date"], r["batch_no"], r["previous_batch_no"]) for r in found]


def test_readers_see_the_batch_in_postgres_and_in_the_lake(bank: Settings) -> None:
    batch = scored(bank)
    assert published(bank, MODEL, DAY) is None
    done = publish(bank, MODEL, DAY)
    assert (done.batch_id, done.digest, done.rows_scored, done.already_published) == (
        batch.batch_id, batch.digest, ROWS, False,
    )  # fmt: skip
    assert seen(bank) == {
        "rows": ROWS, "tokens": ROWS, "batches": [batch.batch_id], "review": batch.rows_review,
        "routed": batch.rows_review,
    }  # fmt: skip
    verified = verify_batch(bank, MODEL, DAY)
    assert (verified.batch_id, verified.digest, verified.rows) == (batch.batch_id, batch.digest, ROWS)
    with connect(bank) as scratch:
        Lake(bank).scan(scratch, "scores", "scores/small", version=done.lake_version, dates=[DAY])
        rows = scratch.sql("FROM scores").to_arrow_table()
    assert set(rows["batch_id"].to_pylist()) == {batch.batch_id}
    assert rows["route"].to_pylist().count("review") == batch.rows_review
    assert history(bank) == [(DAY, 1, None)]


def test_publishing_again_changes_nothing(bank: Settings) -> None:
    scored(bank)
    first = publish(bank, MODEL, DAY)
    versions = Lake(bank).version("scores/small")
    ended = completed(bank, "small", "publish")
    again = publish(bank, MODEL, DAY)
    assert completed(bank, "small", "publish")[DAY] > ended[DAY]
    assert again == first.model_copy(update={"already_published": True})
    assert again == published(bank, MODEL, DAY)
    assert (stored_rows(bank), Lake(bank).version("scores/small"), len(history(bank))) == (ROWS, versions, 1)


def test_a_correction_replaces_what_is_seen_and_keeps_what_was(bank: Settings) -> None:
    old = scored(bank)
    publish(bank, MODEL, DAY)
    new = scored(bank, seed=10)
    assert seen(bank)["batches"] == [old.batch_id]
    publish(bank, MODEL, DAY)
    assert seen(bank)["batches"] == [new.batch_id]
    assert stored_rows(bank) == 2 * ROWS
    assert history(bank) == [(DAY, 1, None), (DAY, 2, 1)]
    verify_batch(bank, MODEL, DAY)


def test_a_correction_taken_back_points_at_the_old_rows_without_a_second_copy(bank: Settings) -> None:
    old = scored(bank)
    publish(bank, MODEL, DAY)
    scored(bank, seed=10)
    publish(bank, MODEL, DAY)
    assert scored(bank).batch_id == old.batch_id
    back = publish(bank, MODEL, DAY)
    assert (back.batch_id, back.already_published) == (old.batch_id, False)
    assert (seen(bank)["batches"], stored_rows(bank)) == ([old.batch_id], 2 * ROWS)
    assert history(bank)[-1] == (DAY, 1, 2)
    verify_batch(bank, MODEL, DAY)


def test_an_older_date_published_again_leaves_newer_ones_as_they_are(bank: Settings) -> None:
    scored(bank)
    publish(bank, MODEL, DAY)
    newer = scored(bank, NEXT_DAY, seed=11)
    publish(bank, MODEL, NEXT_DAY)
    scored(bank, seed=12)
    publish(bank, MODEL, DAY)
    assert seen(bank, NEXT_DAY)["batches"] == [newer.batch_id]
    for day in (DAY, NEXT_DAY):
        verify_batch(bank, MODEL, day)


def test_publishers_at_the_same_time_publish_once(bank: Settings) -> None:
    scored(bank)
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: publish(bank, MODEL, DAY), range(3)))
    assert sorted(d.already_published for d in done) == [False, True, True]
    assert (stored_rows(bank), len(history(bank)), Lake(bank).version("scores/small")) == (ROWS, 1, 0)


def test_dates_published_at_the_same_time_do_not_disturb_each_other(bank: Settings) -> None:
    days = [date(2026, 6, day) for day in (25, 26, 27)]
    for seed, day in enumerate(days):
        scored(bank, day, seed=seed)
    publish(bank, MODEL, days[0])
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda day: publish(bank, MODEL, day), days))
    for day in days:
        verify_batch(bank, MODEL, day)


def test_nothing_scored_names_the_command(bank: Settings) -> None:
    night(bank, DAY)
    with pytest.raises(Blocked, match=r"nothing was scored from what is in force now.*pipelines score --model small"):
        publish(bank, MODEL, DAY)


def test_a_batch_of_a_champion_that_was_replaced_since_is_not_published(bank: Settings) -> None:
    scored(bank)
    mlflow_store.set_alias(bank, "small", "champion", 2)
    with pytest.raises(Blocked, match="journal says version 1"):
        publish(bank, MODEL, DAY)
    assert seen(bank)["rows"] == 0


def test_a_permit_that_expired_after_scoring_stops_publishing(bank: Settings) -> None:
    scored(bank)
    with database.transaction(bank) as connection:
        database.execute(connection, "ALTER TABLE vigil.permit DISABLE TRIGGER permit_append_only")
        database.execute(
            connection,
            "UPDATE vigil.permit SET granted_at = now() - interval '9 days', expires = now() - interval '1 day'",
        )
    with pytest.raises(Blocked, match="permit 1 expired on"):
        publish(bank, MODEL, DAY)
    assert seen(bank)["rows"] == 0


def test_scores_that_moved_away_from_training_are_not_published(bank: Settings) -> None:
    scored(bank)
    publish(bank, MODEL, DAY)
    high = {"utilisation": pa.array([0.95] * ROWS)}
    moved = scored(bank, changed=high)
    assert moved.psi > 1
    with pytest.raises(Blocked, match=r"moved away from training: PSI \d+\.\d+, limit 0.25"):
        publish(bank, MODEL, DAY)
    assert seen(bank)["rows"] == ROWS
    write_policy(bank.project, scoring=SCORING_LIMITS | {"psi_block": 99.0})
    assert publish(bank, MODEL, DAY).batch_id == moved.batch_id


def test_too_many_rejected_rows_are_not_published(bank: Settings) -> None:
    utilisation = feature_columns(ROWS, 9)["utilisation"].to_pylist()
    scored(bank, changed={"utilisation": pa.array([None] * 201 + utilisation[201:])})
    with pytest.raises(
        Blocked, match=r"201 of 2,000 rows were rejected, allowed are 10.00% \(utilisation missing: 201\)"
    ):
        publish(bank, MODEL, DAY)


def test_a_batch_without_a_scored_row_is_not_published(bank: Settings) -> None:
    batch = scored(bank, changed={"utilisation": pa.array([float("nan")] * ROWS)})
    assert (batch.rows_scored, batch.rows_rejected, batch.psi) == (0, ROWS, None)
    with pytest.raises(Blocked, match=r"no row was scored of 2,003.*PSI is absent"):
        publish(bank, MODEL, DAY)


def test_staged_rows_that_were_changed_are_not_published(bank: Settings) -> None:
    scored(bank)
    file = Path(Lake(bank).files("staging_scores/small")[0])
    rows = pq.ParquetFile(file).read()
    changed = rows.set_column(1, "probability", pa.array([0.01] * len(rows)))
    pq.write_table(changed, file)
    with pytest.raises(DataFault, match="are not those of batch"):
        publish(bank, MODEL, DAY)
    assert (seen(bank)["rows"], Lake(bank).version("scores/small")) == (0, None)


def test_verification_finds_a_row_changed_in_postgres(bank: Settings) -> None:
    scored(bank)
    publish(bank, MODEL, DAY)
    database.rows(
        bank,
        "UPDATE vigil.score SET probability = 0.5 WHERE token = (SELECT token FROM vigil.score LIMIT 1) RETURNING 1",
    )
    with pytest.raises(DataFault, match="in Postgres are not those that were scored"):
        verify_batch(bank, MODEL, DAY)


def test_verification_finds_a_file_changed_in_the_lake(bank: Settings) -> None:
    scored(bank)
    publish(bank, MODEL, DAY)
    file = Path(Lake(bank).files("scores/small")[0])
    rows = pq.ParquetFile(file).read()
    pq.write_table(rows.slice(1), file)
    with pytest.raises(DataFault, match="in the lake are not those that were scored: 1,999 rows"):
        verify_batch(bank, MODEL, DAY)


def test_there_is_nothing_to_verify_before_the_first_publication(bank: Settings) -> None:
    with pytest.raises(Blocked, match="nothing is published"):
        verify_batch(bank, MODEL, DAY)


def test_the_history_of_publications_is_never_changed(bank: Settings) -> None:
    scored(bank)
    publish(bank, MODEL, DAY)
    with pytest.raises(Exception, match="append-only"):
        database.rows(bank, "DELETE FROM vigil.publication RETURNING 1")
    assert len(history(bank)) == 1


def test_a_second_model_gets_a_partition_of_its_own(bank: Settings) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: ensure_partition(bank, name), ["small", "other", "small", "other"]))
    found = database.rows(
        bank, "SELECT relname AS name FROM pg_partition_tree('vigil.score') JOIN pg_class ON oid = relid WHERE isleaf"
    )
    assert {r["name"] for r in found} == {"score_small", "score_other"}


def test_a_reader_finds_one_token_through_the_index(bank: Settings) -> None:
    night(bank, DAY, 60_000)
    score(bank, MODEL, DAY)
    publish(bank, MODEL, DAY)
    _as_autovacuum(bank)
    token = database.rows(bank, "SELECT token FROM vigil.score OFFSET 30000 LIMIT 1")[0]["token"]
    plan = database.rows(
        bank,
        "EXPLAIN (ANALYZE, FORMAT JSON) SELECT probability FROM vigil.published_score "
        "WHERE model = 'small' AND business_date = :day AND token = :token",
        day=DAY,
        token=token,
    )
    scans = [node for node in _nodes(plan[0]["QUERY PLAN"][0]["Plan"]) if node.get("Relation Name") == "score_small"]
    assert [node["Node Type"] for node in scans] == ["Bitmap Heap Scan"]


def _as_autovacuum(bank: Settings) -> None:
    """What autovacuum does within a minute of a publication."""
    engine = database.engine(bank.database_url).execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("VACUUM (ANALYZE) vigil.score")


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from _nodes(part)
