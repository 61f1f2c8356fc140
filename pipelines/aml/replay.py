"""Before and after: what a proposed change of the alert limits would have done on stored nights.

Both sides are played over the same published rows by the code that raises alerts, from the same alerts and suppressions
that were there before the first night. Nobody can know when a case that was never opened would have been closed, so on
both sides an alert rests for the policy's days and is then free. The record is what a changed policy must cite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines import database
from pipelines.aml import state
from pipelines.aml.batch import UNKNOWN, Batch, candidates, segments
from pipelines.aml.bounds import Yield
from pipelines.aml.candidates import Candidate, Desk, Earlier, select
from pipelines.aml.limits import InForce, digest_of, in_force, limits_of, named, policy_of
from pipelines.aml.outcomes import known_outcomes, rate
from pipelines.contracts import Blocked, DataFault, Value
from pipelines.registry.persons import person
from pipelines.settings import Settings
from pipelines.spec import AlertLimits, Model, TypologyPack, load_typologies

Rescore = Callable[[Settings, Model, Batch, TypologyPack], pa.Table]


class Group(Value):
    """Customers alerted by one side or both, with what is known of them."""

    customers: int
    by_segment: dict[str, int]
    known: Yield


class ReplayNight(Value):
    """One stored night. `raised` is what was really raised above the line then."""

    business_date: date
    raised: int
    before: int
    after: int
    gained: int
    lost: int


class Replay(Value):
    """A recorded replay.

    Attributes:
        before_digest, after_digest: contents of the two alert sections with their typology packs.
        change: keys that differ, as [before, after]; `typologies` has pack and version.
        gained, lost, both: customers alerted only after, only before, and on both sides, over all nights.
    """

    replay_no: int
    model: str
    first_date: date
    last_date: date
    before_digest: str
    after_digest: str
    change: dict[str, tuple[Any, Any]]
    nights: tuple[ReplayNight, ...]
    gained: Group
    lost: Group
    both: Group
    by: str


@dataclass(frozen=True)
class _StoredNight:
    batch: Batch
    raised: int


def replay(
    settings: Settings,
    model: Model,
    after: AlertLimits,
    first: date,
    last: date,
    *,
    by: str,
    pack: Path | None = None,
    rescore: Rescore | None = None,
) -> Replay:
    """Play the limits in force and the proposed ones over the stored nights of a range, and record what differs.

    Args:
        after: the proposed section.
        pack: a proposed typology pack; `rescore` gives a night's scores with it.

    Raises:
        Blocked: no alerts were raised in the range, or with a pack other than the one in force.
        DataFault: nothing would change, the pack changed without a new version, or its scores cannot be made.
    """
    who = person(by)
    before = _before(settings, model, last)
    proposal = None if pack is None else _new_pack(settings, model, before, pack)
    change = _changes(before, after, proposal)
    if not change:
        raise DataFault(f"model {model.name}: the proposed alert limits are those in force. Nothing was replayed.")
    nights = _nights(settings, model, first, last)
    if proposal:
        _require_in_force(model, before, nights)
    one = _play(settings, model, before.limits, nights, first, None)
    other = _play(settings, model, after, nights, first, _with_pack(proposal, rescore))
    result = _compared(settings, model, after, nights, one, other)
    digests = (
        digest_of(before.limits, before.typologies),
        digest_of(after, proposal.identity if proposal else before.typologies),
    )
    return _record(settings, model, digests, who, change, (first, last), result)


def proposed(settings: Settings, model: Model, on: date, **changed: object) -> AlertLimits:
    """The alerts section of the policy file with some keys changed; a budget takes the threshold's place and back."""
    limits = limits_of(policy_of(settings, model, on), model).model_dump()
    if changed.get("threshold") is not None:
        limits |= {"budget": None, "least_score": None}
    if changed.get("budget") is not None:
        limits |= {"threshold": None, "least_score": limits["least_score"] or 0.0}
    return AlertLimits.model_validate(limits | {key: value for key, value in changed.items() if value is not None})


