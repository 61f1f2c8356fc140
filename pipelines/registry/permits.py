"""Permits: what may be loaded and used, bound to the digest of its files, for a limited time. They are only ever added.

A permit is believed for what stands behind it and not for being there: the gate report is read again and its digest made
again, and for a champion the persons' answers are counted again, each time the permit is used.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, ValidationError

from pipelines import database
from pipelines.contracts import Blocked, GateReport, Value, fingerprint
from pipelines.registry.moments import Moment
from pipelines.settings import Settings
from pipelines.spec import Model

Role = Literal["champion", "challenger"]
_log = logging.getLogger(__name__)


class PermitRequest(Value):
    """One permission to use one version of a model, whose files have exactly this digest, in one role.

    Attributes:
        policy, policy_version: rule pack in force when it was given.
        kind: how it came about: `bootstrap` is the first champion of an empty demo registry, `gates` a version that passed
            its gates and may be scored in the shadow, `approval` a champion that persons approved.
        gate_run_no, gate_digest: the gate report it rests on; None only for `bootstrap`.
        request_no: the request that persons answered; only for `approval`.
    """

    model: str
    version: int
    role: Role
    artefact_digest: str
    policy: str
    policy_version: str
    kind: Literal["bootstrap", "gates", "approval"]
    reason: str
    gate_run_no: int | None = None
    gate_digest: str | None = None
    request_no: int | None = None


_REQUESTED = ", ".join(PermitRequest.model_fields)
_GIVEN = f"{_REQUESTED}, permit_no, granted_at, expires, expires <= now() AS expired"
_SELECT = f"SELECT {_GIVEN} FROM vigil.permit"


class Permit(PermitRequest):
    """A permission as given. `expired` is by the database's clock, at the time it was read."""

    permit_no: int
    granted_at: Moment
    expires: Moment
    expired: bool

    @property
    def digest(self) -> str:
        """SHA-256 over everything the permit says; the journal records it."""
        said = self.model_dump(exclude={"expired", "granted_at", "expires"}, exclude_none=True)
        times = [moment.isoformat() for moment in (self.granted_at, self.expires)]
        return fingerprint(*(f"{name}={said[name]}" for name in sorted(said)), *times)


class Answer(Value):
    """What one person answered to a request."""

    person: str
    role: str
    answer: Literal["approve", "refuse"]
    note: str
    place: str
    answered_at: Moment


