"""How named persons decide whether a version becomes champion.

A request is bound to the digests of the version's files and of its gate report, to the policy's version and to the champion
of that moment. The policy says who may answer and how many must agree; neither who trained the version nor who asked is ever
one of them. The last agreement needed grants the permit in the same transaction; the first refusal closes the request, and so
does its time limit. Nothing here moves an alias: promotion reads the permit.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from pipelines import database, mlflow_store
from pipelines.contracts import Blocked, DataFault
from pipelines.registry import approval_records as records
from pipelines.registry import journal
from pipelines.registry.anchors import journalled
from pipelines.registry.approval_records import ApprovalRequest, Asked, GateRun, Say
from pipelines.registry.artefacts import fetch_verified, verify_stored
from pipelines.registry.permits import Answer, Permit, PermitRequest, grant, permit_numbered, require_permit
from pipelines.registry.persons import person as person_named
from pipelines.registry.standing import standing_in
from pipelines.registry.versions import CHAMPION, stored_digest
from pipelines.settings import Settings
from pipelines.spec import Approvals, Approvers, Model, Policy, load_model, load_policy
from pipelines.training.register import IMPORTER_TAG, TRAINER_TAG

_OPEN_ONES = "The open ones: python -m pipelines registry requests"


class ApprovalRefused(Blocked):
    """A person refused the version."""


class ApprovalTimedOut(Blocked):
    """Nobody, or not enough persons, answered in time."""


def request(
    settings: Settings,
    model: Model,
    version: int,
    gate_run_no: int | None = None,
    *,
    requester: str,
    place: str,
    hours: float | None = None,
) -> ApprovalRequest:
    """Ask for the approval of a version that passed its gates, or return what the same person asked before.

    Asked again with nothing changed, a request that is open is returned, and so is one that was granted and whose permit is
    still valid; one that was refused or timed out is asked anew.

    Args:
        gate_run_no: the gate report it rests on, which must be the newest; None takes that one.
        requester: a person's e-mail address, or `system:<dag>`.
        place: where it is asked, for the record.
        hours: how long it is open, at most as long as the policy says; None takes that.

    Raises:
        Blocked: the policy does not say who approves, no trainer is recorded, the newest gate report did not pass, is of other
            files or of rules that have changed since, or the files are not what the version claims.
        DataFault: the version is unknown, or the hours are more than the policy allows.
    """
    policy = load_policy(settings.policies, model.policy)
    limits = _approvals(model, policy)
    if hours is not None and not 0 < hours <= limits.wait_hours:
        raise DataFault(
            f"model {model.name}: a request may be open for up to {limits.wait_hours:g} hours (policy {policy.policy}), not "
            f"{hours:g}. Nothing was asked."
        )
    stored = mlflow_store.version(settings, model.name, version)
    digest = stored_digest(model, stored)
    fetch_verified(settings, stored, digest)
    with journalled(settings) as connection:
        _lock(connection, model.name)
        run = _passed_gate_run(connection, model, version, digest, policy)
        if gate_run_no not in (None, run.gate_run_no):
            raise Blocked(
                f"model {model.name} version {version}: gate run {gate_run_no} is not its newest, {run.gate_run_no} is. "
                "Nothing was asked; ask for that one."
            )
        approvers = _approvers(model, policy)
        asked = Asked(
            model=model.name,
            version=version,
            artefact_digest=digest,
            gate_run_no=run.gate_run_no,
            gate_digest=run.digest,
            policy=policy.policy,
            policy_version=policy.version,
            expected_champion=_champion(connection, model.name),
            needed=approvers.needed,
            validators=_independent(model, approvers, stored.tags),
            trainer=_trainer(model, version, stored.tags),
            requester=requester.strip().lower(),
            place=place,
        )
        for earlier in records.of_version(connection, model.name, version):
            if earlier.state == "expired":
                _end_by_time(connection, earlier)
            elif _is_the_same(earlier, asked):
                return earlier
        number = records.add(connection, asked, limits.wait_hours if hours is None else hours)
        made = records.read(connection, number)
        journal.append(connection, model.name, "requested", _asked(made))
        return made


def answer(
    settings: Settings,
    request_no: int,
    person: str,
    answer: Say,
    note: str,
    place: str,
    answered_at: datetime | None = None,
) -> ApprovalRequest:
    """Record what a person says to a request, and return the request as it then stands.

    The agreement that completes the number needed grants the permit; a refusal closes the request. An answer given in time
    (`answered_at`; None is now) counts even when it is recorded late.

    Raises:
        Blocked: the person may not answer this request or did so before, the request is closed or its time is over, or what
            it is bound to has changed. Nothing was recorded, except that a request past its time is closed.
        DataFault: there is no such request, or the name is no e-mail address.
    """
    who = person_named(person)
    with journalled(settings) as connection:
        found = records.read(connection, request_no)
        _lock(connection, found.model)
        found = records.read(connection, request_no)
        if found.state == "expired" and not (answered_at and answered_at <= found.answer_by):
            _end_by_time(connection, found)
        else:
            _require_may_answer(found, who)
            model = load_model(settings.models, found.model)
            policy = load_policy(settings.policies, model.policy)
            _require_unchanged(settings, connection, found, model, policy)
            said = Answer(
                person=who,
                role="validator",
                answer=answer,
                note=note.strip(),
                place=place,
                answered_at=answered_at or datetime.now(UTC),
            )
            records.add_answer(connection, request_no, said)
            _conclude(connection, records.read(connection, request_no), _approvals(model, policy).valid_days)
        ended = records.read(connection, request_no)
    if ended.state == "timed_out":
        raise ApprovalTimedOut(_too_late(ended))
    return ended


def time_out(settings: Settings, request_no: int) -> ApprovalRequest:
    """Close a request whose time is over; one that ended otherwise stays as it is.

    Raises Blocked when its time is not over.
    """
    with journalled(settings) as connection:
        _lock(connection, records.read(connection, request_no).model)
        found = records.read(connection, request_no)
        if found.state == "open":
            raise Blocked(f"{_subject(found)} is open until {found.answer_by:%Y-%m-%d %H:%M} UTC. Nothing was changed.")
        if found.state == "expired":
            _end_by_time(connection, found)
        return records.read(connection, request_no)


def open_requests(settings: Settings, model: str | None = None) -> list[ApprovalRequest]:
    """Requests that nobody closed, oldest first; of one model, or of all."""
    with database.transaction(settings) as connection:
        return records.not_ended(connection, model)


def requests_of(settings: Settings, model: str, version: int) -> list[ApprovalRequest]:
    """All requests for a version, newest first."""
    with database.transaction(settings) as connection:
        return records.of_version(connection, model, version)


def require_granted(settings: Settings, model: Model, version: int) -> ApprovalRequest:
    """The newest request for a version, when it was granted. Raises Blocked otherwise, saying how it stands."""
    found = requests_of(settings, model.name, version)
    if not found:
        raise Blocked(
            f"model {model.name} version {version}: nobody was asked to approve it, so it is not promoted. Ask: "
            f"python -m pipelines registry request --model {model.name} --version {version} --by you@bank.example"
        )
    newest = found[0]
    if newest.ended != "granted" or newest.permit_no is None:
        raise Blocked(
            f"{_subject(newest)} is {newest.state.replace('_', ' ')}: {len(newest.approved_by)} of {newest.needed} approvals "
            "are recorded. An approval task that was marked as success records none. Nothing was promoted; the champion stays."
        )
    return newest


def require_permit_of(settings: Settings, model: Model, request: ApprovalRequest) -> Permit:
    """The permit that a granted request gave, when it still covers the version's files, downloaded anew and verified.

    Raises Blocked when it has expired or the files or the champion are no longer those that were approved.
    """
    stored = mlflow_store.version(settings, model.name, request.version)
    digest = stored_digest(model, stored)
    permit = permit_numbered(settings, request.permit_no or 0)
    valid = require_permit(settings, model, permit, request.version, digest, CHAMPION)
    verify_stored(settings, stored, digest)
    return valid


def _lock(connection: database.Connection, model: str) -> None:
    database.lock(connection, f"permit {model}")


def _champion(connection: database.Connection, model: str) -> int | None:
    """Version that is champion by the journal; None when the model has none, or is retired."""
    now = standing_in(connection, model)
    return now.version if now else None


def _approvals(model: Model, policy: Policy) -> Approvals:
    if policy.approvals is None:
        raise Blocked(
            f"model {model.name}: policy {policy.policy} {policy.version} does not say who approves (section approvals), so "
            "nobody can be asked. Nothing was changed. Name the validators in the policy."
        )
    return policy.approvals


def _approvers(model: Model, policy: Policy) -> Approvers:
    found = _approvals(model, policy).tiers.get(model.tier)
    if found is None:
        raise Blocked(
            f"model {model.name}: policy {policy.policy} {policy.version} names no validators for tier {model.tier} "
            "(approvals.tiers), so nobody can be asked. Nothing was changed."
        )
    return found


def _independent(model: Model, approvers: Approvers, tags: dict[str, str]) -> tuple[str, ...]:
    """The tier's validators but the one who took in the model, if it was trained elsewhere."""
    named = tuple(v.lower() for v in approvers.validators)
    left = tuple(v for v in named if v != tags.get(IMPORTER_TAG, "").lower())
    if len(left) < approvers.needed:
        raise Blocked(
            f"model {model.name}: {approvers.needed} validators must agree, and without the one who imported this version only "
            f"{len(left)} of {len(named)} are left. Nothing was asked. Let somebody else import it."
        )
    return left


