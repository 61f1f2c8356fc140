"""Who is champion by the journal, now and at any time before, and on what evidence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pipelines import database
from pipelines.contracts import Blocked, Value
from pipelines.registry import chain, journal
from pipelines.registry.journal import Entry
from pipelines.registry.moments import Moment
from pipelines.settings import Settings

DECIDING = ("bootstrap", "promoted", "rolled_back", "retired")


class Standing(Value):
    """What one deciding entry of the journal made of a model.

    Attributes:
        version: the champion from then on; None when the entry retired the model.
        permit_no, permit_digest, artefact_digest: of that version; None when retired.
        previous: champion before; None when there was none.
        by: the person; empty for a bootstrap.
        facts: everything the entry says.
    """

    model: str
    entry_no: int
    kind: str
    since: Moment
    version: int | None
    permit_no: int | None
    permit_digest: str | None
    artefact_digest: str | None
    previous: int | None
    by: str
    reason: str
    facts: dict[str, Any]

    @property
    def is_retired(self) -> bool:
        return self.kind == "retired"


def standing(settings: Settings, model: str) -> Standing | None:
    """What the journal says now, after its whole chain was verified; None when the model never had a champion.

    Raises Blocked when the journal is not the chain it was written as.
    """
    return newest_of(read_standings(settings, model))


def read_standings(settings: Settings, model: str) -> tuple[Standing, ...]:
    """Every champion a model had, by the verified journal, oldest first. Raises Blocked as `standing` does."""
    with database.transaction(settings) as connection:
        return standings(verified(connection), model)


def standing_in(connection: database.Connection, model: str) -> Standing | None:
    """The same, as the caller's transaction sees it."""
    return newest_of(standings(verified(connection), model))


def verified(connection: database.Connection) -> tuple[Entry, ...]:
    """All entries, when they are a chain. Raises Blocked, naming the first that is wrong."""
    found = journal.read(connection)
    fault = chain.break_of(found)
    if fault is not None:
        raise Blocked(
            f"the registry's journal is not as it was written: {fault.message}. Nothing in it is believed, so nothing is "
            "scored, promoted or rolled back; the last published scores are still served. Ask whoever keeps the database. "
            "Run: python -m pipelines registry verify"
        )
    return found


def standings(entries: Iterable[Entry], model: str) -> tuple[Standing, ...]:
    """Every champion a model had, and its retirements, oldest first."""
    found: list[Standing] = []
    for entry in entries:
        if entry.model == model and entry.kind in DECIDING:
            before = found[-1].version if found else None
            found.append(_standing(entry, before))
    return tuple(found)


def newest_of(found: Sequence[Standing]) -> Standing | None:
    return found[-1] if found else None


def _standing(entry: Entry, previous: int | None) -> Standing:
    facts = entry.facts
    return Standing(
        model=entry.model,
        entry_no=entry.entry_no,
        kind=entry.kind,
        since=entry.at,
        version=facts.get("version"),
        permit_no=facts.get("permit_no"),
        permit_digest=facts.get("permit_digest"),
        artefact_digest=facts.get("artefact_digest"),
        previous=previous,
        by=facts.get("by", ""),
        reason=facts.get("reason", ""),
        facts=facts,
    )
