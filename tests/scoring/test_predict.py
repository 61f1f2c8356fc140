"""Counting what passes, and refusing a model whose output is no probability."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from pipelines.contracts import Blocked
from pipelines.scoring.judge import Rules
from pipelines.scoring.predict import LoadedVersion, Tally, judged_and_scored
from pipelines.spec import Feature
from pipelines.training.reference import NumberReference

RULES = Rules("token", {"x": Feature(missing="reject")}, {})
REFERENCE = NumberReference(edges=(0.3,), counts=(50, 50, 0))


class Fixed:
    def __init__(self, value: float) -> None:
        self.value = value

    def predict(self, features: pa.RecordBatch) -> np.ndarray:
        return np.full(features.num_rows, self.value)


def version(value: float, reference: NumberReference = REFERENCE) -> LoadedVersion:
    return LoadedVersion("version 3", Fixed(value), RULES, reference)


def chunk(*values: float | None) -> pa.RecordBatch:
    return pa.record_batch({"token": ["a"] * len(values), "x": pa.array(values, pa.float64())})


@pytest.mark.parametrize("value", [math.nan, -0.01, 1.01, math.inf])
def test_what_is_no_probability_stops_the_batch(value: float) -> None:
    with pytest.raises(Blocked, match=r"version 3 gave a probability that is not a number in \[0, 1\]"):
        list(judged_and_scored(iter([chunk(1.0)]), version(value)))


def test_a_chunk_without_an_accepted_row_passes() -> None:
    [(judged, probability)] = judged_and_scored(iter([chunk(None, math.nan)]), version(0.5))
    assert (judged.rejected.num_rows, len(probability)) == (2, 0)


def test_the_tally_adds_up_over_chunks_and_compares_all_scores_with_the_reference() -> None:
    tally = Tally(REFERENCE)
    for value in (0.1, 0.9):
        for judged, probability in judged_and_scored(iter([chunk(1.0, None, 1.0)]), version(value)):
            tally.add(judged, probability)
    assert (tally.scored, tally.rejected, tally.review, tally.reject_reasons) == (4, 2, 0, {"x missing": 2})
    assert tally.histogram.tolist() == [2, 2, 0]
    assert tally.stability().value == pytest.approx(0, abs=1e-12)
    tally.reference = NumberReference(edges=(0.3,), counts=(90, 10, 0))
    assert tally.stability().value > 0.5
