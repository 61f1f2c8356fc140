"""What is expected of a table, from its contract: the suite Great Expectations runs, in lake names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from statistics import median
from typing import Any

from pipelines.contracts import Manifest, Severity
from pipelines.quality.gx import Expected
from pipelines.spec import Column, Contract, Expectation

# As the DuckDB dialect names the lake's types.
_TYPES = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "float": "DOUBLE_PRECISION",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
}
_COLUMN_ARGUMENTS = ("column", "column_A", "column_B")
_COLUMN_LIST_ARGUMENTS = ("column_list", "column_set")
LARGEST = 1.7976931348623157e308  # NaN and infinity are not between -this and this
_TOTAL_TOLERANCE = 1e-9  # DuckDB adds in parallel, in another order than the manifest's exact sum
MIN_EARLIER_DATES = 3


@dataclass(frozen=True)
class Suite:
    """The expectations of one table."""

    contract: Contract
    manifest: Manifest
    earlier_rows: tuple[int, ...]

    def expectations(self) -> list[Expected]:
        """All of them. On a date without rows, where the contract allows it, only that there is none."""
        made = [*self._rows()]
        if self.manifest.rows_in == 0:
            return made
        for name, column in self.contract.columns.items():
            made += self._column(name, column)
        made += [*self._key(), *self._totals(), *self._freshness(), *self._volume()]
        return made + [self._asked(expectation) for expectation in self.contract.expectations]

    def _rows(self) -> Iterator[Expected]:
        yield Expected(
            "rows: as many as landed",
            Severity.CRITICAL,
            "expect_table_row_count_to_equal",
            {"value": self.manifest.rows_published},
        )
        if not (self.contract.may_be_empty and self.manifest.rows_in == 0):
            yield Expected(
                "rows: at least one", Severity.CRITICAL, "expect_table_row_count_to_be_between", {"min_value": 1}
            )

    def _column(self, name: str, column: Column) -> Iterator[Expected]:
        lake_name = self.contract.lake_name(name)

        def expected(what: str, kind: str, severity: Severity = Severity.CRITICAL, **arguments: Any) -> Expected:
            return Expected(f"{lake_name}: {what}", severity, kind, {"column": lake_name, **arguments})

        kind = "VARCHAR" if column.token else _TYPES[column.type]
        yield expected("type", "expect_column_values_to_be_of_type", type_=kind)
        if not column.nullable:
            yield expected("complete", "expect_column_values_to_not_be_null")
        elif column.max_null_fraction is not None:
            share = 1 - column.max_null_fraction
            yield expected("complete enough", "expect_column_values_to_not_be_null", column.severity, mostly=share)
        else:  # recorded, not judged
            yield expected("nulls counted", "expect_column_values_to_not_be_null", Severity.WARNING, mostly=0.0)
        if column.token:
            yield expected("token", "expect_column_value_lengths_to_equal", value=32)
        elif column.min is not None or column.max is not None:
            yield expected("range", "expect_column_values_to_be_between", min_value=column.min, max_value=column.max)
        elif column.type == "float":
            yield expected("finite", "expect_column_values_to_be_between", min_value=-LARGEST, max_value=LARGEST)
        if column.allowed is not None:
            yield expected("category", "expect_column_values_to_be_in_set", value_set=list(column.allowed))

    def _key(self) -> Iterator[Expected]:
        key = [self.contract.lake_name(name) for name in self.contract.key]
        name = f"{', '.join(key)}: unique"
        if len(key) == 1:
            rows = self.manifest.rows_published
            arguments = {"column": key[0], "min_value": rows, "max_value": rows}
            yield Expected(name, Severity.CRITICAL, "expect_column_unique_value_count_to_be_between", arguments)
        else:
            yield Expected(name, Severity.CRITICAL, "expect_compound_columns_to_be_unique", {"column_list": key})

    def _totals(self) -> Iterator[Expected]:
        for name, total in self.manifest.control_totals.items():
            slack = _TOTAL_TOLERANCE * max(abs(total), 1.0)
            arguments = {"column": name, "min_value": total - slack, "max_value": total + slack}
            yield Expected(f"{name}: total as landed", Severity.CRITICAL, "expect_column_sum_to_be_between", arguments)

    def _freshness(self) -> Iterator[Expected]:
        rule = self.contract.freshness
        if rule is None:
            return
        oldest = _start_of(self.manifest.business_date) - timedelta(days=rule.max_age_days)
        is_date = self.contract.columns[rule.column].type == "date"
        column = self.contract.lake_name(rule.column)
        arguments = {"column": column, "min_value": oldest.date() if is_date else oldest}
        yield Expected(f"{column}: fresh", rule.severity, "expect_column_max_to_be_between", arguments)

    def _volume(self) -> Iterator[Expected]:
        rule = self.contract.volume
        if rule is None:
            return
        if len(self.earlier_rows) < MIN_EARLIER_DATES:
            name = f"rows: volume (recorded: only {len(self.earlier_rows)} earlier dates)"
            yield Expected(name, Severity.WARNING, "expect_table_row_count_to_be_between", {"min_value": 0})
            return
        usual = median(self.earlier_rows)
        yield Expected(
            f"rows: volume against {len(self.earlier_rows)} earlier dates",
            rule.severity,
            "expect_table_row_count_to_be_between",
            {"min_value": int(usual * (1 - rule.tolerance)), "max_value": int(-(-usual * (1 + rule.tolerance) // 1))},
        )

    def _asked(self, expectation: Expectation) -> Expected:
        arguments = {name: self._renamed(name, value) for name, value in expectation.arguments.items()}
        about = arguments.get("column", "table")
        return Expected(f"{about}: {expectation.expect}", expectation.severity, expectation.expect, arguments)

    def _renamed(self, argument: str, value: Any) -> Any:
        """Columns are written as in the contract; the lake may know them as tokens."""
        columns: Mapping[str, Column] = self.contract.columns
        if argument in _COLUMN_ARGUMENTS and value in columns:
            return self.contract.lake_name(value)
        if argument in _COLUMN_LIST_ARGUMENTS and isinstance(value, list):
            return [self.contract.lake_name(v) if v in columns else v for v in value]
        return value


def _start_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
