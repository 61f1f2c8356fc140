"""Stability: does the model hold on later rows what it showed on those it learnt from, in every month?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.special import ndtri

from pipelines.contracts import EvidenceMissing
from pipelines.evaluation import metrics
from pipelines.evaluation.intervals import auc_covariance, auc_interval
from pipelines.monitoring.psi import count_numbers, psi
from pipelines.validation.gates.inputs import Inputs
from pipelines.validation.measurement import Measurement, assessed

EVENTS_OF_A_MONTH = 20
_BINS = 10


def measure(inputs: Inputs) -> Iterator[Measurement]:
    """auc_drop from development to judged rows, worst_month_auc, and score_psi between the two."""
    yield assessed("auc_drop", lambda: _auc_drop(inputs))
    yield assessed("worst_month_auc", lambda: _worst_month(inputs))
    yield assessed("score_psi", lambda: _score_psi(inputs))


def _auc_drop(inputs: Inputs) -> Measurement:
    """How much of the AUC was learnt by heart, or lost since; variances of the two areas by DeLong, added up."""
    candidate = inputs.candidate
    learnt = candidate.predictor.predict(candidate.development.features)
    [before], [[spread_before]] = auc_covariance(candidate.development.label, learnt)
    [after], [[spread_after]] = auc_covariance(candidate.judged.label, candidate.probability)
    half = float(-ndtri((1 - inputs.measuring.confidence) / 2) * np.sqrt(spread_before + spread_after))
    drop = float(before - after)
    return Measurement(
        metric="auc_drop",
        value=drop,
        low=drop - half,
        high=drop + half,
        evidence=f"AUC {before:.4f} on {len(candidate.development)} rows learnt from, {after:.4f} on "
        f"{len(candidate.judged)} judged rows",
    )


def _worst_month(inputs: Inputs) -> Measurement:
    """The month that ranks worst, of those with enough of both outcomes to say."""
    judged, probability = inputs.candidate.judged, inputs.candidate.probability
    months = metrics.by_month(judged.event_date, judged.label, probability)
    enough = [m for m in months if min(m.events, m.rows - m.events) >= EVENTS_OF_A_MONTH and m.auc is not None]
    if not enough:
        raise EvidenceMissing(
            f"none of {len(months)} judged months has {EVENTS_OF_A_MONTH} events and as many others: no month can be judged."
        )
    worst = min(enough, key=lambda m: m.auc or 0.0)
    chosen = judged.event_date.astype("datetime64[M]") == np.datetime64(worst.month, "M")
    found = auc_interval(judged.label[chosen], probability[chosen], inputs.measuring.confidence)
    return Measurement(
        metric="worst_month_auc",
        value=found.value,
        low=found.low,
        high=found.high,
        evidence=f"{worst.month:%Y-%m} with {worst.events} events in {worst.rows} rows, worst of {len(enough)} months with at "
        f"least {EVENTS_OF_A_MONTH} events; {len(months) - len(enough)} months have fewer",
    )


def _score_psi(inputs: Inputs) -> Measurement:
    candidate = inputs.candidate
    learnt = candidate.predictor.predict(candidate.development.features)
    scores = np.append(learnt, candidate.probability)
    if not np.isfinite(scores).all():
        raise EvidenceMissing(f"{int((~np.isfinite(scores)).sum())} of {len(scores)} scores are no numbers.")
    edges = np.unique(np.quantile(learnt, np.arange(1, _BINS) / _BINS)).tolist() if len(learnt) else []
    found = psi(count_numbers(learnt, edges), count_numbers(candidate.probability, edges))
    return Measurement(
        metric="score_psi",
        value=found.value,
        evidence=f"{found.expected_rows} rows learnt from against {found.actual_rows} judged rows in {found.bins} bins; by "
        f"chance it stays below {found.chance_99 or 0.0:.4f} in 99 of 100 samples",
    )
