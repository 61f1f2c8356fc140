"""How sure a measure is: confidence intervals of areas under the ROC curve by DeLong's method, of anything else by bootstrap.

DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988): the area is a mean over events and over non-events of how the one
is placed among the others, so its variance, and the covariance of two areas over the same rows, follow from those
placements. They are found from midranks in O(n log n) as by Sun and Xu, IEEE Signal Processing Letters 21 (2014); midranks
count a tie as half. Intervals are normal and cut to what the measure can be. Where events and non-events are wholly apart
the variance is 0 and so is the width: such an interval says that no row contradicts, not that none could.

Bootstrap: rows are drawn with replacement, events and non-events apart, so that each sample has as many of both (stratified;
Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13); the interval lies between percentiles. A
sample is a row of weights, how often each row was drawn, so a measure sorts once and all samples are computed together. Two
models are compared on the same samples (paired).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pipelines.contracts import EvidenceMissing, Value
from pipelines.evaluation.metrics import Labels, Scores, usable

Weights = npt.NDArray[np.float64]
Statistic = Callable[[Weights], Scores]
"""From weights (samples, rows) to one number per sample; see pipelines.evaluation.weighted."""

K = TypeVar("K", bound=Hashable)
_CELLS = 262_144  # weights held at a time: 2 MB stay in the processor's cache while every statistic passes over them


class Interval(Value):
    """A number and the ends of its confidence interval."""

    value: float
    low: float
    high: float

    def times(self, factor: float, add: float = 0.0) -> Interval:
        """factor * x + add, for a factor above 0."""
        return Interval(value=factor * self.value + add, low=factor * self.low + add, high=factor * self.high + add)


def auc_interval(label: Labels, score: Scores, confidence: float) -> Interval:
    """Area under the ROC curve. Raises EvidenceMissing with fewer than two events or two non-events."""
    areas, covariance = auc_covariance(label, score)
    return _normal(float(areas[0]), float(covariance[0, 0]), confidence, (0.0, 1.0))


def auc_difference(label: Labels, a: Scores, b: Scores, confidence: float) -> Interval:
    """Area of `a` minus area of `b` over the same rows; of equal rankings exactly 0. Raises EvidenceMissing."""
    areas, covariance = auc_covariance(label, a, b)
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    return _normal(float(areas[0] - areas[1]), float(variance), confidence, (-1.0, 1.0))


def auc_covariance(label: Labels, *scores: Scores) -> tuple[Scores, npt.NDArray[np.float64]]:
    """Areas of several scores over the same rows, and the covariance of their estimates.

    Raises:
        EvidenceMissing: a score is not finite, or there are fewer than two events or two non-events.
    """
    placed = [_placements(*usable(label, score)) for score in scores]
    of_events = np.stack([events for events, _ in placed])
    of_others = np.stack([others for _, others in placed])
    if min(of_events.shape[1], of_others.shape[1]) < 2:
        raise EvidenceMissing(
            f"{of_events.shape[1]} events and {of_others.shape[1]} others: the spread of an area needs two of both."
        )
    covariance = np.atleast_2d(np.cov(of_events)) / of_events.shape[1]
    covariance = covariance + np.atleast_2d(np.cov(of_others)) / of_others.shape[1]
    return of_events.mean(axis=1), covariance


@dataclass(frozen=True)
class Drawn:
    """A statistic of all rows and of each sample; the difference of two that were drawn together is paired."""

    value: float
    drawn: Scores

    def __sub__(self, other: Drawn) -> Drawn:
        return Drawn(self.value - other.value, self.drawn - other.drawn)

    def interval(self, confidence: float) -> Interval:
        """Between percentiles. Raises EvidenceMissing where the statistic is not finite."""
        absent = int((~np.isfinite(self.drawn)).sum())
        if not np.isfinite(self.value) or absent:
            raise EvidenceMissing(
                f"the measure is not a finite number for all rows together or for {absent} of {len(self.drawn)} samples."
            )
        tail = (1.0 - confidence) / 2.0
        low, high = np.quantile(self.drawn, [tail, 1.0 - tail])
        return Interval(value=self.value, low=float(low), high=float(high))


def bootstrap(
    strata: npt.NDArray[np.integer], statistic: Statistic, *, confidence: float, resamples: int, seed: int
) -> Interval:
    """Interval of one statistic; see `bootstrap_all`."""
    return bootstrap_all(strata, {"": statistic}, resamples=resamples, seed=seed)[""].interval(confidence)


def bootstrap_all(
    strata: npt.NDArray[np.integer], statistics: Mapping[K, Statistic], *, resamples: int, seed: int
) -> dict[K, Drawn]:
    """Several statistics of the same samples.

    Args:
        strata: group of each row (its label); as many are drawn of each as it has.
        resamples, seed: how many samples, and of which random numbers; equal seeds give equal samples.

    Raises:
        EvidenceMissing: there are no rows.
    """
    if not len(strata):
        raise EvidenceMissing("there are no rows to measure on.")
    whole = np.ones((1, len(strata)))
    drawn: dict[K, list[Scores]] = {name: [] for name in statistics}
    for weights in samples(strata, resamples, seed):
        for name, statistic in statistics.items():
            drawn[name].append(statistic(weights))
    return {name: Drawn(float(found(whole)[0]), np.concatenate(drawn[name])) for name, found in statistics.items()}


def rate_difference(events: tuple[int, int], rows: tuple[int, int], confidence: float) -> Interval:
    """Rate of one group of rows minus that of another, with Newcombe's interval from Wilson's scores.

    Newcombe, Statistics in Medicine 17 (1998), method 10: right for small groups and for rates of 0 and 1 too.
    Raises EvidenceMissing when a group is empty.
    """
    if not min(rows):
        raise EvidenceMissing(f"groups of {rows[0]} and {rows[1]} rows: an empty group has no rate.")
    first, second = (_wilson(e, n, confidence) for e, n in zip(events, rows, strict=True))
    value = first.value - second.value
    return Interval(
        value=value,
        low=value - float(np.hypot(first.value - first.low, second.high - second.value)),
        high=value + float(np.hypot(first.high - first.value, second.value - second.low)),
    )


def _wilson(events: int, rows: int, confidence: float) -> Interval:
    """Wilson's score interval of a rate, Journal of the American Statistical Association 22 (1927)."""
    z = NormalDist().inv_cdf((1.0 + confidence) / 2.0)
    rate, shrink = events / rows, 1.0 + z * z / rows
    middle = (rate + z * z / (2 * rows)) / shrink
    half = z * float(np.sqrt(rate * (1 - rate) / rows + (z / (2 * rows)) ** 2)) / shrink
    return Interval(value=rate, low=max(middle - half, 0.0), high=min(middle + half, 1.0))