def _trainer(model: Model, version: int, tags: dict[str, str]) -> str:
    trainer = tags.get(TRAINER_TAG, "").strip().lower()
    if not trainer:
        raise Blocked(
            f"model {model.name} version {version}: who trained it is not recorded (tag {TRAINER_TAG}), so it cannot be shown "
            f"that another person approves it. Nothing was asked. Train again: python -m pipelines train --model {model.name} "
            "--by you@bank.example"
        )
    return trainer


def _passed_gate_run(
    connection: database.Connection, model: Model, version: int, digest: str, policy: Policy
) -> GateRun:
    """The version's newest gate report under the model's policy, when it passed and still speaks of these files, these rules and
    the present champion."""
    subject = f"model {model.name} version {version}"
    again = f"Nothing was changed. Judge it: python -m pipelines judge --model {model.name} --version {version}"
    run = records.newest_gate_run(connection, model.name, version, policy.policy)
    if run is None:
        raise Blocked(f"{subject} was never judged under policy {policy.policy}. {again}")
    report = run.report
    if report.artefact_digest != digest:
        raise Blocked(
            f"{subject}: gate run {run.gate_run_no} judged files {report.artefact_digest[:12]}…, the registry now holds "
            f"{digest[:12]}…. {again}"
        )
    if not report.passed:
        failed = ", ".join(sorted({v.rule for v in report.blocking})) or "no rule was applied"
        raise Blocked(
            f"{subject}: gate run {run.gate_run_no} did not pass ({failed}). Nothing was changed; the champion stays."
        )
    if report.policy_version != policy.version or _rules(model, policy, report.judged_on) != _rules(
        model, policy, datetime.now(UTC).date()
    ):
        raise Blocked(
            f"{subject}: gate run {run.gate_run_no} applied policy {policy.policy} {report.policy_version} as of "
            f"{report.judged_on}; other rules are in force today. {again}"
        )
    champion = _champion(connection, model.name)
    if champion not in (report.champion_version, version):
        raise Blocked(
            f"{subject}: gate run {run.gate_run_no} compared it with {_named(report.champion_version)}, but "
            f"{_named(champion)} is champion now. {again}"
        )
    return run