def _before(settings: Settings, model: Model, on: date) -> InForce:
    with database.transaction(settings) as connection:
        last = in_force(connection, model.name)
    if last is not None:
        return last
    policy = policy_of(settings, model, on)
    return InForce(
        policy=policy.policy, policy_version=policy.version, limits=limits_of(policy, model), typologies=None
    )


def _new_pack(settings: Settings, model: Model, before: InForce, file: Path) -> TypologyPack:
    """The proposed pack. DataFault when it is the one in force, or one that scored before under its version differs."""
    pack = load_typologies((file.parent,), file.stem)
    if pack.identity == before.typologies:
        raise DataFault(
            f"model {model.name}: {file} is the typology pack in force, {named(pack.identity)}, so nothing would change. "
            "Nothing was replayed. Change the pack and its version, or leave --typologies out."
        )
    known = database.rows(
        settings,
        "SELECT DISTINCT typologies FROM vigil.batch WHERE model = :model AND typologies IS NOT NULL",
        model=model.name,
    )
    for row in known:
        if named(row["typologies"]) == named(pack.identity) and row["typologies"] != pack.identity:
            raise DataFault(
                f"model {model.name}: {file} calls itself {named(pack.identity)}, but has other content than the pack of "
                "that version that scores were made with. Nothing was replayed. Give the changed pack a new `version`."
            )
    return pack


def _changes(before: InForce, after: AlertLimits, pack: TypologyPack | None) -> dict[str, tuple[Any, Any]]:
    old, new = (limits.model_dump(mode="json", exclude={"replay"}) for limits in (before.limits, after))
    found: dict[str, tuple[Any, Any]] = {key: (old[key], new[key]) for key in old if old[key] != new[key]}
    if pack is None:
        return found
    return found | {"typologies": (before.typologies and named(before.typologies), named(pack.identity))}


def _require_in_force(model: Model, before: InForce, nights: list[_StoredNight]) -> None:
    """The side `before` is what was scored then, so it shows the pack in force only where that one scored."""
    others = [night.batch for night in nights if night.batch.typologies != before.typologies]
    if others:
        with_ = sorted({named(batch.typologies) if batch.typologies else "none" for batch in others})
        raise Blocked(
            f"model {model.name}: {len(others):,} of {len(nights):,} nights, the first {others[0].business_date}, were scored "
            f"with another typology pack ({', '.join(with_)}) than the one in force, "
            f"{named(before.typologies) if before.typologies else 'none'}. Nothing was replayed. Choose other dates."
        )


def _with_pack(
    pack: TypologyPack | None, rescore: Rescore | None
) -> Callable[[Settings, Model, Batch], pa.Table] | None:
    if pack is None:
        return None
    if rescore is None:
        raise DataFault(f"{pack.pack}: this model's scores have no part for typologies that could be made anew.")
    chosen, make = pack, rescore
    return lambda settings, model, batch: make(settings, model, batch, chosen)


def _nights(settings: Settings, model: Model, first: date, last: date) -> list[_StoredNight]:
    found = database.rows(
        settings,
        "SELECT DISTINCT ON (r.business_date) b.batch_no, b.batch_id, r.business_date, r.lake_version, b.rows_scored, "
        "b.rows_rejected, b.typologies, r.raised FROM vigil.alert_run r JOIN vigil.batch b USING (batch_no) "
        "WHERE r.model = :model AND r.business_date BETWEEN :first AND :last ORDER BY r.business_date, r.attempt DESC",
        model=model.name,
        first=first,
        last=last,
    )
    if not found:
        raise Blocked(
            f"model {model.name}: no alerts were raised from {first} to {last}, so there is no stored night to replay. "
            f"Run: python -m pipelines raise-alerts --model {model.name} --date {last}"
        )
    return [_StoredNight(raised=row.pop("raised"), batch=Batch(**row)) for row in map(dict, found)]


