"""Explainability: can every adverse outcome be given a reason, and do the reasons add up to the score?

Adverse are the rows above the share that the policy takes as approved. What may be told is in the model file's reason catalogue;
of a model without one (no credit model) a feature is its own reason. A reason counts when it raises the score above the baseline
and names no prohibited basis.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipelines.contracts import EvidenceMissing
from pipelines.evaluation.metrics import Scores
from pipelines.training.contributions import Contributions
from pipelines.training.reasons import by_reason, prohibited_reasons
from pipelines.validation.gates.inputs import Inputs
from pipelines.validation.measurement import Measurement

_FURTHEST = 20.0  # log odds beyond which a probability in double precision no longer tells them to 1e-6


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
    tellable = _tellable(inputs, found)
    without = ~(tellable.values > 0).any(axis=1)
    evidence = (
        f"{int(without.sum())} of {told} have no reason that raises them; {len(tellable.features)} reasons may be told"
    )
    return Measurement(metric="adverse_without_reason", value=float(without.mean()), evidence=evidence)


def _tellable(inputs: Inputs, found: Contributions) -> Contributions:
    """What may be told of the rows.

    Raises EvidenceMissing for a catalogue that names a prohibited basis, and for a credit model without one.
    """
    reasons, fairness = inputs.model.reasons, inputs.measuring.fairness
    if reasons is not None:
        if wrong := prohibited_reasons(reasons, fairness):
            raise EvidenceMissing(
                "reasons name a prohibited basis: " + ", ".join(f"{code} ({word})" for code, word in wrong.items())
            )
        return by_reason(found, reasons)
    if inputs.model.domain == "credit":
        raise EvidenceMissing(
            f"models/{inputs.model.name}.yaml has no section `reasons`, so nobody could be told why. docs/reasons.md says how."
        )
    prohibited = set(fairness.attributes) if fairness else set()
    allowed = [n for n, name in enumerate(found.features) if name in inputs.model.feature and name not in prohibited]
    names = tuple(found.features[n] for n in allowed)
    return Contributions(found.baseline, found.values[:, allowed], names, found.calibrated)


def _sum_error(inputs: Inputs, found: Contributions, probability: Scores, told: str) -> Measurement:
    """Where the sums are log odds before calibration, they are calibrated first."""
    sums = found.log_odds
    if not found.calibrated:
        probability_of_sums = inputs.candidate.predictor.developed.calibration.probability(sums)
        error = np.abs(probability_of_sums - probability)
        evidence = f"{told}; in probability, since isotonic calibration is no straight line in the log odds"
    else:
        with np.errstate(divide="ignore"):
            of_score = np.log(probability) - np.log1p(-probability)
        error = np.abs(np.clip(sums, -_FURTHEST, _FURTHEST) - np.clip(of_score, -_FURTHEST, _FURTHEST))
        evidence = f"{told}; in log odds"
    return Measurement(metric="largest_sum_error", value=float(error.max()), evidence=evidence)
