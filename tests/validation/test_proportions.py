"""Intervals and tests against figures that are published or can be computed another way."""

from __future__ import annotations

import pytest
from scipy import stats

from pipelines.contracts import EvidenceMissing
from pipelines.validation.proportions import Share, difference, exact, ratio, significance, wilson


def test_the_log_interval_of_a_ratio_is_that_of_katz():
    theirs = stats.contingency.relative_risk(30, 100, 45, 120).confidence_interval(0.95)
    ours = ratio(Share(30, 100), Share(45, 120), 0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert ours.value == pytest.approx(0.8)


def test_a_ratio_of_nought_and_one_without_variance_still_have_an_interval():
    nought = ratio(Share(0, 50), Share(25, 50), 0.95)
    assert nought.value == nought.low == 0
    assert 0 < nought.high < 0.5
    sure = ratio(Share(50, 50), Share(60, 60), 0.95)
    assert sure.low < sure.value == 1 < sure.high


def test_a_ratio_to_nought_does_not_exist():
    with pytest.raises(EvidenceMissing):
        ratio(Share(5, 50), Share(0, 50), 0.95)


def test_newcombe_1998_table_2():
    found = difference(Share(56, 70), Share(48, 80), 0.95)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
    found = difference(Share(9, 10), Share(3, 10), 0.95)
    assert (found.low, found.high) == pytest.approx((0.1705, 0.8090), abs=1e-4)


@pytest.mark.parametrize("share", [Share(0, 40), Share(3, 40), Share(40, 40)])
def test_intervals_of_a_rate_are_those_of_scipy(share):
    theirs = stats.binomtest(share.hits, share.rows)
    for ours, method in ((wilson, "wilson"), (exact, "exact")):
        interval = theirs.proportion_ci(0.95, method)
        found = ours(share, 0.95)
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-12)


def test_significance_is_pooled_z_and_exact_for_few():
    many = significance(Share(779, 1000), Share(893, 1000))
    assert many.test == "two-proportion z test"
    uncorrected = stats.chi2_contingency([[779, 221], [893, 107]], correction=False).pvalue
    assert many.p_value == pytest.approx(uncorrected)
    few = significance(Share(1, 12), Share(6, 10))
    assert few.test == "Fisher's exact test"
    assert few.p_value == pytest.approx(stats.fisher_exact([[1, 11], [6, 4]]).pvalue)
