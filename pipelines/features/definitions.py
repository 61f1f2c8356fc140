"""How features and labels are declared: decorators for the functions of feature_repo/, and the loader that finds them.

A feature function is pure Ibis: it gets its source tables, restricted to the business dates it may see, and the business
date, and returns one row per token. What Ibis cannot say (a walk through a network) is a computed view: a function of a
DuckDB connection that holds the same tables. Nothing here reads data.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import duckdb
import ibis
import ibis.expr.types as ir

from pipelines.contracts import DataFault, fingerprint
from pipelines.lake import PARTITION
from pipelines.settings import Settings
from pipelines.spec import Contract, load_contract

IBIS_TYPES = {
    "string": "string",
    "integer": "int64",
    "float": "float64",
    "boolean": "boolean",
    "date": "date",
    "timestamp": "timestamp('UTC')",
}
FEATURE_TYPES = frozenset({"string", "integer", "float", "boolean"})


@dataclass(frozen=True)
class FeatureViewDefinition:
    """One feature view: features of one entity, computed from a window of its sources.

    Attributes:
        entity: the view's rows are keyed by `<entity>_token`.
        ttl_days: how long a row may be used after its business date.
        history_days: the function sees source rows with a business date in (D - history_days, D].
    """

    name: str
    entity: str
    sources: tuple[str, ...]
    ttl_days: int
    history_days: int
    function: Callable[..., ir.Table]
    description: str

    @property
    def token(self) -> str:
        return f"{self.entity}_token"

    def expression(self, tables: Mapping[str, ir.Table], business_date: date) -> ir.Table:
        """The view's expression over unbound source tables. Raises DataFault when the function fails."""
        arguments = {s: tables[s] for s in self.sources} | {"business_date": ibis.literal(business_date)}
        return _called(self, arguments)


@dataclass(frozen=True)
class ComputedViewDefinition(FeatureViewDefinition):
    """A feature view whose function writes its own SQL; it is identified by its code and counts as made from every column
    of its sources.

    Attributes:
        features: type by feature name, as in a contract: integer, float, boolean or string.
        code: files whose content decides the result.
    """

    features: Mapping[str, str]
    code: tuple[Path, ...]

    def sql(self, connection: duckdb.DuckDBPyConnection, business_date: date) -> str:
        """SQL giving the token and every declared feature, over tables of the connection. Raises DataFault when the function
        fails or gives other columns; DuckDB's errors are passed on."""
        try:
            found = self.function(connection, business_date)
        except (DataFault, duckdb.Error):
            raise
        except Exception as error:
            raise _function_failed(self, error, "The connection holds one table per source") from error
        columns = set(connection.sql(found).columns)
        if columns != {self.token, *self.features}:
            odd = ", ".join(sorted(columns ^ {self.token, *self.features}))
            raise DataFault(
                f"{self.name}: the function gives {odd} without its being declared, or does not give it. Nothing was computed; "
                f"correct `features` of the computed view or the function. It gives {self.token!r} and one column per feature."
            )
        return str(found)


@dataclass(frozen=True)
class LabelViewDefinition:
    """One label view: `<entity>_token`, event_date, label (0/1) and known_at, over the whole history of its sources.

    Attributes:
        unlabelled: label may be NULL: the population's rows that nobody investigated.
    """

    name: str
    entity: str
    sources: tuple[str, ...]
    function: Callable[..., ir.Table]
    description: str
    unlabelled: bool = False

    @property
    def token(self) -> str:
        return f"{self.entity}_token"

    def expression(self, tables: Mapping[str, ir.Table]) -> ir.Table:
        """The view's expression over unbound source tables. Raises DataFault when the function fails."""
        return _called(self, {s: tables[s] for s in self.sources})


Definition = FeatureViewDefinition | LabelViewDefinition
Declared = TypeVar("Declared", FeatureViewDefinition, LabelViewDefinition)


