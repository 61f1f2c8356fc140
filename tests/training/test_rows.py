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
