"""The line and what is on either side of it, without any database."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.aml.candidates import Candidate, Desk, Earlier, Selection, Suppressed, rose, select
from pipelines.settings import REPOSITORY
from pipelines.spec import AlertLimits, load_policy

DAY = date(2026, 6, 30)
HOUSE = load_policy(REPOSITORY / "policies", "internal_aml").alerts


def limits(**changed: Any) -> AlertLimits:
    assert HOUSE is not None
    below = HOUSE.below_the_line.model_copy(update={"band": 4, "sample": 2, "sample_per_typology": 1})
    made = {"budget": 2, "least_score": 0.05, "below_the_line": below, "realert_after_days": 10, "score_rise": 0.5}
    return AlertLimits.model_validate(HOUSE.model_dump() | made | changed)


def rows(*scores: float, **changed: Any) -> list[Candidate]:
    return [Candidate(f"{n:02}", n + 1, score, **changed) for n, score in enumerate(scores)]


def drawn(found: list[Candidate], desk: Desk | None = None, **changed: Any) -> Selection:
    return select(limits(**changed), found, desk or Desk(), model="m", business_date=DAY)


def earlier(**changed: Any) -> Earlier:
    how: dict[str, Any] = {
        "alert_id": "a",
        "rests_from": DAY - timedelta(days=5),
        "is_open": False,
        "probability": 0.8,
        "typologies": frozenset(),
        "reasons": frozenset(),
    }
    return Earlier(**how | changed)


def tokens(found: Any) -> list[str]:
    return [one.candidate.token for one in found]


def test_who_is_held_back_makes_room_for_the_next() -> None:
    made = drawn(rows(0.9, 0.8, 0.7, 0.6), Desk({"00": earlier(probability=0.9)}))
    assert (tokens(made.above), tokens(made.held), made.held[0].why, made.line) == (
        ["01", "02"],
        ["00"],
        "resting",
        0.7,
    )


def test_a_budget_raises_nothing_below_its_least_score() -> None:
    made = drawn(rows(0.9, 0.04, 0.03))
    assert (tokens(made.above), made.line) == (["00"], 0.9)


@pytest.mark.parametrize(("days", "held"), [(10, True), (11, False)])
def test_a_customer_rests_for_the_policy_s_days(days: int, held: bool) -> None:
    made = drawn(rows(0.8), Desk({"00": earlier(rests_from=DAY - timedelta(days=days))}))
    assert bool(made.held) is held
    assert held or made.above[0].why_now == "rested"


def test_a_row_in_review_is_an_alert_when_over_the_line_and_an_item_when_below() -> None:
    missing = Candidate("99", 4, 0.01, "income missing")
    found = [*rows(0.9, 0.8, 0.7), missing, Candidate("98", None, None, "not scored: x")]
    made = drawn(found)
    assert (tokens(made.above), tokens(made.review)) == (["00", "01"], ["99", "98"])
    assert made.line == 0.8
    over = drawn([Candidate("99", 1, 0.95, "income missing"), *rows(0.9, 0.8)])
    assert (set(tokens(over.above)), tokens(over.review)) == ({"99", "00"}, [])


def test_an_item_is_not_raised_again_for_the_same_reason() -> None:
    item = Candidate("99", 1, 0.01, "income missing")
    known = earlier(is_open=True, probability=0.01, reasons=frozenset({"income missing"}))
    assert drawn([item], Desk({"99": known})).held[0].why == "open"
    other = Candidate("99", 1, 0.01, "income missing; segment missing")
    assert drawn([other], Desk({"99": known})).review[0].why_now == "new review reason segment missing"


def test_a_suppressed_customer_with_missing_input_is_looked_at() -> None:
    desk = Desk({}, {"00": [Suppressed(1, None, 0.9, frozenset())]})
    assert drawn(rows(0.9), desk).held[0].why == "suppressed"
    assert tokens(drawn(rows(0.9, review_reason="income missing"), desk).above) == ["00"]


@pytest.mark.parametrize(
    ("before", "now", "share", "answer"),
    [
        (0.8, 0.85, 0.5, False),  # odds 4 to 5.67
        (0.8, 0.86, 0.5, True),  # to 6.14
        (0.0, 0.001, 0.5, True),
        (0.5, 0.5, 0.0001, False),
        (0.9, 1.0, 5.0, True),
        (1.0, 1.0, 0.5, False),
    ],
)
def test_a_score_rises_by_its_odds(before: float, now: float, share: float, answer: bool) -> None:
    assert rose(before, now, share) is answer


def test_the_sample_comes_from_the_band_below_the_line_and_from_typologies() -> None:
    found = [*rows(*(0.9 - n / 100 for n in range(10))), Candidate("77", 50, 0.06, None, ("cash",))]
    made = drawn(found)
    band = [b.candidate.token for b in made.below if b.stratum == "score"]
    assert band == ["02", "03", "04", "05"]
    assert sum(b.drawn for b in made.below if b.stratum == "score") == 2
    assert [(b.candidate.token, b.drawn) for b in made.below if b.stratum == "typology cash"] == [("77", True)]
    assert len(made.sampled) == 3


scores = st.lists(
    st.tuples(st.integers(0, 20), st.booleans(), st.sampled_from(["", "cash", "cash; fan"])), min_size=1, max_size=40
)


@given(scores, st.sets(st.integers(0, 39)), st.integers(1, 10))
def test_no_customer_is_two_things_and_none_in_review_is_lost(
    found: list[tuple[int, bool, str]], known: set[int], budget: int
) -> None:
    ordered = sorted(found, key=lambda f: -f[0])
    listed = [
        Candidate(f"{n:02}", n + 1, p / 20, "x missing" if missing else None, tuple(t.split("; ")) if t else ())
        for n, (p, missing, t) in enumerate(ordered)
    ]
    desk = Desk({f"{n:02}": earlier(is_open=bool(n % 2)) for n in known})
    made = drawn(listed, desk, budget=budget)
    seen = [*tokens(made.above), *tokens(made.review), *tokens(made.held), *(c.token for c in made.sampled)]
    assert len(seen) == len(set(seen))
    assert {c.token for c in listed if c.review_reason} <= set(seen)
    assert len(made.above) <= budget
    assert drawn(list(reversed(listed)), desk, budget=budget) == made
