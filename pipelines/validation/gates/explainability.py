"""Explainability: can every adverse outcome be given a reason, and do the reasons add up to the score?

Adverse are the rows above the share that the policy takes as approved. A reason is a feature that raises the score above the
baseline and that may be told a customer: no protected attribute, and no part of the model that is no feature.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipelines.contracts import EvidenceMissing
from pipelines.evaluation.metrics import Scores
from pipelines.training.contributions import Contributions
from pipelines.validation.gates.inputs import Inputs
from pipelines.validation.measurement import Measurement

_CLOSEST = 1e-12  # to 0 and 1, where log odds end


def measure(inputs: Inputs) -> Iterator[Measurement]:
    """adverse_without_reason (share of the adverse rows) and largest_sum_error (in log odds)."""
    candidate = inputs.candidate
    probability = candidate.predictor.predict(candidate.judged.features)
    if not len(probability) or not np.isfinite(probability).all():
        raise EvidenceMissing(
            f"{len(probability)} judged rows, or probabilities that are no numbers: nobody can be told why."
        )
    adverse = probability > np.quantile(probability, inputs.measuring.approved_share)
    if not adverse.any():
        raise EvidenceMissing("no row lies above the approved share: all scores are the same.")
    found = candidate.predictor.contributions(candidate.judged.where(adverse).features)
    told = f"{len(found)} adverse of {len(probability)} judged rows"
    yield _without_reason(inputs, found, told)
    yield _sum_error(inputs, found, probability[adverse], told)


def _without_reason(inputs: Inputs, found: Contributions, told: str) -> Measurement:
    fairness = inputs.measuring.fairness
    prohibited = set(fairness.attributes) if fairness else set()
    features = inputs.candidate.model.feature
    tellable = np.array([name in features and name not in prohibited for name in found.features])
    without = ~(found.values[:, tellable] > 0).any(axis=1)
    evidence = (
        f"{int(without.sum())} of {told} have no feature that raises them; {int(tellable.sum())} features may be told"
    )
    return Measurement(metric="adverse_without_reason", value=float(without.mean()), evidence=evidence)


def _sum_error(inputs: Inputs, found: Contributions, probability: Scores, told: str) -> Measurement:
    """Where the sums are log odds before calibration, they are calibrated first."""
    sums = found.log_odds
    if not found.calibrated:
        probability_of_sums = inputs.candidate.predictor.developed.calibration.probability(sums)
        error = np.abs(probability_of_sums - probability)
        evidence = f"{told}; in probability, since isotonic calibration is no straight line in the log odds"
    else:
        clipped = np.clip(probability, _CLOSEST, 1 - _CLOSEST)
        error = np.abs(sums - np.log(clipped / (1 - clipped)))
        evidence = f"{told}; in log odds"
    return Measurement(metric="largest_sum_error", value=float(error.max()), evidence=evidence)
