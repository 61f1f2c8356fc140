"""The feature rows of a model on a business date: its views built, then joined to its population point in time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import chain

import duckdb
import pyarrow as pa

from pipelines import database
from pipelines.contracts import Blocked, DataFault, FeatureSnapshot, fingerprint
from pipelines.features.definitions import Definitions, FeatureViewDefinition, closest, contract_table, load_definitions
from pipelines.features.point_in_time import EVENT_TIMESTAMP, JoinedView, point_in_time_join
from pipelines.features.records import ViewBuild, last_snapshot, record_snapshot
from pipelines.features.stream import Written, write_keyed
from pipelines.features.views import (
    CompiledView,
    build_view,
    compile_view,
    readable_errors,
    scan,
    source_slices,
    view_table,
)
from pipelines.ingest import manifest
from pipelines.lake import PARTITION, Lake, Slice, connect
from pipelines.settings import Settings
from pipelines.spec import Model, load_contract

POPULATION = "population"
_RANGE_ROWS = 1_000_000


@dataclass(frozen=True)
class ModelViews:
    """The compiled views of a model and what they must be joined by."""

    model: Model
    compiled: Mapping[str, CompiledView]

    @property
    def sources(self) -> tuple[str, ...]:
        """The population and every source of a view."""
        read = [source for view in self.compiled.values() for source in view.definition.sources]
        return tuple(dict.fromkeys([self.model.population, *read]))

    @property
    def tokens(self) -> tuple[str, ...]:
        """The model's token first, then the tokens of other entities its views are keyed by."""
        return tuple(dict.fromkeys([self.model.token, *(v.definition.token for v in self.compiled.values())]))

    @property
    def longest_history(self) -> timedelta:
        return timedelta(days=max(view.definition.history_days for view in self.compiled.values()))


def model_views(settings: Settings, model: Model, definitions: Definitions | None = None) -> ModelViews:
    """Compile the views of a model and check that it asks for nothing they do not give. Reads no data.

    Raises:
        DataFault: an unknown view or feature, a feature declared as category that is a number (or the reverse), or a view
            keyed by an entity whose token the population does not carry.
    """
    known = definitions or load_definitions(settings)
    views = ModelViews(model, {name: compile_view(settings, known.feature_view(name)) for name in model.features})
    for compiled in views.compiled.values():
        _check_features(model, compiled)
    population = contract_table(load_contract(settings.expectations, model.population))
    for token in views.tokens:
        if token not in population.columns:
            raise DataFault(
                f"model {model.name} has a feature view keyed by {token}, but its population {model.population} has no "
                f"such column; it has {', '.join(population.columns)}. Add the id to the contract, or change the view."
            )
    return views


def build(settings: Settings, model: Model, business_date: date) -> FeatureSnapshot:
    """Build the model's views for a business date, join them to its population and put the rows in the lake.

    The rows (`model_features/<model>`) are sorted by token, one for each entity of the population that day: token,
    features in model order, business date. A view or snapshot already made from the same files by the same definition is
    not made again.

    Raises:
        Blocked: a nightly source that a view reads was not published for the date.
        DataFault: the population has no row that day or an entity twice, or a view cannot be built.
    """
    views = model_views(settings, model)
    lake = Lake(settings)
    slices = source_slices(lake, views.sources, business_date - views.longest_history, business_date)
    population = _population(model, slices[model.population], business_date)
    _require_delivered(settings, model, slices, business_date)
    builds = [build_view(settings, view, business_date, slices) for view in views.compiled.values()]
    windows = {name: _window(lake, view.definition, business_date) for name, view in views.compiled.items()}
    digest = fingerprint(model.feature_names, population.files, *(f"{n}: {w.files}" for n, w in windows.items()))
    with database.transaction(settings) as guard:
        database.lock(guard, features_table(model))
        last = last_snapshot(settings, model.name, business_date)
        if last is not None and last[1] == digest:
            return last[0]
        written = _write_rows(settings, views, business_date, population, windows)
        made = FeatureSnapshot(
            model=model.name,
            business_date=business_date,
            table=features_table(model),
            lake_version=written.version,
            rows=written.rows,
            view_versions={name: window.version for name, window in windows.items()},
            source_versions={model.population: population.version} | _versions(builds),
            content_digest=written.content_digest,
        )
        record_snapshot(guard, made, digest)
    return made


