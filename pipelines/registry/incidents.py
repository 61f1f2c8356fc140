"""Incidents: something about a model that a person must see, opened once and told as a story of events.

An incident is one (model, kind, subject). The subject says what exactly it is about (a permit, a due date, a batch), so the
same fault seen every night is one incident, and another one of the same kind is another incident. Nothing is changed or
deleted; the state is what the last event made of it. A message holds names, numbers, dates and digests, and never an id or
token of a customer.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Literal

from pipelines import database
from pipelines.contracts import DataFault, Value
from pipelines.registry.persons import person, reasoned
from pipelines.settings import Settings

Action = Literal["opened", "seen_again", "acknowledged", "resolved"]
State = Literal["open", "acknowledged", "resolved"]
SYSTEM = "system:registry"
_STATE: dict[Action, State] = {"opened": "open", "acknowledged": "acknowledged", "resolved": "resolved"}


class Incident(Value):
    """One incident as it stands.

    Attributes:
        severity: 1 is the worst; by default the tier of the model.
        message: as it was when it was first opened.
        times_seen: how often it was opened or seen again, at most once a day each.
        by, note: of the last acknowledgement or resolution; of the opening when there was none.
    """

    incident_no: int
    model: str
    kind: str
    subject: str
    severity: int
    message: str
    state: State
    opened_at: datetime
    last_seen: datetime
    times_seen: int
    by: str
    note: str


def report(
    connection: database.Connection,
    model: str,
    kind: str,
    subject: str,
    *,
    severity: int,
    message: str,
    by: str = SYSTEM,
) -> Incident:
    """Open the incident, or note that it was seen again: once a day while it is not resolved; a resolved one opens again.

    Inside the caller's transaction. Callers at the same time make one incident.
    """
    database.lock(connection, f"incident {model} {kind}")
    key = {"model": model, "kind": kind, "subject": subject}
    database.execute(
        connection,
        "INSERT INTO vigil.incident (model, kind, subject, severity, message) "
        "VALUES (:model, :kind, :subject, :severity, :message) ON CONFLICT (model, kind, subject) DO NOTHING",
        **key,
        severity=severity,
        message=message,
    )
    [number] = database.execute(
        connection,
        "SELECT incident_no FROM vigil.incident WHERE model = :model AND kind = :kind AND subject = :subject",
        **key,
    )
    found = _found(connection, "WHERE i.incident_no = :number", number=number["incident_no"])
    if not found or found[0].state == "resolved":
        _add(connection, number["incident_no"], "opened", by, "")
    elif not _seen_today(connection, found[0]):
        _add(connection, number["incident_no"], "seen_again", by, "")
    return _found(connection, "WHERE i.incident_no = :number", number=number["incident_no"])[0]


def recover(
    connection: database.Connection, model: str, kind: str, *, note: str, still: Collection[str] = (), by: str = SYSTEM
) -> tuple[Incident, ...]:
    """Resolve the model's unresolved incidents of a kind, but for the subjects that are `still` wrong; returns them."""
    database.lock(connection, f"incident {model} {kind}")
    found = [
        incident
        for incident in _found(connection, "WHERE i.model = :model AND i.kind = :kind", model=model, kind=kind)
        if incident.state != "resolved" and incident.subject not in still
    ]
    for incident in found:
        _add(connection, incident.incident_no, "resolved", by, note)
    return tuple(found)


def acknowledge(settings: Settings, incident_no: int, *, by: str, note: str = "") -> Incident:
    """Say that a person has seen it and works on it. Raises DataFault when there is none, or it is resolved already."""
    return _answered(settings, incident_no, "acknowledged", person(by), note.strip())


def resolve(settings: Settings, incident_no: int, *, by: str, note: str) -> Incident:
    """Say that it is over, and why. What is still wrong opens it again the next time it is seen."""
    return _answered(settings, incident_no, "resolved", person(by), reasoned(note))


def incidents(settings: Settings, model: str | None = None, *, every: bool = False) -> tuple[Incident, ...]:
    """Incidents that are not resolved, or `every` one, newest first; of one model or of all."""
    where = "WHERE (CAST(:model AS text) IS NULL OR i.model = :model)"
    with database.transaction(settings) as connection:
        found = _found(connection, where, model=model)
    return tuple(incident for incident in reversed(found) if every or incident.state != "resolved")


def _answered(settings: Settings, number: int, action: Action, by: str, note: str) -> Incident:
    with database.transaction(settings) as connection:
        found = _found(connection, "WHERE i.incident_no = :number", number=number)
        if not found:
            raise DataFault(
                f"there is no incident {number}. Nothing was changed. See: python -m pipelines registry incidents"
            )
        database.lock(connection, f"incident {found[0].model} {found[0].kind}")
        [now] = _found(connection, "WHERE i.incident_no = :number", number=number)
        if now.state == "resolved":
            raise DataFault(f"incident {number} of model {now.model} was resolved by {now.by}. Nothing was changed.")
        _add(connection, number, action, by, note)
        return _found(connection, "WHERE i.incident_no = :number", number=number)[0]


def _add(connection: database.Connection, number: int, action: Action, by: str, note: str) -> None:
    database.execute(
        connection,
        "INSERT INTO vigil.incident_event (incident_no, seq, action, by, note, at) "
        "SELECT CAST(:number AS bigint), coalesce(max(seq), 0) + 1, :action, :by, :note, clock_timestamp() "
        "FROM vigil.incident_event WHERE incident_no = :number",
        number=number,
        action=action,
        by=by,
        note=note,
    )


def _seen_today(connection: database.Connection, incident: Incident) -> bool:
    [row] = database.execute(
        connection,
        "SELECT (CAST(:seen AS timestamptz) AT TIME ZONE 'UTC')::date >= (now() AT TIME ZONE 'UTC')::date AS today",
        seen=incident.last_seen,
    )
    return bool(row["today"])


# The state is that of the last event that makes one; being seen again makes none.
_SELECT = """
    SELECT i.incident_no, i.model, i.kind, i.subject, i.severity, i.message, i.opened_at,
           last.action, last.by, last.note, seen.last_seen, seen.times_seen
    FROM vigil.incident i
    JOIN LATERAL (SELECT action, by, note FROM vigil.incident_event e
                  WHERE e.incident_no = i.incident_no AND action <> 'seen_again' ORDER BY seq DESC LIMIT 1) last ON true
    JOIN LATERAL (SELECT max(at) AS last_seen, count(*) AS times_seen FROM vigil.incident_event e
                  WHERE e.incident_no = i.incident_no AND action IN ('opened', 'seen_again')) seen ON true"""


def _found(connection: database.Connection, where: str, **parameters: Any) -> list[Incident]:
    rows = database.execute(connection, f"{_SELECT} {where} ORDER BY i.incident_no", **parameters)
    return [Incident(**{k: v for k, v in row.items() if k != "action"}, state=_STATE[row["action"]]) for row in rows]
