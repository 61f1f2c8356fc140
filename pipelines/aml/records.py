"""What a night leaves in Postgres. Rows are only ever added; numbers come from what is there, so a killed night leaves no
gap."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from pipelines import database
from pipelines.aml.batch import UNKNOWN, Batch
from pipelines.aml.candidates import Below, Held, Raised
from pipelines.aml.evidence import Found, Scheme
from pipelines.aml.linking import Grouped
from pipelines.aml.state import LIVE, PEOPLE
from pipelines.contracts import RaisedAlerts, fingerprint
from pipelines.spec import AlertLimits

MACHINE = "vigil"

Kind = Literal["above", "review", "below"]


@dataclass(frozen=True)
class NewAlert:
    """An alert about to be recorded."""

    alert_id: str
    kind: Kind
    raised: Raised


@dataclass(frozen=True)
class Run:
    """The alerts of a model and date as last raised."""

    run_no: int
    attempt: int
    batch_no: int
    record: RaisedAlerts


@dataclass(frozen=True)
class Superseded:
    """What became of the alerts of the batch before; `cases` are those that lost one."""

    withdrawn: int
    kept: int
    cases: tuple[int, ...]


NOTHING_SUPERSEDED = Superseded(0, 0, ())


def last_run(connection: database.Connection, model: str, business_date: date) -> Run | None:
    """The newest raising of a model and date."""
    found = database.execute(
        connection,
        "SELECT run_no, attempt, batch_no, record FROM vigil.alert_run WHERE model = :model AND business_date = :day "
        "ORDER BY attempt DESC LIMIT 1",
        model=model,
        day=business_date,
    )
    return Run(**dict(found[0]) | {"record": RaisedAlerts.model_validate(found[0]["record"])}) if found else None


def next_run_no(connection: database.Connection) -> int:
    """The number after the last, under the lock of the step."""
    return _next(connection, "run_no", "vigil.alert_run")


def supersede(connection: database.Connection, last: Run) -> Superseded:
    """Withdraw the alerts of a run that nobody touched and mark the others; both are events of the run to come."""
    cases = database.execute(connection, "SELECT DISTINCT case_no FROM vigil.alert WHERE run_no = :no", no=last.run_no)
    lock_cases(connection, [row["case_no"] for row in cases])
    marked = database.execute(
        connection,
        f"""INSERT INTO vigil.alert_event (alert_id, run_no, action)
        SELECT a.alert_id, :now, CASE WHEN EXISTS (
            SELECT FROM vigil.case_event e WHERE e.case_no = a.case_no AND e.action IN {PEOPLE}
        ) THEN 'kept' ELSE 'withdrawn' END
        FROM vigil.alert a WHERE a.run_no = :last
        RETURNING action, (SELECT case_no FROM vigil.alert a WHERE a.alert_id = alert_event.alert_id) AS case_no""",
        last=last.run_no,
        now=next_run_no(connection),
    )
    lost = {row["case_no"] for row in marked if row["action"] == "withdrawn"}
    withdrawn = sum(row["action"] == "withdrawn" for row in marked)
    return Superseded(withdrawn, len(marked) - withdrawn, tuple(sorted(lost)))


def insert_run(connection: database.Connection, run: RaisedAlerts, batch: Batch, limits: AlertLimits) -> None:
    """The night itself. The database refuses one whose rows are not conserved."""
    same = (
        *("run_no", "model", "business_date", "attempt", "policy", "policy_version", "limits_digest", "line"),
        *(
            "rows_scored",
            "rows_rejected",
            "raised",
            "suppressed",
            "carried",
            "resting",
            "review_items",
            "sampled",
            "quiet",
        ),
    )
    values = {name: getattr(run, name) for name in same}
    values |= {
        "batch_no": batch.batch_no,
        "lake_version": batch.lake_version,
        "typologies": batch.typologies,
        "limits": limits.model_dump_json(),
        "record": run.model_dump_json(),
    }
    _insert(connection, "vigil.alert_run", [values])


def insert_alerts(
    connection: database.Connection,
    run: RaisedAlerts,
    alerts: Sequence[NewAlert],
    found: Mapping[str, Found],
    grouped: Grouped,
    segment: Mapping[str, str],
) -> None:
    """Cases with their opening or joining, then alerts, evidence and schemes."""
    case_of = _cases(connection, run, grouped)
    rows, evidence, schemes = [], [], []
    for alert in sorted(alerts, key=lambda a: a.alert_id):
        candidate = alert.raised.candidate
        kept = found[candidate.token]
        rows.append(
            {
                "alert_id": alert.alert_id,
                "run_no": run.run_no,
                "case_no": case_of[alert.alert_id],
                "model": run.model,
                "business_date": run.business_date,
                "token": candidate.token,
                "kind": alert.kind,
                "why_now": alert.raised.why_now,
                "rank": candidate.rank,
                "probability": candidate.probability,
                "review_reason": candidate.review_reason,
                "parts": json.dumps(dict(sorted(candidate.parts.items()))),
                "typologies": list(candidate.typologies),
                "segment": segment.get(candidate.token, UNKNOWN),
            }
        )
        told = json.dumps(evidence_json(kept, candidate.parts), sort_keys=True)
        evidence.append({"alert_id": alert.alert_id, "evidence": told, "digest": fingerprint(told)})
        schemes += [_scheme_row(alert.alert_id, scheme) for scheme in kept.schemes]
    _insert(connection, "vigil.alert", rows)
    _insert(connection, "vigil.alert_evidence", evidence)
    _insert(connection, "vigil.alert_scheme", schemes)


def evidence_json(found: Found, parts: Mapping[str, float]) -> dict[str, Any]:
    """The evidence as it is kept, with each part's share of the score: what drove it, not how high it is, for the reader
    must not see on which side of the line the alert was."""
    total = sum(parts.values())
    shares = {name: round(value / total, 2) for name, value in sorted(parts.items())} if total else {}
    return found.model_dump(mode="json") | {"share_of_parts": shares}


def insert_held(connection: database.Connection, run: RaisedAlerts, held: Sequence[Held]) -> None:
    """Who would have been alerted, and what held each back."""
    rows = [
        {
            "run_no": run.run_no,
            "token": one.candidate.token,
            "why": one.why,
            "rank": one.candidate.rank,
            "probability": one.candidate.probability,
            "alert_id": one.alert_id,
            "suppression_no": one.suppression_no,
        }
        for one in held
    ]
    _insert(connection, "vigil.alert_held", rows)


def insert_below(
    connection: database.Connection, run: RaisedAlerts, below: Sequence[Below], segment: Mapping[str, str]
) -> None:
    """Everybody who could have been drawn below the line, so that a yield can be carried over to them."""
    rows = [
        {
            "run_no": run.run_no,
            "stratum": one.stratum,
            "token": one.candidate.token,
            "probability": one.candidate.probability,
            "segment": segment.get(one.candidate.token, UNKNOWN),
            "drawn": one.drawn,
        }
        for one in below
    ]
    _insert(connection, "vigil.alert_below", rows)


def withdraw_empty_cases(connection: database.Connection, run_no: int, cases: Sequence[int]) -> None:
    """End cases whose last alert was withdrawn and that no new one joined."""
    empty = database.execute(
        connection,
        f"""SELECT case_no, seq FROM vigil.case_now n WHERE case_no = ANY(:cases) AND state = 'new' AND NOT EXISTS (
            SELECT FROM vigil.alert a JOIN vigil.case_now c USING (case_no) WHERE a.case_no = n.case_no AND {LIVE})
        ORDER BY case_no""",
        cases=list(cases),
    )
    rows = [_event(row["case_no"], row["seq"] + 1, "withdrawn", "withdrawn", run_no) for row in empty]
    _insert(connection, "vigil.case_event", rows)


def lock_cases(connection: database.Connection, cases: Sequence[int]) -> None:
    """Hold off people who act on these cases until the caller's transaction ends."""
    for case_no in sorted(cases):
        database.lock(connection, f"case {case_no}")


