"""Typologies judged on rows, all rows at once.

The part of the typologies in a score is 1 - product of (1 - points) over the typologies met: each takes its share of what
the others left, so no order matters, more of them is always more, and the result stays below 1. It is the noisy-or of Pearl,
Probabilistic Reasoning in Intelligent Systems (1988), with the points as the chance that each alone is right.

An absent value is unknown, not false (Kleene's logic): all_of with a false condition fails whatever the others are, any_of
with a true one holds. A typology that stays unknown cannot be judged. It counts in the part as if it were met, so that an
empty field lowers nobody's score, is not named among those met, and the row goes to a person, by name of the typology. Where
the model file says `missing: allowed`, absence is a documented state, and the condition is false.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.evaluation.metrics import Scores
from pipelines.spec import Condition, Typology, TypologyPack
from pipelines.training.rows import Features, Mask, numbers

SEPARATOR = "; "


@dataclass(frozen=True)
class Verdict:
    """Of one condition or typology: which rows surely meet it, and for which nobody can say. No row is both."""

    met: Mask
    unknown: Mask


@dataclass(frozen=True)
class Findings:
    """What a pack says of rows.

    Attributes:
        part: 1 - product of (1 - points) of the typologies met or unknown, one per row in [0, 1).
        met: per row the names of the typologies met, in the pack's order and separated by `; `; empty when none.
        unknown: per typology that cannot be judged somewhere, the rows where it cannot.
    """

    part: Scores
    met: pa.StringArray
    unknown: dict[str, Mask]


def judge(
    pack: TypologyPack, may_be_absent: Collection[str], features: Features, doubted: Mask | None = None
) -> Findings:
    """Every typology of the pack on every row.

    Args:
        may_be_absent: features whose absence the model file declares to be a state.
        doubted: rows of which an input failed, so that no absence is a state.
        features: numbers and categories by name, as pipelines.training.rows.typed gives them.
    """
    states = _states(may_be_absent, features, doubted)
    verdicts = {typology.name: _typology(typology, states, features) for typology in pack.typologies}
    rest = np.ones(features.num_rows)
    for typology in pack.typologies:
        verdict = verdicts[typology.name]
        rest *= np.where(verdict.met | verdict.unknown, 1.0 - typology.points, 1.0)
    return Findings(
        part=1.0 - rest,
        met=_names({name: verdict.met for name, verdict in verdicts.items()}, features.num_rows),
        unknown={name: verdict.unknown for name, verdict in verdicts.items() if verdict.unknown.any()},
    )


def evidence_by_feature(
    pack: TypologyPack, may_be_absent: Collection[str], features: Features, doubted: Mask | None = None
) -> dict[str, Scores]:
    """How much of -ln(1 - part) comes from each feature that the pack asks about; arguments as `judge`.

    The evidence of a typology, -ln(1 - points), is shared equally by the features whose conditions are met; of one that
    cannot be judged, by the features that are absent.
    """
    states = _states(may_be_absent, features, doubted)
    names = dict.fromkeys(c.feature for typology in pack.typologies for c in typology.conditions)
    shares = {name: np.zeros(features.num_rows) for name in names}
    for typology in pack.typologies:
        verdict = _typology(typology, states, features)
        involved = _involved(typology, verdict, states, features)
        parties = np.sum(list(involved.values()), axis=0)
        share = np.where(verdict.met | verdict.unknown, -np.log1p(-typology.points), 0.0) / np.maximum(parties, 1)
        for name, mask in involved.items():
            shares[name] += np.where(mask, share, 0.0)
    return shares


def _involved(typology: Typology, verdict: Verdict, states: Mapping[str, Mask], features: Features) -> dict[str, Mask]:
    """Per feature the rows in which it is why the typology is met, or why nobody can say."""
    involved: dict[str, Mask] = {}
    judged = zip(typology.conditions, _conditions(typology.conditions, states, features), strict=True)
    for condition, held in judged:
        why = (held.met & verdict.met) | (held.unknown & verdict.unknown)
        involved[condition.feature] = involved.get(condition.feature, np.zeros(features.num_rows, bool)) | why
    return involved


def _states(may_be_absent: Collection[str], features: Features, doubted: Mask | None) -> dict[str, Mask]:
    state = np.ones(features.num_rows, bool) if doubted is None else ~doubted
    return dict.fromkeys(may_be_absent, state)


def _typology(typology: Typology, states: Mapping[str, Mask], features: Features) -> Verdict:
    verdicts = [_all(_conditions(typology.all_of, states, features), features.num_rows)]
    if typology.any_of:
        verdicts.append(_any(_conditions(typology.any_of, states, features), features.num_rows))
    return _all(verdicts, features.num_rows)


def _conditions(conditions: Iterable[Condition], states: Mapping[str, Mask], features: Features) -> Iterable[Verdict]:
    for condition in conditions:
        held, absent = _held(condition, features)
        yield Verdict(held, absent & ~states[condition.feature] if condition.feature in states else absent)


def _held(condition: Condition, features: Features) -> tuple[Mask, Mask]:
    """Rows whose value is present and holds the condition, and rows whose value is absent."""
    if isinstance(condition.equals, str):
        column = features[condition.feature]
        held = pc.fill_null(pc.equal(column, condition.equals), False)
        return np.asarray(held), np.asarray(column.is_null())
    values = numbers(features, condition.feature)
    low = condition.at_least if condition.equals is None else float(condition.equals)
    high = condition.at_most if condition.equals is None else float(condition.equals)
    held = ~np.isnan(values)
    absent = ~held
    if low is not None:
        held &= values >= low  # false for an absent value
    if high is not None:
        held &= values <= high
    return held, absent


def _all(verdicts: Iterable[Verdict], rows: int) -> Verdict:
    met, possible = np.ones(rows, bool), np.ones(rows, bool)
    for verdict in verdicts:
        met &= verdict.met
        possible &= verdict.met | verdict.unknown
    return Verdict(met, possible & ~met)


def _any(verdicts: Iterable[Verdict], rows: int) -> Verdict:
    met, unknown = np.zeros(rows, bool), np.zeros(rows, bool)
    for verdict in verdicts:
        met |= verdict.met
        unknown |= verdict.unknown
    return Verdict(met, unknown & ~met)


def _names(masks: dict[str, Mask], rows: int) -> pa.StringArray:
    """Per row the names whose mask holds. Joined where there is one: pyarrow drops a row that has nothing to join."""
    some = np.logical_or.reduce(list(masks.values()))
    nothing = pa.scalar(None, pa.string())
    parts = [pc.if_else(pa.array(mask[some]), name, nothing) for name, mask in masks.items()]
    joined = pc.binary_join_element_wise(*parts, SEPARATOR, null_handling="skip")
    return pc.replace_with_mask(pa.repeat("", rows), pa.array(some), joined)
