"""Great Expectations on DuckDB: run expectations over one table and say what was observed, in counts.

The only module that imports great_expectations, and only when it runs: the import costs seconds. No unexpected value ever
leaves the database: the engine answers those questions itself, with nothing.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any

import duckdb

from pipelines.contracts import Check, DataFault, Severity

if TYPE_CHECKING:
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

_VALUES = (
    ".unexpected_values",
    ".unexpected_value_counts",
    ".unexpected_rows",
    ".unexpected_index_list",
    ".unexpected_index_query",
)
_LONGEST_LIST = 12
_ABOUT_TYPES = ("expect_column_values_to_be_of_type", "expect_column_values_to_be_in_type_list")


@dataclass(frozen=True)
class Expected:
    """One expectation on the table: its GX name and arguments, what its check is called, and what a failure does."""

    name: str
    severity: Severity
    type: str
    arguments: dict[str, Any] = field(default_factory=dict)


def assess(connection: duckdb.DuckDBPyConnection, table: str, expectations: Sequence[Expected]) -> tuple[Check, ...]:
    """Run the expectations over a table or view of the connection; one check each, in their order.

    An expectation GX could not evaluate gives a check whose `passed` is None.

    Raises:
        DataFault: GX knows no expectation of that name, or not with these arguments.
    """
    if not expectations:
        return ()
    great_expectations = _imported()
    configurations = [_configuration(expected) for expected in expectations]
    with _silent():
        results = great_expectations.validate(connection, table, configurations)
    great_expectations.remembered.clear()
    by_id = {r.expectation_config.id: r for r in results if r.expectation_config is not None}
    return tuple(
        _check(expected, by_id.get(configuration.id))
        for expected, configuration in zip(expectations, configurations, strict=True)
    )


def import_seconds() -> float:
    """Import GX if need be, and say how long it took; measured apart, because it can cost more than the work."""
    import time

    start = time.perf_counter()
    _imported()
    return time.perf_counter() - start


def _quicken(expectation: Any, ids: Any) -> dict[int, tuple[Any, Any]]:
    """Take out the two costs of GX that outgrow the checks: an expectation makes its configuration anew each time it is
    asked, some hundred times a check, and every id is put through conversions that its values do not need.

    Returns the configurations remembered, to be cleared after a run; each holds its expectation, so that no other can take
    its place.
    """
    make, convert = expectation.configuration.fget, ids.convert_to_json_serializable
    remembered: dict[int, tuple[Any, Any]] = {}

    def configuration(self: Any) -> Any:
        if id(self) not in remembered:
            remembered[id(self)] = (self, make(self))
        return remembered[id(self)][1]

    def serializable(data: dict[str, Any]) -> Any:
        plain = all(v is None or type(v) in (str, int, bool) for v in data.values())
        return data if plain else convert(data=data)

    expectation.configuration = property(configuration)
    ids.convert_to_json_serializable = serializable
    return remembered


class _Great:
    """What is used of GX, imported once."""

    def __init__(self) -> None:
        os.environ["GX_ANALYTICS_ENABLED"] = "false"
        with _silent():
            import sqlalchemy.dialects.postgresql as postgresql
            from great_expectations.core import id_dict
            from great_expectations.core.batch import Batch
            from great_expectations.execution_engine.sqlalchemy_batch_data import SqlAlchemyBatchData
            from great_expectations.execution_engine.sqlalchemy_execution_engine import SqlAlchemyExecutionEngine
            from great_expectations.expectations import registry
            from great_expectations.expectations.expectation import Expectation
            from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
            from great_expectations.validator.validator import Validator

        from pipelines.quality.duckdb_dialect import engine_on

        class Engine(SqlAlchemyExecutionEngine):
            """Keeps one connection, speaks PostgreSQL's SQL, and never fetches an unexpected value."""

            def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
                super().__init__(engine=engine_on(connection), create_temp_table=False)
                self.dialect_module = postgresql

            @contextmanager
            def get_connection(self) -> Iterator[Any]:
                if self._connection is None:
                    self._connection = self.engine.connect()
                yield self._connection

            def resolve_metrics(
                self, metrics_to_resolve: Iterable[Any], metrics: Any = None, runtime_configuration: Any = None
            ) -> dict[Any, Any]:
                asked = list(metrics_to_resolve)
                withheld: dict[Any, Any] = {metric.id: [] for metric in asked if metric.metric_name.endswith(_VALUES)}
                counted = [metric for metric in asked if metric.id not in withheld]
                if not counted:
                    return withheld
                return {**withheld, **super().resolve_metrics(counted, metrics, runtime_configuration)}

        class SilentValidator(Validator):
            def _determine_progress_bars(self) -> bool:
                return False

        self._engine, self._batch, self._data, self._validator = Engine, Batch, SqlAlchemyBatchData, SilentValidator
        self.remembered = _quicken(Expectation, id_dict)
        self.configuration: type[ExpectationConfiguration] = ExpectationConfiguration
        self.known: list[str] = registry.list_registered_expectation_implementations()

    def validate(
        self, connection: duckdb.DuckDBPyConnection, table: str, configurations: list[ExpectationConfiguration]
    ) -> list[ExpectationValidationResult]:
        engine = self._engine(connection)
        data = self._data(execution_engine=engine, table_name=table, create_temp_table=False)
        validator = self._validator(execution_engine=engine, batches=[self._batch(data=data)])  # type: ignore[arg-type]
        found: list[ExpectationValidationResult] = validator.graph_validate(
            configurations, runtime_configuration={"result_format": "BASIC", "catch_exceptions": True}
        )
        return found


