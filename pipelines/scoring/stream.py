"""The rows of a batch on their way: features out of the lake in chunks, scores in and out again in token order.

Everything larger than a chunk lives in DuckDB, which stays under its memory limit and spills to a folder of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import duckdb
import numpy as np
import pyarrow as pa

from pipelines.contracts import DataFault, FeatureSnapshot, ScoredBatch
from pipelines.lake import Lake
from pipelines.scoring.rows import ScoredRows, token_bytes
from pipelines.settings import Settings
from pipelines.spec import Model

# Only for models whose scores are put together from parts, in this order after `review_reason`.
PART_COLUMNS = {
    "part_supervised": "DOUBLE",
    "part_anomaly": "DOUBLE",
    "part_typologies": "DOUBLE",
    "typologies_met": "VARCHAR",
}


def feature_chunks(settings: Settings, model: Model, snapshot: FeatureSnapshot) -> Iterator[pa.RecordBatch]:
    """Token and features (doubles, strings for categories) at the pinned version, settings.chunk_rows rows at a time.

    The next chunk is read while the caller works on this one. Raises DataFault when a feature is absent or of another kind.
    """
    wanted = {model.token: pa.string()} | {
        name: pa.string() if feature.categorical else pa.float64() for name, feature in model.feature.items()
    }
    chunks = Lake(settings).batches(
        snapshot.table,
        snapshot.business_date,
        list(wanted),
        version=snapshot.lake_version,
        batch_rows=settings.chunk_rows,
    )
    for chunk in read_ahead(chunks):
        yield _typed(chunk, wanted, f"model {model.name} on {snapshot.business_date}")


def read_ahead(chunks: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The chunks, each read in a thread while the one before is being worked on."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = reader.submit(next, chunks, None)
            yield chunk


def _typed(chunk: pa.RecordBatch, wanted: Mapping[str, pa.DataType], subject: str) -> pa.RecordBatch:
    """The chunk with exactly these columns and types; not copied where it has them."""
    if chunk.schema.names == list(wanted) and chunk.schema.types == list(wanted.values()):
        return chunk
    columns = {}
    for name, kind in wanted.items():
        if name not in chunk.schema.names:
            raise DataFault(f"{subject}: the feature rows have no {name!r}; have {', '.join(chunk.schema.names)}.")
        try:
            columns[name] = chunk[name].cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise DataFault(
                f"{subject}: {name!r} is {chunk[name].type} in the feature rows, {kind} is needed. Correct the feature in "
                "feature_repo/ or the model file, then build the features again."
            ) from None
    return pa.record_batch(columns)


def add_rows(connection: duckdb.DuckDBPyConnection, table: str, rows: pa.RecordBatch) -> None:
    """Append rows to a DuckDB table whose columns they have, in order."""
    if rows.num_rows:
        connection.register("arriving", pa.Table.from_batches([rows]))
        connection.execute(f"INSERT INTO {table} SELECT * FROM arriving")
        connection.unregister("arriving")


def load_staged(settings: Settings, connection: duckdb.DuckDBPyConnection, model: Model, batch: ScoredBatch) -> None:
    """Put the staged rows of a batch into the connection's table `scored`, in token order."""
    table, _, version = batch.staged.rpartition("@")
    Lake(settings).scan(connection, "staged", table, version=int(version), dates=[batch.business_date])
    connection.execute(
        f"CREATE TABLE scored AS SELECT {model.token} AS token, probability, review_reason"
        f"{listed(part_columns(connection, 'staged'))} FROM staged ORDER BY token"
    )


def part_columns(connection: duckdb.DuckDBPyConnection, table: str) -> tuple[str, ...]:
    """Those of PART_COLUMNS that a table or view of the connection has."""
    there = connection.sql(f'FROM "{table}" LIMIT 0').columns
    return tuple(name for name in PART_COLUMNS if name in there)


def listed(columns: Iterable[str]) -> str:
    """Further columns of a SELECT, each after a comma; nothing without any."""
    return "".join(f", {column}" for column in columns)


def scored_rows(settings: Settings, connection: duckdb.DuckDBPyConnection) -> Iterator[ScoredRows]:
    """The rows of the connection's table `scored`, in the order in which they were put there."""
    reader = connection.sql("SELECT token, probability, review_reason FROM scored").to_arrow_reader(settings.chunk_rows)
    for chunk in reader:
        yield ScoredRows(
            tokens=token_bytes(chunk["token"]),
            probability=np.asarray(chunk["probability"]),
            review_reason=chunk["review_reason"],
        )
