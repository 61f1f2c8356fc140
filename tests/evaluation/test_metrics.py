"""The measures against scikit-learn's, and what happens when they cannot be computed."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from pipelines.contracts import EvidenceMissing
from pipelines.evaluation import metrics


def sample(seed: int, rows: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probability = rng.beta(1, 6, rows)
    label = (rng.random(rows) < probability).astype(np.int8)
    label[:2] = 0, 1
    return label, np.round(probability, 1) if ties else probability


@given(seed=st.integers(0, 10_000), rows=st.integers(2, 400), ties=st.booleans())
@settings(max_examples=150, deadline=None)
def test_the_measures_equal_scikit_learn(seed: int, rows: int, ties: bool) -> None:
    label, probability = sample(seed, rows, ties)
    ours = metrics.measure(label, probability)
    assert ours["auc"] == pytest.approx(reference.roc_auc_score(label, probability), abs=1e-12)
    assert ours["gini"] == pytest.approx(2 * ours["auc"] - 1, abs=1e-12)
    assert ours["average_precision"] == pytest.approx(reference.average_precision_score(label, probability), abs=1e-12)
    assert ours["brier"] == pytest.approx(reference.brier_score_loss(label, probability), abs=1e-12)
    others, events, _ = reference.roc_curve(label, probability, drop_intermediate=False)
    assert ours["ks"] == pytest.approx(np.abs(events - others).max(), abs=1e-12)
    assert (ours["rows"], ours["events"]) == (rows, label.sum())


def test_the_roc_curve_equals_scikit_learn() -> None:
    label, probability = sample(1, 500, True)
    others, events = metrics.roc_curve(label, probability)
    fpr, tpr, _ = reference.roc_curve(label, probability, drop_intermediate=False)
    np.testing.assert_allclose(others, fpr)
    np.testing.assert_allclose(events, tpr)


def test_perfect_random_and_inverted_scores() -> None:
    label = np.array([0, 0, 1, 1], np.int8)
    assert metrics.auc(label, np.array([0.1, 0.2, 0.3, 0.4])) == 1
    assert metrics.auc(label, np.full(4, 0.3)) == 0.5
    assert metrics.ks(label, np.full(4, 0.3)) == 0
    assert metrics.auc(label, np.array([0.4, 0.3, 0.2, 0.1])) == 0


def test_deciles_hold_every_row_once_and_show_a_miscalibration() -> None:
    label, probability = sample(2, 10_003, False)
    deciles = metrics.calibration_by_decile(label, probability)
    assert [d.decile for d in deciles] == list(range(1, 11))
    assert sum(d.rows for d in deciles) == 10_003
    assert sum(d.events for d in deciles) == label.sum()
    assert [d.predicted for d in deciles] == sorted(d.predicted for d in deciles)
    assert metrics.calibration_error(label, probability) < 0.02
    assert metrics.calibration_error(label, probability / 2) > 0.05


def test_months_are_apart_and_a_month_without_events_has_no_auc() -> None:
    label, probability = sample(3, 300, False)
    label[:100] = 0
    days = np.repeat(np.array(["2026-01-31", "2026-02-28", "2026-03-31"], "datetime64[D]"), 100)
    months = metrics.by_month(days, label, probability)
    assert [m.month for m in months] == [date(2026, 1, 1), date(2026, 2, 1), date(2026, 3, 1)]
    assert (months[0].auc, months[0].ks, months[0].observed) == (None, None, 0)
    assert months[1].auc == metrics.auc(label[100:200], probability[100:200])
    assert sum(m.events for m in months) == label.sum()


def test_folds_are_averaged_and_counts_added() -> None:
    mean = metrics.mean_of([{"auc": 0.7, "rows": 10.0, "events": 1.0}, {"auc": 0.8, "rows": 20.0, "events": 2.0}])
    assert mean == {"auc": pytest.approx(0.75), "rows": 30, "events": 3}


@pytest.mark.parametrize(
    ("label", "score", "message"),
    [
        ([], [], "no rows"),
        ([0, 0], [0.1, 0.2], "one class"),
        ([1, 1], [0.1, 0.2], "one class"),
        ([0, 1], [0.1, float("nan")], "1 of 2 scores are not finite"),
        ([0, 1], [0.1, float("inf")], "not finite"),
        ([0, 2], [0.1, 0.2], "neither 0 nor 1"),
        ([0, 1, 0], [0.1, 0.2], "do not belong together"),
        ([0, 1], [0.1, 1.2], r"outside \[0, 1\]"),
    ],
)
def test_a_measure_that_cannot_be_computed_is_missing_evidence(label: list, score: list, message: str) -> None:
    with pytest.raises(EvidenceMissing, match=message):
        metrics.measure(np.array(label, np.int8), np.array(score))
