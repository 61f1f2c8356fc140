"""Calibration: does a probability mean what it says, on rows it had not learnt from?

Interval of the number of events: exact for a Poisson count, Garwood, Biometrika 28 (1936). Skill: 1 - Brier / Brier of
saying the base rate to everyone, Murphy (1973). Slope: logistic regression of the outcome on the log odds, Cox, Biometrika 45
(1958); 1 where spread and outcome agree, below 1 where the probabilities are too far apart.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.special import gammaincinv, ndtri

from pipelines.contracts import EvidenceMissing
from pipelines.evaluation import metrics, weighted
from pipelines.evaluation.intervals import Interval, Statistic, Weights
from pipelines.evaluation.metrics import Labels, Scores
from pipelines.training.calibration import logistic
from pipelines.validation.gates.inputs import Inputs
from pipelines.validation.measurement import Measurement, assessed

_CLOSEST = 1e-9  # to 0 and 1, where log odds end
_STEPS = 50
_CONVERGED = 1e-10


def measure(inputs: Inputs) -> Iterator[Measurement]:
    """calibration_error, calibration_ratio (observed over predicted events), brier_skill and calibration_slope."""
    judged, probability = inputs.candidate.judged, inputs.candidate.probability

    def error() -> Measurement:
        return _resampled(inputs, "calibration_error", weighted.calibration_error(judged.label, probability))

    yield assessed("calibration_error", error)
    yield assessed("calibration_ratio", lambda: _ratio(inputs))
    yield assessed("brier_skill", lambda: _resampled(inputs, "brier_skill", brier_skill(judged.label, probability)))
    yield assessed("calibration_slope", lambda: _slope(inputs))


def brier_skill(label: Labels, probability: Scores) -> Statistic:
    """1 - Brier score / Brier score of the base rate, as a statistic of weights; 0 for a model that knows no more."""
    brier, events = weighted.brier(label, probability), weighted.mean(label.astype(np.float64))

    def statistic(weights: Weights) -> Scores:
        base_rate = events(weights)
        with np.errstate(divide="ignore", invalid="ignore"):
            skill: Scores = 1 - brier(weights) / (base_rate * (1 - base_rate))
        return skill

    return statistic


def calibration_slope(label: Labels, probability: Scores, confidence: float) -> Interval:
    """Slope of the outcome on the log odds with its Wald interval. Raises EvidenceMissing where it cannot be found."""
    metrics.auc(label, probability)  # refuses what is not usable
    clipped = np.clip(probability, _CLOSEST, 1 - _CLOSEST)
    design = np.column_stack([np.ones(len(label)), np.log(clipped / (1 - clipped))])
    if np.ptp(design[:, 1]) == 0:
        raise EvidenceMissing("all probabilities are the same: they have no slope.")
    found = np.zeros(2)  # from there the steps lead to the one maximum, if there is one
    for _ in range(_STEPS):
        fitted = logistic(design @ found)
        information = design.T @ (design * (fitted * (1 - fitted))[:, None])
        if not np.isfinite(information).all() or np.linalg.cond(information) > 1 / _CONVERGED:
            break
        step = np.linalg.solve(information, design.T @ (label - fitted))
        found = found + step
        if np.abs(step).max() < _CONVERGED:
            half = float(-ndtri((1 - confidence) / 2) * np.sqrt(np.linalg.inv(information)[1, 1]))
            return Interval(value=float(found[1]), low=float(found[1]) - half, high=float(found[1]) + half)
    raise EvidenceMissing("the slope does not settle: the outcomes are told apart wholly, or not at all.")


def _resampled(inputs: Inputs, name: str, statistic: Statistic) -> Measurement:
    return _measurement(
        inputs, name, inputs.resampled(statistic), f"interval of {inputs.measuring.resamples} resamples"
    )


def _slope(inputs: Inputs) -> Measurement:
    judged, confidence = inputs.candidate.judged, inputs.measuring.confidence
    found = calibration_slope(judged.label, inputs.candidate.probability, confidence)
    return _measurement(inputs, "calibration_slope", found, "slope of the outcome on the log odds")


def _ratio(inputs: Inputs) -> Measurement:
    judged = inputs.candidate.judged
    metrics.brier(judged.label, inputs.candidate.probability)  # refuses what is not usable
    predicted = float(inputs.candidate.probability.sum())
    if predicted <= 0:
        raise EvidenceMissing("no event is predicted, so there is nothing to compare the events with.")
    tail = (1 - inputs.measuring.confidence) / 2
    low = float(gammaincinv(judged.events, tail)) if judged.events else 0.0
    high = float(gammaincinv(judged.events + 1, 1 - tail))
    found = Interval(value=judged.events / predicted, low=low / predicted, high=high / predicted)
    return _measurement(inputs, "calibration_ratio", found, f"{predicted:.1f} events were predicted")


def _measurement(inputs: Inputs, name: str, found: Interval, how: str) -> Measurement:
    judged = inputs.candidate.judged
    evidence = f"{len(judged)} judged rows with {judged.events} events; {how}"
    return Measurement(metric=name, value=found.value, low=found.low, high=found.high, evidence=evidence)
