"""Who was champion at a moment, who approved it, on what evidence."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pipelines import database
from pipelines.contracts import Value
from pipelines.registry.moments import Moment
from pipelines.registry.permits import Answer, permit_numbered, request_numbered
from pipelines.registry.standing import Standing, standings, verified
from pipelines.settings import Settings


class Record(Value):
    """The champion of a model at a moment, and what its promotion rested on.

    Attributes:
        version: None when the model had no champion, or was retired.
        entry_no, kind, since, by, reason: of the journal entry that made it so; None before the first.
        until: when the next entry replaced it; None while it is in force.
        approvals: answers of persons, with time.
        requester: who asked for the approval.
        gate_run_no, gate_digest: the gate report.
        evidence_digest: of the evidence pack, as the journal has it.
        previous, expected: champion before, and the one the version was approved against.
    """

    model: str
    at: Moment
    version: int | None
    entry_no: int | None = None
    kind: str | None = None
    since: Moment | None = None
    until: Moment | None = None
    by: str = ""
    reason: str = ""
    artefact_digest: str | None = None
    permit_no: int | None = None
    permit_kind: str | None = None
    permit_expires: Moment | None = None
    policy: str | None = None
    policy_version: str | None = None
    gate_run_no: int | None = None
    gate_digest: str | None = None
    request_no: int | None = None
    requester: str | None = None
    approvals: tuple[Answer, ...] = ()
    evidence_digest: str | None = None
    previous: int | None = None
    expected: int | None = None


def champion_at(settings: Settings, model: str, moment: datetime) -> Record:
    """Who was champion of the model at the moment, by the verified journal.

    Raises Blocked when the journal is not as it was written.
    """
    with database.transaction(settings) as connection:
        entries = verified(connection)
    held = standings(entries, model)
    before = [one for one in held if one.since <= moment]
    if not before:
        return Record(model=model, at=moment, version=None)
    now = before[-1]
    after = held[len(before)].since if len(before) < len(held) else None
    return Record.model_validate(
        {
            "model": model,
            "at": moment,
            "version": now.version,
            "entry_no": now.entry_no,
            "kind": now.kind,
            "since": now.since,
            "until": after,
            "by": now.by,
            "reason": now.reason,
            "artefact_digest": now.artefact_digest,
            "previous": now.previous,
            "expected": now.facts.get("expected_champion"),
            "evidence_digest": _evidence(held, now),
            **_grounds(settings, now),
        }
    )


def _evidence(held: tuple[Standing, ...], now: Standing) -> str | None:
    """The pack recorded with the promotion by the same permit, to which a rollback goes back."""
    told = [one.facts.get("evidence_digest") for one in held if one.permit_no and one.permit_no == now.permit_no]
    return next((digest for digest in told if digest), None)


def _grounds(settings: Settings, now: Standing) -> dict[str, Any]:
    permit = permit_numbered(settings, now.permit_no) if now.permit_no else None
    if permit is None:
        return {}
    request = request_numbered(settings, permit.request_no) if permit.request_no else None
    return {
        "permit_no": permit.permit_no,
        "permit_kind": permit.kind,
        "permit_expires": permit.expires,
        "policy": permit.policy,
        "policy_version": permit.policy_version,
        "gate_run_no": permit.gate_run_no,
        "gate_digest": permit.gate_digest,
        "request_no": permit.request_no,
        "requester": request.requester if request else None,
        "approvals": request.answers if request else (),
    }
