"""Feast's offline store over the lake: DeltaSource and DeltaOfflineStore, Feast's documented extension point.

Feast's stock stores drop rows, mix composite keys or fetch extensions from a network, so every question Feast asks is
answered by our own point-in-time join. A class path in the registry names this module; do not move it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import duckdb
import pandas as pd
import pyarrow as pa
from feast import FeatureView, RepoConfig, ValueType
from feast.data_source import DataSource
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.protos.feast.core.DataSource_pb2 import DataSource as DataSourceProto
from feast.repo_config import FeastConfigBaseModel

from pipelines.contracts import DataFault
from pipelines.features.point_in_time import JoinedView, point_in_time_join
from pipelines.lake import Lake, connect
from pipelines.settings import Settings, get_settings

_VALUE_TYPES = {
    "BIGINT": ValueType.INT64,
    "DOUBLE": ValueType.DOUBLE,
    "BOOLEAN": ValueType.BOOL,
    "VARCHAR": ValueType.STRING,
    "DATE": ValueType.UNIX_TIMESTAMP,
    "TIMESTAMP WITH TIME ZONE": ValueType.UNIX_TIMESTAMP,
}
_DAY = timedelta(days=1)


class DeltaSource(DataSource):
    """A table of the lake, partitioned by business date, with event timestamps at midnight UTC of that date."""

    def __init__(
        self,
        *,
        name: str,
        table: str,
        timestamp_field: str,
        created_timestamp_column: str,
        description: str = "",
        tags: dict[str, str] | None = None,
        owner: str = "",
    ) -> None:
        super().__init__(
            name=name,
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            description=description,
            tags=tags,
            owner=owner,
        )
        self.table = table

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DeltaSource) and self.to_proto() == other.to_proto()

    def __hash__(self) -> int:
        return hash((self.name, self.table))

    def source_type(self) -> DataSourceProto.SourceType.ValueType:
        return DataSourceProto.CUSTOM_SOURCE

    @staticmethod
    def from_proto(data_source: DataSourceProto) -> DeltaSource:
        return DeltaSource(
            name=data_source.name,
            table=json.loads(data_source.custom_options.configuration)["table"],
            timestamp_field=data_source.timestamp_field,
            created_timestamp_column=data_source.created_timestamp_column,
            description=data_source.description,
            tags=dict(data_source.tags),
            owner=data_source.owner,
        )

    def _to_proto_impl(self) -> DataSourceProto:
        return DataSourceProto(
            name=self.name,
            type=DataSourceProto.CUSTOM_SOURCE,
            data_source_class_type=f"{__name__}.{type(self).__name__}",
            timestamp_field=self.timestamp_field,
            created_timestamp_column=self.created_timestamp_column,
            custom_options=DataSourceProto.CustomSourceOptions(
                configuration=json.dumps({"table": self.table}).encode()
            ),
            description=self.description,
            tags=self.tags,
            owner=self.owner,
        )

    def validate(self, config: RepoConfig) -> None:
        """Nothing to check before the first build: the table may not exist yet."""

    def get_table_query_string(self) -> str:
        return self.table

    @staticmethod
    def source_datatype_to_feast_value_type() -> Callable[[str], ValueType]:
        return lambda kind: _VALUE_TYPES[kind]

    def get_table_column_names_and_types(self, config: RepoConfig) -> Iterable[tuple[str, str]]:
        with _reading(config, self, _EVER) as connection:
            described = connection.sql(f'SELECT * FROM "{self.name}"')
            return list(zip(described.columns, map(str, described.types), strict=True))


class DeltaOfflineStoreConfig(FeastConfigBaseModel):
    """Which lake to read. Feast finds this class by the store's name with `Config` behind it."""

    type: Literal["pipelines.features.feast_offline_store.DeltaOfflineStore"] = (
        "pipelines.features.feast_offline_store.DeltaOfflineStore"
    )
    lake_url: str
    home: str


