"""Building one feature view for one business date: Ibis to SQL, run by DuckDB over pinned source files, into the lake."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import duckdb
import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir

from pipelines import database
from pipelines.contracts import DataFault, fingerprint
from pipelines.features.definitions import (
    ComputedViewDefinition,
    Definition,
    FeatureViewDefinition,
    LabelViewDefinition,
    source_tables,
)
from pipelines.features.lineage import require_traceable
from pipelines.features.point_in_time import CREATED_TIMESTAMP, EVENT_TIMESTAMP
from pipelines.features.records import ViewBuild, last_builds, record_build
from pipelines.features.stream import write_keyed
from pipelines.lake import PARTITION, Lake, Slice, connect
from pipelines.settings import Settings
from pipelines.spec import load_contract

Delays = Mapping[str, Mapping[str, int]]

# A definition is identified by its SQL at this date: the SQL of another date differs in nothing but the date.
_REFERENCE_DATE = date(2000, 1, 1)
_SQL_TYPES = {"integer": "BIGINT", "float": "DOUBLE", "boolean": "BOOLEAN", "string": "VARCHAR"}
_NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}$")
JUDGED = "judged"
_RESERVED = (PARTITION, EVENT_TIMESTAMP, CREATED_TIMESTAMP, "event_date", "label", "known_at", JUDGED)
_WHOLE = "{source} with what became known later"


def view_table(view: str) -> str:
    """The lake table of a feature view."""
    return f"features/{view}"


def source_table(source: str) -> str:
    """The lake table of a published source."""
    return f"source/{source}"


@dataclass(frozen=True)
class CompiledView:
    """A feature view as SQL over its source names.

    Attributes:
        features: DuckDB type by feature name: BIGINT, DOUBLE, BOOLEAN or VARCHAR.
        digest: identifies the definition, whatever the date.
        delays: by source, the columns whose values are hidden in rows younger than so many days.
    """

    definition: FeatureViewDefinition
    features: Mapping[str, str]
    digest: str
    delays: Delays
    _inner: Callable[[duckdb.DuckDBPyConnection, date], str]

    def query(self, connection: duckdb.DuckDBPyConnection, business_date: date, created: datetime) -> str:
        """SQL giving token, features, event and created timestamp and business date, in order of the token."""
        inner = self._inner(connection, business_date)
        token = self.definition.token
        columns = [token, *(_typed(name, kind) for name, kind in self.features.items())]
        stamps = [
            f"TIMESTAMPTZ '{business_date.isoformat()} 00:00:00+00' AS {EVENT_TIMESTAMP}",
            f"TIMESTAMPTZ '{created.isoformat()}' AS {CREATED_TIMESTAMP}",
            f"DATE '{business_date.isoformat()}' AS {PARTITION}",
        ]
        return f"SELECT {', '.join(columns + stamps)} FROM ({inner}) ORDER BY {token}"


def compile_view(settings: Settings, definition: FeatureViewDefinition) -> CompiledView:
    """Check a definition against its contracts and compile it. Reads no data.

    Raises:
        DataFault: the function fails, does not return `<entity>_token`, returns a type that is not a feature, or uses
            anything but Ibis expressions over its sources. A computed view is checked when its function runs.
    """
    if isinstance(definition, ComputedViewDefinition):
        return _computed_view(settings, definition)
    tables = source_tables(settings, definition.sources)
    expression = definition.expression(tables, _REFERENCE_DATE)
    require_traceable(definition, expression)
    features = _feature_types(definition, expression)
    sql = _compiled(definition, expression)
    delays = _delays(settings, definition)
    return CompiledView(
        definition,
        features,
        _digest(definition, features, delays, sql),
        delays,
        lambda _, on: _compiled(definition, definition.expression(tables, on)),
    )


def _computed_view(settings: Settings, definition: ComputedViewDefinition) -> CompiledView:
    """Identified by the content of its code; the paths of the files do not count."""
    features = {name: _SQL_TYPES[kind] for name, kind in definition.features.items()}
    for name in features:
        _require_usable_name(definition, name)
    code = [file.read_text(encoding="utf-8") for file in definition.code]
    delays = _delays(settings, definition)
    return CompiledView(definition, features, _digest(definition, features, delays, *code), delays, definition.sql)


def _digest(definition: FeatureViewDefinition, features: Mapping[str, str], delays: Delays, *code: str) -> str:
    """Another delay shows the view other values, so it is another definition."""
    hidden = [(source, sorted(columns.items())) for source, columns in delays.items()]
    named = (definition.name, definition.token, definition.history_days, sorted(features.items()))
    return fingerprint(*named, *code, *hidden)


def _delays(settings: Settings, definition: FeatureViewDefinition) -> Delays:
    contracts = [load_contract(settings.expectations, source) for source in definition.sources]
    return {contract.source: contract.delays for contract in contracts if contract.delays}


def compile_labels(settings: Settings, definition: LabelViewDefinition) -> tuple[str, str]:
    """SQL giving token, event_date, label, known_at and, where the view has it, judged of a label view, and the digest of its
    definition."""
    expression = definition.expression(source_tables(settings, definition.sources))
    require_traceable(definition, expression)
    needed = {definition.token, "event_date", "label", "known_at"}
    if set(expression.columns) - {JUDGED} != needed:
        raise DataFault(
            f"label view {definition.name} returns {sorted(expression.columns)}; it must return {sorted(needed)}, and "
            f"may return {JUDGED!r}."
        )
    judged = f", CAST({JUDGED} AS BOOLEAN) AS {JUDGED}" if JUDGED in expression.columns else ""
    inner = _compiled(definition, expression)
    sql = (
        f"SELECT {definition.token}, CAST(event_date AS DATE) AS event_date, CAST(label AS TINYINT) AS label, "
        f"CAST(known_at AS DATE) AS known_at{judged} FROM ({inner})"
    )
    kind = ["unlabelled"] if definition.unlabelled else []  # views that label every row keep the digest they had
    return sql, fingerprint(definition.name, sql, *kind)


def source_slices(
    lake: Lake, sources: Iterable[str], after: date, up_to: date, versions: Mapping[str, int] | None = None
) -> dict[str, Slice]:
    """What the published sources hold for business dates in (after, up_to], at the newest or the given versions."""
    pinned = versions or {}
    return {source: lake.slice(source_table(source), after, up_to, pinned.get(source)) for source in sources}


def inputs_of(definition: FeatureViewDefinition, slices: Mapping[str, Slice], business_date: date) -> dict[str, Slice]:
    """The part of the slices that the view sees on a business date."""
    after = business_date - timedelta(days=definition.history_days)
    return {source: slices[source].narrow(after, business_date) for source in definition.sources}


def inputs_digest(inputs: Mapping[str, Slice]) -> str:
    """Equal for equal source rows: files are written once and never changed."""
    return fingerprint(*(f"{source}: {inputs[source].files}" for source in sorted(inputs)))


def build_view(
    settings: Settings, compiled: CompiledView, business_date: date, slices: Mapping[str, Slice]
) -> ViewBuild:
    """Make the view's rows of one business date from the slices, unless they are there already, and record it.

    One process at a time builds a view; another one waits and finds it built.

    Raises:
        DataFault: the view has no row, two rows of one token or a row without; the last build stays as it was.
    """
    definition = compiled.definition
    inputs = inputs_of(definition, slices, business_date)
    digest = inputs_digest(inputs)
    with database.transaction(settings) as guard:
        database.lock(guard, view_table(definition.name))
        last = last_builds(settings, definition.name, [business_date]).get(business_date)
        if last is not None and last.made_from(compiled.digest, digest):
            return last
        build = _build(settings, compiled, business_date, inputs, digest)
        record_build(guard, build)
    return build


def _build(
    settings: Settings, compiled: CompiledView, business_date: date, inputs: Mapping[str, Slice], digest: str
) -> ViewBuild:
    definition = compiled.definition
    lake = Lake(settings)
    with exact_connection(settings) as connection:
        scan(connection, lake, inputs)
        hide_what_is_not_known_yet(connection, compiled.delays, business_date)
        with readable_errors(f"feature view {definition.name} on {business_date}"):
            created = _created(definition, inputs, business_date)
            reader = connection.sql(compiled.query(connection, business_date, created))
            written = write_keyed(
                lake,
                view_table(definition.name),
                business_date,
                reader.to_arrow_reader(settings.chunk_rows),
                key=definition.token,
                subject=f"feature view {definition.name}",
            )
    return ViewBuild(
        view=definition.name,
        business_date=business_date,
        definition_digest=compiled.digest,
        inputs_digest=digest,
        source_versions={source: part.version for source, part in inputs.items()},
        lake_version=written.version,
        rows=written.rows,
        content_digest=written.content_digest,
    )


@contextmanager
def exact_connection(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB connection that gives the same bits every time: one thread, because a sum of floats taken by two threads
    depends on who came first."""
    connection = connect(settings)
    try:
        connection.execute("SET threads = 1")
        yield connection
    finally:
        connection.close()