def _cases(connection: database.Connection, run: RaisedAlerts, grouped: Grouped) -> dict[str, int]:
    """Case number by alert; opens the new ones and tells the joined ones, whose state stays as it is."""
    joined = [case_no for case_no, _ in grouped.groups if case_no is not None]
    lock_cases(connection, joined)
    now = {
        row["case_no"]: row
        for row in database.execute(
            connection, "SELECT * FROM vigil.case_now WHERE case_no = ANY(:joined)", joined=joined
        )
    }
    number = _next(connection, "case_no", "vigil.aml_case")
    cases, events = [], []
    case_of: dict[str, int] = {}
    for existing, names in grouped.groups:
        if existing is None or now[existing]["state"] == "closed":  # closed while we waited: a new case then
            case_no, number = number, number + 1
            cases.append(
                {"case_no": case_no, "model": run.model, "run_no": run.run_no, "business_date": run.business_date}
            )
            events.append(_event(case_no, 1, "opened", "new", run.run_no))
        else:
            case_no, before = existing, now[existing]
            event = _event(case_no, before["seq"] + 1, "joined", before["state"], run.run_no)
            events.append(event | {"assignee": before["assignee"]})
        case_of |= dict.fromkeys(names, case_no)
    _insert(connection, "vigil.aml_case", cases)
    _insert(connection, "vigil.case_event", events)
    return case_of


def _event(case_no: int, seq: int, action: str, state: str, run_no: int) -> dict[str, Any]:
    return {
        "case_no": case_no,
        "seq": seq,
        "action": action,
        "state": state,
        "by": MACHINE,
        "run_no": run_no,
        "assignee": None,
    }


def _scheme_row(alert_id: str, scheme: Scheme) -> dict[str, Any]:
    link = scheme.link
    return {
        "alert_id": alert_id,
        "scheme_id": link.scheme_id,
        "kind": link.kind,
        "accounts": sorted(link.accounts),
        "first_on": link.first_on,
        "last_on": link.last_on,
    }


def _insert(connection: database.Connection, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows that all have the same keys; JSON is passed as text and becomes jsonb by the column's type."""
    if not rows:
        return
    names = list(rows[0])
    values = ", ".join(f"CAST(:{n} AS jsonb)" if n in _JSON else f":{n}" for n in names)
    database.execute_many(connection, f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values})", rows)


_JSON = ("limits", "record", "evidence", "parts")


def _next(connection: database.Connection, column: str, table: str) -> int:
    found = database.execute(connection, f"SELECT coalesce(max({column}), 0) + 1 AS next FROM {table}")
    return int(found[0]["next"])
