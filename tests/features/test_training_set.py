"""Training rows: nothing before its arrival, nothing after its event date, and the same again from the pins."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from pipelines.contracts import DataFault
from pipelines.features import build_history, known_labels, training_dates, training_rows

MONTHS = [date(2024, 1, 31), date(2024, 2, 29), date(2024, 3, 31), date(2024, 4, 30)]
JANUARY, FEBRUARY, MARCH, APRIL = MONTHS
JUNE = date(2024, 6, 30)


def token(number: int) -> str:
    return f"{number:032x}"


def outcome(account: int, happened: date, reported: date) -> dict:
    return {
        "account_token": token(account),
        "happened_on": happened,
        "outcome": "default",
        "reported_on": reported,
    }


@pytest.fixture
def grown(bank):
    """Four months of four accounts. Account 2 defaults in March and the bank hears of it in April."""
    for on in MONTHS:
        bank.month(on, late=lambda n: 10 * n)
        bank.publish("outcomes", on, [])
    bank.publish("outcomes", APRIL, [outcome(2, date(2024, 3, 15), date(2024, 4, 20))])
    return bank


def labels(rows) -> dict[tuple[date, int], int]:
    table = rows.table.to_pylist()
    return {(r["event_date"], int(r["account_token"], 16)): r["label"] for r in table}


def test_rows_are_labels_that_matured_with_the_features_of_their_date(grown):
    model = grown.model()
    build_history(grown.settings, model, MONTHS)
    made = training_rows(grown.settings, model, date(2024, 5, 31))
    assert labels(made) == {(on, n): int(n == 2) for on in (JANUARY, FEBRUARY) for n in (1, 2, 3, 4)}
    assert made.table.column_names == ["account_token", "event_date", *model.feature_names, "label"]
    first, *_, last = made.table.to_pylist()
    assert (first["balance"], last["balance"]) == (101.0, 402.0)
    assert (first["mean_balance"], last["mean_balance"]) == (101.0, 401.5)
    assert (first["income"], last["income"]) == (1000.0, 3000.0)


def test_a_label_is_not_seen_before_its_outcome_arrived(grown):
    """The outcome happened on 15 March; as of 19 April, a day before its report, no training set may hold it."""
    model = grown.model(label={"view": "went_bad", "maturity_days": 1, "description": "Impatient."})
    build_history(grown.settings, model, MONTHS)
    with pytest.raises(DataFault, match="no label had arrived"):
        training_rows(grown.settings, model, date(2024, 4, 19))
    arrived = labels(training_rows(grown.settings, model, APRIL))
    assert {row for row, label in arrived.items() if label} == {(JANUARY, 2), (FEBRUARY, 2)}


def test_a_label_that_claims_to_be_known_early_is_still_not_seen(grown):
    """A careless label view says known_at = event_date: the outcome's row itself has not been published by then."""
    path = grown.settings.feature_repo / "went_bad.py"
    careless = path.read_text()
    start = careless.index("known_at=")
    path.write_text(careless[:start] + "known_at=by_event.event_date,\n    )\n")
    model = grown.model(label={"view": "went_bad", "maturity_days": 1, "description": "Careless."})
    build_history(grown.settings, model, MONTHS)
    assert 1 not in labels(training_rows(grown.settings, model, date(2024, 4, 29))).values()
    assert 1 in labels(training_rows(grown.settings, model, APRIL)).values()


def test_maturity_holds_back_what_is_known_already(grown):
    model = grown.model()
    build_history(grown.settings, model, MONTHS)
    matured = JANUARY + timedelta(days=90)
    with pytest.raises(DataFault, match="was 90 days old"):
        training_rows(grown.settings, model, matured - timedelta(days=1))
    assert {on for on, _ in labels(training_rows(grown.settings, model, matured))} == {JANUARY}


def test_history_starts_where_the_model_says(grown):
    training = {
        "algorithms": ["scorecard"],
        "seed": 1,
        "history_from": FEBRUARY,
        "validation": {"kind": "out_of_time", "out_of_time_months": 1},
    }
    model = grown.model(training=training)
    build_history(grown.settings, model, MONTHS)
    assert {on for on, _ in labels(training_rows(grown.settings, model, JUNE))} == {FEBRUARY, MARCH}


def test_training_dates_are_what_must_be_built(grown):
    model = grown.model()
    as_of = date(2024, 5, 31)
    assert training_dates(grown.settings, model, as_of) == (JANUARY, FEBRUARY)
    build_history(grown.settings, model, [JANUARY])
    with pytest.raises(
        DataFault, match=r"1 event dates, 2024-02-29 to .*features --model risk --from 2024-02-29 --to 2024-02-29"
    ):
        training_rows(grown.settings, model, as_of)
    build_history(grown.settings, model, training_dates(grown.settings, model, as_of))
    assert training_rows(grown.settings, model, as_of).table.num_rows == 8


