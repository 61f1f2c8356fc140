"""Requests for approval as Postgres holds them: requests, answers and ends, each only ever added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pipelines import database
from pipelines.contracts import Blocked, DataFault, GateReport, Value
from pipelines.registry.permits import Answer, Request
from pipelines.settings import Settings

Say = Literal["approve", "refuse"]
End = Literal["granted", "refused", "timed_out"]


class Asked(Value):
    """What a request for approval is bound to.

    Attributes:
        expected_champion: version that was champion when it was asked; None when there was none.
        needed: how many different persons must agree.
        validators: who may answer.
        trainer, requester: who may not.
        place: where it was asked.
    """

    model: str
    version: int
    artefact_digest: str
    gate_run_no: int
    gate_digest: str
    policy: str
    policy_version: str
    expected_champion: int | None
    needed: int
    validators: tuple[str, ...]
    trainer: str
    requester: str
    place: str


class ApprovalRequest(Asked, Request):
    """A request as it stands, its answers in the order they were given.

    Attributes:
        late: its time is over by the database's clock, at the time it was read.
        ended: None while it is open.
        permit_no, permit_valid: of the permit that was granted.
    """

    answer_by: datetime
    at: datetime
    late: bool
    ended: End | None
    permit_no: int | None
    permit_valid: bool

    @property
    def approved_by(self) -> tuple[str, ...]:
        return tuple(a.person for a in self.answers if a.answer == "approve")

    @property
    def state(self) -> str:
        """open, expired (nobody closed it yet), granted, refused or timed_out."""
        return self.ended or ("expired" if self.late else "open")


class GateRun(Value):
    """A stored gate report."""

    gate_run_no: int
    report: GateReport
    digest: str


_ASKED = ", ".join(Asked.model_fields)
_SELECT = f"""
    SELECT {", ".join(f"r.{name}" for name in Asked.model_fields)}, r.request_no, r.answer_by, r.at,
           r.answer_by <= now() AS late, e.how AS ended, p.permit_no,
           coalesce(p.expires > now(), false) AS permit_valid
    FROM vigil.approval_request r
    LEFT JOIN vigil.approval_end e USING (request_no)
    LEFT JOIN vigil.permit p USING (request_no)"""


def add(connection: database.Connection, asked: Asked, hours: float) -> int:
    """Store a new request that is open for so many hours; its number."""
    values = ", ".join(f":{name}" for name in Asked.model_fields)
    made = database.execute(
        connection,
        f"INSERT INTO vigil.approval_request ({_ASKED}, answer_by) "
        f"VALUES ({values}, now() + :hours * interval '1 hour') RETURNING request_no",
        **asked.model_dump() | {"validators": list(asked.validators)},
        hours=hours,
    )
    return int(made[0]["request_no"])


def add_answer(connection: database.Connection, request_no: int, answer: Answer) -> None:
    """Store one person's answer."""
    database.execute(
        connection,
        "INSERT INTO vigil.approval_answer (request_no, person, role, answer, note, place, answered_at) "
        "VALUES (:request_no, :person, :role, :answer, :note, :place, :answered_at)",
        request_no=request_no,
        **answer.model_dump(),
    )


def add_end(connection: database.Connection, request_no: int, how: End) -> None:
    """Close a request; a second end of one request is refused by the table."""
    database.execute(
        connection,
        "INSERT INTO vigil.approval_end (request_no, how) VALUES (:request_no, :how)",
        request_no=request_no,
        how=how,
    )


def read(connection: database.Connection, request_no: int) -> ApprovalRequest:
    """One request with its answers. Raises DataFault when there is none of that number."""
    found = _requests(connection, f"{_SELECT} WHERE r.request_no = :request_no", request_no=request_no)
    if not found:
        raise DataFault(
            f"there is no request for approval {request_no}. Nothing was changed. The open ones: "
            "python -m pipelines registry requests"
        )
    return found[0]


def of_version(connection: database.Connection, model: str, version: int) -> list[ApprovalRequest]:
    """All requests for a version, newest first."""
    where = "WHERE r.model = :model AND r.version = :version ORDER BY r.request_no DESC"
    return _requests(connection, f"{_SELECT} {where}", model=model, version=version)


def not_ended(connection: database.Connection, model: str | None) -> list[ApprovalRequest]:
    """Requests that are open or expired, oldest first; of one model, or of all."""
    where = "WHERE e.how IS NULL AND (CAST(:model AS text) IS NULL OR r.model = :model) ORDER BY r.request_no"
    return _requests(connection, f"{_SELECT} {where}", model=model)


def newest_gate_run(connection: database.Connection, model: str, version: int, policy: str) -> GateRun | None:
    """The newest gate report of a version under a policy; None when it was never judged under it."""
    where = "WHERE model = :model AND version = :version AND policy = :policy ORDER BY gate_run_no DESC LIMIT 1"
    found = database.execute(
        connection,
        f"SELECT gate_run_no, report, digest FROM vigil.gate_run {where}",
        model=model,
        version=version,
        policy=policy,
    )
    return _gate_run(found[0]) if found else None


def gate_run(settings: Settings, gate_run_no: int) -> tuple[GateReport, str | None]:
    """A stored gate report, and the comparison stored with it as JSON. Raises Blocked when the report was altered."""
    found = database.rows(
        settings,
        "SELECT gate_run_no, report, digest, comparison FROM vigil.gate_run WHERE gate_run_no = :no",
        no=gate_run_no,
    )
    if not found:
        raise DataFault(f"there is no gate run {gate_run_no}. Nothing was changed.")
    return _gate_run(found[0]).report, found[0]["comparison"]


def _gate_run(row: Mapping[str, Any]) -> GateRun:
    report = GateReport.model_validate_json(row["report"])
    if report.digest != row["digest"]:
        raise Blocked(
            f"model {report.model}: the report of gate run {row['gate_run_no']} is not the one its digest was taken of; the "
            "row was altered. Nothing was changed. Judge the version again, and find out who can write to vigil.gate_run."
        )
    return GateRun(gate_run_no=row["gate_run_no"], report=report, digest=row["digest"])


def _requests(connection: database.Connection, query: str, **parameters: Any) -> list[ApprovalRequest]:
    rows = database.execute(connection, query, **parameters)
    answers = _answers(connection, [row["request_no"] for row in rows])
    return [ApprovalRequest(**row, answers=answers.get(row["request_no"], ())) for row in rows]


def _answers(connection: database.Connection, requests: Sequence[int]) -> dict[int, tuple[Answer, ...]]:
    found: dict[int, tuple[Answer, ...]] = {}
    query = (
        "SELECT request_no, person, role, answer, note, place, answered_at FROM vigil.approval_answer "
        "WHERE request_no = ANY(:requests) ORDER BY at, person"
    )
    for row in database.execute(connection, query, requests=list(requests)):
        given = {name: value for name, value in row.items() if name != "request_no"}
        found[row["request_no"]] = (*found.get(row["request_no"], ()), Answer(**given))
    return found
