"""Reviews of models in use: what an independent validator found, kept and journalled."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pipelines import database
from pipelines.contracts import Blocked, Value
from pipelines.registry import incidents, journal
from pipelines.registry.anchors import journalled
from pipelines.registry.inventory_records import champions
from pipelines.registry.persons import person, reasoned
from pipelines.settings import Settings
from pipelines.spec import Model, load_policy

Outcome = Literal["fit", "fit_with_conditions", "unfit"]
OVERDUE = "review_overdue"


class Review(Value):
    """One review. `version` is the champion that was reviewed; None when the model had none."""

    review_no: int
    model: str
    version: int | None
    outcome: Outcome
    note: str
    person: str
    at: datetime


def record(settings: Settings, model: Model, *, outcome: Outcome, note: str, by: str) -> Review:
    """Keep a review and journal it. One that finds the model fit resolves its incident of an overdue review.

    Raises:
        Blocked: the person is not a validator of the model's tier by its policy, or owns the model.
        DataFault: `by` is no person, or the note is empty.
    """
    reviewer, said = _reviewer(settings, model, by), reasoned(note)
    with journalled(settings) as connection:
        made = _added(connection, model, outcome, said, reviewer)
        journal.append(
            connection,
            model.name,
            "reviewed",
            {"review_no": made.review_no, "version": made.version, "outcome": outcome, "note": said, "by": reviewer},
        )
        if outcome != "unfit":
            told = f"review {made.review_no} by {reviewer}: {outcome.replace('_', ' ')}"
            incidents.recover(connection, model.name, OVERDUE, note=told)
    return made


def _reviewer(settings: Settings, model: Model, by: str) -> str:
    reviewer = person(by)
    approvals = load_policy(settings.policies, model.policy).approvals
    named = () if approvals is None or model.tier not in approvals.tiers else approvals.tiers[model.tier].validators
    validators = sorted(validator.lower() for validator in named)
    subject = f"model {model.name}: {reviewer} may not review it"
    if reviewer == model.owner.lower():
        raise Blocked(
            f"{subject}, because they own it. Nothing was recorded. Ask one of: {_listed(validators, reviewer)}."
        )
    if reviewer not in validators:
        raise Blocked(
            f"{subject}: policy {model.policy} names other validators for tier {model.tier}. Nothing was recorded. "
            f"Ask one of: {_listed(validators, model.owner.lower())}."
        )
    return reviewer


def _listed(validators: list[str], without: str) -> str:
    return ", ".join(name for name in validators if name != without) or "nobody is named: add approvals to the policy"


def _added(connection: database.Connection, model: Model, outcome: Outcome, note: str, reviewer: str) -> Review:
    champion = champions(connection, [model.name]).get(model.name)
    [row] = database.execute(
        connection,
        "INSERT INTO vigil.review (model, version, outcome, note, person) VALUES (:model, :version, :outcome, :note, :person) "
        f"RETURNING {', '.join(Review.model_fields)}",
        model=model.name,
        version=champion.version if champion else None,
        outcome=outcome,
        note=note,
        person=reviewer,
    )
    return Review.model_validate(row)
