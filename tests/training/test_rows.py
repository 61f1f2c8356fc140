"""Rows of a training set: typed, in order, and finite."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from pipelines.contracts import DataFault
from pipelines.spec import Feature
from pipelines.training.rows import numbers, rows_of

FEATURES = {"amount": Feature(), "purpose": Feature(categorical=True)}


def table(amounts: list[float | None]) -> pa.Table:
    return pa.table(
        {
            "event_date": pa.array([date(2026, 1, 31)] * len(amounts), pa.date32()),
            "amount": pa.array(amounts, pa.float32()),
            "purpose": pa.array(["car"] * len(amounts)).dictionary_encode(),
            "label": pa.array([i % 2 for i in range(len(amounts))], pa.int8()),
        }
    )


def test_absent_numbers_are_nan_and_types_are_the_models() -> None:
    rows = rows_of(table([1.5, None, float("nan")]), FEATURES)
    assert rows.features.schema.types == [pa.float64(), pa.string()]
    np.testing.assert_array_equal(numbers(rows.features, "amount"), [1.5, np.nan, np.nan])
    assert (len(rows), rows.events) == (3, 1)
    assert len(rows.where(rows.label == 1)) == 1


def test_an_infinite_feature_is_a_fault_that_names_it() -> None:
    with pytest.raises(DataFault, match="'amount' is infinite in 1 of 2 training rows"):
        rows_of(table([1.0, float("inf")]), FEATURES)


def test_rows_without_a_label_are_background_and_never_negatives() -> None:
    known = pa.array([1, None, 0, None, 1], pa.int8())
    days = pa.array([date(2026, 1, 31)] * 2 + [date(2026, 2, 28)] * 3, pa.date32())
    whole = table([1.0, 2.0, 3.0, 4.0, 5.0]).set_column(3, "label", known).set_column(0, "event_date", days)
    rows = rows_of(whole, FEATURES)
    assert (len(rows), rows.events, rows.unlabelled) == (3, 2, 2)
    assert rows.label.tolist() == [1, 0, 1]
    assert rows.features["amount"].to_pylist() == [1.0, 3.0, 5.0]
    assert rows.background is not None
    assert rows.background.features["amount"].to_pylist() == [2.0, 4.0]
    assert rows.population["amount"].to_pylist() == [1.0, 3.0, 5.0, 2.0, 4.0]
    start = np.datetime64("2026-02-28")
    early, late = rows.before(start), rows.since(start)
    assert [(len(r), r.unlabelled) for r in (early, late)] == [(1, 1), (2, 1)]
    assert late.background is not None
    assert late.background.features["amount"].to_pylist() == [4.0]
    chosen = rows.where(rows.label == 1)
    assert (len(chosen), chosen.unlabelled) == (2, 2)


def test_where_every_row_has_a_label_there_is_no_background() -> None:
    rows = rows_of(table([1.0, 2.0]), FEATURES)
    assert rows.background is None
    assert rows.before(np.datetime64("2026-01-31")).background is None
    assert (rows.unlabelled, rows.population) == (0, rows.features)