def samples(strata: npt.NDArray[np.integer], resamples: int, seed: int) -> Iterator[Weights]:
    """Blocks of samples: how often each row was drawn, (samples, rows). The block size does not change what is drawn."""
    random = np.random.default_rng(seed)
    groups = [np.flatnonzero(strata == group) for group in np.unique(strata)]
    most = max(1, _CELLS // len(strata))
    for start in range(0, resamples, most):
        block = np.zeros((min(most, resamples - start), len(strata)))
        for sample in block:
            for rows in groups:
                sample[rows] = np.bincount(random.integers(0, len(rows), len(rows)), minlength=len(rows))
        yield block


def _placements(label: Labels, score: Scores) -> tuple[Scores, Scores]:
    """Per event the share of non-events below it, per non-event the share of events above it; ties count half."""
    event = label == 1
    ranks = _midranks(score)
    events, others = int(event.sum()), int((~event).sum())
    below = (ranks[event] - _midranks(score[event])) / others
    above = 1.0 - (ranks[~event] - _midranks(score[~event])) / events
    return below, above


def _midranks(score: Scores) -> Scores:
    _, group, size = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(size)
    ranks: Scores = (last - (size - 1) / 2.0)[group]
    return ranks


def _normal(value: float, variance: float, confidence: float, bounds: tuple[float, float]) -> Interval:
    half = NormalDist().inv_cdf((1.0 + confidence) / 2.0) * float(np.sqrt(max(variance, 0.0)))
    least, most = bounds
    return Interval(value=value, low=max(value - half, least), high=min(value + half, most))
