"""Intervals: DeLong against its definition pair by pair and against numbers by hand, the bootstrap, and their coverage."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.contracts import EvidenceMissing
from pipelines.evaluation import intervals, metrics, weighted
from pipelines.evaluation.intervals import auc_covariance, auc_difference, auc_interval, bootstrap

Z = NormalDist().inv_cdf(0.975)


def sample(seed: int, rows: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, a good score and a worse one that resembles it."""
    random = np.random.default_rng(seed)
    label = (random.random(rows) < 0.3).astype(np.int8)
    label[:4] = 0, 1, 0, 1
    common = random.normal(size=rows)
    good, worse = (label * by + common + random.normal(size=rows) for by in (1.5, 0.8))
    decimals = 0 if ties else 12
    return label, np.round(good, decimals), np.round(worse, decimals)


def brute_force(label: np.ndarray, scores: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """DeLong as written in 1988: every event against every non-event."""
    wins = []
    for score in scores:
        events, others = score[label == 1][:, None], score[label == 0][None, :]
        wins.append((events > others) + 0.5 * (events == others))
    m, n = wins[0].shape
    v10, v01 = (np.stack([w.mean(axis=axis) for w in wins]) for axis in (1, 0))
    return np.array([w.mean() for w in wins]), np.atleast_2d(np.cov(v10)) / m + np.atleast_2d(np.cov(v01)) / n


@given(seed=st.integers(0, 10_000), rows=st.integers(4, 200), ties=st.booleans())
@settings(max_examples=100, deadline=None)
def test_midranks_give_what_all_pairs_give(seed: int, rows: int, ties: bool) -> None:
    label, good, worse = sample(seed, rows, ties)
    areas, covariance = auc_covariance(label, good, worse)
    expected_areas, expected_covariance = brute_force(label, [good, worse])
    np.testing.assert_allclose(areas, expected_areas, atol=1e-12)
    np.testing.assert_allclose(covariance, expected_covariance, atol=1e-12)
    assert areas[0] == pytest.approx(metrics.auc(label, good), abs=1e-12)


def test_numbers_by_hand() -> None:
    """Events at 2 and 4, others at 1, 3 and 4. Of six pairs event 2 wins 1; event 4 wins 2 and ties 1: area 3.5 / 6.

    Placements of events 1/3 and 2.5/3, variance 1/8; of others 2/2, 1/2 and 0.5/2, mean 7/12, variance 7/48.
    """
    label, score = np.array([1, 1, 0, 0, 0], np.int8), np.array([2.0, 4.0, 1.0, 3.0, 4.0])
    areas, covariance = auc_covariance(label, score)
    assert areas[0] == pytest.approx(3.5 / 6)
    variance = (1 / 8) / 2 + (7 / 48) / 3
    assert covariance[0, 0] == pytest.approx(variance)
    found = auc_interval(label, score, 0.5)
    half = NormalDist().inv_cdf(0.75) * variance**0.5
    assert (found.low, found.high) == (pytest.approx(3.5 / 6 - half), pytest.approx(3.5 / 6 + half))
    wide = auc_interval(label, score, 0.95)
    assert (wide.low, wide.high) == (0.0, 1.0)  # cut: 0.58 +- 0.65


def test_the_difference_has_the_variance_of_paired_areas() -> None:
    label, good, worse = sample(5, 400)
    areas, covariance = brute_force(label, [good, worse])
    found = auc_difference(label, good, worse, 0.95)
    half = Z * (covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]) ** 0.5
    assert found.value == pytest.approx(areas[0] - areas[1])
    assert (found.low, found.high) == (pytest.approx(found.value - half), pytest.approx(found.value + half))
    back = auc_difference(label, worse, good, 0.95)
    assert (back.value, back.low, back.high) == pytest.approx((-found.value, -found.high, -found.low))


def test_equal_rankings_differ_by_nothing() -> None:
    label, good, _ = sample(6, 300, ties=True)
    for other in (good, good * 3 + 1, np.exp(good)):
        found = auc_difference(label, good, other, 0.95)
        assert (found.value, found.low, found.high) == (0, 0, 0)
    same = weighted.auc(label, good)
    found = bootstrap(label, lambda w: same(w) - same(w), confidence=0.95, resamples=100, seed=1)
    assert (found.value, found.low, found.high) == (0, 0, 0)


@pytest.mark.parametrize(
    ("label", "score", "message"),
    [
        ([0, 0, 0], [1.0, 2.0, 3.0], "one class"),
        ([], [], "no rows"),
        ([0, 0, 1], [1.0, 2.0, 3.0], "needs two of both"),
        ([0, 1, 1, 0], [1.0, 2.0, float("nan"), 0.0], "not finite"),
    ],
)
def test_what_has_no_interval_is_missing_evidence(label: list, score: list, message: str) -> None:
    with pytest.raises(EvidenceMissing, match=message):
        auc_interval(np.array(label, np.int8), np.array(score), 0.95)


