"""Retirement: a model that no longer scores. A new approval and promotion bring it back."""

from __future__ import annotations

from pipelines.contracts import Blocked, Value
from pipelines.registry import journal
from pipelines.registry.alignment import align
from pipelines.registry.anchors import journalled, require_agreeing_head
from pipelines.registry.persons import person, reasoned
from pipelines.registry.standing import newest_of, standings, verified
from pipelines.settings import Settings
from pipelines.spec import Model


class Retirement(Value):
    """A retired model. `already` when it was retired before this call."""

    model: str
    last_version: int | None
    entry_no: int
    by: str
    reason: str
    already: bool


def retire(settings: Settings, model: Model, *, reason: str, by: str) -> Retirement:
    """Write down that the model is retired and take its champion alias away. Safe to repeat.

    Raises:
        Blocked: the model never had a champion, or the journal is not as it was written.
        DataFault: no reason, or no person.
        ConnectionBroken: the database or the registry did not answer; running again is safe.
    """
    why, who = reasoned(reason), person(by)
    require_agreeing_head(settings)
    with journalled(settings) as connection:
        journal.alone(connection)
        now = newest_of(standings(verified(connection), model.name))
        if now is None:
            raise Blocked(
                f"model {model.name} never had a champion, so there is nothing to retire. Nothing was changed."
            )
        done = None
        if not now.is_retired:
            facts = {"reason": why, "by": who, "expected_champion": now.version}
            done = journal.append(connection, model.name, "retired", facts)
    align(settings, model)
    return Retirement(
        model=model.name,
        last_version=now.version if done else now.previous,
        entry_no=done.entry_no if done else now.entry_no,
        by=who if done else now.by,
        reason=why if done else now.reason,
        already=done is None,
    )
