"""Cases: what people do with alerts. Every change is an event with who and when; nothing is ever overwritten.

    new -> assigned -> in_review -> closed (false_positive | valuable | sar_filed) -> reopened as assigned

The machine opens cases, joins alerts to open ones, and withdraws those whose batch was corrected before anybody looked.
A case's version is the number of its events. Whoever acts on what they saw says which version that was; of two people at
once the second is told what the first did.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Literal

from pipelines import database
from pipelines.aml.desk import acting, readable_by_all
from pipelines.aml.sar import FALSE_POSITIVE, SAR_FILED, VALUABLE, Outcome, cases_table, filed_closings, seal
from pipelines.contracts import Blocked, DataFault, Value
from pipelines.registry.persons import person
from pipelines.settings import Settings

Action = Literal["assign", "start", "close", "reopen"]

_FROM: Mapping[Action, tuple[str, ...]] = {
    "assign": ("new", "assigned", "in_review"),
    "start": ("assigned",),
    "close": ("in_review",),
    "reopen": ("closed",),
}


class Case(Value):
    """A case as it is now.

    Attributes:
        business_date: of the night that opened it.
        version: number of its events; say it as `seen` to act only if nothing happened since.
        proposed: outcome that one person proposed and a second must confirm.
        outcome: `sar_filed` is shown to SAR officers only; others see `valuable`.
        customers, alerts: how many; alerts that were withdrawn do not count.
    """

    case_no: int
    model: str
    business_date: date
    version: int
    state: str
    assignee: str | None
    outcome: str | None
    proposed: str | None
    by: str
    at: datetime
    customers: int
    alerts: int


class CaseEvent(Value):
    """One thing that happened to a case."""

    version: int
    action: str
    state: str
    outcome: str | None
    assignee: str | None
    by: str
    at: datetime
    note: str


class CaseAlert(Value):
    """An alert as its reviewer sees it: why, but neither how high the score is nor on which side of the line it was.

    Attributes:
        mark: `withdrawn` or `kept` when the batch it came from was corrected.
        evidence: see `pipelines.aml.evidence.Found`, with each part's share of the score.
    """

    alert_id: str
    business_date: date
    token: str
    segment: str
    typologies: tuple[str, ...]
    review_reason: str | None
    mark: str | None
    evidence: dict[str, Any]


class CaseFile(Value):
    """Everything a reviewer needs of one case, and which other cases its customers have."""

    case: Case
    events: tuple[CaseEvent, ...]
    alerts: tuple[CaseAlert, ...]
    other_cases: tuple[Case, ...]


def cases(
    settings: Settings,
    model: str,
    *,
    state: str | None = None,
    assignee: str | None = None,
    officer: bool = False,
) -> list[Case]:
    """The cases of a model, newest first; by default the open ones, with `state` "all" every one."""
    with acting(settings, officer=officer) as connection:
        found = _cases(connection, "c.model = :model ORDER BY c.case_no DESC", officer, model=model)
    wanted = [c for c in found if state == "all" or c.state == state or (state is None and _is_open(c))]
    return [c for c in wanted if assignee is None or c.assignee == person(assignee)]


def case_file(settings: Settings, case_no: int, *, officer: bool = False) -> CaseFile:
    """One case with its story and its alerts. Raises DataFault when there is none of that number."""
    with acting(settings, officer=officer) as connection:
        case = _case(connection, case_no, officer)
        alerts = [CaseAlert.model_validate(row) for row in database.execute(connection, _ALERTS, case_no=case_no)]
        others = _cases(
            connection,
            "c.case_no <> :case_no AND c.case_no IN (SELECT case_no FROM vigil.alert_blind WHERE token IN ("
            "SELECT token FROM vigil.alert_blind WHERE case_no = :case_no)) ORDER BY c.case_no DESC",
            officer,
            case_no=case_no,
        )
        events = database.execute(connection, _EVENTS, case_no=case_no)
        filed = filed_closings(connection, case_no) if officer else set()
    told = [
        CaseEvent.model_validate({**e, "outcome": SAR_FILED if e["version"] in filed else e["outcome"]}) for e in events
    ]
    return CaseFile(case=case, events=tuple(told), alerts=tuple(alerts), other_cases=tuple(others))


def assign(settings: Settings, case_no: int, to: str, *, by: str, seen: int | None = None) -> Case:
    """Give a case to a person. Taking it over from another needs `seen`, so that it is not done unawares."""
    assignee = person(to)
    with acting(settings) as connection:
        before = _locked(connection, case_no, "assign", seen)
        if seen is None and before.assignee is not None and before.assignee != assignee:
            raise Blocked(
                f"case {case_no} is with {before.assignee} since {before.at:%Y-%m-%d %H:%M} (by {before.by}). Nothing was "
                f"changed. To take it over: python -m pipelines case assign {case_no} --to {assignee} --by {person(by)} "
                f"--seen {before.version}"
            )
        return _add(connection, before, "assigned", "assigned", by, assignee=assignee)


def start(settings: Settings, case_no: int, *, by: str, seen: int | None = None) -> Case:
    """Begin the review. Only who it is assigned to may."""
    with acting(settings) as connection:
        before = _locked(connection, case_no, "start", seen)
        if before.assignee != person(by):
            raise Blocked(
                f"case {case_no} is assigned to {before.assignee}, who begins its review. Nothing was changed. To take it "
                f"over: python -m pipelines case assign {case_no} --to {person(by)} --by {person(by)} --seen {before.version}"
            )
        return _add(connection, before, "started", "in_review", by)


def close(
    settings: Settings,
    case_no: int,
    outcome: Outcome,
    *,
    by: str,
    note: str = "",
    reference: str = "",
    officer: bool = False,
    seen: int | None = None,
) -> Case:
    """Close a case with its outcome. From the policy's score on, a false positive is only proposed by the first person.

    Args:
        note: as everybody reads it. A closing with a report may have one like any other, or its absence would tell.
        reference: of the filed report; `sar_filed` needs it, and an officer's login.

    Raises:
        Blocked: the same person closes twice, the case changed, or the login is no officer's.
        DataFault: the case is in no state to be closed, the reference is missing or too much, or the note tells of a report.
    """
    filed = outcome == SAR_FILED
    if filed != bool(reference.strip()):
        raise DataFault("sar_filed needs the report's --reference, and only it has one. Nothing was changed.")
    if filed and reference.strip() in note:
        raise DataFault("the note holds the report's reference, and everybody reads notes. Nothing was changed.")
    with acting(settings, officer=officer or filed) as connection:
        before = _locked(connection, case_no, "close", seen)
        if outcome == FALSE_POSITIVE and _needs_two(connection, case_no):
            if before.proposed != FALSE_POSITIVE:
                return _add(connection, before, "proposed", "in_review", by, outcome=outcome, note=note)
            if before.by == person(by):
                raise Blocked(
                    f"case {case_no}: {before.by} proposed {outcome}; the score is one where a second person confirms it. "
                    f"Nothing was changed. They run: python -m pipelines case close {case_no} --outcome {outcome} --by THEM"
                )
        told: Outcome = VALUABLE if filed else outcome
        closed = _add(connection, before, "closed", "closed", by, outcome=told, note=note)
        seal(connection, case_no, closed.version, filed=filed, reference=reference)
        return closed


def reopen(settings: Settings, case_no: int, *, by: str, note: str, seen: int | None = None) -> Case:
    """Open a closed case again, with who had it; the earlier outcome stays in its story."""
    if not note.strip():
        raise DataFault(f"say why case {case_no} is reopened, with --note. Nothing was changed.")
    with acting(settings) as connection:
        before = _locked(connection, case_no, "reopen", seen)
        return _add(connection, before, "reopened", "assigned", by, note=note, assignee=before.assignee or person(by))


_COUNTS = """(SELECT count(DISTINCT token) FROM vigil.alert_blind a
              WHERE a.case_no = c.case_no AND a.mark IS DISTINCT FROM 'withdrawn') AS customers,
             (SELECT count(*) FROM vigil.alert_blind a
              WHERE a.case_no = c.case_no AND a.mark IS DISTINCT FROM 'withdrawn') AS alerts"""

_ALERTS = """
    SELECT alert_id, business_date, token, segment, typologies, review_reason, mark, evidence FROM vigil.alert_blind
    WHERE case_no = :case_no ORDER BY business_date, alert_id"""

_EVENTS = """
    SELECT seq AS version, action, state, outcome, assignee, by, at, note FROM vigil.case_event
    WHERE case_no = :case_no ORDER BY seq"""


def _cases(connection: database.Connection, where: str, officer: bool, **parameters: Any) -> list[Case]:
    found = database.execute(
        connection,
        f"SELECT c.case_no, c.model, c.business_date, c.seq AS version, c.state, c.assignee, c.outcome, c.proposed, c.by, "
        f"c.at, {_COUNTS} FROM {cases_table(officer)} c WHERE {where}",
        **parameters,
    )
    return [Case.model_validate(row) for row in found]


def _case(connection: database.Connection, case_no: int, officer: bool = False) -> Case:
    found = _cases(connection, "c.case_no = :case_no", officer, case_no=case_no)
    if not found:
        raise DataFault(f"there is no case {case_no}. `python -m pipelines cases --state all` lists them.")
    return found[0]


def _locked(connection: database.Connection, case_no: int, action: Action, seen: int | None) -> Case:
    """The case, held until the transaction ends, if the action is possible and nothing happened since `seen`."""
    database.lock(connection, f"case {case_no}")
    case = _case(connection, case_no)
    if seen is not None and seen != case.version:
        raise Blocked(
            f"case {case_no} is at version {case.version}, not {seen}: {case.by} was faster, at {case.at:%Y-%m-%d %H:%M}; it "
            f"is {_told(case)} now. Nothing was changed. Look again: python -m pipelines case show {case_no}"
        )
    if case.state not in _FROM[action]:
        possible = [name for name, states in _FROM.items() if case.state in states]
        raise DataFault(
            f"case {case_no} is {_told(case)} (by {case.by} at {case.at:%Y-%m-%d %H:%M}), so `{action}` is not possible. "
            f"Nothing was changed. Possible now: {', '.join(possible) or 'nothing, its alerts were withdrawn'}."
        )
    return case


def _told(case: Case) -> str:
    return case.state + (f" as {case.outcome}" if case.outcome else "")


def _add(
    connection: database.Connection,
    before: Case,
    action: str,
    state: str,
    by: str,
    *,
    assignee: str | None = None,
    outcome: str | None = None,
    note: str = "",
) -> Case:
    """Add an event after the last one. The key of the table refuses a second event of the same version."""
    database.execute(
        connection,
        "INSERT INTO vigil.case_event (case_no, seq, action, state, outcome, assignee, by, note) "
        "VALUES (:case_no, :seq, :action, :state, :outcome, :assignee, :by, :note)",
        case_no=before.case_no,
        seq=before.version + 1,
        action=action,
        state=state,
        outcome=outcome,
        assignee=assignee or before.assignee,
        by=person(by),
        note=readable_by_all(note),
    )
    return _case(connection, before.case_no)


def _needs_two(connection: database.Connection, case_no: int) -> bool:
    found = database.execute(
        connection, "SELECT needs_two FROM vigil.case_needs_two WHERE case_no = :case_no", case_no=case_no
    )
    return bool(found[0]["needs_two"])


def _is_open(case: Case) -> bool:
    return case.state in ("new", "assigned", "in_review")
