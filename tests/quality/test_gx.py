"""Great Expectations on DuckDB: right answers, counts only, silent, and honest about what it could not assess."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import duckdb
import pytest

from pipelines.contracts import Check, DataFault, Severity
from pipelines.quality import gx
from pipelines.quality.gx import Expected


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    made = duckdb.connect()
    made.execute("SET TimeZone = 'UTC'")
    made.execute(
        "CREATE TABLE t AS SELECT i AS id, 'secret ' || i AS name, (i % 7)::DOUBLE AS x, "
        "CASE WHEN i % 10 > 0 THEN i::DOUBLE END AS y, CASE WHEN i = 5 THEN 'nan'::DOUBLE ELSE 1 END AS z, "
        "DATE '2026-06-30' AS day, TIMESTAMPTZ '2026-06-30 10:00+00' AS at, i < 500 AS flag FROM range(1000) AS r(i)"
    )
    yield made
    made.close()


def one(connection: duckdb.DuckDBPyConnection, kind: str, **arguments: Any) -> Check:
    return gx.assess(connection, "t", [Expected("a check", Severity.CRITICAL, kind, arguments)])[0]


@pytest.mark.parametrize(
    ("kind", "arguments", "passed", "observed"),
    [
        ("expect_column_values_to_not_be_null", {"column": "y"}, False, "100 of 1,000 break it"),
        ("expect_column_values_to_not_be_null", {"column": "y", "mostly": 0.9}, True, "100 of 1,000 break it"),
        ("expect_column_values_to_be_between", {"column": "x", "max_value": 5}, False, "142 of 1,000 break it"),
        (
            "expect_column_values_to_be_between",
            {"column": "y", "max_value": 5},
            False,
            "895 of 1,000 break it, 100 null",
        ),
        ("expect_column_values_to_be_between", {"column": "z", "max_value": 1e300}, False, "1 of 1,000 break it"),
        ("expect_column_values_to_match_regex", {"column": "name", "regex": "ecret 1"}, False, "889 of 1,000 break it"),
        ("expect_column_values_to_match_regex", {"column": "name", "regex": "^s"}, True, "0 of 1,000 break it"),
        ("expect_column_values_to_not_match_regex", {"column": "name", "regex": "9$"}, False, "100 of 1,000 break it"),
        ("expect_column_values_to_be_unique", {"column": "name"}, True, "0 of 1,000 break it"),
        ("expect_column_values_to_be_unique", {"column": "x"}, False, "1,000 of 1,000 break it"),
        ("expect_compound_columns_to_be_unique", {"column_list": ["x", "flag"]}, False, "1,000 of 1,000 break it"),
        ("expect_column_unique_value_count_to_be_between", {"column": "x", "max_value": 6}, False, "7"),
        ("expect_table_row_count_to_equal", {"value": 1000}, True, "1,000"),
        ("expect_column_sum_to_be_between", {"column": "x", "min_value": 2997, "max_value": 2997}, True, "2,997.0"),
        ("expect_column_mean_to_be_between", {"column": "x", "max_value": 2}, False, "2.997"),
        ("expect_column_max_to_be_between", {"column": "day", "min_value": date(2026, 6, 30)}, True, "2026-06-30"),
        ("expect_column_max_to_be_between", {"column": "day", "min_value": date(2026, 7, 1)}, False, "2026-06-30"),
        (
            "expect_column_max_to_be_between",
            {"column": "at", "min_value": datetime(2026, 6, 30, 11, tzinfo=UTC)},
            False,
            "2026-06-30 10:00:00+00:00",
        ),
        ("expect_column_values_to_be_of_type", {"column": "x", "type_": "DOUBLE_PRECISION"}, True, "DOUBLE_PRECISION"),
        ("expect_column_values_to_be_of_type", {"column": "id", "type_": "BIGINT"}, True, "BIGINT"),
        ("expect_column_values_to_be_of_type", {"column": "at", "type_": "TIMESTAMP"}, True, "TIMESTAMP"),
        ("expect_column_values_to_be_of_type", {"column": "day", "type_": "DATE"}, True, "DATE"),
        ("expect_column_values_to_be_of_type", {"column": "flag", "type_": "BOOLEAN"}, True, "BOOLEAN"),
        ("expect_column_values_to_be_of_type", {"column": "name", "type_": "DOUBLE_PRECISION"}, False, "VARCHAR"),
    ],
)
def test_what_is_observed(
    connection: duckdb.DuckDBPyConnection, kind: str, arguments: dict[str, Any], passed: bool, observed: str
) -> None:
    check = one(connection, kind, **arguments)
    assert (check.passed, check.observed) == (passed, observed)


def test_values_of_customers_are_never_shown(connection: duckdb.DuckDBPyConnection) -> None:
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("expect_column_values_to_be_in_set", {"column": "name", "value_set": ["a"]}),
        ("expect_column_distinct_values_to_be_in_set", {"column": "name", "value_set": ["a"]}),
        ("expect_column_distinct_values_to_contain_set", {"column": "name", "value_set": ["a"]}),
        ("expect_column_most_common_value_to_be_in_set", {"column": "name", "value_set": ["a"]}),
        ("expect_column_max_to_be_between", {"column": "name", "max_value": 1}),
        ("expect_column_values_to_be_unique", {"column": "x"}),
        ("expect_column_values_to_match_regex", {"column": "name", "regex": "^z"}),
        ("expect_column_value_lengths_to_equal", {"column": "name", "value": 1}),
    ]
    expected = [Expected(kind, Severity.CRITICAL, kind, arguments) for kind, arguments in kinds]
    for check in gx.assess(connection, "t", expected):
        assert check.passed is not True, check
        assert "secret" not in check.observed + check.expected


def test_what_cannot_be_assessed_has_not_passed(connection: duckdb.DuckDBPyConnection) -> None:
    absent = one(connection, "expect_column_values_to_be_between", column="nowhere", max_value=1)
    assert absent.passed is None
    assert "nowhere" in absent.observed
    wrong = one(connection, "expect_column_sum_to_be_between", column="name", max_value=1)
    assert wrong.passed is None
    assert "secret" not in wrong.observed


def test_one_check_that_fails_to_run_does_not_take_the_others_with_it(connection: duckdb.DuckDBPyConnection) -> None:
    checks = gx.assess(
        connection,
        "t",
        [
            Expected("bad", Severity.CRITICAL, "expect_column_mean_to_be_between", {"column": "name", "max_value": 1}),
            Expected("good", Severity.CRITICAL, "expect_column_values_to_not_be_null", {"column": "x"}),
        ],
    )
    assert [check.passed for check in checks] == [None, True]


def test_the_same_expectation_twice_gives_two_checks(connection: duckdb.DuckDBPyConnection) -> None:
    twice = [
        Expected(name, severity, "expect_column_values_to_not_be_null", {"column": "y"})
        for name, severity in (("strict", Severity.CRITICAL), ("loose", Severity.WARNING))
    ]
    checks = gx.assess(connection, "t", twice)
    assert [(check.name, check.severity) for check in checks] == [("strict", "critical"), ("loose", "warning")]


def test_an_unknown_expectation_names_the_closest(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(DataFault, match="did you mean 'expect_column_values_to_not_be_null'"):
        one(connection, "expect_column_values_not_be_null", column="x")


def test_an_unknown_argument_is_named(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(DataFault, match="colum;"):
        one(connection, "expect_column_values_to_not_be_null", colum="x")


def test_it_is_silent_and_sends_nothing_home() -> None:
    program = (
        "import duckdb, sys; from pipelines.quality import gx; from pipelines.contracts import Severity\n"
        "assert 'great_expectations' not in sys.modules\n"
        "c = duckdb.connect(); c.execute('CREATE TABLE t AS SELECT 1 AS x')\n"
        "e = lambda k, **a: gx.Expected(k, Severity.CRITICAL, k, a)\n"
        "gx.assess(c, 't', [e('expect_column_values_to_not_be_null', column='x'),\n"
        "  e('expect_column_values_to_match_regex', column='x', regex='a')])\n"
        "import os; assert os.environ['GX_ANALYTICS_ENABLED'] == 'false'"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
