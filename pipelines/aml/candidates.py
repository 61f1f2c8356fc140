"""Who becomes an alert: ranking, the line, what is held back, and the sample below. Pure: values in, values out.

Nothing here looks at whether a row's inputs were complete to place it lower: a row in review keeps its own rank, and
becomes a review item when the line passes above it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Literal

from pipelines.contracts import fingerprint
from pipelines.spec import AlertLimits

SCORE_BAND = "score"
TYPOLOGY = "typology "

Why = Literal["suppressed", "open", "resting"]


@dataclass(frozen=True)
class Candidate:
    """One published row.

    Attributes:
        rank: 1 is the highest; by probability, then number of typologies, then token. None for a row that was rejected.
        probability: None for a row that was rejected.
        review_reason: what a person must look at because an input was missing; None when nothing was.
        parts: of the score, by name, each in [0, 1].
    """

    token: str
    rank: int | None
    probability: float | None
    review_reason: str | None = None
    typologies: tuple[str, ...] = ()
    parts: Mapping[str, float] = field(default_factory=dict)

    @property
    def reasons(self) -> frozenset[str]:
        return frozenset(self.review_reason.split("; ")) if self.review_reason else frozenset()


@dataclass(frozen=True)
class Earlier:
    """The newest alert of a customer that was not withdrawn.

    Attributes:
        rests_from: its business date, or when its case was closed if that is later.
        is_open: its case is not closed.
    """

    alert_id: str
    rests_from: date
    is_open: bool
    probability: float | None
    typologies: frozenset[str]
    reasons: frozenset[str]


@dataclass(frozen=True)
class Suppressed:
    """A suppression in force, with what was known of the customer when it was made; `typology` None: whatever is met."""

    suppression_no: int
    typology: str | None
    probability: float
    typologies: frozenset[str]


@dataclass(frozen=True)
class Desk:
    """What the desk knows when a night begins, by token."""

    earlier: Mapping[str, Earlier] = field(default_factory=dict)
    suppressed: Mapping[str, Sequence[Suppressed]] = field(default_factory=dict)


@dataclass(frozen=True)
class Raised:
    """A candidate that becomes an alert, and why now: `first`, `rested`, `new typology …`, `score rose`, …"""

    candidate: Candidate
    why_now: str


@dataclass(frozen=True)
class Held:
    """A candidate that would have become an alert, and what held it back."""

    candidate: Candidate
    why: Why
    alert_id: str | None = None
    suppression_no: int | None = None


@dataclass(frozen=True)
class Below:
    """A candidate below the line that a stratum (the score's band, or a typology) could draw, and whether it did."""

    stratum: str
    candidate: Candidate
    drawn: bool


@dataclass(frozen=True)
class Selection:
    """What a night's rows become. No candidate is in two of `above`, `review`, `held` and the drawn ones of `below`.

    Attributes:
        line: lowest score that was above the line; None when nothing was.
    """

    above: tuple[Raised, ...]
    review: tuple[Raised, ...]
    held: tuple[Held, ...]
    below: tuple[Below, ...]
    line: float | None

    @property
    def sampled(self) -> tuple[Candidate, ...]:
        """The drawn customers, once each, by token."""
        drawn = {b.candidate.token: b.candidate for b in self.below if b.drawn}
        return tuple(drawn[token] for token in sorted(drawn))


def select(
    limits: AlertLimits, candidates: Iterable[Candidate], desk: Desk, *, model: str, business_date: date
) -> Selection:
    """Draw the line through a night's candidates and say what each one near or above it becomes.

    Args:
        candidates: the best ranked, everybody in review and everybody who meets a typology; `reach` says how many of the
            best ranked are needed.
    """
    ranked = sorted(candidates, key=lambda c: (c.rank is None, c.rank, c.token))
    above: list[Raised] = []
    review: list[Raised] = []
    held: list[Held] = []
    free: list[Candidate] = []
    line: float | None = None
    for one in ranked:
        over = _is_over(limits, one, len(above))
        if not over and one.review_reason is None:
            free.append(one)
            continue
        judged = _judge(limits, one, desk, business_date)
        if over:
            line = one.probability
        if isinstance(judged, Held):
            held.append(judged)
        else:
            (above if over else review).append(judged)
    below = _below(limits, free, desk, model, business_date)
    return Selection(tuple(above), tuple(review), tuple(held), below, line)


def reach(limits: AlertLimits, desk: Desk, on: date) -> int:
    """How many of the best ranked rows `select` must be given, besides all that are over a threshold."""
    holding = sum(one.is_open or _rests(limits, one, on) for one in desk.earlier.values()) + len(desk.suppressed)
    return (limits.budget or 0) + holding + limits.below_the_line.band


def _is_over(limits: AlertLimits, one: Candidate, raised: int) -> bool:
    if one.probability is None:
        return False
    if limits.threshold is not None:
        return one.probability >= limits.threshold
    return raised < (limits.budget or 0) and one.probability >= (limits.least_score or 0.0)


def _judge(limits: AlertLimits, one: Candidate, desk: Desk, on: date) -> Raised | Held:
    """Whether something holds the candidate back. Missing inputs may hide what would break through a suppression, so none
    holds a row in review."""
    broke = ""
    for suppression in () if one.review_reason else desk.suppressed.get(one.token, ()):
        news = _breaks(limits, one, suppression)
        if news is None:
            return Held(one, "suppressed", suppression_no=suppression.suppression_no)
        broke = f"{news}, through suppression {suppression.suppression_no}"
    earlier = desk.earlier.get(one.token)
    if earlier is None:
        return Raised(one, broke or "first")
    news = _news(limits, one, earlier.probability, earlier.typologies) or _new_reason(one, earlier)
    if news is not None:
        return Raised(one, broke or news)
    if earlier.is_open:
        return Held(one, "open", alert_id=earlier.alert_id)
    if _rests(limits, earlier, on):
        return Held(one, "resting", alert_id=earlier.alert_id)
    return Raised(one, broke or "rested")


def _rests(limits: AlertLimits, earlier: Earlier, on: date) -> bool:
    return on <= earlier.rests_from + timedelta(days=limits.realert_after_days)


def _breaks(limits: AlertLimits, one: Candidate, suppression: Suppressed) -> str | None:
    """What breaks through a suppression: for a typology, another one that is met; in any case a risen score."""
    if suppression.typology is not None:
        others = [t for t in one.typologies if t != suppression.typology]
        if others or suppression.typology not in one.typologies:
            return f"met {', '.join(others) or 'no suppressed typology'}"
    return _news(limits, one, suppression.probability, suppression.typologies)


def _news(limits: AlertLimits, one: Candidate, before: float | None, typologies: frozenset[str]) -> str | None:
    new = [t for t in one.typologies if t not in typologies]
    if new:
        return f"new typology {', '.join(new)}"
    if one.probability is None or before is None:
        return None if one.probability is None else "scored for the first time"
    return "score rose" if rose(before, one.probability, limits.score_rise) else None


def _new_reason(one: Candidate, earlier: Earlier) -> str | None:
    new = sorted(one.reasons - earlier.reasons)
    return f"new review reason {', '.join(new)}" if new else None


def rose(before: float, now: float, share: float) -> bool:
    """Whether the odds of a score rose by at least this share; a certain score cannot rise."""
    if now <= before:
        return False
    return now >= 1 or now / (1 - now) >= (1 + share) * before / (1 - before)


def _below(limits: AlertLimits, free: Sequence[Candidate], desk: Desk, model: str, on: date) -> tuple[Below, ...]:
    """The strata below the line with their draws. Who is held back or rests is no part of them: nobody would look."""
    rule = limits.below_the_line
    able = [c for c in free if isinstance(_judge(limits, c, desk, on), Raised)]
    strata = {SCORE_BAND: (able[: rule.band], rule.sample)}
    for name in sorted({t for c in able for t in c.typologies}):
        strata[TYPOLOGY + name] = ([c for c in able if name in c.typologies][: rule.band], rule.sample_per_typology)
    found: list[Below] = []
    for stratum, (members, size) in strata.items():
        drawn = set(sorted((_lot(rule.seed, model, on, c.token), c.token) for c in members)[:size])
        found += [Below(stratum, c, (_lot(rule.seed, model, on, c.token), c.token) in drawn) for c in members]
    return tuple(found)


def _lot(seed: int, model: str, on: date, token: str) -> str:
    return fingerprint(seed, model, on, token)
