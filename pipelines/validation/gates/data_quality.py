"""Data quality of the training set: what ingest and the checks recorded about its sources, and how complete its rows are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import numpy as np

from pipelines.contracts import EvidenceMissing, Manifest, QualityVerdict
from pipelines.features.snapshots import model_views
from pipelines.ingest.records import publications
from pipelines.validation.gates.inputs import Inputs
from pipelines.validation.gates.rows import labelled_rows
from pipelines.validation.measurement import Measurement, assessed

Publications = list[tuple[Manifest, QualityVerdict]]


def measure(inputs: Inputs) -> Iterator[Measurement]:
    """quarantined_share by source, failed_checks, missing_share, training_rows and training_events."""
    for source in inputs.candidate.model.sources:
        yield assessed("quarantined_share", lambda source=source: _quarantined(inputs, source), source)  # type: ignore[misc]
    yield assessed("failed_checks", lambda: _failed_checks(inputs))
    yield assessed("missing_share", lambda: _missing_share(inputs))
    rows = labelled_rows(inputs.candidate)
    told = f"as of {inputs.candidate.provenance.training_set.as_of}"
    yield Measurement(metric="training_rows", value=float(len(rows)), evidence=f"labelled rows, {told}")
    yield Measurement(metric="training_events", value=float(rows.events), evidence=f"events, {told}")


def _quarantined(inputs: Inputs, source: str) -> Measurement:
    manifests = [manifest for manifest, _ in _published(inputs, source)]
    rows = sum(manifest.rows_in for manifest in manifests)
    bad = sum(manifest.rows_quarantined for manifest in manifests)
    if not rows:
        raise EvidenceMissing(f"{source} delivered no row on {len(manifests)} dates.")
    evidence = f"{bad} of {rows} delivered rows of {len(manifests)} dates"
    return Measurement(metric="quarantined_share", segment=source, value=bad / rows, evidence=evidence)


def _failed_checks(inputs: Inputs) -> Measurement:
    """Critical checks that did not pass, of the verdicts under which the sources were published."""
    sources = inputs.candidate.model.sources
    verdicts = [verdict for source in sources for _, verdict in _published(inputs, source)]
    failed = [f"{v.subject} {v.business_date}: {check.name}" for v in verdicts for check in v.blocking]
    made = sum(len(verdict.checks) for verdict in verdicts)
    evidence = "; ".join([f"{made} checks in {len(verdicts)} verdicts on {', '.join(sources)}", *failed])
    return Measurement(metric="failed_checks", value=float(len(failed)), evidence=evidence)


def _published(inputs: Inputs, source: str) -> Publications:
    """What the training set could see of a source. Raises EvidenceMissing where nobody recorded it."""
    model, pins = inputs.candidate.model, inputs.candidate.provenance.training_set
    dates = [day.astype(date) for day in np.unique(labelled_rows(inputs.candidate).event_date)]
    first = dates[0] - model_views(inputs.settings, model).longest_history
    found = publications(inputs.settings, source, first, pins.as_of, pins.pins.source_versions.get(source))
    recorded = {manifest.business_date for manifest, _ in found}
    unknown = [on for on in dates if on not in recorded] if source == model.population else []
    if unknown or not found:
        raise EvidenceMissing(
            f"ingest has no record of {source} on {len(unknown)} of {len(dates)} training dates, so nobody knows what was "
            "left out or which checks it passed."
        )
    return found


def _missing_share(inputs: Inputs) -> Measurement:
    """The worst of the features whose absence is no documented state."""
    rows = labelled_rows(inputs.candidate)
    needed = [name for name, feature in inputs.candidate.model.feature.items() if feature.missing != "allowed"]
    if not needed:
        evidence = "absence is a documented state of every feature"
        return Measurement(metric="missing_share", value=0.0, evidence=evidence)
    absent = {name: rows.features[name].null_count for name in needed}
    worst = max(absent, key=lambda name: absent[name])
    evidence = f"{worst}, absent in {absent[worst]} of {len(rows)} training rows; worst of {len(needed)} features"
    return Measurement(metric="missing_share", value=absent[worst] / len(rows), evidence=evidence)
