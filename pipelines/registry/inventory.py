"""The inventory: one line for every model file, with who answers for it, what it may do, and when it is looked at again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from pipelines import database
from pipelines.contracts import DataFault, Value
from pipelines.registry import inventory_records as records
from pipelines.settings import Settings
from pipelines.spec import Model, Policy, load_model, load_policy, model_names

Status = Literal["never_approved", "candidate", "in_production", "permit_expired", "retired", "unreadable"]


class Due(Value):
    """When a model in use is to be reviewed, and why then."""

    on: date
    reason: str
    at_once: bool = False


class InventoryLine(Value):
    """One model.

    Attributes:
        owner, validator, tier, domain, purpose: as in the model file; None when it cannot be read.
        status: `candidate` has a version that was judged or permitted, but no champion; `unreadable` is a model file that
            cannot be used, or a model of the journal without one.
        permit_expires: of the champion's permit.
        review: when and why it is due next; None for a model that is not in use, or whose policy has no rule for it.
        overdue: the review's day has passed.
        psi, psi_date: of the newest published batch; PSI is None where it could not be assessed.
        last_incident: its kind.
        note: what is wrong with the file or the policy; empty when nothing is.
    """

    model: str
    title: str = ""
    owner: str | None = None
    validator: str | None = None
    tier: int | None = None
    domain: str | None = None
    purpose: str | None = None
    status: Status
    champion_version: int | None = None
    champion_since: datetime | None = None
    permit_no: int | None = None
    permit_expires: datetime | None = None
    last_review: datetime | None = None
    last_review_outcome: str | None = None
    review: Due | None = None
    overdue: bool = False
    psi: float | None = None
    psi_date: date | None = None
    last_incident: str | None = None
    last_incident_at: datetime | None = None
    unresolved_incidents: int = 0
    note: str = ""


@dataclass(frozen=True)
class Listed:
    """A model file and its policy as they could be read; `note` says what could not."""

    name: str
    model: Model | None
    policy: Policy | None
    note: str = ""


def inventory(settings: Settings, on: date) -> tuple[InventoryLine, ...]:
    """Every model on a day, by name. A file that cannot be used is a line that says so, and hides no other."""
    with database.transaction(settings) as connection:
        return lines_of(connection, every_model(settings, connection), on)


def every_model(settings: Settings, connection: database.Connection) -> list[Listed]:
    """All model files, and the models of the journal that have none."""
    policies: dict[str, Policy | str] = {}
    names = model_names(settings.models)
    found = [_listed(settings, name, policies) for name in names]
    lost = sorted(records.known_models(connection) - set(names))
    return found + [
        Listed(name, None, None, f"models/{name}.yaml is gone, but the journal knows the model") for name in lost
    ]


def lines_of(connection: database.Connection, listed: Sequence[Listed], on: date) -> tuple[InventoryLine, ...]:
    """The lines of some models. The number of queries does not grow with the number of models."""
    names = [one.name for one in listed]
    champions = records.champions(connection, names)
    reviews = records.last_reviews(connection, names)
    reached = records.first_reached(connection, list(_watermarks(listed, champions, reviews)))
    drift = records.last_drift(connection, names)
    incidents = records.last_incidents(connection, names)
    candidates = records.candidates(connection, names)
    [clock] = database.execute(connection, "SELECT now() AS now")
    made = []
    for one in listed:
        champion, review = champions.get(one.name), reviews.get(one.name)
        due = _due(one, champion, review, reached.get(one.name))
        seen, incident = drift.get(one.name), incidents.get(one.name)
        made.append(
            InventoryLine(
                model=one.name,
                **_answerable(one.model),
                status=_status(one, champion, one.name in candidates, clock["now"]),
                champion_version=champion.version if champion else None,
                champion_since=champion.since if champion and champion.version else None,
                permit_no=champion.permit_no if champion and champion.version else None,
                permit_expires=champion.permit_expires if champion and champion.version else None,
                last_review=review.at if review else None,
                last_review_outcome=review.outcome if review else None,
                review=due,
                overdue=due is not None and (due.at_once or due.on < on),
                psi=seen.psi if seen else None,
                psi_date=seen.business_date if seen else None,
                last_incident=incident.kind if incident else None,
                last_incident_at=incident.opened_at if incident else None,
                unresolved_incidents=incident.unresolved if incident else 0,
                note=one.note or _no_rule(one, champion),
            )
        )
    return tuple(made)


def _listed(settings: Settings, name: str, policies: dict[str, Policy | str]) -> Listed:
    try:
        model = load_model(settings.models, name)
    except DataFault as fault:
        return Listed(name, None, None, _first_line(fault))
    if model.policy not in policies:
        try:
            policies[model.policy] = load_policy(settings.policies, model.policy)
        except DataFault as fault:
            policies[model.policy] = _first_line(fault)
    policy = policies[model.policy]
    return Listed(name, model, None, policy) if isinstance(policy, str) else Listed(name, model, policy)


def _first_line(fault: DataFault) -> str:
    return " ".join(str(fault).split())[:300]


def _answerable(model: Model | None) -> dict[str, Any]:
    if model is None:
        return {}
    return {name: getattr(model, name) for name in ("title", "owner", "validator", "tier", "domain", "purpose")}


def _status(one: Listed, champion: records.Champion | None, is_candidate: bool, now: datetime) -> Status:
    if champion is not None and champion.kind == "retired":
        return "retired"
    if one.model is None:
        return "unreadable"
    if champion is None:
        return "candidate" if is_candidate else "never_approved"
    expired = champion.permit_expires is None or champion.permit_expires <= now
    return "permit_expired" if expired else "in_production"


def _watermarks(
    listed: Iterable[Listed], champions: Mapping[str, records.Champion], reviews: Mapping[str, records.LastReview]
) -> Iterable[records.Watermark]:
    for one in listed:
        champion = champions.get(one.name)
        if one.policy and one.policy.review and champion and champion.version:
            since = _counted_from(champion, reviews.get(one.name))
            yield records.Watermark(model=one.name, since=since, limit=one.policy.review.after_psi)


def _counted_from(champion: records.Champion, review: records.LastReview | None) -> datetime:
    """The later of the approval and the last review; a bootstrap counts as an approval."""
    approved = champion.approved or champion.since
    return max(approved, review.at) if review else approved


def _due(
    one: Listed,
    champion: records.Champion | None,
    review: records.LastReview | None,
    reached: records.Reached | None,
) -> Due | None:
    """The earlier of the day that the policy counts to and the day a published batch drifted too far."""
    if one.model is None or one.policy is None or one.policy.review is None or not (champion and champion.version):
        return None
    days = one.policy.review.every_days.get(one.model.tier)
    start = _counted_from(champion, review)
    since = start.astimezone(UTC).date()
    if review is not None and review.outcome == "unfit" and review.at >= (champion.approved or champion.since):
        return Due(on=since, reason=f"review {review.review_no} found the model unfit", at_once=True)
    if days is None:
        return Due(on=since, reason=f"policy {one.policy.policy} has no rhythm for tier {one.model.tier}", at_once=True)
    after = "the last review" if review is not None and start == review.at else "the permit"
    by_calendar = Due(on=since + timedelta(days=days), reason=f"{days} days after {after} of {since}")
    if reached is None or reached.on > by_calendar.on:
        return by_calendar
    limit = one.policy.review.after_psi
    return Due(
        on=reached.on,
        reason=f"PSI {reached.psi:.3f} of the scores of {reached.business_date} reached {limit:g}, published {reached.on}",
    )


def _no_rule(one: Listed, champion: records.Champion | None) -> str:
    if one.policy is not None and one.policy.review is None and champion and champion.version:
        return f"policy {one.policy.policy} has no section review, so nothing says when the model is looked at again"
    return ""