def snapshot(settings: Settings, model: Model, business_date: date) -> FeatureSnapshot | None:
    """The newest feature rows of the model on that date, or None when none were built."""
    last = last_snapshot(settings, model.name, business_date)
    return last[0] if last else None


def build_history(settings: Settings, model: Model, dates: Iterable[date]) -> tuple[ViewBuild, ...]:
    """Build the model's views for many business dates, for training. What is there already is not built again."""
    wanted = sorted(set(dates))
    if not wanted:
        return ()
    views = model_views(settings, model)
    slices = source_slices(Lake(settings), views.sources, wanted[0] - views.longest_history, wanted[-1])
    return tuple(build_view(settings, view, on, slices) for on in wanted for view in views.compiled.values())


def features_table(model: Model) -> str:
    """The lake table of a model's joined feature rows."""
    return f"model_features/{model.name}"


def joined_view(view: CompiledView, relation: str, features: Iterable[str]) -> JoinedView:
    """How a view is joined point in time: by its entity's token, within its TTL."""
    token = view.definition.token
    ttl = timedelta(days=view.definition.ttl_days)
    return JoinedView(relation=relation, keys={token: token}, features={f: f for f in features}, ttl=ttl)


def _check_features(model: Model, view: CompiledView) -> None:
    for name, feature in model.features[view.definition.name].items():
        if name not in view.features:
            raise DataFault(
                f"model {model.name}: feature view {view.definition.name} has no feature {name!r}"
                f"{closest(name, view.features)}. Have: {', '.join(view.features)}. Correct the model file."
            )
        if feature.categorical != (view.features[name] == "VARCHAR"):
            raise DataFault(
                f"model {model.name}: feature {name} is {view.features[name]} in {view.definition.name}, but "
                f"categorical is {str(feature.categorical).lower()} in the model file. Categories are strings; correct one."
            )


def _population(model: Model, part: Slice, business_date: date) -> Slice:
    today = part.narrow(business_date - timedelta(days=1), business_date)
    if not today.parts:
        raise DataFault(
            f"model {model.name} on {business_date}: its population {model.population} has no row of that date. No feature "
            f"was built. Run `python -m pipelines ingest --model {model.name} --date {business_date}` first."
        )
    return today


def _require_delivered(settings: Settings, model: Model, slices: Mapping[str, Slice], business_date: date) -> None:
    """A night's features rest on that night's files: what was not delivered would count as nothing that happened.

    A delivery without rows leaves nothing in the lake, so those are looked up among the publications.
    """
    nightly = [s for s in slices if load_contract(settings.expectations, s).business_date.cadence == "day"]
    absent = [
        s for s in nightly if business_date not in slices[s].dates and manifest(settings, s, business_date) is None
    ]
    if absent:
        raise Blocked(
            f"model {model.name} on {business_date}: {', '.join(absent)} was not published for this date, so its features "
            f"would be made of less than happened. No feature was built; the last published scores are still served. "
            f"Run `python -m pipelines ingest --model {model.name} --date {business_date}` first."
        )


def _window(lake: Lake, definition: FeatureViewDefinition, business_date: date) -> Slice:
    oldest = business_date - timedelta(days=definition.ttl_days)
    return lake.slice(view_table(definition.name), oldest - timedelta(days=1), business_date)


def row_count(connection: duckdb.DuckDBPyConnection, relation: str) -> int:
    """Rows of a table or view of the connection."""
    ((rows,),) = connection.execute(f"SELECT count(*) FROM {relation}").fetchall()
    return int(rows)


def _versions(builds: Iterable[ViewBuild]) -> dict[str, int]:
    return {source: version for build in builds for source, version in build.source_versions.items()}


