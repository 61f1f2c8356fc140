"""What an overdue review or an expired permit does: it opens an incident, and by the policy it stops scoring or only warns.

What has recovered (a review that found the model fit, a new permit, a retirement) resolves its incident.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import date

from pipelines import database, mlflow_store
from pipelines.contracts import Blocked, Value
from pipelines.registry import incidents
from pipelines.registry.inventory import InventoryLine, Listed, every_model, lines_of
from pipelines.registry.reviews import OVERDUE
from pipelines.registry.standing import newest_of, standings, verified
from pipelines.registry.verification import Verification, verify
from pipelines.registry.versions import CHAMPION
from pipelines.settings import Settings
from pipelines.spec import Model, Policy

EXPIRED = "permit_expired"
NO_RULE = "no_review_rule"
UNREADABLE = "model_unreadable"
ALIAS_MOVED = "alias_moved"
JOURNAL_BROKEN = "journal_broken"
EVERY_MODEL = "registry"
_WORST = 1
_log = logging.getLogger(__name__)


class AliasCheck(Value):
    """Whether the alias `champion` of every model is where the journal says. `moved` says of which it is not."""

    models: int
    moved: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.moved


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


def require_verified(settings: Settings) -> Verification:
    """Verify the journal and all it refers to; resolve the incident of a broken one when it is sound.

    Raises:
        Blocked: it is not as it was written; an incident of the worst severity is open then.
        ConnectionBroken: the database or the anchors' store did not answer.
    """
    found = verify(settings)
    with database.transaction(settings) as connection:
        if found.ok:
            incidents.recover(connection, EVERY_MODEL, JOURNAL_BROKEN, note="the journal verifies")
            return found
        message = f"the journal is not as it was written: {found.message}"
        subject = f"entry {found.first_bad} {found.what}"
        incidents.report(connection, EVERY_MODEL, JOURNAL_BROKEN, subject, severity=_WORST, message=message)
    raise Blocked(
        f"the registry's journal is not as it was written. First bad entry: {found.first_bad} ({found.what}): {found.message}. "
        "Nothing was anchored. Keep the database as it is; see docs/registry.md, section Verify."
    )


def check_aliases(settings: Settings) -> AliasCheck:
    """Compare every model's alias with the journal, open an incident for each that was moved by hand, resolve those put back.

    Nothing is moved: scoring of such a model stops by itself, and a person decides which of the two is right.

    Raises:
        Blocked: the journal is not as it was written.
        ConnectionBroken: the database or the registry did not answer; that is never taken for "no alias".
    """
    aliases = {
        model: named[CHAMPION] for model, named in mlflow_store.all_aliases(settings).items() if CHAMPION in named
    }
    with database.transaction(settings) as connection:
        entries = verified(connection)
        listed = every_model(settings, connection)
        tiers = {one.name: one.model.tier for one in listed if one.model is not None}
        reported = {i.model for i in incidents.incidents(settings) if i.kind == ALIAS_MOVED}
        names = sorted({one.name for one in listed} | set(aliases) | reported)
        moved = {}
        for name in names:
            said = newest_of(standings(entries, name))
            wanted, found = said.version if said else None, aliases.get(name)
            subject = f"alias at {found or 'no version'}, journal at {wanted or 'no version'}"
            if wanted != found:
                moved[name] = _moved_message(name, wanted, found)
                severity = tiers.get(name, _WORST)
                incidents.report(connection, name, ALIAS_MOVED, subject, severity=severity, message=moved[name])
            if name in reported:
                still = [subject] if name in moved else []
                incidents.recover(connection, name, ALIAS_MOVED, note="the alias was moved since", still=still)
    return AliasCheck(models=len(names), moved=tuple(moved.values()))


def require_aliases(found: AliasCheck) -> AliasCheck:
    """The check when every alias is where the journal says; otherwise Blocked, naming each that is not."""
    if not found.ok:
        raise Blocked("\n".join(found.moved))
    return found


def _moved_message(model: str, wanted: int | None, found: int | None) -> str:
    told = f"version {wanted}" if wanted else "no version"
    there = f"at version {found}" if found else "at no version"
    return (
        f"model {model}: the journal says {told} is champion, but the registry's alias is {there}. Nothing of it is scored. "
        f"To put the alias back: python -m pipelines registry align --model {model}"
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
