"""Judge a registered version: load and compare it, put it through the gates, remember the report, let what passed be scored
in the shadow of the champion.

Judged again on the same day from the same data it gives the same report, which is not stored twice; a killed judgement is
simply run again and finishes what is left: first the record with its permit, then the pages, last the alias.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipelines import database, mlflow_store
from pipelines.contracts import Blocked, DataFault, GateReport
from pipelines.registry import append, journalled, standing
from pipelines.registry.permits import PermitRequest, grant, permits_of
from pipelines.registry.versions import CHALLENGER, CHALLENGER_ALIAS
from pipelines.settings import Settings
from pipelines.spec import Approvals, Gate, Measuring, Model, Policy, load_policy
from pipelines.validation import page, pages, records
from pipelines.validation.candidate import Candidate, load_candidate
from pipelines.validation.comparison import Comparison, compare
from pipelines.validation.gates.engine import Measure, measured_once, verdicts_of
from pipelines.validation.gates.inputs import Inputs
from pipelines.validation.opponent import Opponent, load_opponent

log = logging.getLogger(__name__)

PLACE = "gates"


def judge(
    settings: Settings, model: Model, version: int, on: date, *, policy: str | None = None, record: bool = True
) -> GateReport:
    """The report of the gates about one version by the rules of a day.

    Recorded, the report is stored, whatever it says; a version that passed gets a permit to be scored in the shadow and a
    challenger's alias. The champion's alias is not touched.

    Args:
        policy: another pack than the model's, to see what it would say; then nothing is recorded.
        record: whether anything is changed anywhere.

    Raises:
        Blocked: the policy does not say how to measure or who approves, or the version's files are not what it claims.
        DataFault: the version is unknown, its training set cannot be made again, or the policy is not in force.
        ConnectionBroken: the database, the lake or the registry did not answer; the same command may be run again.
    """
    rules = load_policy(settings.policies, policy or model.policy).require_in_force(on)
    measuring, approvals = _sections(model, rules)
    inputs = _inputs(settings, model, version, on, rules, measuring)
    report = _report(inputs)
    log.info(
        "%s version %s on %s: %s of %s verdicts block",
        model.name,
        version,
        on,
        len(report.blocking),
        len(report.verdicts),
    )
    if record and rules.policy == model.policy:
        _record(inputs, report, approvals)
    return report


def judge_on_days(
    settings: Settings, model: Model, version: int, days: Sequence[date], *, policy: str | None = None
) -> tuple[GateReport, ...]:
    """What the rules of each day say of the same measurements, so that reports differ by the rules alone. Nothing is recorded.

    Raises as `judge` does.
    """
    rules = load_policy(settings.policies, policy or model.policy)
    for day in days:
        rules.require_in_force(day)
    measuring, _ = _sections(model, rules)
    inputs = _inputs(settings, model, version, days[0], rules, measuring)
    measures = measured_once(inputs)
    return tuple(_report(replace(inputs, judged_on=day), measures) for day in days)


def _inputs(settings: Settings, model: Model, version: int, on: date, policy: Policy, measuring: Measuring) -> Inputs:
    candidate = load_candidate(settings, model, version)
    opponent = _opponent(settings, model, candidate)
    earlier = records.newest_run(settings, model.name, version)
    return Inputs(
        settings=settings,
        model=model,
        policy=policy,
        measuring=measuring,
        candidate=candidate,
        opponent=opponent,
        comparison=_comparison(settings, model, candidate, opponent, measuring),
        judged_on=on,
        earlier=earlier.report if earlier and earlier.report.artefact_digest == candidate.artefact_digest else None,
    )


def _sections(model: Model, policy: Policy) -> tuple[Measuring, Approvals]:
    if policy.measuring is None or policy.approvals is None:
        absent = [name for name in ("measuring", "approvals") if getattr(policy, name) is None]
        raise Blocked(
            f"model {model.name}: policy {policy.policy} has no section {' and '.join(absent)}, here or in what it inherits, "
            "so nothing can be judged by it. Nothing was recorded. docs/gates.md lists every key."
        )
    return policy.measuring, policy.approvals


def _opponent(settings: Settings, model: Model, candidate: Candidate) -> Opponent | None:
    """What the candidate is compared with. Why there is none is found again, and told, by the champion gate."""
    try:
        return load_opponent(settings, model, candidate)
    except (Blocked, DataFault) as reason:
        log.warning("%s version %s is compared with nothing: %s", model.name, candidate.version, reason)
        return None


def _comparison(
    settings: Settings, model: Model, candidate: Candidate, opponent: Opponent | None, measuring: Measuring
) -> Comparison | None:
    """The comparison; None where there is none or nothing in it can be measured, which the champion gate tells of."""
    if opponent is None:
        return None
    try:
        return compare(settings, model, candidate, opponent, measuring)
    except (Blocked, DataFault) as reason:
        log.warning("%s version %s could not be compared: %s", model.name, candidate.version, reason)
        return None


def _report(inputs: Inputs, measures: Mapping[Gate, Measure] | None = None) -> GateReport:
    champion = standing(inputs.settings, inputs.model.name)
    return GateReport(
        model=inputs.model.name,
        version=inputs.candidate.version,
        artefact_digest=inputs.candidate.artefact_digest,
        judged_on=inputs.judged_on,
        champion_version=champion.version if champion else None,
        champion_digest=champion.artefact_digest if champion else None,
        policy=inputs.policy.policy,
        policy_version=inputs.policy.version,
        verdicts=verdicts_of(inputs, measures),
    )


def _record(inputs: Inputs, report: GateReport, approvals: Approvals) -> None:
    settings, candidate, comparison = inputs.settings, inputs.candidate, inputs.comparison
    in_use = report.version == report.champion_version
    with journalled(settings) as connection:
        database.lock(connection, f"vigil.gates.{report.model}")
        number, is_new = records.stored(
            connection, report, None if comparison is None else comparison.model_dump_json()
        )
        if is_new:
            append(
                connection, report.model, "gates_passed" if report.passed else "gates_failed", _facts(report, number)
            )
        if report.passed and not in_use:
            _permit(connection, report, number, approvals.valid_days)
    with TemporaryDirectory(prefix="vigil-gates-") as scratch:
        pages.write(Path(scratch), report)
        mlflow_store.log_folder(settings, candidate.run_id, Path(scratch), PLACE)
    if inputs.opponent is not None and comparison is not None:
        page.log(settings, candidate, inputs.opponent, comparison, inputs.measuring)
    if not report.passed:
        _take_aliases(settings, report)
    elif not in_use:
        _set_alias(settings, report)


def _facts(report: GateReport, gate_run_no: int) -> dict[str, Any]:
    """What the journal keeps of a report: enough to find it and to know that it is still the same."""
    return {
        "version": report.version,
        "artefact_digest": report.artefact_digest,
        "gate_run_no": gate_run_no,
        "gate_digest": report.digest,
        "judged_on": report.judged_on.isoformat(),
        "policy": report.policy,
        "policy_version": report.policy_version,
        "blocking": sorted({f"{v.gate}.{v.metric}" for v in report.blocking}),
    }


def _permit(connection: database.Connection, report: GateReport, gate_run_no: int, valid_days: int) -> None:
    """A challenger's permit, bound to the report; once for each report."""
    if any(permit.gate_run_no == gate_run_no for permit in permits_of(connection, report.model)):
        return
    request = PermitRequest(
        model=report.model,
        version=report.version,
        role=CHALLENGER,
        artefact_digest=report.artefact_digest,
        policy=report.policy,
        policy_version=report.policy_version,
        kind="gates",
        reason="every gate passed",
        gate_run_no=gate_run_no,
        gate_digest=report.digest,
    )
    grant(connection, [request], valid_days=valid_days)


def _take_aliases(settings: Settings, report: GateReport) -> None:
    """What does not pass any more is not scored in the shadow any more."""
    for alias, number in mlflow_store.get_aliases(settings, report.model).items():
        if number == report.version and CHALLENGER_ALIAS.fullmatch(alias):
            mlflow_store.delete_alias(settings, report.model, alias)


def _set_alias(settings: Settings, report: GateReport) -> None:
    """The first challenger's alias that no other version has, unless the version has one."""
    aliases = mlflow_store.get_aliases(settings, report.model)
    if any(number == report.version and CHALLENGER_ALIAS.fullmatch(alias) for alias, number in aliases.items()):
        return
    names = (CHALLENGER if place == 1 else f"{CHALLENGER}_{place}" for place in range(1, len(aliases) + 2))
    mlflow_store.set_alias(settings, report.model, next(name for name in names if name not in aliases), report.version)
