"""What Postgres remembers of judgements: every report as it was, and the newest is the one in force."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines import database
from pipelines.contracts import GateReport, Value
from pipelines.settings import Settings


class GateRun(Value):
    """A stored report with its number."""

    gate_run_no: int
    report: GateReport


def newest_run(settings: Settings, model: str, version: int) -> GateRun | None:
    """The newest report about a version; None when it was never judged."""
    return _first(database.rows(settings, f"{_SELECT} {_NEWEST}", model=model, version=version))


def stored(connection: database.Connection, report: GateReport, comparison: str | None) -> tuple[int, bool]:
    """Number of the stored report, and whether it is new: one equal to the newest of its version is not stored again.

    Inside the caller's transaction, who holds the lock of the model's judgements.
    """
    newest = _first(database.execute(connection, f"{_SELECT} {_NEWEST}", model=report.model, version=report.version))
    if newest is not None and newest.report.digest == report.digest:
        return newest.gate_run_no, False
    [made] = database.execute(
        connection,
        "INSERT INTO vigil.gate_run (model, version, artefact_digest, judged_on, policy, policy_version, passed, digest, "
        "report, comparison) VALUES (:model, :version, :artefact_digest, :judged_on, :policy, :policy_version, :passed, "
        ":digest, :report, :comparison) RETURNING gate_run_no",
        **report.model_dump(include=_COLUMNS),
        passed=report.passed,
        digest=report.digest,
        report=report.model_dump_json(),
        comparison=comparison,
    )
    return int(made["gate_run_no"]), True


_COLUMNS = {"model", "version", "artefact_digest", "judged_on", "policy", "policy_version"}
_SELECT = "SELECT gate_run_no, report FROM vigil.gate_run"
_NEWEST = "WHERE model = :model AND version = :version ORDER BY gate_run_no DESC LIMIT 1"


def _first(found: list[Mapping[str, Any]]) -> GateRun | None:
    if not found:
        return None
    return GateRun(gate_run_no=found[0]["gate_run_no"], report=GateReport.model_validate_json(found[0]["report"]))
