"""Publish: a scored batch becomes what readers see, in one step, or nothing changes.

The lake gets the rows in one Delta commit while Postgres gets them in one transaction; the pointer comes last, when both
have them, and the transaction's commit is the publication. A reader of Postgres follows the pointer through
`vigil.published_score`; a reader of the lake reads `scores/<model>` at the pointer's `lake_version`. Killed anywhere and
run again, the batch is published once.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date

import duckdb

from pipelines import completion, database
from pipelines.contracts import Blocked, DataFault, PublishedBatch, ScoredBatch
from pipelines.lake import PARTITION, Lake, connect
from pipelines.scoring.batches import BatchRecord, find_batch, move_pointer, pointer
from pipelines.scoring.gate import require_publishable
from pipelines.scoring.inputs import BatchInputs, pin
from pipelines.scoring.rows import COPY_COLUMNS, copy_stream, digest_of
from pipelines.scoring.stream import listed, load_staged, part_columns, scored_rows
from pipelines.settings import Settings
from pipelines.spec import Model


def publish(settings: Settings, model: Model, business_date: date) -> PublishedBatch:
    """Make the scored batch of the model and date what readers see. A batch already published changes nothing.

    The permit, the quality verdict and the batch are read again here; nothing an earlier task reported is trusted.

    Raises:
        Blocked: no valid permit, features not passed, no batch scored from what is in force now, or a batch beyond the
            limits of the policy. The last published batch is still served.
        ConnectionBroken: Postgres, the lake or the registry did not answer; running again is safe.
    """
    inputs = pin(settings, model, business_date)
    require_publishable(inputs.policy, _scored(settings, inputs))
    ensure_partition(settings, model.name)
    with database.transaction(settings) as connection:
        database.lock(connection, f"publish {model.name} {business_date}")
        record = _scored(settings, inputs)
        completion.record(connection, model.name, "publish", business_date)
        seen = pointer(connection, model.name, business_date)
        if seen is not None and seen.batch_id == inputs.batch_id:
            return seen
        return _write(settings, connection, inputs, record)


def scores_table(model: str) -> str:
    """The lake table of a model's published scores."""
    return f"scores/{model}"


def ensure_partition(settings: Settings, model: str) -> None:
    """Create the model's partition of vigil.score at its first use. Attaching it does not hold up readers."""
    with database.transaction(settings) as connection:
        database.lock(connection, "partitions of vigil.score")
        if database.execute(connection, "SELECT to_regclass(:name) AS found", name=_partition(model))[0]["found"]:
            return
        database.execute(connection, f"CREATE TABLE {_partition(model)} (LIKE vigil.score)")
        database.execute(
            connection, f"ALTER TABLE vigil.score ATTACH PARTITION {_partition(model)} FOR VALUES IN ('{model}')"
        )


def _scored(settings: Settings, inputs: BatchInputs) -> BatchRecord:
    record = find_batch(settings, inputs.batch_id)
    if record is None:
        raise Blocked(
            f"model {inputs.model.name} on {inputs.business_date}: nothing was scored from what is in force now (version "
            f"{inputs.champion.version}, policy {inputs.policy.version}, features {inputs.snapshot.content_digest[:12]}). "
            "The last published scores are still served. "
            f"Run: python -m pipelines score --model {inputs.model.name} --date {inputs.business_date}"
        )
    return record


def _write(
    settings: Settings, connection: database.Connection, inputs: BatchInputs, record: BatchRecord
) -> PublishedBatch:
    """Lake and Postgres side by side, then the pointer: the commit of the caller's transaction is the publication."""
    batch = record.batch
    with connect(settings) as scratch, ThreadPoolExecutor(1) as beside:
        load_staged(settings, scratch, inputs.model, batch)
        _require_unchanged(settings, scratch, batch)
        lake_version = beside.submit(_write_lake, settings, scratch.cursor(), inputs.model, batch)
        if not record.rows_are_in:
            stream = copy_stream(record.batch_no, batch.model, scored_rows(settings, scratch))
            database.copy_in(connection, _partition(batch.model), COPY_COLUMNS, stream, binary=True)
        return move_pointer(connection, record, inputs.champion.permit.permit_no, lake_version.result())


def _require_unchanged(settings: Settings, scratch: duckdb.DuckDBPyConnection, batch: ScoredBatch) -> None:
    digest = digest_of(scored_rows(settings, scratch))
    if (digest.hexdigest(), digest.rows) != (batch.digest, batch.rows_scored):
        raise DataFault(
            f"model {batch.model} on {batch.business_date}: the staged rows {batch.staged} are not those of batch "
            f"{batch.batch_id[:12]}: {digest.rows:,} rows, {batch.rows_scored:,} expected, or changed values. Nothing was "
            "published. Find out who wrote to the lake before going on."
        )


def _write_lake(settings: Settings, scratch: duckdb.DuckDBPyConnection, model: Model, batch: ScoredBatch) -> int:
    """Make the batch the date's content of `scores/<model>`; no commit when it is that already. Returns the version."""
    lake, table = Lake(settings), scores_table(model.name)
    held = _batch_in_lake(settings, lake, table, batch.business_date)
    if held == (batch.batch_id, batch.rows_scored):
        return lake.open(table).version()
    rows = scratch.sql(
        f"SELECT token AS {model.token}, probability, CASE WHEN review_reason IS NULL THEN 'scored' ELSE 'review' END "
        f"AS route, review_reason{listed(part_columns(scratch, 'scored'))}, '{batch.batch_id}' AS batch_id, "
        f"{batch.model_version} AS model_version, DATE '{batch.business_date}' AS {PARTITION} FROM scored"
    )
    notes = {"batch_id": batch.batch_id}
    return lake.replace_date(table, batch.business_date, rows.to_arrow_reader(settings.chunk_rows), notes=notes)


def _batch_in_lake(settings: Settings, lake: Lake, table: str, business_date: date) -> tuple[str, int] | None:
    """Batch id and rows of the date; a date's content is of one batch, because it is replaced in one commit."""
    if business_date not in lake.dates(table):
        return None
    with connect(settings) as scratch:
        lake.scan(scratch, "held", table, dates=[business_date])
        found = scratch.execute("SELECT min(batch_id), count(*) FROM held").fetchone()
    return (found[0], found[1]) if found else None


def _partition(model: str) -> str:
    return f"vigil.score_{model}"
