"""Discrimination: does the score rank events above the others, on rows it had not learnt from?"""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.evaluation import metrics
from pipelines.evaluation.metrics import Labels, Scores
from pipelines.validation.gates.inputs import Inputs
from pipelines.validation.gates.uncertainty import Statistic, bootstrap
from pipelines.validation.measurement import Measurement, assessed


def measure(inputs: Inputs) -> Iterator[Measurement]:
    """auc, gini, ks and average_precision over all judged rows, with intervals."""
    for name, statistic in _STATISTICS.items():
        yield assessed(name, lambda name=name, statistic=statistic: _measured(inputs, name, statistic))  # type: ignore[misc]


def gini(label: Labels, score: Scores) -> float:
    """2 AUC - 1 (Somers' D)."""
    return 2 * metrics.auc(label, score) - 1


_STATISTICS: dict[str, Statistic] = {
    "auc": metrics.auc,
    "gini": gini,
    "ks": metrics.ks,
    "average_precision": metrics.average_precision,
}


def _measured(inputs: Inputs, name: str, statistic: Statistic) -> Measurement:
    judged, measuring = inputs.candidate.judged, inputs.measuring
    found = bootstrap(statistic, judged.label, inputs.candidate.probability, measuring)
    return Measurement(
        metric=name,
        value=found.value,
        low=found.low,
        high=found.high,
        evidence=f"{len(judged)} judged rows with {judged.events} events; {measuring.confidence:.0%} interval of "
        f"{measuring.resamples} resamples",
    )
