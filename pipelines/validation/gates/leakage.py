"""Leakage: does a feature know what came after the event? Asked again with today's contracts, definitions and limits.

What was honest at training may have been found out since: a column is marked `known: later`, or a waiver is taken back.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.evaluation.leakage import Finding
from pipelines.spec import Model
from pipelines.training.steps import leakage_verdict
from pipelines.validation.gates.inputs import Inputs
from pipelines.validation.gates.rows import labelled_rows
from pipelines.validation.measurement import Measurement


def measure(inputs: Inputs) -> Iterator[Measurement]:
    """open_findings that nobody has waived, and waived_findings."""
    candidate = inputs.candidate
    as_of, rows = candidate.provenance.training_set.as_of, labelled_rows(candidate)
    model = with_todays_waivers(candidate.model, inputs.model)
    verdict = leakage_verdict(inputs.settings, model, as_of, rows, inputs.policy.training)
    looked_at = f"{len(verdict.features)} features in {verdict.rows} training rows"
    waived = [finding for finding in verdict.findings if finding.waiver is not None]
    for metric, found in (("open_findings", verdict.blocking), ("waived_findings", waived)):
        evidence = "; ".join([looked_at, *(_told(finding) for finding in found)])
        yield Measurement(metric=metric, value=float(len(found)), evidence=evidence)


def with_todays_waivers(recorded: Model, now: Model) -> Model:
    """The model as it was recorded, with the waivers of its file as it is now; those taken back are gone."""
    views = {
        view: {
            name: feature.model_copy(
                update={"leakage_waiver": now.feature[name].leakage_waiver if name in now.feature else None}
            )
            for name, feature in features.items()
        }
        for view, features in recorded.features.items()
    }
    return recorded.model_copy(update={"features": views})


def _told(finding: Finding) -> str:
    waived = f" (waived: {finding.waiver})" if finding.waiver else ""
    return f"{finding.feature} {finding.reason}{waived}"