class DeltaJob(RetrievalJob):
    """A retrieval that runs when its result is asked for."""

    def __init__(
        self,
        run: Callable[[], pa.Table],
        full_feature_names: bool = False,
        on_demand: Sequence[OnDemandFeatureView] = (),
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._run = run
        self._full_feature_names = full_feature_names
        self._on_demand = list(on_demand)
        self._metadata = metadata

    @property
    def full_feature_names(self) -> bool:
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return self._metadata

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._run()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return self._run().to_pandas()


class DeltaOfflineStore(OfflineStore):
    """Answers Feast from the lake. Entities come as a data frame; SQL as entity list is refused."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
    ) -> RetrievalJob:
        """Every row of `entity_df`, in its order, with the features as they stood at its event timestamp."""
        if not isinstance(entity_df, pd.DataFrame):
            raise DataFault(
                "get_historical_features needs the entities as a data frame with an event_timestamp column."
            )
        at = infer_event_timestamp_from_entity_df(dict(zip(entity_df.columns, entity_df.dtypes, strict=True)))
        times = pd.to_datetime(entity_df[at], utc=True)
        span = (times.min().to_pydatetime(), times.max().to_pydatetime())
        asked = [(view, _features_of(view, feature_refs, full_feature_names)) for view in feature_views]

        def run() -> pa.Table:
            with _connected(config) as connection:
                for view, _ in asked:
                    _scan(config, connection, _source_of(view), (span[0] - (view.ttl or _LONGEST), span[1]))
                connection.register("entities", pa.Table.from_pandas(entity_df, preserve_index=False))
                views = [_joined_view(view, features) for view, features in asked]
                return point_in_time_join(connection, "SELECT * FROM entities", views, at=at).to_arrow_table()

        return DeltaJob(
            run,
            full_feature_names,
            OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry),
            RetrievalMetadata(feature_refs, [c for c in entity_df.columns if c != at], *span),
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """The newest row of each key between the two instants, both included."""
        span = (start_date, end_date)

        def run() -> pa.Table:
            with _newest(config, data_source, join_key_columns, feature_name_columns, span) as newest:
                return newest.to_arrow_table()

        return DeltaJob(run)

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """All rows between the two instants, both included."""
        span = (start_date or _EVER[0], end_date or _EVER[1])
        names = [*join_key_columns, *feature_name_columns, timestamp_field, created_timestamp_column]
        columns = ", ".join(f'"{name}"' for name in names if name)
        query = f'SELECT {columns} FROM "{data_source.name}" WHERE {_between(timestamp_field, *span)}'

        def run() -> pa.Table:
            with _reading(config, data_source, span) as connection:
                return connection.sql(query).to_arrow_table()

        return DeltaJob(run)


_EVER = (datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))
_LONGEST = timedelta(days=365 * 100)


@contextmanager
def _connected(config: RepoConfig) -> Iterator[duckdb.DuckDBPyConnection]:
    connection = connect(_settings(config))
    try:
        yield connection
    finally:
        connection.close()


def newest_rows(
    config: RepoConfig,
    source: DeltaSource,
    keys: Sequence[str],
    features: Sequence[str],
    span: tuple[datetime, datetime],
    chunk_rows: int,
) -> Iterator[pa.RecordBatch]:
    """The newest row of each key between the two instants, both included, in chunks: keys, features and timestamps."""
    with _newest(config, source, keys, features, span) as newest:
        yield from newest.to_arrow_reader(chunk_rows)


@contextmanager
def _newest(
    config: RepoConfig,
    source: DataSource,
    keys: Sequence[str],
    features: Sequence[str],
    span: tuple[datetime, datetime],
) -> Iterator[duckdb.DuckDBPyRelation]:
    stamps = [column for column in (source.timestamp_field, source.created_timestamp_column) if column]
    view = JoinedView(
        relation=source.name,
        keys={key: key for key in keys},
        features={column: column for column in (*features, *stamps)},
        ttl=span[1] - span[0],
        event=source.timestamp_field,
        created=source.created_timestamp_column,
    )
    listed = ", ".join(f'"{key}"' for key in keys)
    entities = (
        f"SELECT DISTINCT {listed}, TIMESTAMPTZ '{span[1].isoformat()}' AS __end FROM \"{source.name}\" "
        f"WHERE {_between(source.timestamp_field, *span)}"
    )
    with _reading(config, source, span) as connection:
        yield point_in_time_join(connection, entities, [view], at="__end").project("* EXCLUDE (__end)")


@contextmanager
def _reading(
    config: RepoConfig, source: DataSource, span: tuple[datetime, datetime]
) -> Iterator[duckdb.DuckDBPyConnection]:
    with _connected(config) as connection:
        _scan(config, connection, source, span)
        yield connection


def _scan(
    config: RepoConfig, connection: duckdb.DuckDBPyConnection, source: Any, span: tuple[datetime, datetime]
) -> None:
    """Name the source's rows in the connection, reading only the dates that the span touches."""
    lake = Lake(_settings(config))
    first, last = (moment.astimezone(UTC).date() for moment in span)
    part = lake.slice(source.table, first - _DAY, last)
    lake.scan(connection, source.name, part.table, version=part.version, dates=part.dates)


def _settings(config: RepoConfig) -> Settings:
    store = config.offline_store
    return get_settings().model_copy(update={"lake_url": store.lake_url, "home": Path(store.home)})


def _features_of(view: FeatureView, refs: Iterable[str], full_names: bool) -> dict[str, str]:
    """Output name to view column of the features asked from a view."""
    prefix = str(view.projection.name_to_use())  # type: ignore[no-untyped-call]
    columns = [ref.split(":", 1)[1] for ref in refs if ref.startswith(f"{prefix}:")]
    return {f"{prefix}__{column}" if full_names else column: column for column in columns}


def _joined_view(view: FeatureView, features: dict[str, str]) -> JoinedView:
    source = _source_of(view)
    mapped = view.projection.join_key_map
    return JoinedView(
        relation=source.name,
        keys={mapped.get(entity.name, entity.name): entity.name for entity in view.entity_columns},
        features=features,
        ttl=view.ttl or None,
        event=source.timestamp_field,
        created=source.created_timestamp_column or None,
    )


def _source_of(view: FeatureView) -> DeltaSource:
    if not isinstance(view.batch_source, DeltaSource):
        raise DataFault(f"Feast view {view.name} has no DeltaSource. Run `python -m pipelines feast apply`.")
    return view.batch_source


def _between(column: str, start: datetime, end: datetime) -> str:
    return f"\"{column}\" BETWEEN TIMESTAMPTZ '{start.isoformat()}' AND TIMESTAMPTZ '{end.isoformat()}'"
