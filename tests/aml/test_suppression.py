"""Suppressions: who is held back, what breaks through, and when they end."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from aml_night import ANNA, BERT, DAY, MODEL, NIGHT, Row, evidence, publish_scores, token

from pipelines import database
from pipelines.aml.alerts import raise_alerts
from pipelines.aml.suppression import Suppression, revoke, suppress, suppressions
from pipelines.contracts import DataFault
from pipelines.settings import Settings

FIRST, NEXT = DAY - timedelta(days=1), DAY


@pytest.fixture
def scored(bare: Settings) -> Settings:
    """The night before was published; nothing was raised for it."""
    publish_scores(bare, NIGHT, FIRST)
    return bare


def held_back(settings: Settings, name: str, **changed: Any) -> Suppression:
    how: dict[str, Any] = {"from_date": FIRST, "until_date": FIRST + timedelta(days=90), "by": ANNA}
    return suppress(settings, MODEL, token(name), reason="Salary of a known employer.", **how | changed)


def raised_names(settings: Settings, rows: list[Row], day: date = NEXT) -> tuple[set[str], int]:
    """Names above the line and how many were suppressed."""
    publish_scores(settings, rows, day)
    made = raise_alerts(settings, MODEL, day, evidence())
    found = database.rows(
        settings, "SELECT token FROM vigil.alert WHERE run_no = :no AND kind = 'above'", no=made.run_no
    )
    tokens = {row["token"] for row in found}
    return {row.name for row in rows if token(row.name) in tokens}, made.suppressed


def test_a_suppressed_customer_is_counted_and_makes_room(scored: Settings) -> None:
    held_back(scored, "ann")
    names, suppressed = raised_names(scored, NIGHT)
    assert (names, suppressed) == ({"bob", "cid", "dan"}, 1)
    [row] = database.rows(scored, "SELECT * FROM vigil.alert_held")
    assert (row["token"], row["why"], row["rank"], row["probability"]) == (token("ann"), "suppressed", 1, 0.9)
    assert row["suppression_no"] == 1


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (Row("bob", 0.8, "cash_in; dormant"), "new typology dormant"),
        (Row("bob", 0.9, "cash_in"), "score rose"),
        (Row("bob", 0.8, "cash_in", review="income missing"), "first"),
    ],
)
def test_what_is_new_or_much_higher_breaks_through(scored: Settings, now: Row, why: str) -> None:
    held_back(scored, "bob")
    assert raised_names(scored, [now]) == ({"bob"}, 0)
    [row] = database.rows(scored, "SELECT why_now FROM vigil.alert")
    assert row["why_now"].startswith(why)


def test_a_little_higher_does_not_break_through(scored: Settings) -> None:
    held_back(scored, "bob")
    assert raised_names(scored, [Row("bob", 0.82, "cash_in")]) == (set(), 1)


def test_a_typology_is_suppressed_for_a_customer_and_others_are_not(scored: Settings) -> None:
    held_back(scored, "ann", typology="cash_in")
    assert raised_names(scored, [Row("ann", 0.9, "cash_in"), Row("bob", 0.8, "cash_in")]) == ({"bob"}, 1)
    later = NEXT + timedelta(days=1)
    assert raised_names(scored, [Row("ann", 0.9, "cash_in; corridor")], later) == ({"ann"}, 0)


def test_the_same_is_not_suppressed_twice_so_that_one_revocation_ends_it(scored: Settings) -> None:
    first = held_back(scored, "ann")
    with pytest.raises(
        DataFault, match=f"suppression {first.suppression_no} of this customer, for the same, holds until"
    ):
        held_back(scored, "ann", until_date=FIRST + timedelta(days=10))
    held_back(scored, "ann", typology="cash_in")
    held_back(scored, "bob")
    revoke(scored, first.suppression_no, from_date=FIRST + timedelta(days=5), reason="No longer so.", by=BERT)
    with pytest.raises(DataFault, match="holds until"):
        held_back(scored, "ann")
    held_back(scored, "ann", from_date=FIRST + timedelta(days=5))


def test_it_ends_by_its_date_and_by_revocation(scored: Settings) -> None:
    held_back(scored, "ann", until_date=NEXT)
    second = held_back(scored, "bob")
    assert raised_names(scored, [Row("ann", 0.9, "cash_in; corridor"), Row("bob", 0.8, "cash_in")]) == (set(), 2)
    later = NEXT + timedelta(days=1)
    ended = revoke(scored, second.suppression_no, from_date=later, reason="The employer is gone.", by=BERT)
    assert (ended.revoked_by, ended.revoked_from) == (BERT, later)
    names, suppressed = raised_names(scored, [Row("ann", 0.9, "cash_in; corridor"), Row("bob", 0.8, "cash_in")], later)
    assert (names, suppressed) == ({"ann", "bob"}, 0)
    assert suppressions(scored, MODEL, later) == []
    assert [s.suppression_no for s in suppressions(scored, MODEL)] == [2, 1]
    with pytest.raises(DataFault, match=f"was revoked by {BERT}"):
        revoke(scored, second.suppression_no, from_date=later, reason="Again.", by=ANNA)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"until_date": FIRST + timedelta(days=181)}, "180 days"),
        ({"until_date": FIRST}, "ends after that"),
        ({"typology": "corridor"}, "does not meet 'corridor'"),
        ({"by": "anna"}, "is no person"),
    ],
)
def test_what_the_policy_does_not_allow_is_refused(scored: Settings, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(DataFault, match=words):
        held_back(scored, "bob", **changed)
    with pytest.raises(DataFault, match="has no published score"):
        held_back(scored, "nobody")
    assert suppressions(scored, MODEL) == []
