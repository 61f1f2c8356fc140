"""Stress: what the scores become when the inputs move as a scenario of the policy says.

A scenario shifts inputs and holds everything else; it is a question about the model, no forecast. Absent values stay absent.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipelines.contracts import EvidenceMissing
from pipelines.evaluation.metrics import Scores
from pipelines.spec import Scenario, Shift
from pipelines.training.rows import numbers
from pipelines.validation.gates.inputs import Inputs
from pipelines.validation.gates.rows import replaced
from pipelines.validation.measurement import Measurement


def measure(inputs: Inputs) -> Iterator[Measurement]:
    """By scenario: mean_ratio (mean probability stressed over unstressed) and approved_drop (approved share lost)."""
    for name, scenario in inputs.measuring.scenarios.items():
        try:
            yield from _measured(inputs, name, scenario)
        except EvidenceMissing as reason:
            for metric in ("mean_ratio", "approved_drop"):
                yield Measurement(metric=metric, segment=name, value=None, evidence=str(reason))


def stressed(features: pa.Table, scenario: Scenario, shifted: list[str]) -> pa.Table:
    """The rows after the shifts of these features."""
    for name in shifted:
        features = replaced(features, name, _shifted(numbers(features, name), scenario.features[name]))
    return features


def _measured(inputs: Inputs, name: str, scenario: Scenario) -> Iterator[Measurement]:
    candidate = inputs.candidate
    known = {n for n, feature in candidate.model.feature.items() if not feature.categorical}
    shifted = [feature for feature in scenario.features if feature in known]
    if not shifted or not len(candidate.judged):
        raise EvidenceMissing(
            f"{scenario.title}: it shifts {', '.join(scenario.features)}, none of which is a number that the model reads, or "
            f"there are no rows ({len(candidate.judged)})."
        )
    before = candidate.predictor.predict(candidate.judged.features)
    after = candidate.predictor.predict(stressed(candidate.judged.features, scenario, shifted))
    if not (np.isfinite(before).all() and np.isfinite(after).all()) or before.mean() <= 0:
        raise EvidenceMissing(f"{scenario.title}: the model gives probabilities that are no numbers, or none above 0.")
    cut = float(np.quantile(before, inputs.measuring.approved_share))
    told = f"{scenario.title} ({', '.join(shifted)} shifted in {len(before)} rows): "
    yield Measurement(
        metric="mean_ratio",
        segment=name,
        value=float(after.mean() / before.mean()),
        evidence=f"{told}mean probability from {before.mean():.4f} to {after.mean():.4f}; {scenario.source}",
    )
    approved = [float((scores <= cut).mean()) for scores in (before, after)]
    yield Measurement(
        metric="approved_drop",
        segment=name,
        value=approved[0] - approved[1],
        evidence=f"{told}at a cut-off of {cut:.4f} the approved share goes from {approved[0]:.1%} to {approved[1]:.1%}",
    )


def _shifted(values: Scores, shift: Shift) -> Scores:
    moved = values * shift.multiply + shift.add
    if shift.at_least is not None:
        moved = np.where(moved < shift.at_least, shift.at_least, moved)
    if shift.at_most is not None:
        moved = np.where(moved > shift.at_most, shift.at_most, moved)
    return moved
