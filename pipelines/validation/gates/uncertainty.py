"""Confidence intervals by bootstrap: rows drawn again with replacement, events and others apart (Efron and Tibshirani, An
Introduction to the Bootstrap, 1993, percentile interval)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipelines.contracts import Value
from pipelines.evaluation.metrics import Labels, Scores
from pipelines.spec import Measuring

Statistic = Callable[[Labels, Scores], float]


class Interval(Value):
    """A value with the ends of its confidence interval."""

    value: float
    low: float
    high: float


def bootstrap(statistic: Statistic, label: Labels, score: Scores, measuring: Measuring) -> Interval:
    """The statistic and its percentile interval. Raises what the statistic raises on all rows."""
    value = statistic(label, score)
    random = np.random.default_rng(measuring.seed)
    groups = [np.flatnonzero(label == outcome) for outcome in (0, 1)]
    drawn = []
    for _ in range(measuring.resamples):
        chosen = np.concatenate([random.choice(group, len(group)) for group in groups])
        drawn.append(statistic(label[chosen], score[chosen]))
    tail = (1 - measuring.confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(value=value, low=float(low), high=float(high))
