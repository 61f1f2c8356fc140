"""Rollback: back to the last champion that was approved and still verifies. One person decides; nothing new is let in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines import mlflow_store
from pipelines.contracts import Blocked, DataFault, Value
from pipelines.registry import journal
from pipelines.registry.alignment import align
from pipelines.registry.anchors import journalled, keep_up, require_agreeing_head
from pipelines.registry.permits import Permit, permit_numbered, require_permit
from pipelines.registry.persons import person, reasoned
from pipelines.registry.soundness import require_sound
from pipelines.registry.standing import Standing, newest_of, read_standings, standings, verified
from pipelines.registry.versions import CHAMPION
from pipelines.settings import Settings
from pipelines.spec import Model


class Rollback(Value):
    """Where a rollback goes, or went.

    Attributes:
        passed_over: champions in between that no longer verify, with the reason.
        entry_no: journal entry; None for a dry run.
        already: it was done before this call, which only made the alias follow.
    """

    model: str
    from_version: int
    to_version: int
    permit_no: int
    passed_over: tuple[str, ...]
    reason: str
    by: str
    entry_no: int | None
    already: bool = False


def rollback(
    settings: Settings,
    model: Model,
    *,
    reason: str,
    by: str,
    expected_champion: int | None = None,
    dry_run: bool = False,
) -> Rollback:
    """Make the last champion before the present one champion again, if its permit holds and its files verify.

    A champion that was rolled back from is no target. Killed before the alias followed, the same call by the same person
    for the same reason finishes it; with `expected_champion` a repeated call never goes a step further.

    Args:
        expected_champion: version to roll back from, as the person saw it; by default whatever is champion.
        dry_run: only say where it would go; everything is verified, nothing is changed.

    Raises:
        Blocked: no champion, a retired model, another champion than expected, or no earlier champion that verifies (each is
            named with what is wrong).
        DataFault: no reason, or no person.
        ConnectionBroken: the database or the registry did not answer; a version that could not be fetched is not taken for
            a damaged one.
    """
    why, who = reasoned(reason), person(by)
    held = read_standings(settings, model.name)
    now = newest_of(held)
    done = _done_before(settings, model, held, why, who, expected_champion)
    if done is not None:
        if not dry_run:
            keep_up(settings)
            align(settings, model)
        return done
    present = _require_champion(model, now, expected_champion)
    target, passed_over = _target(settings, model, held)
    found = Rollback(
        model=model.name,
        from_version=present,
        to_version=target.version,
        permit_no=target.permit_no,
        passed_over=passed_over,
        reason=why,
        by=who,
        entry_no=None,
    )
    if dry_run:
        return found
    require_agreeing_head(settings)
    facts = {
        "version": target.version,
        "artefact_digest": target.artefact_digest,
        "permit_no": target.permit_no,
        "permit_digest": target.digest,
        "policy_version": target.policy_version,
        "expected_champion": present,
        "passed_over": list(passed_over),
        "reason": why,
        "by": who,
    }
    entry_no = _compare_and_set(settings, model, now, facts)
    align(settings, model)
    return found.model_copy(update={"entry_no": entry_no})


def _compare_and_set(settings: Settings, model: Model, now: Standing | None, facts: Mapping[str, Any]) -> int:
    """Write the rollback if the champion is still the one it was prepared from, else the conflict."""
    with journalled(settings) as connection:
        journal.alone(connection)
        newer = newest_of(standings(verified(connection), model.name))
        if newer == now:
            return journal.append(connection, model.name, "rolled_back", facts).entry_no
        actual = {"actual_champion": newer and newer.version, "actual_entry": newer and newer.entry_no}
        conflict = journal.append(connection, model.name, "conflict", {**facts, **actual})
    raise Blocked(
        f"model {model.name}: its champion changed while the rollback was prepared. Nothing was rolled back; the conflict is "
        f"journal entry {conflict.entry_no}. Look first: python -m pipelines registry champion --model {model.name}"
    )


def earlier_champions(held: Sequence[Standing]) -> tuple[Standing, ...]:
    """The champions a rollback may go to, nearest first: each once, without the present one and those rolled back from."""
    stack: list[Standing] = []
    for one in held:
        if one.kind == "rolled_back":
            while stack and stack[-1].version != one.version:
                stack.pop()
        elif one.version is not None:
            stack = [other for other in stack if other.version != one.version] + [one]
    return tuple(reversed(stack[:-1]))


def _done_before(
    settings: Settings, model: Model, held: Sequence[Standing], why: str, who: str, expected: int | None
) -> Rollback | None:
    """The newest rollback, when this call is the same one again: it was expected, or its alias has not followed yet."""
    now = newest_of(held)
    if now is None or now.kind != "rolled_back" or (now.reason, now.by) != (why, who):
        return None
    follows = mlflow_store.get_aliases(settings, model.name).get(CHAMPION) == now.version
    if expected != now.previous and (expected is not None or follows):
        return None
    facts = now.facts
    return Rollback(
        model=model.name,
        from_version=now.previous or 0,
        to_version=now.version or 0,
        permit_no=now.permit_no or 0,
        passed_over=tuple(facts.get("passed_over", ())),
        reason=why,
        by=who,
        entry_no=now.entry_no,
        already=True,
    )


def _require_champion(model: Model, now: Standing | None, expected: int | None) -> int:
    if now is None or now.version is None:
        state = "never had a champion" if now is None else f"is retired (journal entry {now.entry_no})"
        raise Blocked(
            f"model {model.name} {state}, so there is nothing to roll back. Nothing was changed. A version becomes champion "
            "by approval and promotion."
        )
    if expected is not None and expected != now.version:
        raise Blocked(
            f"model {model.name}: version {expected} was to be rolled back, but version {now.version} is champion since "
            f"{now.since:%Y-%m-%d %H:%M} UTC (journal entry {now.entry_no}). Nothing was changed. Look again, then decide."
        )
    return now.version


def _target(settings: Settings, model: Model, held: Sequence[Standing]) -> tuple[Permit, tuple[str, ...]]:
    passed_over: list[str] = []
    for permit, why in _judged(settings, model, earlier_champions(held)):
        if permit is not None:
            return permit, tuple(passed_over)
        passed_over.append(why)
    raise Blocked(
        f"model {model.name}: no earlier champion can be rolled back to"
        + (": " + "; ".join(passed_over) if passed_over else ": there was none")
        + f". The champion was not changed. To stop it from scoring: python -m pipelines registry retire --model {model.name} "
        f"--reason … --by …  Ask {model.owner} (owner) and {model.validator} (validator)."
    )


def _judged(settings: Settings, model: Model, earlier: Sequence[Standing]) -> Iterator[tuple[Permit | None, str]]:
    for one in earlier:
        number = one.version or 0
        try:
            digest = require_sound(settings, model, number)
            permit = permit_numbered(settings, one.permit_no or 0)
            valid = require_permit(settings, model, permit, number, digest, CHAMPION)
            if valid.digest != one.permit_digest:
                raise Blocked(f"permit {valid.permit_no} is no longer the one its journal entry recorded")
        except (Blocked, DataFault) as error:
            yield None, f"version {number}: {error}"
        else:
            yield valid, ""