@dataclass(frozen=True)
class Definitions:
    """Everything declared in one feature_repo folder, by name."""

    folder: Path
    feature_views: Mapping[str, FeatureViewDefinition]
    label_views: Mapping[str, LabelViewDefinition]

    def feature_view(self, name: str) -> FeatureViewDefinition:
        """The feature view of that name. Raises DataFault with the closest known name."""
        return self._named(self.feature_views, name, "feature view")

    def label_view(self, name: str) -> LabelViewDefinition:
        """The label view of that name. Raises DataFault with the closest known name."""
        return self._named(self.label_views, name, "label view")

    def _named(self, known: Mapping[str, Declared], name: str, kind: str) -> Declared:
        if name not in known:
            raise DataFault(
                f"no {kind} {name!r} in {self.folder}{closest(name, known)}. Have: {', '.join(sorted(known)) or 'none'}. "
                f"Correct the model file, or write the function and decorate it with @{kind.replace(' ', '_')}."
            )
        return known[name]


def feature_view(
    *, entity: str, sources: Iterable[str], ttl_days: int, history_days: int
) -> Callable[[Callable[..., ir.Table]], FeatureViewDefinition]:
    """Declare a function of feature_repo/ as a feature view named after the function.

    The function takes one Ibis table per source, named as the source, and `business_date`, an Ibis date; it returns one
    row per `<entity>_token`. Every other column it returns is a feature.
    """

    def declare(function: Callable[..., ir.Table]) -> FeatureViewDefinition:
        named = tuple(sources)
        _check_parameters(function, (*named, PARTITION))
        _check_days(function, ttl_days, history_days)
        return FeatureViewDefinition(
            function.__name__, entity, named, ttl_days, history_days, function, inspect.getdoc(function) or ""
        )

    return declare


def computed_view(
    *,
    entity: str,
    sources: Iterable[str],
    ttl_days: int,
    history_days: int,
    features: Mapping[str, str],
    code: Iterable[ModuleType | Path] = (),
) -> Callable[[Callable[[duckdb.DuckDBPyConnection, date], str]], ComputedViewDefinition]:
    """Declare a function of feature_repo/ as a feature view that writes its own SQL, named after the function.

    The function takes a DuckDB connection, in which each source is a table named after it, and the business date; it
    returns SQL that gives `<entity>_token` and the features. It may make temporary tables before. The connection has one
    thread, so that sums of floats are the same in every run.

    Args:
        features: type by feature name: integer, float, boolean or string.
        code: modules, packages and files that the function uses; when one changes, the view is made again. Its own file
            always counts.
    """

    def declare(function: Callable[[duckdb.DuckDBPyConnection, date], str]) -> ComputedViewDefinition:
        _check_parameters(function, ("connection", PARTITION))
        _check_days(function, ttl_days, history_days)
        unknown = sorted(set(features.values()) - FEATURE_TYPES)
        if unknown or not features:
            raise DataFault(
                f"computed view {function.__name__}: features are {', '.join(unknown) or 'none'}; each is one of "
                f"{', '.join(sorted(FEATURE_TYPES))}."
            )
        own = Path(inspect.getsourcefile(function) or "")
        return ComputedViewDefinition(
            *(
                function.__name__,
                entity,
                tuple(sources),
                ttl_days,
                history_days,
                function,
                inspect.getdoc(function) or "",
            ),
            features=dict(features),
            code=tuple(file for part in (own, *code) for file in _code_files(part)),
        )

    return declare


def label_view(
    *, entity: str, sources: Iterable[str], unlabelled: bool = False
) -> Callable[[Callable[..., ir.Table]], LabelViewDefinition]:
    """Declare a function of feature_repo/ as a label view named after the function.

    The function takes one Ibis table per source and returns `<entity>_token`, `event_date` (the business date the
    features are taken at), `label` (0 or 1) and `known_at` (the date from which the label could be known). It may return
    `judged`: false for a row that nobody would have asked the model about, which may be learnt from and counts in no measure.

    With `unlabelled` the label may be NULL: nobody investigated that row of the population, so nobody knows. Such rows are
    never negatives. They teach what is usual, and count in no measure.
    """

    def declare(function: Callable[..., ir.Table]) -> LabelViewDefinition:
        named = tuple(sources)
        _check_parameters(function, named)
        description = inspect.getdoc(function) or ""
        return LabelViewDefinition(function.__name__, entity, named, function, description, unlabelled)

    return declare