def test_nothing_built_at_all(grown):
    with pytest.raises(DataFault, match="2 event dates, 2024-01-31 to 2024-02-29, are not built"):
        training_rows(grown.settings, grown.model(), date(2024, 5, 31))


def test_features_of_an_older_definition_or_of_replaced_rows_are_refused(grown):
    model, as_of = grown.model(), date(2024, 5, 31)
    build_history(grown.settings, model, MONTHS)
    path = grown.settings.feature_repo / "profile.py"
    path.write_text(path.read_text().replace('"income")', "income=today.income * 2)"))
    with pytest.raises(DataFault, match="by another definition"):
        training_rows(grown.settings, model, as_of)
    build_history(grown.settings, model, MONTHS)
    grown.month(JANUARY, late=lambda n: 0)
    with pytest.raises(DataFault, match="2 event dates"):
        training_rows(grown.settings, model, as_of)


def test_the_pins_give_the_same_rows_after_the_lake_has_moved_on(grown):
    model, as_of = grown.model(), date(2024, 5, 31)
    build_history(grown.settings, model, MONTHS)
    first = training_rows(grown.settings, model, as_of)
    grown.month(JANUARY, late=lambda n: 77)
    grown.publish("outcomes", APRIL, [])
    build_history(grown.settings, model, MONTHS)
    now = training_rows(grown.settings, model, as_of)
    again = training_rows(grown.settings, model, as_of, pins=first.pins)
    assert now.digest != first.digest
    assert again.digest == first.digest
    assert again.table.equals(first.table)
    assert again.pins == first.pins


def test_pins_of_a_changed_definition_are_refused(grown):
    model, as_of = grown.model(), date(2024, 5, 31)
    build_history(grown.settings, model, MONTHS)
    first = training_rows(grown.settings, model, as_of)
    path = grown.settings.feature_repo / "went_bad.py"
    path.write_text(path.read_text().replace("days=90", "days=60", 1))
    with pytest.raises(DataFault, match=r"went_bad changed since .* Check out the code version"):
        training_rows(grown.settings, model, as_of, pins=first.pins)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("events.union(events)", "8 rows more than there are entities and event dates"),
        ("events.mutate(label=ibis.literal(2, 'int8'))", "8 rows whose label is not 0 or 1"),
        ("events.drop('known_at')", "it must return"),
    ],
)
def test_a_label_view_that_is_wrong(grown, code, message):
    grown.declare(
        "went_bad.py",
        f"""
        import ibis
        from pipelines.features.definitions import label_view

        @label_view(entity="account", sources=("accounts",))
        def went_bad(accounts):
            events = accounts.select(
                account_token=accounts.account_token,
                event_date=accounts.business_date,
                label=ibis.literal(1, "int8"),
                known_at=accounts.business_date,
            )
            return {code}
        """,
    )
    with pytest.raises(DataFault, match=message):
        training_dates(grown.settings, grown.model(), date(2024, 5, 31))


def test_a_label_of_another_entity(grown):
    path = grown.settings.feature_repo / "went_bad.py"
    path.write_text(path.read_text().replace('entity="account"', 'entity="customer"'))
    with pytest.raises(DataFault, match="keyed by customer_token"):
        training_dates(grown.settings, grown.model(), JUNE)


def test_dates_neither_learnt_from_nor_judged_are_not_asked_for(grown):
    training = {
        "algorithms": ["scorecard"],
        "seed": 1,
        "validation": {
            "kind": "out_of_time",
            "development_to": JANUARY,
            "out_of_time_from": date(2024, 3, 1),
            "out_of_time_to": MARCH,
        },
    }
    assert training_dates(grown.settings, grown.model(), date(2024, 12, 31)) == tuple(MONTHS)
    assert training_dates(grown.settings, grown.model(training=training), date(2024, 12, 31)) == (JANUARY, MARCH)


def test_known_labels_are_those_of_the_dates_asked_whatever_the_model_learns_from(grown):
    known = known_labels(grown.settings, grown.model(), date(2024, 12, 31), FEBRUARY, APRIL)
    assert set(known["event_date"].to_pylist()) == {FEBRUARY, MARCH, APRIL}
    assert set(known["judged"].to_pylist()) == {True}
    with pytest.raises(DataFault, match="no label had arrived"):
        known_labels(grown.settings, grown.model(), date(2024, 4, 1), FEBRUARY, APRIL)
