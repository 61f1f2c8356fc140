"""Label views that leave rows unlabelled: nobody investigated them, which is never the same as nothing found."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from pipelines.contracts import DataFault
from pipelines.features import build_history, training_rows
from pipelines.features.definitions import load_definitions
from pipelines.features.views import compile_labels
from pipelines.spec import Model

JANUARY, FEBRUARY, MARCH, APRIL = MONTHS = [
    date(2024, 1, 31),
    date(2024, 2, 29),
    date(2024, 3, 31),
    date(2024, 4, 30),
]
AS_OF = date(2024, 5, 31)

# Accounts are investigated in the weeks after a date; those never investigated stay without a label.
INVESTIGATED = """
import ibis
from pipelines.features.definitions import label_view

@label_view(entity="account", sources=("accounts", "outcomes"), unlabelled=True)
def found(accounts, outcomes):
    events = accounts.select("account_token", event_date=accounts.business_date)
    looked = outcomes.select(
        token=outcomes.account_token,
        happened_on=outcomes.happened_on,
        guilty=(outcomes.outcome == "default").cast("int8"),
        reported_on=outcomes.reported_on,
    )
    end = events.event_date + ibis.interval(days=60)
    within = (events.account_token == looked.token) & (looked.happened_on > events.event_date) & (looked.happened_on <= end)
    joined = events.left_join(looked, within)
    by_event = joined.group_by("account_token", "event_date").agg(
        label=joined.guilty.max(), reported=joined.reported_on.min()
    )
    return by_event.select(
        account_token=by_event.account_token,
        event_date=by_event.event_date,
        label=by_event.label,
        known_at=by_event.reported,
    )
"""
LABEL = {"view": "found", "maturity_days": 60, "description": "What an investigation found."}


def token(number: int) -> str:
    return f"{number:032x}"


def outcome(account: int, happened: date, found: str, reported: date) -> dict:
    return {"account_token": token(account), "happened_on": happened, "outcome": found, "reported_on": reported}


@pytest.fixture
def grown(bank):
    """Four months of six accounts: 2 was found guilty, 3 was cleared, and the others nobody looked at."""
    for on in MONTHS:
        bank.month(on, accounts=6, late=lambda n: 10 * n)
        bank.publish("outcomes", on, [])
    reported = [
        outcome(2, date(2024, 3, 15), "default", date(2024, 4, 20)),
        outcome(3, date(2024, 3, 20), "cleared", date(2024, 4, 22)),
    ]
    bank.publish("outcomes", APRIL, reported)
    bank.declare("found.py", INVESTIGATED)
    return bank


def made(grown, as_of: date = AS_OF, **changes) -> tuple[Model, dict[tuple[date, int], int | None]]:
    model = grown.model(label=LABEL | changes)
    build_history(grown.settings, model, MONTHS)
    table = training_rows(grown.settings, model, as_of).table.to_pylist()
    return model, {(r["event_date"], int(r["account_token"], 16)): r["label"] for r in table}


def test_rows_that_nobody_investigated_have_no_label_and_their_features(grown):
    model, labels = made(grown)
    investigated = {2: 1, 3: 0}
    expected = {(on, n): investigated.get(n) for on in (JANUARY, FEBRUARY, MARCH) for n in range(1, 7)}
    expected |= {(MARCH, n): None for n in range(1, 7)}  # looked at before, not after
    assert labels == expected
    table = training_rows(grown.settings, model, AS_OF).table
    assert table["label"].null_count == 14
    assert table["balance"].null_count == 0


def test_a_finding_that_has_not_arrived_leaves_its_row_unlabelled_and_is_not_waited_for(grown):
    """Account 2's report is of 20 April, account 3's of 22 April: on the 20th nobody knows of 3."""
    known_early = INVESTIGATED.replace("known_at=by_event.reported", "known_at=by_event.reported.cast('date')")
    grown.declare("found.py", known_early)
    grown.publish("outcomes", date(2024, 4, 20), [outcome(2, date(2024, 3, 15), "default", date(2024, 4, 20))])
    grown.publish("outcomes", date(2024, 4, 21), [outcome(3, date(2024, 3, 20), "cleared", date(2024, 4, 22))])
    _, labels = made(grown, as_of=date(2024, 4, 21), maturity_days=30)
    assert {key for key, label in labels.items() if label is not None} == {(JANUARY, 2), (FEBRUARY, 2)}
    assert {(JANUARY, 3), (FEBRUARY, 3)} < set(labels)


def test_unlabelled_rows_must_mature_like_the_others(grown):
    """A row of which an investigation may still be under way is not taken for one that nobody will look at."""
    _, labels = made(grown, as_of=MARCH + timedelta(days=59))
    assert {on for on, _ in labels} == {JANUARY, FEBRUARY}


def test_labels_are_needed_all_the_same(grown):
    grown.publish("outcomes", APRIL, [])
    with pytest.raises(DataFault, match="no label had arrived"):
        made(grown)


def test_a_view_that_does_not_declare_them_may_not_return_them(grown):
    path = grown.settings.feature_repo / "found.py"
    careless = INVESTIGATED.replace(", unlabelled=True", "").replace(
        "known_at=by_event.reported", "known_at=by_event.event_date + ibis.interval(days=1)"
    )
    path.write_text(careless)
    with pytest.raises(DataFault, match=r"14 rows have no label.*unlabelled=True"):
        made(grown)


def test_declaring_it_is_another_definition_and_other_views_keep_theirs(grown):
    view = load_definitions(grown.settings).label_view("found")
    sql, digest = compile_labels(grown.settings, view)
    path = grown.settings.feature_repo / "found.py"
    path.write_text(INVESTIGATED.replace(", unlabelled=True", ""))
    plain = load_definitions(grown.settings).label_view("found")
    assert not plain.unlabelled
    same_sql, other = compile_labels(grown.settings, plain)
    assert same_sql == sql
    assert other != digest


def test_the_pins_give_the_same_rows_again(grown):
    model = grown.model(label=LABEL)
    build_history(grown.settings, model, MONTHS)
    first = training_rows(grown.settings, model, AS_OF)
    grown.publish("outcomes", APRIL, [])
    assert training_rows(grown.settings, model, AS_OF, pins=first.pins).digest == first.digest
