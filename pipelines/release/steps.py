"""The steps of a release, one for each task."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime

from pipelines import completion, database, mlflow_store, validation
from pipelines.contracts import Blocked, DataFault, GateVerdict, Value
from pipelines.registry import approvals
from pipelines.registry.approval_records import ApprovalRequest, Say
from pipelines.registry.approvals import ApprovalRefused, ApprovalTimedOut
from pipelines.registry.persons import is_person
from pipelines.registry.promotion import promote as promote_version
from pipelines.release.form import form
from pipelines.settings import Settings
from pipelines.spec import Model
from pipelines.training.register import TRAINER_TAG
from pipelines.validation.documents import evidence_pack

log = logging.getLogger(__name__)


class GatesFailed(Blocked):
    """A rule that blocks did not hold, so nobody is asked."""


class Judged(Value):
    """What the gates said, in short; the report is in vigil.gate_run."""

    model: str
    version: int
    passed: bool
    rules: int
    recorded_only: tuple[str, ...]
    digest: str


class ApprovalForm(Value):
    """What a validator is shown, and until when an answer is taken.

    Attributes:
        answered: the agreement was given before the task was killed or cleared; nobody needs to be asked.
    """

    request_no: int
    subject: str
    body: str
    validators: tuple[str, ...]
    answer_by: datetime
    answered: bool


class Promoted(Value):
    """A version that became champion, and on what."""

    model: str
    version: int
    request_no: int
    permit_no: int
    replaced: int | None
    evidence_digest: str


def version_of(settings: Settings, model: Model, business_date: date, asked: int | None = None) -> int:
    """The version to release: the one asked for, else the newest of the model file's first algorithm trained as of the date.

    Raises DataFault when there is none, or when the one asked for was trained as of another date.
    """
    known = {v.version: v for v in mlflow_store.versions(settings, model.name)}
    as_of, first = business_date.isoformat(), model.training.algorithms[0]
    if asked is not None:
        found = known.get(asked) or mlflow_store.version(settings, model.name, asked)
        if found.tags.get("vigil.as_of", as_of) != as_of:
            raise DataFault(
                f"model {model.name}: version {asked} was trained as of {found.tags['vigil.as_of']}, not {as_of}. Nothing was "
                "done. Give the business date it was trained for."
            )
        return asked
    fitting = [
        n for n, v in known.items() if v.tags.get("vigil.as_of") == as_of and v.tags.get("vigil.algorithm") == first
    ]
    if not fitting:
        raise DataFault(
            f"model {model.name}: no version of {first} was trained as of {as_of}. Nothing was done. Train one: "
            f"python -m pipelines train --model {model.name} --date {as_of}, or name a version."
        )
    return max(fitting)


def requester(settings: Settings, model: Model, version: int, started_by: str) -> str:
    """Who asks for the release: the person who started it; of a run that followed a training by itself, who trained."""
    if is_person(started_by):
        return started_by
    trainer = mlflow_store.version(settings, model.name, version).tags.get(TRAINER_TAG, "").strip().lower()
    return trainer if is_person(trainer) else started_by


def judge(settings: Settings, model: Model, version: int) -> Judged:
    """Compare with the champion and apply the rules in force today. Raises GatesFailed, by rule, unless every one holds."""
    report = validation.judge(settings, model, version, datetime.now(UTC).date())
    if not report.passed:
        told = "; ".join(map(_broken, report.blocking))
        raise GatesFailed(
            f"model {model.name} version {version} is not fit for use: {told or 'no rule was applied'}. Nobody is asked and "
            f"the champion stays. See python -m pipelines judge --model {model.name} --version {version}"
        )
    noted = [v.rule for v in report.verdicts if v.effect == "record" and v.verdict != "pass"]
    return Judged(
        model=model.name,
        version=version,
        passed=True,
        rules=len(report.verdicts),
        recorded_only=tuple(sorted(set(noted))),
        digest=report.digest,
    )


def ask(settings: Settings, model: Model, version: int, number: int, *, started_by: str, place: str) -> ApprovalForm:
    """The form for the approval of that number, made from a request that is new, or open or granted already.

    Raises Blocked when nobody may be asked, or when a request of this place was refused or timed out: one run asks once,
    because Airflow would show the first form again.
    """
    for earlier in approvals.requests_of(settings, model.name, version):
        here = earlier.place == place or any(a.place == place for a in earlier.answers)
        if here and earlier.ended in ("refused", "timed_out"):
            raise _end(earlier, "Start the release again to ask anew.")
    asks = requester(settings, model, version, started_by)
    asked = approvals.request(settings, model, version, requester=asks, place=place)
    return ApprovalForm(
        request_no=asked.request_no,
        subject=f"May {model.name} version {version} become champion? (approval {number} of {asked.needed})",
        body=form(settings, model, asked),
        validators=asked.validators,
        answer_by=asked.answer_by,
        answered=len(asked.approved_by) >= number,
    )


def record(
    settings: Settings,
    request_no: int,
    shown: int | None,
    person: str | None,
    answer: Say,
    note: str,
    place: str,
    answered_at: datetime,
) -> ApprovalRequest:
    """Record an answer given in Airflow.

    Args:
        request_no: the request that the task asked for; `shown` is the one on the form that was answered.

    Raises:
        ApprovalRefused: the answer was a refusal. It is recorded.
        Blocked: the answer was not recorded; see approvals.answer.
    """
    if shown != request_no:
        raise Blocked(
            f"the form that was answered is of request {shown}, but request {request_no} is what is asked now. Nothing was "
            "recorded. Start the release again, so that a new form is shown."
        )
    said = approvals.answer(settings, request_no, person or "", answer, note, place, answered_at)
    if said.ended == "refused":
        raise _end(said, "Correct what was found and start the release again.")
    log.info("request %d: %d of %d approvals, %s", request_no, len(said.approved_by), said.needed, said.state)
    return said


def give_up(settings: Settings, request_no: int) -> Blocked:
    """Close a request that was not answered in time; the error that ends the task."""
    return _end(approvals.time_out(settings, request_no), "Start the release again to ask anew.")


def promote(settings: Settings, model: Model, version: int, business_date: date) -> Promoted:
    """Make a version champion by the permit that its approved request gave.

    Raises Blocked when the newest request was not granted, or the permit, the files or the champion are no longer what was
    approved. Nothing that an earlier task handed on is believed.
    """
    request = approvals.require_granted(settings, model, version)
    permit_no = approvals.require_permit_of(settings, model, request).permit_no
    evidence = evidence_pack(settings, model, version).digest
    promote_version(
        settings,
        model,
        version,
        expected_champion=request.expected_champion,
        permit_no=permit_no,
        evidence_digest=evidence,
        by=request.requester if is_person(request.requester) else request.approved_by[-1],
    )
    with database.transaction(settings) as connection:
        completion.record(connection, model.name, "release", business_date)
    return Promoted(
        model=model.name,
        version=version,
        request_no=request.request_no,
        permit_no=permit_no,
        replaced=request.expected_champion,
        evidence_digest=evidence,
    )


def _broken(verdict: GateVerdict) -> str:
    """A rule that did not hold, with what was observed."""
    observed = "not assessable" if verdict.observed is None else f"{verdict.observed:.4g}"
    segment = f" [{verdict.segment}]" if verdict.segment else ""
    return f"{verdict.rule}{segment} {observed}, {verdict.limit} ({verdict.evidence})"


def _end(request: ApprovalRequest, next_step: str) -> Blocked:
    """The error for a request that ended without a permit."""
    subject = f"request {request.request_no} (model {request.model} version {request.version})"
    kept = f"Nothing is promoted; the champion stays. {next_step}"
    if request.ended == "refused":
        last = request.answers[-1]
        why = f": {last.note}" if last.note else " without a note"
        return ApprovalRefused(f"{subject} was refused by {last.person}{why}. {kept}")
    given = (
        f"{len(request.approved_by)} of {request.needed} approvals were given by {request.answer_by:%Y-%m-%d %H:%M} UTC"
    )
    return ApprovalTimedOut(f"{subject} timed out: {given}. {kept}")