def _write_rows(
    settings: Settings, views: ModelViews, business_date: date, population: Slice, windows: Mapping[str, Slice]
) -> Written:
    model, lake = views.model, Lake(settings)
    connection = connect(settings)
    try:
        with readable_errors(f"features of {model.name} on {business_date}"):
            scan(connection, lake, {POPULATION: population})
            for name, view in views.compiled.items():
                _scan_view(connection, lake, view, windows[name], business_date)
            expected = row_count(connection, POPULATION)
            first, *others = _ranges(model.token, expected)
            head = _joined_rows(connection, views, business_date, first, settings.chunk_rows)
            tail = (_joined_rows(connection, views, business_date, part, settings.chunk_rows) for part in others)
            return write_keyed(
                lake,
                features_table(model),
                business_date,
                pa.RecordBatchReader.from_batches(head.schema, chain(head, chain.from_iterable(tail))),
                key=model.token,
                subject=f"features of {model.name} over {model.population}",
                expected=expected,
            )
    finally:
        connection.close()


def _ranges(token: str, rows: int) -> list[str]:
    """Conditions that cut the tokens into ascending ranges of about `_RANGE_ROWS` rows, so that memory does not grow with
    the bank. Tokens are evenly spread hex digits; were they not, the ranges would be uneven and still complete."""
    count = max(1, -(-rows // _RANGE_ROWS))
    bounds = [f"{number * 16**8 // count:08x}" for number in range(1, count)]
    lower = ["true", *(f"{token} >= '{bound}'" for bound in bounds)]
    upper = [*(f"{token} < '{bound}'" for bound in bounds), "true"]
    return [f"{low} AND {high}" for low, high in zip(lower, upper, strict=True)]


def _joined_rows(
    connection: duckdb.DuckDBPyConnection, views: ModelViews, business_date: date, tokens: str, chunk_rows: int
) -> pa.RecordBatchReader:
    """The joined rows of one range of tokens, in token order."""
    model = views.model
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE spine AS SELECT {', '.join(views.tokens)}, "
        f"TIMESTAMPTZ '{business_date} 00:00:00+00' AS {EVENT_TIMESTAMP} FROM {POPULATION} WHERE {tokens} ORDER BY {model.token}"
    )
    for name, view in views.compiled.items():
        token = view.definition.token
        near = tokens if token == model.token else "true"  # lets DuckDB skip row groups: view files are sorted by token
        connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {name}_part AS SELECT * FROM {name} "
            f"WHERE {near} AND {token} IN (SELECT {token} FROM spine)"
        )
    parts = [joined_view(view, f"{name}_part", model.features[name]) for name, view in views.compiled.items()]
    columns = ", ".join([model.token, *(f'"{feature}"' for feature in model.feature_names)])
    joined = point_in_time_join(connection, "SELECT * FROM spine", parts)
    return joined.project(f"{columns}, DATE '{business_date}' AS {PARTITION}").to_arrow_reader(chunk_rows)


def _scan_view(
    connection: duckdb.DuckDBPyConnection, lake: Lake, view: CompiledView, window: Slice, business_date: date
) -> None:
    """Name the view's rows in the connection: those of the date, and older ones within the TTL only for entities of the
    population that have none on the date. The join's answer is the same; it reads one date in place of forty."""
    name, token = view.definition.name, view.definition.token
    lake.scan(connection, name, window.table, version=window.version, dates=[business_date])
    without = f"SELECT DISTINCT {token} FROM {POPULATION} ANTI JOIN {name} USING ({token})"
    older = [on for on in window.dates if on != business_date]
    if older and connection.execute(f"{without} LIMIT 1").fetchall():
        lake.scan(connection, f"{name}_window", window.table, version=window.version, dates=window.dates)
        connection.execute(
            f"CREATE TEMP TABLE {name}_without AS {without}; CREATE OR REPLACE VIEW {name} AS SELECT * FROM {name}_window "
            f"WHERE {PARTITION} = DATE '{business_date}' OR {token} IN (SELECT {token} FROM {name}_without)"
        )
