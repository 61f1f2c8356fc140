"""Feast: entities, views and services made from our definitions and model files, registry and online store in Postgres.

With feast_offline_store.py and feast_online_rows.py the only module that imports Feast. A step that needs no online store
does not import it. Feast 0.67 sends no telemetry. Registry and online rows live in schema `feast` of the same PostgreSQL.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, RepoConfig, ValueType
from feast.types import Bool, Float64, Int64, String

from pipelines import completion, database
from pipelines.contracts import Blocked, Value
from pipelines.features.feast_offline_store import DeltaOfflineStoreConfig, DeltaSource, newest_rows
from pipelines.features.feast_online_rows import KEY_VERSION, lines, replace
from pipelines.features.point_in_time import CREATED_TIMESTAMP, EVENT_TIMESTAMP
from pipelines.features.snapshots import ModelViews, model_views
from pipelines.features.views import CompiledView, view_table
from pipelines.settings import Settings
from pipelines.spec import Model

PROJECT = "vigil"
SCHEMA = "feast"
_TYPES = {"BIGINT": Int64, "DOUBLE": Float64, "BOOLEAN": Bool, "VARCHAR": String}
_LOCK = "feast registry"


class Materialised(Value):
    """What the online store holds of a model's views after materialising: rows by view, each counted and found equal to
    the lake's."""

    model: str
    start: date
    end: date
    rows: dict[str, int]


@contextmanager
def open_store(settings: Settings) -> Iterator[FeatureStore]:
    """Feast's store object over this machine's lake and PostgreSQL, its connections closed at the end."""
    # The online store writes UTC times without saying so; PostgreSQL must not take them for its own zone's.
    os.environ["PGTZ"] = "UTC"
    store = FeatureStore(config=_config(settings))
    try:
        yield store
    finally:
        _close(store)


def apply(settings: Settings, models: Sequence[Model]) -> tuple[str, ...]:
    """Bring the registry up to the definitions and model files: entities, feature views, one feature service per model.

    Objects of other models stay. One apply at a time; a second one waits. Returns the names applied.
    """
    objects = [made for model in models for made in _feast_objects(model_views(settings, model))]
    unique: list[Any] = list({(type(made).__name__, made.name): made for made in objects}.values())
    with database.transaction(settings) as guard, open_store(settings) as store, _quiet():
        database.lock(guard, _LOCK)
        store.apply(unique, partial=True)
    return tuple(made.name for made in unique)


def materialise(settings: Settings, model: Model, start: date, end: date) -> Materialised:
    """Bring each entity's newest feature row of business dates start to end, both included, to the online store.

    The interval is explicit: Feast's own incremental mode loses late data. A view's rows older than its TTL at `end` are
    left out. Afterwards the online rows of the interval are counted against the lake; rows of entities that a correction
    removed are taken out.

    Raises:
        Blocked: the online store already serves a later date than `end`, or does not hold what the lake holds.
    """
    apply(settings, [model])
    views = model_views(settings, model)
    with open_store(settings) as store:
        rows = {name: _materialise_view(settings, store, view, start, end) for name, view in views.compiled.items()}
    with database.transaction(settings) as connection:
        completion.record(connection, model.name, "materialise", start)
    return Materialised(model=model.name, start=start, end=end, rows=rows)


def newest_online(settings: Settings, model: Model) -> date | None:
    """The newest business date that the online store serves of the model's views; None when it serves none of them."""
    dates = [_newest(settings, view) for view in model.features]
    return max((newest.astimezone(UTC).date() for newest in dates if newest), default=None)


