"""Two shares compared: ratio, difference and significance, each with the method that statisticians know it by."""

from __future__ import annotations

from math import exp, log, sqrt
from typing import NamedTuple

from scipy import stats

from pipelines.contracts import EvidenceMissing

_LEAST_EXPECTED = 5.0


class Share(NamedTuple):
    """`hits` of `rows`."""

    hits: int
    rows: int

    @property
    def rate(self) -> float:
        return self.hits / self.rows


class Interval(NamedTuple):
    """A number and the ends of its confidence interval."""

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """Two-sided p value of the hypothesis that two shares are equal, and the test it is from."""

    p_value: float
    test: str


def ratio(one: Share, other: Share, confidence: float) -> Interval:
    """Rate of one over rate of the other, with the log interval of Katz et al. 1978.

    Where there are no hits or nothing varies, half a hit and half a miss are added to each share for the interval. The value is
    one division of whole numbers, so that exactly four fifths is exactly 0.8. Raises EvidenceMissing without hits in the other.
    """
    if not other.hits or not one.rows:
        raise EvidenceMissing("a ratio to a rate of nought, or of no rows, does not exist.")
    value = (one.hits * other.rows) / (one.rows * other.hits)
    added = 0.5 if one.hits == 0 or (one.hits, other.hits) == (one.rows, other.rows) else 0.0
    a, n, c, m = one.hits + added, one.rows + 2 * added, other.hits + added, other.rows + 2 * added
    middle, spread = log(a * m / (n * c)), _deviations(confidence) * sqrt(1 / a - 1 / n + 1 / c - 1 / m)
    return Interval(value, min(value, exp(middle - spread)), max(value, exp(middle + spread)))


def difference(one: Share, other: Share, confidence: float) -> Interval:
    """Rate of one less rate of the other, with Newcombe's hybrid score interval (1998, method 10)."""
    value = one.rate - other.rate
    first, second = wilson(one, confidence), wilson(other, confidence)
    below = sqrt((first.value - first.low) ** 2 + (second.high - second.value) ** 2)
    above = sqrt((first.high - first.value) ** 2 + (second.value - second.low) ** 2)
    return Interval(value, value - below, value + above)


def wilson(share: Share, confidence: float) -> Interval:
    """A rate with Wilson's score interval (1927)."""
    z2, n = _deviations(confidence) ** 2, share.rows
    middle = (share.hits + z2 / 2) / (n + z2)
    spread = sqrt(z2 * (share.hits * (n - share.hits) / n + z2 / 4)) / (n + z2)
    return Interval(share.rate, max(0.0, middle - spread), min(1.0, middle + spread))


def exact(share: Share, confidence: float) -> Interval:
    """A rate with the exact binomial interval of Clopper and Pearson (1934)."""
    tail, hits, misses = (1 - confidence) / 2, share.hits, share.rows - share.hits
    low = float(stats.beta.ppf(tail, hits, misses + 1)) if hits else 0.0
    high = float(stats.beta.isf(tail, hits + 1, misses)) if misses else 1.0
    return Interval(share.rate, low, high)


def significance(one: Share, other: Share) -> Difference:
    """Two-sided test that two rates are equal: pooled two-proportion z, or Fisher's exact test where a cell of the table
    expects fewer than 5 rows (Cochran 1954)."""
    rows, hits = one.rows + other.rows, one.hits + other.hits
    if min(hits, rows - hits) * min(one.rows, other.rows) / rows < _LEAST_EXPECTED:
        table = [[share.hits, share.rows - share.hits] for share in (one, other)]
        return Difference(float(stats.fisher_exact(table, alternative="two-sided").pvalue), "Fisher's exact test")
    pooled = hits / rows
    deviation = sqrt(pooled * (1 - pooled) * (1 / one.rows + 1 / other.rows))
    return Difference(float(2 * stats.norm.sf(abs(one.rate - other.rate) / deviation)), "two-proportion z test")


def _deviations(confidence: float) -> float:
    return float(stats.norm.isf((1 - confidence) / 2))
