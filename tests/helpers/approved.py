"""Versions that passed gates and were approved, as the tables hold them: what promotion starts from."""

from __future__ import annotations

from datetime import date

from small_night import MODEL

from pipelines import database, mlflow_store
from pipelines.contracts import GateReport, GateVerdict, Verdict
from pipelines.registry.permits import Permit, PermitRequest, grant
from pipelines.registry.standing import standing
from pipelines.settings import Settings
from pipelines.spec import Model

APPROVER = "validator@bank.example"
TRAINER = "trainer@bank.example"
REQUESTER = "requester@bank.example"
_digests: dict[tuple[str, str, int], str] = {}


def digest_of(settings: Settings, version: int, model: Model = MODEL) -> str:
    key = settings.database_url, model.name, version
    if key not in _digests:
        _digests[key] = mlflow_store.version(settings, model.name, version).tags["vigil.artefact_digest"]
    return _digests[key]


def report(settings: Settings, version: int, *, passed: bool = True, model: Model = MODEL) -> GateReport:
    verdict = GateVerdict(
        gate="discrimination", metric="auc", segment="", observed=0.71, low=0.69, high=0.73, limit="at least 0.6",
        verdict=Verdict.PASS if passed else Verdict.FAIL, effect="block", evidence="4000 rows",
        rule="internal/discrimination.auc", policy="internal", policy_version="2026.1", source="the tests",
    )  # fmt: skip
    return GateReport(
        model=model.name, version=version, artefact_digest=digest_of(settings, version, model),
        judged_on=date(2026, 6, 30), champion_version=None, champion_digest=None, policy="small",
        policy_version="2026.1", verdicts=(verdict,),
    )  # fmt: skip


def judged(settings: Settings, version: int, *, passed: bool = True, model: Model = MODEL) -> tuple[int, str]:
    """A stored gate run: its number and digest."""
    made = report(settings, version, passed=passed, model=model)
    [row] = database.rows(
        settings,
        "INSERT INTO vigil.gate_run (model, version, artefact_digest, judged_on, policy, policy_version, passed, digest, "
        "report) VALUES (:model, :version, :files, :on, 'small', '2026.1', :passed, :digest, :report) RETURNING gate_run_no",
        model=model.name, version=version, files=made.artefact_digest, on=made.judged_on, passed=made.passed,
        digest=made.digest, report=made.model_dump_json(),
    )  # fmt: skip
    return row["gate_run_no"], made.digest


def asked(
    settings: Settings,
    version: int,
    gate_run: tuple[int, str],
    *,
    needed: int = 1,
    validators: tuple[str, ...] = (APPROVER, "second@bank.example"),
    expected: int | None = None,
    model: Model = MODEL,
) -> int:
    """A stored request for approval: its number."""
    [row] = database.rows(
        settings,
        "INSERT INTO vigil.approval_request (model, version, artefact_digest, gate_run_no, gate_digest, policy, "
        "policy_version, expected_champion, needed, validators, trainer, requester, place, answer_by) VALUES (:model, "
        ":version, :files, :run, :digest, 'small', '2026.1', :expected, :needed, :validators, :trainer, :requester, 'test', "
        "now() + interval '1 day') RETURNING request_no",
        model=model.name, version=version, files=digest_of(settings, version, model), run=gate_run[0],
        digest=gate_run[1], expected=expected, needed=needed, validators=list(validators), trainer=TRAINER,
        requester=REQUESTER,
    )  # fmt: skip
    return row["request_no"]


def answered(settings: Settings, request_no: int, person: str = APPROVER, answer: str = "approve") -> None:
    database.rows(
        settings,
        "INSERT INTO vigil.approval_answer (request_no, person, role, answer, place, answered_at) VALUES (:request_no, "
        ":person, 'validator', :answer, 'test', now()) RETURNING 1",
        request_no=request_no, person=person, answer=answer,
    )  # fmt: skip


def permitted(
    settings: Settings,
    version: int,
    gate_run: tuple[int, str],
    request_no: int | None,
    *,
    days: float = 30,
    model: Model = MODEL,
) -> Permit:
    """A permit: of kind approval with a request, else of kind gates."""
    wanted = PermitRequest(
        model=model.name,
        version=version,
        role="challenger" if request_no is None else "champion",
        artefact_digest=digest_of(settings, version, model),
        policy="small",
        policy_version="2026.1",
        kind="gates" if request_no is None else "approval",
        reason="in a test",
        gate_run_no=gate_run[0],
        gate_digest=gate_run[1],
        request_no=request_no,
    )
    with database.transaction(settings) as connection:
        [given] = grant(connection, [wanted], valid_days=days)
    return given


def approved(settings: Settings, version: int, *, days: float = 30, model: Model = MODEL) -> Permit:
    """The whole way: gates passed, one validator asked and agreed to replace the present champion, permit given."""
    gate_run = judged(settings, version, model=model)
    now = standing(settings, model.name)
    expected = now.version if now else None
    request_no = asked(settings, version, gate_run, expected=expected, model=model)
    answered(settings, request_no)
    return permitted(settings, version, gate_run, request_no, days=days, model=model)
