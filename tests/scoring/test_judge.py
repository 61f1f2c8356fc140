"""Judging rows: every rule rejects or sends to review what it names, and nothing is lost or counted twice."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from pipelines.scoring.judge import LARGEST, Rules, judge
from pipelines.spec import Feature

RULES = Rules(
    token="account_token",
    features={
        "utilisation": Feature(missing="reject"),
        "income": Feature(missing="review"),
        "trend": Feature(missing="allowed"),
        "product": Feature(missing="reject", categorical=True),
    },
    categories={"product": ("card", "loan")},
)


def chunk(**changed: list[object]) -> pa.RecordBatch:
    columns = {
        "account_token": ["a", "b", "c"],
        "utilisation": [0.1, 0.2, 0.3],
        "income": [1.0, 2.0, 3.0],
        "trend": [0.0, 0.0, 0.0],
        "product": ["card", "loan", "card"],
    } | changed
    types = {"account_token": pa.string(), "product": pa.string()}
    return pa.record_batch({n: pa.array(v, types.get(n, pa.float64())) for n, v in columns.items()})


def test_a_clean_chunk_passes_untouched() -> None:
    clean = chunk()
    judged = judge(RULES, clean)
    assert judged.accepted is clean
    assert judged.review_reason.null_count == 3
    assert judged.rejected.num_rows == 0
    assert (judged.reject_counts, judged.review_counts) == ({}, {})


def test_absence_rejects_reviews_or_is_allowed_as_the_model_file_says() -> None:
    judged = judge(RULES, chunk(utilisation=[None, 0.2, 0.3], income=[None, None, 3.0], trend=[None, None, None]))
    assert judged.accepted["account_token"].to_pylist() == ["b", "c"]
    assert judged.review_reason.to_pylist() == ["income missing", None]
    assert judged.rejected.to_pylist() == [{"account_token": "a", "reason": "utilisation missing"}]
    assert (judged.reject_counts, judged.review_counts) == ({"utilisation missing": 1}, {"income missing": 1})


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, LARGEST * 2, -LARGEST * 2])
@pytest.mark.parametrize("feature", ["utilisation", "income", "trend"])
def test_a_number_that_is_none_is_rejected_whatever_absence_would_do(feature: str, number: float) -> None:
    judged = judge(RULES, chunk(**{feature: [1.0, number, None if feature == "trend" else 2.0]}))
    assert judged.rejected.to_pylist() == [{"account_token": "b", "reason": f"{feature} not a finite number"}]
    assert judged.accepted["account_token"].to_pylist() == ["a", "c"]


def test_a_new_category_is_scored_and_reviewed() -> None:
    judged = judge(RULES, chunk(product=["lease", "loan", None], income=[None, 1.0, 1.0]))
    assert judged.review_reason.to_pylist() == ["income missing; product not seen in training", None]
    assert judged.rejected.to_pylist() == [{"account_token": "c", "reason": "product missing"}]


def test_a_row_with_two_faults_is_one_row_with_both_reasons() -> None:
    judged = judge(RULES, chunk(utilisation=[None, 0.2, 0.3], product=[None, "card", "card"], trend=[math.nan, 0, 0]))
    assert judged.rejected["reason"].to_pylist() == ["utilisation missing; trend not a finite number; product missing"]
    assert judged.accepted.num_rows == 2


def test_a_flood_of_nan_rejects_every_row() -> None:
    judged = judge(RULES, chunk(utilisation=[math.nan] * 3))
    assert (judged.accepted.num_rows, judged.rejected.num_rows) == (0, 3)
    assert len(judged.review_reason) == 0


def test_rows_are_conserved_under_random_faults() -> None:
    rng = np.random.default_rng(5)
    n = 5_000
    numbers = rng.choice([0.5, math.nan, math.inf], n, p=[0.9, 0.05, 0.05])
    many = pa.record_batch({
        "account_token": [f"{i:032x}" for i in range(n)],
        "utilisation": pa.array(numbers, mask=rng.random(n) < 0.1),
        "income": pa.array(rng.random(n), mask=rng.random(n) < 0.2),
        "trend": pa.array(rng.random(n), mask=rng.random(n) < 0.5),
        "product": pa.array(rng.choice(["card", "loan", "lease"], n)),
    })  # fmt: skip
    judged = judge(RULES, many)
    both = judged.accepted["account_token"].to_pylist() + judged.rejected["account_token"].to_pylist()
    assert sorted(both) == many["account_token"].to_pylist()
    assert judged.accepted["utilisation"].null_count == 0
    assert np.isfinite(judged.accepted["utilisation"].to_numpy()).all()
    needs = judged.accepted["income"].is_null().to_numpy(False) | (
        np.array(judged.accepted["product"].to_pylist()) == "lease"
    )
    assert (judged.review_reason.is_valid().to_numpy(False) == needs).all()