def scan(connection: duckdb.DuckDBPyConnection, lake: Lake, inputs: Mapping[str, Slice]) -> None:
    """Name each slice in the connection after its source."""
    for source, part in inputs.items():
        lake.scan(connection, source, part.table, version=part.version, dates=part.dates)


def hide_what_is_not_known_yet(connection: duckdb.DuckDBPyConnection, delays: Delays, business_date: date) -> None:
    """Replace each source that has delayed columns by itself with absent values where a row is younger than the delay."""
    for source, columns in delays.items():
        whole = _WHOLE.format(source=source)
        hidden = ", ".join(
            f'CASE WHEN {PARTITION} <= DATE \'{business_date - timedelta(days=days)}\' THEN "{column}" END AS "{column}"'
            for column, days in sorted(columns.items())
        )
        connection.execute(f'ALTER VIEW "{source}" RENAME TO "{whole}"')
        connection.execute(f'CREATE OR REPLACE VIEW "{source}" AS SELECT * REPLACE ({hidden}) FROM "{whole}"')


@contextmanager
def readable_errors(subject: str) -> Iterator[None]:
    """Turn DuckDB's errors into a DataFault. Only those about names are quoted; the others may hold values of rows."""
    try:
        yield
    except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException) as error:
        raise DataFault(f"{subject}: {str(error).splitlines()[0]}. Nothing was written.") from error
    except duckdb.Error as error:
        raise DataFault(
            f"{subject}: DuckDB stopped with {type(error).__name__}. Nothing was written; the last good rows stay."
        ) from None


