"""No worse than the champion: differences with their intervals, so that rules can ask for the worst that is still believable.

A model that never had a champion is set against the best version of the same training by another algorithm, which must not be
surely better; rules say which of the two they are against. Without either there is nothing it was compared with, and nothing
has been passed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipelines.contracts import EvidenceMissing
from pipelines.evaluation.intervals import Interval
from pipelines.validation.comparison import Comparison, compare
from pipelines.validation.measurement import Measurement
from pipelines.validation.opponent import load_opponent

if TYPE_CHECKING:
    from pipelines.validation.gates.inputs import Inputs

DIFFERENCES = ("auc", "bad_rate", "brier")


def measure(inputs: Inputs) -> Iterator[Measurement]:
    """auc_difference, bad_rate_difference (at equal approval), brier_difference, compared_share, and segment_auc_difference for
    each category that is large enough. Differences are candidate less opponent.

    Raises:
        EvidenceMissing: there is nothing to compare with, or nothing could be compared.
        Blocked: a champion is expected and cannot be used.
    """
    comparison = _comparison(inputs)
    subject = _subject(comparison)
    for name in DIFFERENCES:
        yield _measured(f"{name}_difference", comparison.measure(name).difference, subject)
    judged = comparison.rows + comparison.unmatched
    yield Measurement(
        metric="compared_share",
        value=comparison.rows / judged,
        evidence=f"{comparison.rows} of {judged} judged rows could be scored by both versions",
    )
    large = [(s, s.auc_difference) for s in comparison.segments if s.auc_difference is not None]
    for segment, difference in large:
        evidence = f"{segment.rows} rows with {segment.events} events; {subject}"
        yield _measured("segment_auc_difference", difference, evidence, segment.segment)
    if not large:
        evidence = "no feature is categorical, or no category has rows enough to be compared by itself"
        yield Measurement(metric="segment_auc_difference", value=None, evidence=evidence)


def _comparison(inputs: Inputs) -> Comparison:
    """The comparison made already; else it is tried here, so that the reason why there is none is the gate's evidence."""
    if inputs.comparison is not None:
        made: Comparison = inputs.comparison
        return made
    opponent = inputs.opponent or load_opponent(inputs.settings, inputs.model, inputs.candidate)
    if opponent is None:
        raise EvidenceMissing(
            f"model {inputs.model.name}: no version was ever champion and no other algorithm learnt from the same rows, so "
            f"there is nothing to compare version {inputs.candidate.version} with. Name a second algorithm in the model file "
            "and train."
        )
    return compare(inputs.settings, inputs.model, inputs.candidate, opponent, inputs.measuring)


def _subject(comparison: Comparison) -> str:
    theirs = comparison.opponent
    learnt = comparison.learnt_from
    known = "an unknown number" if learnt is None else str(learnt)
    return (
        f"version {comparison.candidate.version} less {theirs.role} version {theirs.version} on {comparison.rows} rows with "
        f"{comparison.events} events, {comparison.confidence:.0%} interval; the {theirs.role} had learnt from {known} of them"
    )


def _measured(metric: str, difference: Interval, evidence: str, segment: str = "") -> Measurement:
    return Measurement(
        metric=metric,
        segment=segment,
        value=difference.value,
        low=difference.low,
        high=difference.high,
        evidence=evidence,
    )