@cache
def _imported() -> _Great:
    return _Great()


def _configuration(expected: Expected) -> ExpectationConfiguration:
    great = _imported()
    if expected.type not in great.known:
        near = get_close_matches(expected.type, great.known, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise DataFault(
            f"expectation {expected.type!r} is unknown to Great Expectations{hint}. Correct the contract; the names are at "
            "https://greatexpectations.io/expectations."
        )
    configuration = great.configuration(
        type=expected.type, kwargs=expected.arguments, id=f"{expected.name} {id(expected)}"
    )
    try:
        configuration.to_domain_obj()
    except (ValueError, TypeError) as error:
        reasons = "; ".join(line.strip() for line in str(error).splitlines()[1:]) or str(error)
        raise DataFault(f"expectation {expected.type}: {reasons}. Correct its arguments in the contract.") from None
    return configuration


def _check(expected: Expected, result: ExpectationValidationResult | None) -> Check:
    failure = "GX returned no result" if result is None else _not_assessable(result)
    if result is None or failure:
        return Check(
            name=expected.name,
            severity=expected.severity,
            passed=None,
            observed=f"not assessable: {failure}",
            expected=_sentence(expected),
        )
    return Check(
        name=expected.name,
        severity=expected.severity,
        passed=bool(result.success),
        observed=_observed(expected.type, result.result),
        expected=_sentence(expected),
    )


def _not_assessable(result: ExpectationValidationResult) -> str | None:
    """Why the result is no answer: there was no row to look at, or an error, with every quoted literal blanked."""
    if "unexpected_count" in result.result and result.result["unexpected_count"] is None:
        return "there is no row"
    info = result.exception_info or {}
    for entry in [info, *(v for v in info.values() if isinstance(v, dict))]:
        if entry.get("raised_exception"):
            first = (str(entry.get("exception_message") or "").strip().splitlines() or ["an error without a message"])[
                0
            ]
            return re.sub(r"'[^']*'", "'…'", first)[:200]
    return None


def _observed(kind: str, result: dict[str, Any]) -> str:
    """Counts, and a single number, date or type; lists and texts could be somebody's data."""
    if "unexpected_count" in result:
        of = f" of {result['element_count']:,}" if result.get("element_count") is not None else ""
        null = f", {result['missing_count']:,} null" if result.get("missing_count") else ""
        return f"{result['unexpected_count']:,}{of} break it{null}"
    value = result.get("observed_value")
    if value is None:
        return "no value"
    if isinstance(value, bool | int | float | date | datetime):
        return f"{value:,}" if isinstance(value, int | float) else str(value)
    if isinstance(value, str) and (kind in _ABOUT_TYPES or re.fullmatch(r"[0-9]{4}-[0-9:.T+ -]+", value)):
        return value
    return f"{len(value):,} values" if isinstance(value, list | dict | tuple | set) else "one value"


def _sentence(expected: Expected) -> str:
    """What is expected, in the words of the expectation's name. GX's own renderer costs more than the check."""
    words = expected.type.removeprefix("expect_").replace("_", " ")
    told = ", ".join(f"{name} {_told(value)}" for name, value in expected.arguments.items() if name != "column")
    return f"{words}: {told}" if told else words


def _told(value: Any) -> str:
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.12g}"
    if isinstance(value, list | tuple):
        shown = ", ".join(str(v) for v in value[:_LONGEST_LIST])
        return f"{shown} and {len(value) - _LONGEST_LIST} more" if len(value) > _LONGEST_LIST else shown
    return str(value)


@contextmanager
def _silent() -> Iterator[None]:
    """GX logs every broken expectation with its traceback, and its SQL; the verdict says what matters of it."""
    logger = logging.getLogger("great_expectations")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)