def load_definitions(settings: Settings) -> Definitions:
    """Import every Python file of `settings.project`/feature_repo and collect what it declares.

    Raises:
        DataFault: a file cannot be imported, two files declare the same name, or the folder declares nothing.
    """
    feature_views: dict[str, FeatureViewDefinition] = {}
    label_views: dict[str, LabelViewDefinition] = {}
    for path in sorted(settings.feature_repo.glob("*.py")):
        for found in _declared_in(path):
            if found.name in feature_views or found.name in label_views:
                raise DataFault(f"{path}: {found.name!r} is declared twice in {path.parent}. Rename one.")
            if isinstance(found, FeatureViewDefinition):
                feature_views[found.name] = found
            else:
                label_views[found.name] = found
    if not feature_views:
        raise DataFault(f"{settings.feature_repo} declares no feature view. See docs/features.md.")
    return Definitions(settings.feature_repo, feature_views, label_views)


def source_tables(settings: Settings, sources: Iterable[str]) -> dict[str, ir.Table]:
    """Unbound Ibis tables with the columns that the contracts promise in the lake; protected columns are not there."""
    return {source: contract_table(load_contract(settings.expectations, source)) for source in sources}


def contract_table(contract: Contract) -> ir.Table:
    """The Ibis table of a contract: lake names and types, and `business_date`."""
    columns = {
        contract.lake_name(name): "string" if column.token else IBIS_TYPES[column.type]
        for name, column in contract.columns.items()
        if not column.protected
    }
    return ibis.table(columns | {PARTITION: "date"}, name=contract.source)


def closest(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or nothing when no known name is near."""
    near = get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _check_parameters(function: Callable[..., Any], expected: tuple[str, ...]) -> None:
    found = tuple(inspect.signature(function).parameters)
    if set(found) != set(expected):
        raise DataFault(
            f"{function.__name__} takes ({', '.join(found)}), but its sources ask for ({', '.join(expected)}). "
            "Name the parameters after the sources."
        )


def _check_days(function: Callable[..., Any], ttl_days: int, history_days: int) -> None:
    for limit, days in (("ttl_days", ttl_days), ("history_days", history_days)):
        if days < 1:
            raise DataFault(f"feature view {function.__name__}: {limit} is {days}; it must be at least 1.")


def _code_files(part: ModuleType | Path) -> list[Path]:
    """A file itself, the file of a module, or every Python file of a package."""
    path = part if isinstance(part, Path) else Path(part.__file__ or "")
    if path.name == "__init__.py":
        return sorted(path.parent.rglob("*.py"))
    if not path.is_file():
        raise DataFault(f"{path}: `code` of a computed view names modules and files, and this is none.")
    return [path]


def _called(view: Definition, arguments: dict[str, Any]) -> ir.Table:
    try:
        expression = view.function(**arguments)
    except Exception as error:
        remedy = "A source has its contract's columns, but no `protected` ones, and `<entity>_token` in place of an id"
        raise _function_failed(view, error, remedy) from error
    if not isinstance(expression, ir.Table):
        raise DataFault(f"{view.name}: the function returned {type(expression).__name__}, not an Ibis table.")
    return expression


def _function_failed(view: Definition, error: Exception, remedy: str) -> DataFault:
    return DataFault(
        f"{view.name}: the function failed with {type(error).__name__}: {_one_line(error)} "
        f"({_where(error, view.function)}). Nothing was computed; correct the function. {remedy}."
    )


def _declared_in(path: Path) -> list[Definition]:
    module = _imported(path)
    return [v for v in vars(module).values() if isinstance(v, FeatureViewDefinition | LabelViewDefinition)]


def _imported(path: Path) -> ModuleType:
    # The path is part of the name: examples/a/feature_repo/x.py and feature_repo/x.py are different modules.
    name = f"vigil_feature_repo_{fingerprint(path.resolve())[:12]}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise DataFault(f"{path}: cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and inspect look a module up while it runs
    try:
        spec.loader.exec_module(module)
    except DataFault as error:
        raise DataFault(f"{path}: {error}") from None
    except SyntaxError as error:
        raise DataFault(f"{path}, line {error.lineno}: {error.msg}. Correct the file.") from None
    except Exception as error:
        raise DataFault(f"{path}: importing it failed with {type(error).__name__}: {_one_line(error)}.") from error
    return module


def _where(error: BaseException, function: Callable[..., Any]) -> str:
    """File and line of the deepest frame that is in the function's own file."""
    file = inspect.getsourcefile(function) or "?"
    line = function.__code__.co_firstlineno
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"{file}, line {line}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
