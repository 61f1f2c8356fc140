"""The published rows of a batch as candidates, read from the lake at the version that the pointer names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import duckdb
import pyarrow as pa

from pipelines import database
from pipelines.aml.candidates import Candidate, Desk, reach
from pipelines.contracts import Blocked, DataFault
from pipelines.lake import Lake, connect
from pipelines.scoring.publish import scores_table
from pipelines.settings import Settings
from pipelines.spec import AlertLimits, Model

PART = "part_"
NOT_SCORED = "not scored"
UNKNOWN = "unknown"
_VERSIONS_BACK = 50


@dataclass(frozen=True)
class Batch:
    """The batch that readers see of a date. `typologies` are pack, version and digest; None for a model without."""

    batch_no: int
    batch_id: str
    business_date: date
    lake_version: int
    rows_scored: int
    rows_rejected: int
    typologies: str | None


def published_batch(connection: database.Connection, model: Model, business_date: date) -> Batch:
    """What readers see now, inside the caller's transaction. Raises Blocked when nothing was published for the date."""
    found = database.execute(
        connection,
        "SELECT batch_no, batch_id, b.business_date, lake_version, rows_scored, rows_rejected, typologies "
        "FROM vigil.published p JOIN vigil.batch b USING (batch_no) WHERE p.model = :model AND p.business_date = :day",
        model=model.name,
        day=business_date,
    )
    if not found:
        raise Blocked(
            f"model {model.name} on {business_date}: no scores were published, so nothing was raised. "
            f"Run: python -m pipelines night --model {model.name} --date {business_date}"
        )
    return Batch(**found[0])


def candidates(
    settings: Settings, model: Model, batch: Batch, limits: AlertLimits, desk: Desk, scores: pa.Table | None = None
) -> list[Candidate]:
    """The rows that `select` needs: the best ranked, all over a threshold, in review, rejected or meeting a typology.

    Args:
        scores: in place of the published ones, with the same columns; for replays.

    Raises:
        DataFault: the lake does not hold the rows of this batch, or a score is absent.
    """
    with connect(settings) as connection:
        if scores is None:
            table = scores_table(model.name)
            Lake(settings).scan(connection, "scores", table, version=batch.lake_version, dates=[batch.business_date])
            _require_whole(connection, model, batch)
        else:
            connection.register("scores", scores)
        _rank(connection, model)
        over = "false" if limits.threshold is None else f"probability >= {limits.threshold!r}"
        rows = connection.sql(
            f"SELECT * FROM ranked WHERE place <= {reach(limits, desk, batch.business_date)} OR review_reason IS NOT NULL "
            f"OR typologies_met <> '' OR {over}"
        ).to_arrow_table()
        found = [_candidate(row) for row in rows.to_pylist()]
    return found + _rejected(settings, model, batch)


def segments(settings: Settings, limits: AlertLimits, model: Model, on: date) -> Mapping[str, str]:
    """Segment by token, from the newest date up to `on` that the source has; `unknown` stands for absent ones."""
    lake, table = Lake(settings), f"source/{limits.segments.source}"
    dates = [day for day in lake.dates(table) if day <= on]
    if not dates:
        return {}
    with connect(settings) as connection:
        lake.scan(connection, "held", table, dates=dates[-1:])
        column = limits.segments.column
        rows = connection.sql(
            f'SELECT {model.token}, CAST("{column}" AS VARCHAR) FROM held WHERE "{column}" IS NOT NULL'
        )
        return dict(rows.fetchall())


def _rank(connection: duckdb.DuckDBPyConnection, model: Model) -> None:
    """The view `ranked`: every row with its rank, and its place among the rows that are not in review.

    A part that is absent, or typologies that were not computed, are missing input and send the row to review.
    """
    there = [row[0] for row in connection.execute("DESCRIBE scores").fetchall()]
    parts = [name for name in there if name.startswith(PART)]
    computed = [*parts, *(["typologies_met"] if "typologies_met" in there else [])]
    missing = ", ".join(f"CASE WHEN {name} IS NULL THEN '{name} missing' END" for name in computed)
    reason = f"nullif(concat_ws('; ', review_reason{', ' + missing if missing else ''}), '')"
    met = "coalesce(typologies_met, '')" if "typologies_met" in there else "''"
    order = f"probability DESC, len(string_split({met}, '; ')) - CAST({met} = '' AS INT) DESC, {model.token}"
    connection.execute(
        f"""CREATE TEMP VIEW ranked AS SELECT *, count(*) FILTER (review_reason IS NULL) OVER (ORDER BY rank) AS place
        FROM (SELECT {model.token} AS token, probability, {reason} AS review_reason, {met} AS typologies_met,
                     {"".join(f"{name}, " for name in parts)} row_number() OVER (ORDER BY {order}) AS rank FROM scores)"""
    )


def _require_whole(connection: duckdb.DuckDBPyConnection, model: Model, batch: Batch) -> None:
    seen = connection.execute(
        "SELECT count(*), count(probability) FILTER (probability BETWEEN 0 AND 1), min(batch_id), max(batch_id) FROM scores"
    ).fetchone()
    if seen != (batch.rows_scored, batch.rows_scored, batch.batch_id, batch.batch_id):
        raise DataFault(
            f"model {model.name} on {batch.business_date}: the lake's scores are not those of batch {batch.batch_id[:12]}: "
            f"{seen[0] if seen else 0:,} rows, {batch.rows_scored:,} expected, or absent scores. Nothing was raised. "
            f"Run: python -m pipelines verify --model {model.name} --date {batch.business_date}"
        )


def _rejected(settings: Settings, model: Model, batch: Batch) -> list[Candidate]:
    """Rows that could not be scored at all; a person looks at them as at any other missing input."""
    if not batch.rows_rejected:
        return []
    lake, table = Lake(settings), f"rejected/{model.name}"
    newest = lake.version(table)
    for version in range(newest, max(newest - _VERSIONS_BACK, -1), -1) if newest is not None else ():
        rows = _rejected_at(settings, lake, model, batch, version)
        if len(rows) == batch.rows_rejected:
            return [Candidate(token, None, None, f"{NOT_SCORED}: {why.replace('; ', ', ')}") for token, why in rows]
    raise DataFault(
        f"model {model.name} on {batch.business_date}: {batch.rows_rejected:,} rows were rejected, but lake table {table} "
        f"does not have those of batch {batch.batch_id[:12]}. Nothing was raised. Find out who wrote to the lake."
    )


def _rejected_at(settings: Settings, lake: Lake, model: Model, batch: Batch, version: int) -> list[tuple[str, str]]:
    """The rejected rows of the batch at a version; an older one has them when a correction was taken back."""
    with connect(settings) as connection:
        lake.scan(connection, "rejected", f"rejected/{model.name}", version=version, dates=[batch.business_date])
        found: list[tuple[str, str]] = connection.execute(
            f"SELECT {model.token}, reason FROM rejected WHERE batch_id = ? ORDER BY 1", [batch.batch_id]
        ).fetchall()
    return found


def _candidate(row: dict[str, object]) -> Candidate:
    met = str(row["typologies_met"])
    return Candidate(
        token=str(row["token"]),
        rank=int(str(row["rank"])),
        probability=float(str(row["probability"])),
        review_reason=None if row["review_reason"] is None else str(row["review_reason"]),
        typologies=tuple(met.split("; ")) if met else (),
        parts={n.removeprefix(PART): float(str(v)) for n, v in row.items() if n.startswith(PART) and v is not None},
    )
