"""60 expectations on 30 columns, mixed as in a source's contract: ours (Great Expectations on DuckDB) against one DuckDB
query that counts the same, and against the usual way, Great Expectations on a pandas frame. Imports are outside the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from benchmarks.harness import Measurement, timed
from pipelines.contracts import Severity
from pipelines.quality import gx
from pipelines.quality.gx import Expected

NUMBERS = [f"number_{i}" for i in range(28)]
COLUMNS = ["key", "category", *NUMBERS]
CATEGORIES = ["card", "loan", "overdraft"]
LIMIT = 2.5
MOSTLY = 0.95  # some values are absent and some beyond the limit, or DuckDB would answer from its statistics


def measure(rows: int) -> list[Measurement]:
    """30 completeness checks, 20 ranges, 6 means, 2 standard deviations, 1 category, 1 unique key."""
    raw = timed(_one_query, rows)
    ours = timed(_ours, rows)
    usual = timed(_pandas, rows, runs=1)
    return [Measurement("60 checks in GX", rows, len(COLUMNS), raw.seconds, ours.seconds, usual.seconds, ours.peak_mb)]


def _expectations() -> Iterator[tuple[str, dict[str, Any]]]:
    for name in COLUMNS:
        yield "expect_column_values_to_not_be_null", {"column": name, "mostly": MOSTLY}
    for name in NUMBERS[:20]:
        limits = {"min_value": -LIMIT, "max_value": LIMIT, "mostly": MOSTLY}
        yield "expect_column_values_to_be_between", {"column": name, **limits}
    for name in NUMBERS[20:26]:
        yield "expect_column_mean_to_be_between", {"column": name, "min_value": -1, "max_value": 1}
    for name in NUMBERS[26:]:
        yield "expect_column_stdev_to_be_between", {"column": name, "min_value": 0.5, "max_value": 2}
    yield "expect_column_values_to_be_in_set", {"column": "category", "value_set": CATEGORIES}
    yield "expect_column_unique_value_count_to_be_between", {"column": "key", "min_value": 1}


def _one_query(rows: int) -> Callable[[], object]:
    connection = _connection(rows)
    broken = {
        "expect_column_values_to_not_be_null": "count_if({c} IS NULL)",
        "expect_column_values_to_be_between": f"count_if({{c}} < {-LIMIT} OR {{c}} > {LIMIT})",
        "expect_column_mean_to_be_between": "avg({c})",
        "expect_column_stdev_to_be_between": "stddev_samp({c})",
        "expect_column_values_to_be_in_set": f"count_if({{c}} NOT IN {tuple(CATEGORIES)})",
        "expect_column_unique_value_count_to_be_between": "count(DISTINCT {c})",
    }
    counts = ", ".join(broken[kind].format(c=arguments["column"]) for kind, arguments in _expectations())
    return lambda: connection.execute(f"SELECT count(*), {counts} FROM checked").fetchall()


def _ours(rows: int) -> Callable[[], object]:
    connection = _connection(rows)
    expected = [Expected(kind, Severity.CRITICAL, kind, arguments) for kind, arguments in _expectations()]
    gx.import_seconds()

    def work() -> None:
        assert [check.passed for check in gx.assess(connection, "checked", expected)] == [True] * 60

    return work


def _pandas(rows: int) -> Callable[[], object]:
    import os

    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    frame = _table(rows).to_pandas()
    context = great_expectations.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("frames").add_dataframe_asset("checked")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    suite = great_expectations.ExpectationSuite("suite")
    for kind, arguments in _expectations():
        suite.add_expectation(ExpectationConfiguration(type=kind, kwargs=arguments).to_domain_obj())

    def work() -> None:
        assert batch.validate(suite).success

    return work


def _table(rows: int) -> pa.Table:
    rng = np.random.default_rng(20260630)
    numbers = {name: pa.array(rng.normal(size=rows), mask=rng.random(rows) < 0.01) for name in NUMBERS}
    keys = {"key": [f"{i:032x}" for i in range(rows)], "category": rng.choice(CATEGORIES, rows)}
    return pa.table({**keys, **numbers})


def _connection(rows: int) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": 2})
    connection.register("given", _table(rows))
    connection.execute("CREATE TABLE checked AS SELECT * FROM given")
    return connection