def online_features(settings: Settings, model: Model, tokens: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """The model's features of each entity from the online store, in the order asked; absent ones are None.

    `tokens` holds one mapping per row with every token the model's views are keyed by, such as account_token and
    customer_token.
    """
    with open_store(settings) as store:
        service = store.get_feature_service(model.name)
        answer = store.get_online_features(service, entity_rows=[dict(row) for row in tokens]).to_dict()
    names = list(answer)
    return [dict(zip(names, values, strict=True)) for values in zip(*answer.values(), strict=True)]


def serve(settings: Settings, port: int) -> None:
    """Run Feast's web page on loopback until stopped."""
    with open_store(settings) as store:
        store.serve_ui(host="127.0.0.1", port=port)


def _config(settings: Settings) -> RepoConfig:
    where = urlsplit(settings.database_url)
    separator = "&" if where.query else "?"
    return RepoConfig(
        project=PROJECT,
        provider="local",
        registry={
            "registry_type": "sql",
            "path": f"{settings.database_url}{separator}options=-csearch_path%3D{SCHEMA}",
            "cache_ttl_seconds": 60,
            "sqlalchemy_config_kwargs": {"pool_pre_ping": True},
        },
        offline_store=DeltaOfflineStoreConfig(lake_url=settings.lake_url, home=str(settings.home)),
        online_store={
            "type": "postgres",
            "host": where.hostname,
            "port": where.port or 5432,
            "database": where.path.lstrip("/"),
            "db_schema": SCHEMA,
            "user": unquote(where.username or ""),
            "password": unquote(where.password or ""),
            "sslmode": "prefer",
        },
        entity_key_serialization_version=KEY_VERSION,
    )


def _feast_objects(views: ModelViews) -> Iterator[Entity | FeatureView | FeatureService]:
    model = views.model
    made = {}
    for name, compiled in views.compiled.items():
        entity = Entity(
            name=compiled.definition.entity, join_keys=[compiled.definition.token], value_type=ValueType.STRING
        )
        made[name] = _feature_view(compiled, entity)
        yield entity
        yield made[name]
    yield FeatureService(
        name=model.name,
        features=[made[name][list(features)] for name, features in model.features.items()],
        description=model.title,
        owner=model.owner,
        tags={"tier": str(model.tier), "domain": model.domain},
    )


def _feature_view(compiled: CompiledView, entity: Entity) -> FeatureView:
    definition = compiled.definition
    fields = [Field(name=name, dtype=_TYPES[kind]) for name, kind in compiled.features.items()]
    return FeatureView(
        name=definition.name,
        entities=[entity],
        ttl=timedelta(days=definition.ttl_days),
        schema=[*fields, Field(name=definition.token, dtype=String)],
        source=_source(definition.name),
        description=definition.description,
        tags={"definition": compiled.digest, "sources": ", ".join(definition.sources)},
    )


def _source(view: str) -> DeltaSource:
    return DeltaSource(
        name=view,
        table=view_table(view),
        timestamp_field=EVENT_TIMESTAMP,
        created_timestamp_column=CREATED_TIMESTAMP,
    )


def _materialise_view(settings: Settings, store: FeatureStore, view: CompiledView, start: date, end: date) -> int:
    name = view.definition.name
    first = max(start, end - timedelta(days=view.definition.ttl_days))
    span = (_midnight(first), _midnight(end))
    written = Counter[datetime]()
    with database.transaction(settings) as connection:
        database.lock(connection, _online_table(name))
        _require_not_newer(settings, name, span[1])
        rows = _lines(settings, store, view, span, written)
        replace(connection, _online_table(name), rows, list(view.features), span[0])
        found = _difference(connection, view, span, written)
        if found:
            raise Blocked(
                f"the online store did not take what the lake holds of {name} for {first} to {end}: {found}. Nothing was "
                "changed; scores are not affected. Run the same command again."
            )
    store.registry.apply_materialization(store.get_feature_view(name), PROJECT, *span)
    return sum(written.values())


def _lines(
    settings: Settings,
    store: FeatureStore,
    view: CompiledView,
    span: tuple[datetime, datetime],
    written: Counter[datetime],
) -> Iterator[bytes]:
    """Lines for COPY of the newest row of each entity in the span; counts the rows by event time as they pass."""
    latest = newest_rows(
        store.config,
        _source(view.definition.name),
        [view.definition.token],
        list(view.features),
        span,
        settings.chunk_rows,
    )
    for rows in latest:
        counted = pa.table(rows).group_by(EVENT_TIMESTAMP).aggregate([([], "count_all")]).to_pylist()
        written.update({row[EVENT_TIMESTAMP]: row["count_all"] for row in counted})
        yield from lines(view.definition.token, view.features, rows)


def _require_not_newer(settings: Settings, view: str, end: datetime) -> None:
    newest = _newest(settings, view)
    if newest is not None and newest > end:
        raise Blocked(
            f"the online store serves {view} as of {newest.astimezone(UTC).date()}, later than {end.date()}. Nothing was "
            "written: an older row would replace a newer one. Materialise up to the later date."
        )


def _newest(settings: Settings, view: str) -> datetime | None:
    if not database.rows(settings, "SELECT to_regclass(:name) AS found", name=_online_table(view))[0]["found"]:
        return None
    (row,) = database.rows(settings, f"SELECT max(event_ts) AS newest FROM {_online_table(view)}")
    newest: datetime | None = row["newest"]
    return newest


def _difference(
    connection: database.Connection,
    view: CompiledView,
    span: tuple[datetime, datetime],
    written: Mapping[datetime, int],
) -> str:
    """How the online rows of the span differ from the rows that were read from the lake, in counts; empty when not."""
    expected = {(feature, at): rows for at, rows in written.items() for feature in view.features}
    online = database.execute(
        connection,
        f"SELECT feature_name, event_ts, count(*) AS n FROM {_online_table(view.definition.name)} "
        "WHERE event_ts >= :start GROUP BY 1, 2",
        start=span[0],
    )
    found = {(row["feature_name"], row["event_ts"]): row["n"] for row in online}
    wrong = {key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)}
    if not wrong:
        return ""
    rows, wanted = (sum(part.get(key, 0) for key in wrong) for part in (found, expected))
    features = sorted({feature for feature, _ in wrong})
    return f"{rows} values in place of {wanted} of {', '.join(features)}"


def _online_table(view: str) -> str:
    return f'"{SCHEMA}"."{PROJECT}_{view}"'


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _close(store: FeatureStore) -> None:
    """Feast leaves its connections to the garbage collector."""
    connection = store._get_provider().online_store._conn  # type: ignore[attr-defined]
    if connection is not None:
        connection.close()
    store.registry.write_engine.dispose()  # type: ignore[attr-defined]


@contextmanager
def _quiet() -> Iterator[None]:
    """Feast prints its progress; standard output belongs to the command's own answer."""
    with redirect_stdout(sys.stderr):
        yield
