"""The rows a model is trained on: labels that had arrived and matured, with the features of their own business date."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import duckdb
import pyarrow as pa

from pipelines.contracts import DataFault, Value
from pipelines.features.definitions import LabelViewDefinition, load_definitions
from pipelines.features.point_in_time import EVENT_TIMESTAMP, point_in_time_join
from pipelines.features.records import last_builds
from pipelines.features.snapshots import POPULATION, ModelViews, joined_view, model_views, row_count
from pipelines.features.stream import table_digest
from pipelines.features.views import (
    JUDGED,
    compile_labels,
    exact_connection,
    inputs_digest,
    inputs_of,
    readable_errors,
    scan,
    source_slices,
    view_table,
)
from pipelines.lake import PARTITION, Lake, Slice
from pipelines.settings import Settings
from pipelines.spec import Model, Training

LABEL = "label"
EVENT_DATE = "event_date"
_BEGINNING = date(1900, 1, 1)


class TrainingPins(Value):
    """Everything the rows were made from; the same pins give the same rows.

    Attributes:
        source_versions: Delta version of each source the labels and the population were read from.
        view_versions: Delta version of each feature view.
        definitions: digest of the definition of each feature view and of the label view.
    """

    source_versions: dict[str, int]
    view_versions: dict[str, int]
    definitions: dict[str, str]


@dataclass(frozen=True)
class TrainingRows:
    """One row per entity and event: `<entity>_token`, event_date, the features in model order, label (int8), and `judged`
    (boolean) where the label view has it.

    The label is null where the label view is `unlabelled` and nobody had investigated. Sorted by event date and token. `digest`
    is over names, types and values.
    """

    model: str
    as_of: date
    table: pa.Table
    pins: TrainingPins
    digest: str


def training_rows(settings: Settings, model: Model, as_of: date, pins: TrainingPins | None = None) -> TrainingRows:
    """The training set as it could have been made on `as_of`.

    A label enters when it had arrived (`known_at <= as_of`, from source rows of business dates up to `as_of`) and its
    maturity had passed (`event_date + maturity_days <= as_of`). Its features are those of its event date, joined point in
    time. With `pins` of an earlier call the same versions are read again.

    A label view declared `unlabelled` also gives the rows that nobody had investigated on `as_of`, with a null label; one
    whose label had not arrived is such a row.

    Raises:
        DataFault: no label qualifies, an entity has two labels on one date, a label's date has no feature rows made by the
            present definitions from the present sources, or a pinned definition has changed since.
    """
    return _TrainingSet(settings, model, as_of, pins).rows()


def training_dates(settings: Settings, model: Model, as_of: date) -> tuple[date, ...]:
    """The event dates of the labels that qualify on `as_of`: what `build_history` must have built before training."""
    return _TrainingSet(settings, model, as_of, None).dates()


def known_labels(settings: Settings, model: Model, as_of: date, first: date, last: date) -> pa.Table:
    """The labels that had arrived and matured on `as_of` of events from `first` to `last`, whatever the model was trained on:
    `<entity>_token`, event_date, label and judged, true where the label view does not say.

    Raises DataFault when there are none, or the view gives an entity two on one date.
    """
    definition = load_definitions(settings).label_view(model.label.view)
    sql, _ = compile_labels(settings, definition)
    lake = Lake(settings)
    with exact_connection(settings) as connection:
        scan(connection, lake, source_slices(lake, definition.sources, _BEGINNING, as_of))
        events = f"{EVENT_DATE} BETWEEN DATE '{first}' AND DATE '{last}'"
        _create_labels(connection, model, definition, sql, as_of, events)
        judged = JUDGED if JUDGED in connection.table("labels").columns else f"true AS {JUDGED}"
        known = f"SELECT {model.token}, {EVENT_DATE}, {LABEL}, {judged} FROM labels WHERE {LABEL} IS NOT NULL"
        return connection.sql(known).to_arrow_table()


class _TrainingSet:
    def __init__(self, settings: Settings, model: Model, as_of: date, pins: TrainingPins | None) -> None:
        self._settings = settings
        self._model = model
        self._as_of = as_of
        definitions = load_definitions(settings)
        self._label_view = definitions.label_view(model.label.view)
        if self._label_view.token != model.token:
            raise DataFault(
                f"model {model.name} predicts for {model.entity}, but its label view {model.label.view} is keyed by "
                f"{self._label_view.token}. Use a label view of the same entity."
            )
        self._views = model_views(settings, model, definitions)
        self._label_sql, label_digest = compile_labels(settings, self._label_view)
        self._digests = {name: view.digest for name, view in self._views.compiled.items()}
        self._digests[self._label_view.name] = label_digest
        self._pins = pins
        self._lake = Lake(settings)
        _check_unchanged(model, self._digests, pins)

    def dates(self) -> tuple[date, ...]:
        sources = self._sources()
        with exact_connection(self._settings) as connection:
            self._create_labels(connection, sources)
            return self._event_dates(connection)

    def rows(self) -> TrainingRows:
        sources = self._sources()
        with exact_connection(self._settings) as connection:
            self._create_labels(connection, sources)
            dates = self._event_dates(connection)
            windows = self._windows(dates)
            if self._pins is None:
                self._require_built(dates)
            table = self._joined(connection, sources[self._model.population], windows, dates)
        pins = TrainingPins(
            source_versions={source: part.version for source, part in sources.items()},
            view_versions={view: part.version for view, part in windows.items()},
            definitions=self._digests,
        )
        return TrainingRows(self._model.name, self._as_of, table, pins, table_digest(table))

    def _sources(self) -> dict[str, Slice]:
        names = dict.fromkeys([self._model.population, *self._label_view.sources])
        pinned = self._pins.source_versions if self._pins else None
        return source_slices(self._lake, names, _BEGINNING, self._as_of, pinned)

    def _create_labels(self, connection: duckdb.DuckDBPyConnection, sources: Mapping[str, Slice]) -> None:
        """Table `labels`: the qualifying rows of the label view, checked."""
        scan(connection, self._lake, {source: sources[source] for source in self._label_view.sources})
        events = _events_used(self._model.training)
        _create_labels(connection, self._model, self._label_view, self._label_sql, self._as_of, events)

    def _event_dates(self, connection: duckdb.DuckDBPyConnection) -> tuple[date, ...]:
        found = connection.execute(f"SELECT DISTINCT {EVENT_DATE} FROM labels ORDER BY 1").fetchall()
        return tuple(row[0] for row in found)

    def _windows(self, dates: tuple[date, ...]) -> dict[str, Slice]:
        pinned = self._pins.view_versions if self._pins else {}
        windows = {}
        for name, view in self._views.compiled.items():
            if self._lake.version(view_table(name)) is None:
                raise self._not_built(dates)
            oldest = dates[0] - timedelta(days=view.definition.ttl_days + 1)
            windows[name] = self._lake.slice(view_table(name), oldest, dates[-1], pinned.get(name))
        return windows

    def _require_built(self, dates: tuple[date, ...]) -> None:
        """Every event date must have rows made by the present definition from the present source files."""
        sources = source_slices(self._lake, self._views.sources, dates[0] - self._views.longest_history, dates[-1])
        stale: set[date] = set()
        for name, view in self._views.compiled.items():
            builds = last_builds(self._settings, name, dates)
            for on in dates:
                inputs = inputs_digest(inputs_of(view.definition, sources, on))
                if on not in builds or not builds[on].made_from(view.digest, inputs):
                    stale.add(on)
        if stale:
            raise self._not_built(sorted(stale))

    def _not_built(self, dates: Iterable[date]) -> DataFault:
        listed = list(dates)
        return DataFault(
            f"model {self._model.name} as of {self._as_of}: the features of {len(listed)} event dates, {listed[0]} to "
            f"{listed[-1]}, are not built, or were built from other rows or by another definition. Nothing was trained. "
            f"Run `python -m pipelines features --model {self._model.name} --from {listed[0]} --to {listed[-1]}`."
        )

    def _joined(
        self,
        connection: duckdb.DuckDBPyConnection,
        population: Slice,
        windows: Mapping[str, Slice],
        dates: tuple[date, ...],
    ) -> pa.Table:
        model = self._model
        self._lake.scan(connection, POPULATION, population.table, version=population.version, dates=dates)
        for name, window in windows.items():
            self._lake.scan(connection, f"{name}_rows", window.table, version=window.version, dates=window.dates)
        views = [joined_view(v, f"{n}_rows", model.features[n]) for n, v in self._views.compiled.items()]
        with readable_errors(f"training rows of {model.name} as of {self._as_of}"):
            connection.execute(
                f"SET threads = {self._settings.duckdb_threads}"
            )  # a join adds nothing up: any order will do
            joined = point_in_time_join(connection, _spine(self._views), views)
            columns = [model.token, EVENT_DATE, *model.feature_names, LABEL]
            columns += [JUDGED] if JUDGED in joined.columns else []
            table = joined.project(", ".join(f'"{c}"' for c in columns)).to_arrow_table()
        if table.num_rows != row_count(connection, "labels"):
            raise DataFault(
                f"training rows of {model.name} as of {self._as_of}: {row_count(connection, 'labels')} labels became "
                f"{table.num_rows} rows, so {model.population} has an entity twice on one date. Ingest that date again."
            )
        return table


def _create_labels(
    connection: duckdb.DuckDBPyConnection, model: Model, view: LabelViewDefinition, sql: str, as_of: date, events: str
) -> None:
    """Table `labels`: the rows of the label view that had arrived and matured, of the events asked for, checked."""
    latest = as_of - timedelta(days=model.label.maturity_days)
    with readable_errors(f"label view {view.name} as of {as_of}"):
        connection.execute(
            f"CREATE TEMP TABLE labels AS SELECT {_arrived(view, as_of)} FROM ({sql}) "
            f"WHERE {_qualifies(view, as_of)} AND {EVENT_DATE} <= DATE '{latest}' AND {events}"
        )
    _check_labels(connection, model, view, as_of)


def _events_used(training: Training) -> str:
    """Condition on the event date for what is learnt from or judged: from `history_from` on, without the gap between."""
    validation = training.validation
    conditions = [f"{EVENT_DATE} >= DATE '{training.history_from or _BEGINNING}'"]
    if validation.development_to is not None:
        learnt, judged = validation.development_to, validation.out_of_time_from
        conditions.append(f"({EVENT_DATE} <= DATE '{learnt}' OR {EVENT_DATE} >= DATE '{judged}')")
    if validation.out_of_time_to is not None:
        conditions.append(f"{EVENT_DATE} <= DATE '{validation.out_of_time_to}'")
    return " AND ".join(conditions)


def _arrived(view: LabelViewDefinition, as_of: date) -> str:
    """The columns kept of a label view. A label that had not arrived leaves an unlabelled row, if the view has such."""
    if not view.unlabelled:
        return "* EXCLUDE (known_at)"
    return f"* EXCLUDE (known_at) REPLACE (CASE WHEN known_at <= DATE '{as_of}' THEN {LABEL} END AS {LABEL})"


def _qualifies(view: LabelViewDefinition, as_of: date) -> str:
    """Which rows of a label view had arrived; that nobody has investigated a row is known on its own date."""
    return "true" if view.unlabelled else f"known_at <= DATE '{as_of}'"


def _spine(views: ModelViews) -> str:
    """The labels with the tokens of the other entities, as the population had them on the event date."""
    others = [f"p.{token}" for token in views.tokens if token != views.model.token]
    token = views.model.token
    return (
        f"SELECT {', '.join(['l.*', *others])}, CAST(l.{EVENT_DATE} AS TIMESTAMP) AT TIME ZONE 'UTC' AS {EVENT_TIMESTAMP} "
        f"FROM labels l LEFT JOIN {POPULATION} p ON l.{token} = p.{token} AND l.{EVENT_DATE} = p.{PARTITION} "
        f"ORDER BY l.{EVENT_DATE}, l.{token}"
    )


def _check_unchanged(model: Model, digests: Mapping[str, str], pins: TrainingPins | None) -> None:
    changed = sorted(n for n, digest in digests.items() if pins is not None and pins.definitions.get(n) != digest)
    if changed:
        raise DataFault(
            f"model {model.name}: {', '.join(changed)} changed since the pinned training set was made. Check out the code "
            "version recorded with the run, and run the same command again."
        )


def _check_labels(connection: duckdb.DuckDBPyConnection, model: Model, view: LabelViewDefinition, as_of: date) -> None:
    judged = f" OR {JUDGED} IS NULL" if JUDGED in connection.table("labels").columns else ""
    ((labelled, absent, repeated, bad),) = connection.execute(
        f"SELECT count({LABEL}), count(*) - count({LABEL}), count(*) - count(DISTINCT ({view.token}, {EVENT_DATE})), "
        f"count(*) FILTER ({LABEL} NOT IN (0, 1) OR {view.token} IS NULL{judged}) FROM labels"
    ).fetchall()
    subject = f"label view {view.name} of model {model.name} as of {as_of}"
    if not labelled and (view.unlabelled or not absent):
        raise DataFault(
            f"{subject}: no label had arrived and was {model.label.maturity_days} days old. Nothing was trained. "
            "Train as of a later date, or ingest the outcomes."
        )
    if repeated:
        raise DataFault(f"{subject}: {repeated} rows more than there are entities and event dates. Correct the view.")
    if absent and not view.unlabelled:
        raise DataFault(
            f"{subject}: {absent} rows have no label. Correct the view; if they are rows that nobody investigated, declare it "
            "with @label_view(..., unlabelled=True)."
        )
    if bad:
        raise DataFault(
            f"{subject}: {bad} rows whose label is not 0 or 1, or whose token or `judged` is absent. Correct the view."
        )