def _play(
    settings: Settings,
    model: Model,
    limits: AlertLimits,
    nights: list[_StoredNight],
    first: date,
    scores: Callable[[Settings, Model, Batch], pa.Table] | None,
) -> list[frozenset[str]]:
    """Per night the customers alerted above the line."""
    with database.transaction(settings) as connection:
        earlier = state.earlier_before(connection, model.name, first)
        suppressed = {
            night.batch.business_date: state.desk(connection, model.name, night.batch.business_date).suppressed
            for night in nights
        }
    alerted = []
    for night in nights:
        on = night.batch.business_date
        desk = Desk(earlier, suppressed[on])
        rows = candidates(settings, model, night.batch, limits, desk, scores and scores(settings, model, night.batch))
        chosen = select(limits, rows, desk, model=model.name, business_date=on)
        alerted.append(frozenset(raised.candidate.token for raised in chosen.above))
        alerted_then = [*(r.candidate for r in (*chosen.above, *chosen.review)), *chosen.sampled]
        earlier = earlier | {candidate.token: _rests(candidate, on) for candidate in alerted_then}
    return alerted


def _rests(candidate: Candidate, on: date) -> Earlier:
    return Earlier(
        alert_id="",
        rests_from=on,
        is_open=False,
        probability=candidate.probability,
        typologies=frozenset(candidate.typologies),
        reasons=candidate.reasons,
    )


def _compared(
    settings: Settings,
    model: Model,
    limits: AlertLimits,
    nights: list[_StoredNight],
    before: list[frozenset[str]],
    after: list[frozenset[str]],
) -> dict[str, Any]:
    seen: dict[str, date] = {}
    for night, one, other in zip(nights, before, after, strict=True):
        for token in one | other:
            seen.setdefault(token, night.batch.business_date)
    known = known_outcomes(settings, model, limits, seen)
    segment = segments(settings, limits, model, nights[-1].batch.business_date)
    old, new = frozenset[str]().union(*before), frozenset[str]().union(*after)
    groups = {"gained": new - old, "lost": old - new, "both": old & new}
    return {
        "nights": [_night(*played) for played in zip(nights, before, after, strict=True)],
        **{name: _group(tokens, segment, known, limits) for name, tokens in groups.items()},
    }


def _night(night: _StoredNight, before: frozenset[str], after: frozenset[str]) -> ReplayNight:
    return ReplayNight(
        business_date=night.batch.business_date,
        raised=night.raised,
        before=len(before),
        after=len(after),
        gained=len(after - before),
        lost=len(before - after),
    )


def _group(tokens: frozenset[str], segment: Mapping[str, str], known: Mapping[str, bool], limits: AlertLimits) -> Group:
    counted: dict[str, int] = {}
    for token in sorted(tokens):
        name = segment.get(token, UNKNOWN)
        counted[name] = counted.get(name, 0) + 1
    return Group(customers=len(tokens), by_segment=dict(sorted(counted.items())), known=rate(tokens, known, limits))


def _record(
    settings: Settings,
    model: Model,
    digests: tuple[str, str],
    who: str,
    change: dict[str, tuple[Any, Any]],
    dates: tuple[date, date],
    result: dict[str, Any],
) -> Replay:
    made = Replay(
        replay_no=0,
        model=model.name,
        first_date=dates[0],
        last_date=dates[1],
        before_digest=digests[0],
        after_digest=digests[1],
        change=change,
        by=who,
        **result,
    )
    kept = made.model_dump_json(include={"nights", "gained", "lost", "both"})
    with database.transaction(settings) as connection:
        number = database.execute(
            connection,
            "INSERT INTO vigil.replay (model, first_date, last_date, before_digest, after_digest, change, result, by) "
            "VALUES (:model, :first_date, :last_date, :before_digest, :after_digest, CAST(:change AS jsonb), "
            "CAST(:result AS jsonb), :by) RETURNING replay_no",
            model=model.name,
            first_date=dates[0],
            last_date=dates[1],
            before_digest=made.before_digest,
            after_digest=made.after_digest,
            change=made.model_dump_json(include={"change"}),
            result=kept,
            by=who,
        )
    return made.model_copy(update={"replay_no": number[0]["replay_no"]})
