"""The measures of pipelines.evaluation.metrics for rows with weights, many sets of weights at once.

Each function looks at labels and scores once and returns a statistic: weights (samples, rows) in, one number per sample
out. With weights of 1 it gives what its namesake gives (tested). A weight of n counts the row n times.

Where a share of the rows in order of the score is taken (approved rows, top decile, calibration deciles), equal scores are
taken in the order the rows come in, so callers give rows in an order that says nothing about them: that of the token.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipelines.evaluation.intervals import Statistic, Weights
from pipelines.evaluation.metrics import Labels, Scores, usable

_BANDS = 10


def auc(label: Labels, score: Scores) -> Statistic:
    """Area under the ROC curve."""
    curve = _Curve(label, score)

    def statistic(weights: Weights) -> Scores:
        events, others = curve.at_or_above(weights)
        gained = np.diff(events, prepend=0.0, axis=1)
        tied = np.diff(others, prepend=0.0, axis=1)
        wins = (gained * (others[:, -1:] - others + tied / 2.0)).sum(axis=1)
        area: Scores = wins / (events[:, -1] * others[:, -1])
        return area

    return statistic


def ks(label: Labels, score: Scores) -> Statistic:
    """Largest distance between the score distributions of events and non-events."""
    curve = _Curve(label, score)

    def statistic(weights: Weights) -> Scores:
        events, others = curve.at_or_above(weights)
        distance: Scores = np.abs(events / events[:, -1:] - others / others[:, -1:]).max(axis=1)
        return distance

    return statistic


def average_precision(label: Labels, score: Scores) -> Statistic:
    """Sum over distinct scores of precision times the recall gained there."""
    curve = _Curve(label, score)

    def statistic(weights: Weights) -> Scores:
        events, others = curve.at_or_above(weights)
        above = events + others
        precision = np.divide(events, above, out=np.zeros_like(events), where=above > 0)
        gained = np.diff(events / events[:, -1:], prepend=0.0, axis=1)
        total: Scores = (precision * gained).sum(axis=1)
        return total

    return statistic


def brier(label: Labels, probability: Scores) -> Statistic:
    """Mean squared difference between probability and outcome."""
    return mean((probability - label) ** 2)


def mean(values: Scores) -> Statistic:
    """Mean of a value of each row."""

    def statistic(weights: Weights) -> Scores:
        average: Scores = weights @ values / weights.sum(axis=1)
        return average

    return statistic


def calibration_error(label: Labels, probability: Scores) -> Statistic:
    """Mean over ten bands of equal weight of |mean prediction - rate observed|."""
    order = np.argsort(probability, kind="stable")
    gap = (probability - label)[order]

    def statistic(weights: Weights) -> Scores:
        ranked = weights[:, order]
        reached = np.cumsum(ranked, axis=1)
        moved = np.cumsum(ranked * gap, axis=1)
        bands, over = np.divmod(reached[:, -1], _BANDS)  # the first bands hold one more, as np.array_split does it
        error, before = np.zeros(len(weights)), np.zeros(len(weights))
        for band in range(1, _BANDS + 1):
            after = _reached(reached, moved, band * bands + np.minimum(band, over))
            error += np.abs(after - before)
            before = after
        return error / reached[:, -1]

    return statistic


def lift(label: Labels, score: Scores, share: float) -> Statistic:
    """Event rate among the given share of highest scores, over the event rate of all."""
    order = np.argsort(-score, kind="stable")
    events = _event_rate_of_first(label, order, share)

    def statistic(weights: Weights) -> Scores:
        everyone: Scores = weights @ label.astype(np.float64) / weights.sum(axis=1)
        return events(weights) / everyone

    return statistic


def event_rate_of_lowest(label: Labels, score: Scores, share: float) -> Statistic:
    """Event rate among the given share of lowest scores: the bad rate of whoever is approved."""
    return _event_rate_of_first(label, np.argsort(score, kind="stable"), share)


def _event_rate_of_first(label: Labels, order: npt.NDArray[np.intp], share: float) -> Statistic:
    return mean_of_first(label.astype(np.float64), order, share)


def mean_of_first(values: Scores, order: npt.NDArray[np.intp], share: float) -> Statistic:
    """Mean of a value over the given share of rows, in an order; the row at the cut counts in part."""
    ordered = values[order]

    def statistic(weights: Weights) -> Scores:
        ranked = weights[:, order]
        reached = np.cumsum(ranked, axis=1)
        target = share * reached[:, -1]
        result: Scores = _reached(reached, np.cumsum(ranked * ordered, axis=1), target) / target
        return result

    return statistic


def _reached(weight: Weights, total: Weights, target: Scores) -> Scores:
    """The running total where the running weight reaches the target, in each sample; part of a row counts in part."""
    sample = np.arange(len(weight))
    at = np.array([np.searchsorted(w, t) for w, t in zip(weight, target, strict=True)])
    at = np.minimum(at, weight.shape[1] - 1)
    before = np.where(at > 0, at - 1, 0)
    weight_before = np.where(at > 0, weight[sample, before], 0.0)
    total_before = np.where(at > 0, total[sample, before], 0.0)
    step = weight[sample, at] - weight_before
    part = np.divide(target - weight_before, step, out=np.zeros_like(target), where=step > 0)
    reached: Scores = total_before + np.clip(part, 0.0, 1.0) * (total[sample, at] - total_before)
    return reached


class _Curve:
    """Rows from the highest score down, to be cumulated with weights."""

    def __init__(self, label: Labels, score: Scores) -> None:
        label, score = usable(label, score)
        self.order = np.argsort(-score, kind="stable")
        ranked = score[self.order]
        self.label = label[self.order].astype(np.float64)
        self.last_of_ties = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)

    def at_or_above(self, weights: Weights) -> tuple[Weights, Weights]:
        """Weight of events and of non-events at or above each distinct score."""
        ranked = weights[:, self.order]
        hits = ranked * self.label
        events = np.cumsum(hits, axis=1)[:, self.last_of_ties]
        everyone = np.cumsum(ranked, axis=1)[:, self.last_of_ties]
        return events, everyone - events
