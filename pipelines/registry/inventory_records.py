"""What the database knows of many models at once: one query for each fact, whatever the number of models."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime

from pipelines import database
from pipelines.contracts import Value


class Champion(Value):
    """What the journal made of a model last. `version` is None when it retired the model."""

    version: int | None
    since: datetime
    kind: str
    approved: datetime | None
    permit_no: int | None
    permit_expires: datetime | None


class LastReview(Value):
    """The newest review of a model."""

    review_no: int
    outcome: str
    person: str
    at: datetime


class Drift(Value):
    """The newest published batch of a model. `psi` is None where it could not be assessed."""

    business_date: date
    psi: float | None


class Watermark(Value):
    """From when on a published batch whose PSI reaches the limit makes a review due."""

    model: str
    since: datetime
    limit: float


class Reached(Value):
    """The first published batch that reached it."""

    business_date: date
    psi: float
    on: date


class LastIncident(Value):
    """The newest incident of a model, and how many of all are not resolved."""

    incident_no: int
    kind: str
    opened_at: datetime
    unresolved: int


def champions(connection: database.Connection, models: Sequence[str]) -> dict[str, Champion]:
    """By model the newest deciding entry of the journal with the permit it names. The chain itself is not verified here."""
    entries = database.execute(
        connection,
        "SELECT DISTINCT ON (model) model, kind, at, payload FROM vigil.journal "
        "WHERE kind IN ('bootstrap', 'promoted', 'rolled_back', 'retired') AND model = ANY(:models) "
        "ORDER BY model, entry_no DESC",
        models=list(models),
    )
    facts = {row["model"]: json.loads(row["payload"]) for row in entries}
    numbers = [said["permit_no"] for said in facts.values() if said.get("permit_no") is not None]
    permits = {
        row["permit_no"]: row
        for row in database.execute(
            connection,
            "SELECT permit_no, granted_at, expires FROM vigil.permit WHERE permit_no = ANY(:numbers)",
            numbers=numbers,
        )
    }
    return {row["model"]: _champion(row, facts[row["model"]], permits) for row in entries}


def _champion(
    row: Mapping[str, object], facts: Mapping[str, int | None], permits: Mapping[int, Mapping[str, datetime]]
) -> Champion:
    permit = permits.get(facts.get("permit_no") or 0)
    return Champion.model_validate(
        {
            "version": None if row["kind"] == "retired" else facts.get("version"),
            "since": row["at"],
            "kind": row["kind"],
            "approved": permit["granted_at"] if permit else None,
            "permit_no": facts.get("permit_no"),
            "permit_expires": permit["expires"] if permit else None,
        }
    )


def known_models(connection: database.Connection) -> set[str]:
    """Models that the journal has ever named a champion of."""
    found = database.execute(
        connection, "SELECT DISTINCT model FROM vigil.journal WHERE kind IN ('bootstrap', 'promoted', 'rolled_back')"
    )
    return {row["model"] for row in found}


def candidates(connection: database.Connection, models: Sequence[str]) -> set[str]:
    """Models a version of which was judged by the gates or has a permit."""
    found = database.execute(
        connection,
        "SELECT model FROM vigil.gate_run WHERE model = ANY(:models) "
        "UNION SELECT model FROM vigil.permit WHERE model = ANY(:models)",
        models=list(models),
    )
    return {row["model"] for row in found}


def last_reviews(connection: database.Connection, models: Sequence[str]) -> dict[str, LastReview]:
    """By model its newest review."""
    found = database.execute(
        connection,
        "SELECT DISTINCT ON (model) model, review_no, outcome, person, at FROM vigil.review "
        "WHERE model = ANY(:models) ORDER BY model, review_no DESC",
        models=list(models),
    )
    return {row["model"]: LastReview(**{k: v for k, v in row.items() if k != "model"}) for row in found}


def last_drift(connection: database.Connection, models: Sequence[str]) -> dict[str, Drift]:
    """By model its newest published batch."""
    found = database.execute(
        connection,
        "SELECT m.model, p.business_date, b.psi FROM unnest(CAST(:models AS text[])) AS m(model) "
        "JOIN LATERAL (SELECT business_date, batch_no FROM vigil.published p WHERE p.model = m.model "
        "ORDER BY business_date DESC LIMIT 1) p ON true JOIN vigil.batch b USING (batch_no)",
        models=list(models),
    )
    return {row["model"]: Drift(business_date=row["business_date"], psi=row["psi"]) for row in found}


def first_reached(connection: database.Connection, marks: Sequence[Watermark]) -> dict[str, Reached]:
    """By model the first batch, in the order of publication, that reached its limit."""
    found = database.execute(
        connection,
        "SELECT DISTINCT ON (w.model) w.model, p.business_date, b.psi, "
        "(p.published_at AT TIME ZONE 'UTC')::date AS on "
        "FROM unnest(CAST(:models AS text[]), CAST(:since AS timestamptz[]), CAST(:limits AS double precision[])) "
        "AS w(model, since, psi_limit) "
        "JOIN vigil.published p ON p.model = w.model AND p.published_at > w.since "
        "JOIN vigil.batch b ON b.batch_no = p.batch_no AND b.psi >= w.psi_limit "
        "ORDER BY w.model, p.published_at",
        models=[mark.model for mark in marks],
        since=[mark.since for mark in marks],
        limits=[mark.limit for mark in marks],
    )
    return {row["model"]: Reached(**{k: v for k, v in row.items() if k != "model"}) for row in found}


def last_incidents(connection: database.Connection, models: Sequence[str]) -> dict[str, LastIncident]:
    """By model its newest incident, and how many are not resolved."""
    found = database.execute(
        connection,
        "SELECT DISTINCT ON (i.model) i.model, i.incident_no, i.kind, i.opened_at, "
        "count(*) FILTER (WHERE last.action <> 'resolved') OVER (PARTITION BY i.model) AS unresolved "
        "FROM vigil.incident i JOIN LATERAL (SELECT action FROM vigil.incident_event e "
        "WHERE e.incident_no = i.incident_no AND action <> 'seen_again' ORDER BY seq DESC LIMIT 1) last ON true "
        "WHERE i.model = ANY(:models) ORDER BY i.model, i.incident_no DESC",
        models=list(models),
    )
    return {row["model"]: LastIncident(**{k: v for k, v in row.items() if k != "model"}) for row in found}
