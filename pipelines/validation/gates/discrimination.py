"""Discrimination: does the score rank events above the others, on rows it had not learnt from?

Intervals of the areas by DeLong, of the others by bootstrap (pipelines.evaluation.intervals).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pipelines.evaluation import weighted
from pipelines.evaluation.intervals import Interval, Statistic, auc_interval
from pipelines.evaluation.metrics import Labels, Scores
from pipelines.validation.gates.inputs import Inputs
from pipelines.validation.measurement import Measurement, assessed


def measure(inputs: Inputs) -> Iterator[Measurement]:
    """auc, gini, ks and average_precision over all judged rows, with intervals."""
    judged, probability = inputs.candidate.judged, inputs.candidate.probability

    def auc() -> Interval:
        return auc_interval(judged.label, probability, inputs.measuring.confidence)

    yield assessed("auc", lambda: _measurement(inputs, "auc", auc()))
    yield assessed("gini", lambda: _measurement(inputs, "gini", auc().times(2, -1)))
    yield assessed("ks", lambda: _resampled(inputs, "ks", weighted.ks))
    yield assessed("average_precision", lambda: _resampled(inputs, "average_precision", weighted.average_precision))


def _resampled(inputs: Inputs, name: str, statistic: Callable[[Labels, Scores], Statistic]) -> Measurement:
    found = inputs.resampled(statistic(inputs.candidate.judged.label, inputs.candidate.probability))
    return _measurement(inputs, name, found)


def _measurement(inputs: Inputs, name: str, found: Interval) -> Measurement:
    judged = inputs.candidate.judged
    evidence = f"{len(judged)} judged rows with {judged.events} events"
    return Measurement(metric=name, value=found.value, low=found.low, high=found.high, evidence=evidence)
