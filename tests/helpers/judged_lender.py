"""A small lender with trained versions, taken in with records as ingest leaves them, and candidates made worse on purpose."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
from lender import AS_OF, MONTHS, Lender

from pipelines import database, training
from pipelines.contracts import Check, GateVerdict, IngestState, Manifest, QualityVerdict, Severity, Verdict
from pipelines.ingest.records import landed, newest_verdict, record_landing, record_publication, record_verdict
from pipelines.lake import Lake
from pipelines.settings import Settings
from pipelines.spec import Gate, Model, Rule, StampedRule, load_policy
from pipelines.validation.candidate import Candidate
from pipelines.validation.gates.engine import MEASURES, verdicts_of
from pipelines.validation.gates.inputs import Inputs

ON = date(2026, 9, 30)
ROWS = 1_200


def train(lender: Lender) -> Model:
    """Five months of loans, taken in and built, and version 1 (CatBoost) and 2 (scorecard) registered."""
    lender.publish(MONTHS, ROWS)
    for on in MONTHS:
        record_ingest(lender.settings, "loans", on, quarantined=2)
    model = lender.model()
    lender.build(model)
    training.train(lender.settings, model, AS_OF)
    return model


def record_ingest(settings: Settings, source: str, on: date, *, quarantined: int, passed: bool = True) -> None:
    """What ingest remembers of one date of a source that is in the lake."""
    table = f"source/{source}"
    manifest = Manifest(
        source=source,
        business_date=on,
        state=IngestState.PUBLISHED,
        file_digests={},
        rows_in=ROWS + quarantined,
        rows_published=ROWS,
        rows_quarantined=quarantined,
        quarantine_reasons={"bad": quarantined},
        control_totals={},
        lake_version=Lake(settings).version(table) or 0,
        late=False,
    )
    check = Check(name="rows", severity=Severity.CRITICAL, passed=passed, observed="some", expected="some")
    subject = f"landing/{source}"
    verdict = QualityVerdict(
        subject=subject, business_date=on, lake_version=manifest.lake_version, checks=(check,), data_docs="docs"
    )
    record_verdict(settings, verdict, "0" * 64)
    with database.transaction(settings) as connection:
        record_landing(connection, manifest, "0" * 64, "0" * 64)
        landing = landed(connection, source, on)
        recorded = newest_verdict(connection, subject, on)
        assert landing is not None
        assert recorded is not None
        record_publication(connection, manifest, landing.landing_no, recorded.verdict_no)


def inputs_of(settings: Settings, model: Model, candidate: Candidate) -> Inputs:
    """Inputs by the repository's policy, without an opponent; few resamples, to be quick."""
    policy = load_policy(settings.policies, model.policy)
    assert policy.measuring is not None
    scenarios = {"unemployment_10": policy.measuring.scenarios["unemployment_10"]}  # the others shift nothing it reads
    quick = {"resamples": 100, "latency_repeats": 20, "latency_rows": 100, "scenarios": scenarios}
    return Inputs(settings, model, policy, policy.measuring.model_copy(update=quick), candidate, None, None, ON)


def measuring(inputs: Inputs, **changed: Any) -> Inputs:
    """The same inputs, measured in another way."""
    return replace(inputs, measuring=inputs.measuring.model_copy(update=changed))


def of_gate(inputs: Inputs, gate: Gate) -> dict[tuple[str, str], GateVerdict]:
    """What one gate says by the policy's own rules that block: by metric and segment, the worst verdict."""
    found = [v for v in verdicts_of(inputs, {gate: MEASURES[gate]}) if v.gate == gate and v.effect == "block"]
    return {(v.metric, v.segment): v for v in sorted(found, key=lambda v: v.verdict is not Verdict.PASS)}


def failing(inputs: Inputs, gate: Gate) -> dict[tuple[str, str], Verdict]:
    """What of it does not pass."""
    return {key: v.verdict for key, v in of_gate(inputs, gate).items() if v.verdict is not Verdict.PASS}


def with_rules(inputs: Inputs, *rules: Rule, **changed: Any) -> Inputs:
    """The same inputs with only these rules in the policy."""
    stamped = tuple(StampedRule(**rule.model_dump(), pack="house", pack_version="7") for rule in rules)
    return replace(inputs, policy=inputs.policy.model_copy(update={"rules": stamped}), **changed)


class Scored:
    """A predictor of its own making: `score` gives the probabilities of a table; the rest is the real one's."""

    def __init__(self, real: Any, score: Any) -> None:
        self._real, self._score = real, score

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def predict(self, features: pa.Table) -> np.ndarray:
        return np.asarray(self._score(features), float)


def scored_by(candidate: Candidate, score: Any) -> Candidate:
    """The candidate with another way to score, judged rows included."""
    predictor: Any = Scored(candidate.predictor, score)
    return replace(candidate, predictor=predictor, probability=predictor.predict(candidate.judged.features))