class Request(Value):
    """What persons were asked to approve, and what they answered so far.

    Attributes:
        expected_champion: the champion it was compared with and is to replace; None when there was none.
    """

    request_no: int
    model: str
    version: int
    artefact_digest: str
    gate_run_no: int
    gate_digest: str
    expected_champion: int | None
    needed: int = Field(ge=1)
    validators: tuple[str, ...]
    trainer: str
    requester: str
    answers: tuple[Answer, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over what was asked and everything that was answered; the journal records it."""
        said = self.model_dump(include=set(Request.model_fields) - {"answers"})
        by_person = sorted(self.answers, key=lambda answer: answer.person)
        answers = [part for answer in by_person for part in answer.model_dump(mode="json").values()]
        return fingerprint(*(f"{name}={said[name]}" for name in sorted(said)), *answers)


_ASKED = ", ".join(name for name in Request.model_fields if name != "answers")
_ANSWERED = ", ".join(Answer.model_fields)


def permit_for(settings: Settings, model: str, version: int, role: Role | None = None) -> Permit | None:
    """The newest permit of one version, in whatever role or in the one named."""
    newest = (
        f"{_SELECT} WHERE model = :model AND version = :version AND (CAST(:role AS text) IS NULL OR role = :role) "
        "ORDER BY permit_no DESC LIMIT 1"
    )
    return _first(database.rows(settings, newest, model=model, version=version, role=role))


def permit_numbered(settings: Settings, permit_no: int) -> Permit | None:
    """The permit of that number."""
    return _first(database.rows(settings, f"{_SELECT} WHERE permit_no = :number", number=permit_no))


def champions_permit(settings: Settings, model: str) -> Permit | None:
    """The newest permit for a champion of the model, whether or not it was ever promoted."""
    newest = f"{_SELECT} WHERE model = :model AND role = 'champion' ORDER BY permit_no DESC LIMIT 1"
    return _first(database.rows(settings, newest, model=model))


def permits_of(connection: database.Connection, model: str) -> list[Permit]:
    """All permits of a model, oldest first, as the caller's transaction sees them."""
    found = database.execute(connection, f"{_SELECT} WHERE model = :model ORDER BY permit_no", model=model)
    return [Permit.model_validate(row) for row in found]


def grant(
    connection: database.Connection, requests: Iterable[PermitRequest], *, valid_days: float
) -> tuple[Permit, ...]:
    """Add permits inside the caller's transaction and return them as given."""
    values = ", ".join(f":{name}" for name in PermitRequest.model_fields)
    insert = (
        f"INSERT INTO vigil.permit ({_REQUESTED}, expires) VALUES ({values}, now() + :days * interval '1 day') "
        f"RETURNING {_GIVEN}"
    )
    given = (database.execute(connection, insert, **one.model_dump(), days=valid_days) for one in requests)
    return tuple(Permit.model_validate(row) for [row] in given)


def request_numbered(settings: Settings, request_no: int) -> Request | None:
    """A request with its answers, by person."""
    with database.transaction(settings) as connection:
        asked = database.execute(
            connection, f"SELECT {_ASKED} FROM vigil.approval_request WHERE request_no = :number", number=request_no
        )
        answers = database.execute(
            connection,
            f"SELECT {_ANSWERED} FROM vigil.approval_answer WHERE request_no = :number ORDER BY person",
            number=request_no,
        )
    return Request.model_validate({**asked[0], "answers": answers}) if asked else None


def gate_report(settings: Settings, gate_run_no: int) -> GateReport | None:
    """The stored report of a gate run, made from its text; None when there is none or it is not one."""
    found = database.rows(settings, "SELECT report FROM vigil.gate_run WHERE gate_run_no = :number", number=gate_run_no)
    try:
        return GateReport.model_validate_json(found[0]["report"]) if found else None
    except ValidationError:
        return None


def newest_gate_run(settings: Settings, model: str, version: int) -> int | None:
    """Number of the newest gate run about a version; None when it was never judged."""
    newest = "SELECT max(gate_run_no) AS number FROM vigil.gate_run WHERE model = :model AND version = :version"
    [found] = database.rows(settings, newest, model=model, version=version)
    return None if found["number"] is None else int(found["number"])


def require_permit(
    settings: Settings,
    model: Model,
    permit: Permit | None,
    version: int,
    artefact_digest: str,
    role: Role,
    *,
    expired: Literal["stop", "warn"] = "stop",
) -> Permit:
    """Return the permit when it covers this version and these files now, and what it rests on still says so.

    Args:
        expired: `warn` only logs that the permit has expired.

    Raises:
        Blocked: there is none, it names another version, other files or a lower role, it has expired, its gate report is
            not the one it was given for or did not pass, or too few independent persons approved; says which, and whom to
            ask.
    """
    subject = f"model {model.name}: version {version} may not be used as {role}"
    remedy = f"Ask {model.owner} (owner) and {model.validator} (validator). The last published scores are still served."
    if permit is None:
        raise Blocked(f"{subject}: it was never given a permit; its alias was set by hand. {remedy}")
    given = f"permit {permit.permit_no} of {permit.granted_at:%Y-%m-%d}"
    why = _differences(permit, version, artefact_digest, role) or _groundless(settings, permit)
    if why:
        raise Blocked(f"{subject}: {given} {why}. {remedy}")
    if permit.expired:
        told = f"permit {permit.permit_no} expired on {permit.expires:%Y-%m-%d}"
        if expired == "stop":
            raise Blocked(f"{subject}: {told}. {remedy}")
        _log.warning(
            "model %s: version %s is used as %s though %s, as the policy says. %s",
            model.name,
            version,
            role,
            told,
            remedy,
        )
    return permit


def approval_fault(request: Request | None, permit: PermitRequest) -> str:
    """Why the answers to a request do not carry a permit; empty when they do.

    Enough different persons named as validators approved, none refused, and none of those who approved trained the version
    or asked for its approval.
    """
    if request is None:
        return f"rests on request {permit.request_no}, which is not there"
    asked = (request.model, request.version, request.artefact_digest, request.gate_run_no, request.gate_digest)
    named = (permit.model, permit.version, permit.artefact_digest, permit.gate_run_no, permit.gate_digest)
    if asked != named:
        return f"rests on request {request.request_no}, which is about another version or another gate report"
    refused = [a.person for a in request.answers if a.answer == "refuse"]
    if refused:
        return f"rests on request {request.request_no}, which {', '.join(refused)} refused"
    approved = {a.person.lower() for a in request.answers if a.answer == "approve"}
    partial = approved & {request.trainer.lower(), request.requester.lower()}
    if partial:
        return f"was approved by {', '.join(sorted(partial))}, who trained the version or asked for its approval"
    strangers = approved - {validator.lower() for validator in request.validators}
    if strangers:
        return (
            f"was approved by {', '.join(sorted(strangers))}, who is no validator named in request {request.request_no}"
        )
    if len(approved) < request.needed:
        return f"has the approval of {len(approved)} persons; {request.needed} are needed"
    return ""


def _groundless(settings: Settings, permit: Permit) -> str:
    """Why what the permit rests on does not carry it; empty when it does, and for a bootstrap permit, which rests on nothing."""
    if permit.kind == "bootstrap":
        return ""
    why = _gate_fault(permit, gate_report(settings, permit.gate_run_no or 0))
    if why or permit.kind == "gates":
        return why
    return approval_fault(request_numbered(settings, permit.request_no or 0), permit)


def _gate_fault(permit: Permit, report: GateReport | None) -> str:
    run = f"gate run {permit.gate_run_no}"
    if report is None:
        return f"rests on {run}, whose report is not there or not readable"
    if report.digest != permit.gate_digest:
        return f"rests on {run}, whose report is no longer the one it was given for"
    judged = (report.model, report.version, report.artefact_digest)
    if judged != (permit.model, permit.version, permit.artefact_digest):
        return f"rests on {run}, which judged version {report.version} of {report.model} or other files"
    return "" if report.passed else f"rests on {run}, which did not pass"


def _differences(permit: Permit, version: int, artefact_digest: str, role: Role) -> str:
    found = []
    if permit.version != version:
        found.append(f"names version {permit.version}, the registry's alias version {version}")
    if permit.artefact_digest != artefact_digest:
        found.append(f"names files {permit.artefact_digest[:12]}…, the registry's version {artefact_digest[:12]}…")
    if role == "champion" and permit.role != "champion":
        found.append("allows it as challenger only")
    return " and ".join(found)


def _first(found: Sequence[Mapping[str, Any]]) -> Permit | None:
    return Permit.model_validate(found[0]) if found else None
