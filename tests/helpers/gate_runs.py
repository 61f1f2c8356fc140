"""Gate reports stored as the gates leave them, for tests of what comes after."""

from __future__ import annotations

from datetime import UTC, date, datetime

from pipelines import database, mlflow_store
from pipelines.contracts import GateReport, GateVerdict, Verdict
from pipelines.registry.standing import standing
from pipelines.settings import Settings
from pipelines.spec import Model, load_policy


def store_gate_run(
    settings: Settings, model: Model, version: int, *, passed: bool = True, on: date | None = None
) -> GateReport:
    """A report of one rule under the model's policy, for the files that the registry holds."""
    policy = load_policy(settings.policies, model.policy)
    digest = mlflow_store.version(settings, model.name, version).tags["vigil.artefact_digest"]
    now = standing(settings, model.name)
    verdict = GateVerdict(
        gate="discrimination",
        metric="auc",
        segment="",
        observed=0.8 if passed else 0.5,
        low=0.7,
        high=0.9,
        limit="at least 0.6",
        verdict=Verdict.PASS if passed else Verdict.FAIL,
        effect="block",
        evidence="4,000 rows",
        rule="small/discrimination.auc",
        policy=policy.policy,
        policy_version=policy.version,
        source="tests",
    )
    report = GateReport(
        model=model.name,
        version=version,
        artefact_digest=digest,
        judged_on=on or datetime.now(UTC).date(),
        champion_version=now.version if now else None,
        champion_digest=now.artefact_digest if now else None,
        policy=policy.policy,
        policy_version=policy.version,
        verdicts=(verdict,),
    )
    with database.transaction(settings) as connection:
        database.execute(
            connection,
            "INSERT INTO vigil.gate_run (model, version, artefact_digest, judged_on, policy, policy_version, passed, digest, "
            "report) VALUES (:model, :version, :files, :on, :policy, :policy_version, :passed, :digest, :report)",
            model=model.name,
            version=version,
            files=digest,
            on=report.judged_on,
            policy=policy.policy,
            policy_version=policy.version,
            passed=report.passed,
            digest=report.digest,
            report=report.model_dump_json(),
        )
    return report