def _created(definition: FeatureViewDefinition, inputs: Mapping[str, Slice], business_date: date) -> datetime:
    """When the newest source file was written: the same in every rerun, unlike now()."""
    stamps = [part.written_at for part in inputs.values() if part.written_at is not None]
    if not stamps:
        raise DataFault(
            f"feature view {definition.name} on {business_date}: none of {', '.join(inputs)} has rows in its window of "
            f"{definition.history_days} days. Nothing was written. "
            f"Run `python -m pipelines ingest --source {definition.sources[0]} --date {business_date}` first."
        )
    return max(stamps)


def _naming_what_stays(node: ops.Node, changed: dict[str, Any] | None) -> ops.Node:
    """A `drop` of several columns as a choice of the others. Ibis keeps what is dropped in a set, whose order differs from one
    process to the next, and with it the definition: what one process pinned would be unknown to another."""
    made = node.__recreate__(changed) if changed else node
    if isinstance(made, ops.DropColumns) and len(made.columns_to_drop) > 1:
        return ops.Project(made.parent, made.values)
    return made


def _compiled(definition: Definition, expression: ir.Table) -> str:
    try:
        return str(ibis.to_sql(expression.op().replace(_naming_what_stays).to_expr(), dialect="duckdb"))
    except Exception as error:
        raise DataFault(
            f"{definition.name}: the expression cannot be compiled for DuckDB: {type(error).__name__}. "
            "Use another Ibis function."
        ) from error


def _feature_types(definition: FeatureViewDefinition, expression: ir.Table) -> dict[str, str]:
    schema = expression.schema()
    if definition.token not in schema:
        raise DataFault(
            f"feature view {definition.name} does not return {definition.token!r}, the token of its entity "
            f"{definition.entity!r}; it returns {', '.join(schema)}."
        )
    features = {name: _sql_type(definition, name, schema[name]) for name in schema if name != definition.token}
    if not features:
        raise DataFault(f"feature view {definition.name} returns no feature, only {definition.token!r}.")
    return features


def _require_usable_name(definition: FeatureViewDefinition, name: str) -> None:
    if name in _RESERVED or not _NAME.match(name):
        raise DataFault(f"feature view {definition.name}: {name!r} cannot be the name of a feature. Rename it.")


def _sql_type(definition: FeatureViewDefinition, name: str, kind: ibis.DataType) -> str:
    _require_usable_name(definition, name)
    if kind.is_integer():
        return "BIGINT"
    if kind.is_numeric() and not kind.is_boolean():
        return "DOUBLE"
    if kind.is_boolean():
        return "BOOLEAN"
    if kind.is_string():
        return "VARCHAR"
    raise DataFault(
        f"feature view {definition.name}: {name} has type {kind}; a feature is a number, a boolean or a string. Cast it."
    )


def _typed(name: str, kind: str) -> str:
    """The column in its declared type. NaN and infinity become absent, so that the model's missing rule sees them."""
    cast = f'CAST("{name}" AS {kind})'
    finite = f"CASE WHEN isfinite({cast}) THEN {cast} END" if kind == "DOUBLE" else cast
    return f'{finite} AS "{name}"'
