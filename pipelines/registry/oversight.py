"""What an overdue review or an expired permit does: it opens an incident, and by the policy it stops scoring or only warns.

What has recovered (a review that found the model fit, a new permit, a retirement) resolves its incident.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import date

from pipelines import database
from pipelines.contracts import Blocked, Value
from pipelines.registry import incidents
from pipelines.registry.inventory import InventoryLine, Listed, every_model, lines_of
from pipelines.registry.reviews import OVERDUE
from pipelines.settings import Settings
from pipelines.spec import Model, Policy

EXPIRED = "permit_expired"
NO_RULE = "no_review_rule"
UNREADABLE = "model_unreadable"
_WORST = 1
_log = logging.getLogger(__name__)


class Watched(Value):
    """What a look at every model found. Models by name."""

    day: date
    models: int
    overdue: tuple[str, ...]
    permit_expired: tuple[str, ...]
    unreadable: tuple[str, ...]
    unresolved_incidents: int


def watch(settings: Settings, on: date) -> Watched:
    """Look at every model of the inventory; open the incidents of what is wrong and resolve those of what recovered."""
    with database.transaction(settings) as connection:
        lines = lines_of(connection, every_model(settings, connection), on)
        for line in lines:
            _settle(connection, line)
    return Watched(
        day=on,
        models=len(lines),
        overdue=_named(line for line in lines if line.overdue),
        permit_expired=_named(line for line in lines if line.status == "permit_expired"),
        unreadable=_named(line for line in lines if line.status == "unreadable"),
        unresolved_incidents=len(incidents.incidents(settings)),
    )


def require_reviewed(settings: Settings, model: Model, policy: Policy, on: date) -> None:
    """Open an incident when the model's review is overdue on a day, and stop when the policy says so.

    A model without a champion needs no review. The incident is kept also when scoring is stopped.

    Raises:
        Blocked: the review is overdue and the policy says `stop`; says since when, why, and who may review.
    """
    with database.transaction(settings) as connection:
        [line] = lines_of(connection, [Listed(model.name, model, policy)], on)
        _settle(connection, line)
    if not line.overdue or line.review is None:
        return
    if policy.review is not None and policy.review.overdue == "warn":
        _log.warning("%s", _overdue_message(line))
        return
    raise Blocked(
        f"{_overdue_message(line)} Policy {policy.policy} stops scoring until then. Nothing was scored; the last published "
        f"scores are still served. Ask {model.validator} (validator) for a review: "
        f"python -m pipelines registry review --model {model.name} --outcome … --note … --by …"
    )


def _settle(connection: database.Connection, line: InventoryLine) -> None:
    """Report what is wrong with a model and resolve what is not wrong any more."""
    found = dict(_faults(line))
    for kind, (subject, message) in found.items():
        incidents.report(connection, line.model, kind, subject, severity=line.tier or _WORST, message=message)
    if not line.unresolved_incidents:
        return
    recovered = {OVERDUE: "the review is no longer overdue", EXPIRED: "the champion's permit holds"}
    for kind in (OVERDUE, EXPIRED, NO_RULE, UNREADABLE):
        still = [found[kind][0]] if kind in found else []
        note = f"status {line.status}" if line.status == "retired" else recovered.get(kind, "put right")
        incidents.recover(connection, line.model, kind, note=note, still=still)


def _faults(line: InventoryLine) -> Iterable[tuple[str, tuple[str, str]]]:
    if line.overdue and line.review is not None:
        yield OVERDUE, (f"due {line.review.on}", _overdue_message(line))
    if line.status == "permit_expired":
        yield EXPIRED, (f"permit {line.permit_no}", _expired_message(line))
    if line.note and line.status == "unreadable":
        yield UNREADABLE, (line.model, f"model {line.model}: {line.note}")
    elif line.note:
        yield NO_RULE, (line.model, f"model {line.model}: {line.note}")


def _overdue_message(line: InventoryLine) -> str:
    if line.review is None:
        return ""
    return (
        f"model {line.model}: the review of version {line.champion_version} is overdue; it was due on {line.review.on} "
        f"({line.review.reason})."
    )


def _expired_message(line: InventoryLine) -> str:
    when = f"expired on {line.permit_expires:%Y-%m-%d}" if line.permit_expires else "cannot be found"
    return (
        f"model {line.model}: permit {line.permit_no} of champion version {line.champion_version} {when}. "
        f"A new approval gives a new permit; ask {line.owner} (owner) and {line.validator} (validator)."
    )


def _named(lines: Iterable[InventoryLine]) -> tuple[str, ...]:
    return tuple(line.model for line in lines)