def test_a_sample_without_a_number_is_missing_evidence() -> None:
    label = np.array([0, 1, 0, 1], np.int8)
    with pytest.raises(EvidenceMissing, match="not a finite number for all rows together or for"):
        bootstrap(label, lambda w: np.where(w[:, 0] == 1, 1.0, np.nan), confidence=0.95, resamples=100, seed=1)
    with pytest.raises(EvidenceMissing, match="no rows"):
        bootstrap(label[:0], weighted.mean(np.empty(0)), confidence=0.95, resamples=100, seed=1)


STATISTICS = {
    "auc": (weighted.auc, metrics.auc),
    "ks": (weighted.ks, metrics.ks),
    "average_precision": (weighted.average_precision, metrics.average_precision),
    "brier": (weighted.brier, metrics.brier),
    "calibration_error": (weighted.calibration_error, metrics.calibration_error),
}


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("ties", [False, True])
def test_weighted_measures_equal_those_of_repeated_rows(name: str, ties: bool) -> None:
    label, good, _ = sample(7, 203, ties)
    probability = 1 / (1 + np.exp(-good))
    weigh, plain = STATISTICS[name]
    statistic = weigh(label, probability)
    assert statistic(np.ones((1, len(label))))[0] == pytest.approx(plain(label, probability), abs=1e-12)
    (block,) = intervals.samples(label, 20, seed=3)
    for weights, found in zip(block, statistic(block), strict=True):
        drawn = np.repeat(np.arange(len(label)), weights.astype(int))
        assert found == pytest.approx(plain(label[drawn], probability[drawn]), abs=1e-12)


def test_lift_and_the_bad_rate_of_the_lowest_scores() -> None:
    label = np.array([0, 0, 0, 0, 0, 0, 1, 0, 1, 1], np.int8)
    score = np.arange(10.0)
    one = np.ones((1, 10))
    assert weighted.lift(label, score, 0.1)(one)[0] == pytest.approx(1 / 0.3)
    assert weighted.lift(label, score, 0.3)(one)[0] == pytest.approx((2 / 3) / 0.3)
    assert weighted.event_rate_of_lowest(label, score, 0.8)(one)[0] == pytest.approx(1 / 8)
    assert weighted.event_rate_of_lowest(label, score, 0.85)(one)[0] == pytest.approx(1.5 / 8.5)
    equal = np.zeros(10)
    assert weighted.event_rate_of_lowest(label, equal, 0.8)(one)[0] == pytest.approx(1 / 8)  # in the order of the rows


def test_samples_keep_the_classes_and_equal_seeds_are_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    label, _, _ = sample(8, 50)
    (block,) = intervals.samples(label, 40, seed=9)
    assert (block.sum(axis=1) == 50).all()
    assert (block @ label == label.sum()).all()
    assert (block != block[0]).any()
    monkeypatch.setattr(intervals, "_CELLS", 150)
    np.testing.assert_array_equal(np.concatenate(list(intervals.samples(label, 40, seed=9))), block)
    assert (np.concatenate(list(intervals.samples(label, 40, seed=10))) != block).any()


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Events N(1, 1) against others N(0, 1): the area is the normal distribution's at 1 / sqrt 2."""
    truth = NormalDist().cdf(2**-0.5)
    held = {"delong": 0, "bootstrap": 0}
    for seed in range(200):
        random = np.random.default_rng(seed)
        label = np.repeat([1, 0], [60, 140]).astype(np.int8)
        score = random.normal(label.astype(float))
        found = auc_interval(label, score, 0.9)
        held["delong"] += found.low <= truth <= found.high
        drawn = bootstrap(label, weighted.auc(label, score), confidence=0.9, resamples=100, seed=seed)
        held["bootstrap"] += drawn.low <= truth <= drawn.high
    assert 0.84 <= held["delong"] / 200 <= 0.96
    assert 0.82 <= held["bootstrap"] / 200 <= 0.96


@pytest.mark.parametrize(
    ("events", "rows", "low", "high"),
    [((56, 48), (70, 80), 0.0524, 0.3339), ((9, 3), (10, 10), 0.1705, 0.8090), ((5, 0), (56, 29), -0.0381, 0.1926)],
)
def test_a_difference_of_rates_is_as_newcombe_published_it(
    events: tuple[int, int], rows: tuple[int, int], low: float, high: float
) -> None:
    """Table II of Newcombe (1998), method 10."""
    found = intervals.rate_difference(events, rows, 0.95)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_an_empty_group_has_no_rate() -> None:
    with pytest.raises(EvidenceMissing, match="0 and 5 rows"):
        intervals.rate_difference((0, 1), (0, 5), 0.95)


def test_bootstrap_and_delong_agree_on_a_difference() -> None:
    label, good, worse = sample(11, 3_000)
    by_delong = auc_difference(label, good, worse, 0.95)
    a, b = weighted.auc(label, good), weighted.auc(label, worse)
    drawn = bootstrap(label, lambda w: a(w) - b(w), confidence=0.95, resamples=500, seed=2)
    assert drawn.value == pytest.approx(by_delong.value)
    assert drawn.high - drawn.low == pytest.approx(by_delong.high - by_delong.low, rel=0.15)
