"""Measures of a probability of default against what happened, in NumPy, over everyone.

A measure that cannot be computed (no rows, one class only, a score that is not a number) raises EvidenceMissing: an
absent number is never a pass. Labels are 1 for the event and 0 for none; a higher score means a more likely event.

Formulas: area under the ROC curve as the Mann-Whitney statistic with midranks for ties, Hanley and McNeil, Radiology 143
(1982), and Gini = 2 AUC - 1 (Somers' D); Kolmogorov-Smirnov distance of the two score distributions, Siddiqi, Credit Risk
Scorecards (2006); average precision as the step-wise sum of precision over recall, Zhu (2004); Brier, Monthly Weather
Review 78 (1950); expected calibration error over equally filled bins, Naeini, Cooper and Hauskrecht, AAAI (2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import numpy.typing as npt

from pipelines.contracts import EvidenceMissing, Value

Labels = npt.NDArray[np.int8]
Scores = npt.NDArray[np.float64]
Dates = npt.NDArray[np.datetime64]


class Decile(Value):
    """One of the ten equally filled score bands, from the lowest scores: mean prediction against the rate observed."""

    decile: int
    rows: int
    events: int
    predicted: float
    observed: float


class Month(Value):
    """The measures of the events of one calendar month (its first day); auc and ks are None where one class is absent."""

    month: date
    rows: int
    events: int
    predicted: float
    observed: float
    brier: float
    auc: float | None
    ks: float | None


def measure(label: Labels, probability: Scores) -> dict[str, float]:
    """All measures of probabilities: auc, gini, ks, average_precision, brier, calibration_error, rates and counts.

    Raises:
        EvidenceMissing: no rows, one class only, or a probability that is not a number in [0, 1].
    """
    label, probability = usable(label, probability)
    if probability.min() < 0 or probability.max() > 1:
        raise EvidenceMissing("a probability lies outside [0, 1]: nothing can be measured. Train again.")
    area = auc(label, probability)
    return {
        "auc": area,
        "gini": 2 * area - 1,
        "ks": ks(label, probability),
        "average_precision": average_precision(label, probability),
        "brier": brier(label, probability),
        "calibration_error": calibration_error(label, probability),
        "mean_predicted": float(probability.mean()),
        "event_rate": float(label.mean()),
        "rows": float(len(label)),
        "events": float(label.sum()),
    }


def auc(label: Labels, score: Scores) -> float:
    """Probability that a random event scores above a random non-event, ties counting half. Raises EvidenceMissing."""
    label, score = usable(label, score)
    events, others = _at_or_above_each_score(label, score)
    below = others[-1] - others  # cumulated from the highest score: what is left lies below
    tied = np.diff(others, prepend=0)
    wins = np.diff(events, prepend=0) * (below + tied / 2)
    return float(wins.sum() / (events[-1] * others[-1]))


def ks(label: Labels, score: Scores) -> float:
    """Largest distance between the score distributions of events and non-events, 0 to 1. Raises EvidenceMissing."""
    label, score = usable(label, score)
    events, others = _at_or_above_each_score(label, score)
    return float(np.max(np.abs(events / events[-1] - others / others[-1])))


def average_precision(label: Labels, score: Scores) -> float:
    """Sum over distinct scores of precision times the recall gained there. Raises EvidenceMissing."""
    label, score = usable(label, score)
    events, others = _at_or_above_each_score(label, score)
    return float(np.sum(events / (events + others) * np.diff(events / events[-1], prepend=0)))


def brier(label: Labels, probability: Scores) -> float:
    """Mean squared difference between probability and outcome. Raises EvidenceMissing."""
    label, probability = usable(label, probability, both_classes=False)
    return float(np.mean((probability - label) ** 2))


def calibration_error(label: Labels, probability: Scores) -> float:
    """Mean over the deciles, weighted by rows, of |mean prediction - rate observed|. Raises EvidenceMissing."""
    deciles = calibration_by_decile(label, probability)
    gaps = sum(d.rows * abs(d.predicted - d.observed) for d in deciles)
    return gaps / sum(d.rows for d in deciles)


def calibration_by_decile(label: Labels, probability: Scores) -> tuple[Decile, ...]:
    """Ten equally filled bands in order of the score; equal scores may fall into two bands. Raises EvidenceMissing."""
    label, probability = usable(label, probability, both_classes=False)
    order = np.argsort(probability, kind="stable")
    bands = [band for band in np.array_split(order, 10) if len(band)]
    return tuple(
        Decile(
            decile=number,
            rows=len(band),
            events=int(label[band].sum()),
            predicted=float(probability[band].mean()),
            observed=float(label[band].mean()),
        )
        for number, band in enumerate(bands, start=1)
    )


def by_month(event_date: Dates, label: Labels, probability: Scores) -> tuple[Month, ...]:
    """The measures of each calendar month of the event dates, in order. Raises EvidenceMissing when there are no rows."""
    label, probability = usable(label, probability, both_classes=False)
    months = event_date.astype("datetime64[M]")
    return tuple(_month(month, label[months == month], probability[months == month]) for month in np.unique(months))


def roc_curve(label: Labels, score: Scores) -> tuple[Scores, Scores]:
    """Shares of non-events and of events at or above each distinct score, from (0, 0) to (1, 1)."""
    label, score = usable(label, score)
    events, others = _at_or_above_each_score(label, score)
    return np.append(0.0, others / others[-1]), np.append(0.0, events / events[-1])


def mean_of(measures: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean of each measure over folds; counts are added up."""
    counted = ("rows", "events")
    return {
        name: float(np.sum(values) if name in counted else np.mean(values))
        for name in measures[0]
        for values in [[m[name] for m in measures]]
    }


def usable(label: Labels, score: Scores, *, both_classes: bool = True) -> tuple[Labels, Scores]:
    """Labels and scores as arrays. Raises EvidenceMissing when nothing can be measured on them."""
    label, score = np.asarray(label), np.asarray(score, np.float64)
    if label.shape != score.shape or label.ndim != 1:
        raise EvidenceMissing(f"labels {label.shape} and scores {score.shape} do not belong together.")
    if not len(label):
        raise EvidenceMissing("there are no rows to measure on.")
    if not np.isfinite(score).all():
        raise EvidenceMissing(f"{int((~np.isfinite(score)).sum())} of {len(score)} scores are not finite numbers.")
    if not np.isin(label, (0, 1)).all():
        raise EvidenceMissing("a label is neither 0 nor 1.")
    events = int(label.sum())
    if both_classes and events in (0, len(label)):
        raise EvidenceMissing(f"{events} of {len(label)} rows are events: with one class only nothing can be ranked.")
    return label.astype(np.int8, copy=False), score


def _month(month: np.datetime64, label: Labels, probability: Scores) -> Month:
    both = 0 < int(label.sum()) < len(label)
    return Month(
        month=month.astype("datetime64[D]").astype(date),
        rows=len(label),
        events=int(label.sum()),
        predicted=float(probability.mean()),
        observed=float(label.mean()),
        brier=brier(label, probability),
        auc=auc(label, probability) if both else None,
        ks=ks(label, probability) if both else None,
    )


def _at_or_above_each_score(label: Labels, score: Scores) -> tuple[Scores, Scores]:
    """Events and non-events at or above each distinct score, from the highest score down."""
    order = np.argsort(-score, kind="stable")
    ranked, hits = score[order], label[order]
    last_of_ties = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    events = np.cumsum(hits, dtype=np.float64)[last_of_ties]
    return events, last_of_ties + 1.0 - events