def _named(version: int | None) -> str:
    return "no version" if version is None else f"version {version}"


def _rules(model: Model, policy: Policy, on: date) -> tuple[object, ...]:
    return policy.rules_for(model.domain, model.tier, on)


def _is_the_same(earlier: ApprovalRequest, asked: Asked) -> bool:
    """Whether a request asks what is asked now. Of a granted one the version itself may have become champion meanwhile."""
    passing = {"place"}
    if earlier.ended == "granted" and asked.expected_champion == asked.version:
        passing |= {"expected_champion"}
    bound = earlier.model_dump(include=set(Asked.model_fields) - passing)
    return bound == asked.model_dump(exclude=passing) and (earlier.ended is None or earlier.permit_valid)


def _require_may_answer(found: ApprovalRequest, who: str) -> None:
    kept = "Nothing was recorded."
    if found.ended is not None:
        raise Blocked(f"{_subject(found)} is closed: it was {found.ended.replace('_', ' ')}. {kept} {_OPEN_ONES}")
    if who not in found.validators:
        raise Blocked(
            f"{_subject(found)}: {who} is not one of the validators that policy {found.policy} names for it "
            f"({', '.join(found.validators)}). {kept}"
        )
    for role, taken in (("trained it", found.trainer), ("asked for it", found.requester)):
        if who == taken:
            others = ", ".join(v for v in found.validators if v not in (found.trainer, found.requester)) or "nobody"
            raise Blocked(f"{_subject(found)}: {who} {role} and may not approve it. {kept} Who may: {others}.")
    if who in {a.person for a in found.answers}:
        raise Blocked(f"{_subject(found)}: {who} has answered already. {kept} Another validator must answer.")


