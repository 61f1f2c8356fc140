"""The point-in-time join: `rows` entity rows, ten features, from 2.4 feature rows for each of them.

All three ways read the same Parquet files and end with every row in memory, Arrow for the first two, pandas for Feast:

* raw: one plain ASOF join in DuckDB, without TTL, ties or order;
* ours: `point_in_time_join`, with TTL, ties by created_timestamp, and every entity row kept in order;
* usual: Feast's default offline store (Dask over files), with the same TTL.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.harness import Measurement, timed
from pipelines.features import JoinedView, point_in_time_join
from pipelines.lake import connect
from pipelines.settings import Settings

FEATURES = [f"f{number}" for number in range(10)]
FEATURE_ROWS_PER_ENTITY_ROW = 2.4
TTL = timedelta(days=365)
_DAYS = 730
_DAY = 86_400_000_000
_START = 1_700_000_000_000_000


def measure(rows: int) -> list[Measurement]:
    """Measure the join at `rows` entity rows."""
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), rows)
        raw = timed(_raw, folder)
        ours = timed(_ours, folder)
        usual = timed(_usual, folder, runs=1)
    return [
        Measurement("point-in-time join", rows, len(FEATURES), raw.seconds, ours.seconds, usual.seconds, ours.peak_mb)
    ]


def _write(folder: Path, rows: int) -> None:
    draw = np.random.default_rng(7)
    entities = max(1, int(rows * 0.8))
    pq.write_table(_keys(draw, rows, entities), folder / "entities.parquet")
    features = _keys(draw, int(rows * FEATURE_ROWS_PER_ENTITY_ROW), entities)
    created = pa.array(np.asarray(features["event_timestamp"]).astype("int64") + _DAY, pa.timestamp("us", "UTC"))
    features = features.append_column("created_timestamp", created)
    for name in FEATURES:
        features = features.append_column(name, pa.array(draw.normal(size=len(features))))
    pq.write_table(features, folder / "features.parquet")


def _keys(draw: np.random.Generator, rows: int, entities: int) -> pa.Table:
    tokens = [f"{number:032x}" for number in draw.integers(0, entities, rows)]
    times = _START + draw.integers(0, _DAYS, rows) * _DAY
    return pa.table({"account_token": tokens, "event_timestamp": pa.array(times, pa.timestamp("us", "UTC"))})


def _connection(folder: str) -> duckdb.DuckDBPyConnection:
    connection = connect(Settings(home=Path(folder)))
    for name in ("entities", "features"):
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{folder}/{name}.parquet')")
    return connection


def _raw(folder: str) -> Callable[[], Any]:
    connection = _connection(folder)
    columns = ", ".join(f"f.{name}" for name in FEATURES)
    query = (
        f"SELECT e.*, {columns} FROM entities e ASOF LEFT JOIN features f "
        "ON e.account_token = f.account_token AND e.event_timestamp >= f.event_timestamp"
    )
    return lambda: connection.sql(query).to_arrow_table()


def _ours(folder: str) -> Callable[[], Any]:
    connection = _connection(folder)
    view = JoinedView("features", {"account_token": "account_token"}, {name: name for name in FEATURES}, TTL)
    return lambda: point_in_time_join(connection, "SELECT * FROM entities", [view]).to_arrow_table()


def _usual(folder: str) -> Callable[[], Any]:
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float64

    account = Entity(name="account", join_keys=["account_token"], value_type=ValueType.STRING)
    view = FeatureView(
        name="features",
        entities=[account],
        ttl=TTL,
        schema=[Field(name=name, dtype=Float64) for name in FEATURES],
        source=FileSource(
            path=f"{folder}/features.parquet",
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
        ),
    )
    store = FeatureStore(
        config=RepoConfig(
            project="benchmark",
            provider="local",
            registry=f"{folder}/registry.db",
            offline_store={"type": "dask"},
            online_store={"type": "sqlite", "path": f"{folder}/online.db"},
            entity_key_serialization_version=3,
        )
    )
    store.apply([account, view])
    entities = pq.read_table(f"{folder}/entities.parquet").to_pandas()
    references = [f"features:{name}" for name in FEATURES]
    return lambda: store.get_historical_features(entities, references).to_df()