def _require_unchanged(
    settings: Settings, connection: database.Connection, found: ApprovalRequest, model: Model, policy: Policy
) -> None:
    """Raises Blocked when the version's files, its gate report or the policy are no longer those the request is bound to."""
    stored = mlflow_store.version(settings, found.model, found.version)
    digest = stored_digest(model, stored)
    if digest != found.artefact_digest:
        raise Blocked(
            f"{_subject(found)} was asked for files {found.artefact_digest[:12]}…, the registry now holds {digest[:12]}…. "
            "Nothing was recorded. Judge the version and ask again."
        )
    fetch_verified(settings, stored, digest)
    run = _passed_gate_run(connection, model, found.version, digest, policy)
    if run.digest != found.gate_digest:
        raise Blocked(
            f"{_subject(found)} was asked on gate run {found.gate_run_no}; since then gate run {run.gate_run_no} found "
            "otherwise. Nothing was recorded. Ask again."
        )


def _conclude(connection: database.Connection, found: ApprovalRequest, valid_days: int) -> None:
    """Close a request that was refused or has enough approvals, which grants the permit."""
    if found.answers[-1].answer == "refuse":
        records.add_end(connection, found.request_no, "refused")
        journal.append(connection, found.model, "refused", _told(found))
    elif len(found.approved_by) >= found.needed:
        [permit] = grant(connection, [_permit(found)], valid_days=valid_days)
        records.add_end(connection, found.request_no, "granted")
        given = {"permit_no": permit.permit_no, "permit_digest": permit.digest, "expires": permit.expires.isoformat()}
        journal.append(connection, found.model, "approved", _told(found) | given)


def _permit(found: ApprovalRequest) -> PermitRequest:
    return PermitRequest(
        model=found.model,
        version=found.version,
        role=CHAMPION,
        artefact_digest=found.artefact_digest,
        policy=found.policy,
        policy_version=found.policy_version,
        kind="approval",
        reason=f"approved by {', '.join(found.approved_by)}",
        gate_run_no=found.gate_run_no,
        gate_digest=found.gate_digest,
        request_no=found.request_no,
    )


def _end_by_time(connection: database.Connection, found: ApprovalRequest) -> None:
    records.add_end(connection, found.request_no, "timed_out")
    journal.append(connection, found.model, "timed_out", _told(found))


def _asked(found: ApprovalRequest) -> dict[str, Any]:
    """What the journal keeps of a request."""
    told = {"request_no", "answer_by", *Asked.model_fields} - {"model"}
    return found.model_dump(mode="json", include=told)


def _told(found: ApprovalRequest) -> dict[str, Any]:
    """The request with what was answered."""
    answers = found.model_dump(mode="json", include={"answers"})
    return _asked(found) | answers | {"approval_digest": found.digest}


def _subject(found: ApprovalRequest) -> str:
    return f"request {found.request_no} (model {found.model} version {found.version})"


def _too_late(found: ApprovalRequest) -> str:
    return (
        f"{_subject(found)} was open until {found.answer_by:%Y-%m-%d %H:%M} UTC and is closed: {len(found.approved_by)} of "
        f"{found.needed} approvals had been given. Nothing more was recorded; the champion stays. Ask again."
    )
