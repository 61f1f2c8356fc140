"""Columns with `delay_days`: a view sees an outcome only in rows old enough to have it, whatever its function does."""

from __future__ import annotations

from datetime import date

import pytest

from pipelines.contracts import DataFault
from pipelines.evaluation.leakage import known_later
from pipelines.features import build, build_history, load_definitions, source_columns, training_rows
from pipelines.features.lineage import trace
from pipelines.features.views import compile_view
from pipelines.spec import load_contract

FIRST, SECOND, THIRD = date(2024, 1, 1), date(2024, 1, 8), date(2024, 1, 9)
COLUMNS = {
    "payment_id": {"type": "string", "token": "payment"},
    "shop_id": {"type": "string", "token": "shop"},
    "amount": {"type": "float"},
    "fraud": {"type": "integer", "known": "later", "delay_days": 7},
    "method": {"type": "string", "known": "later"},
}
GREEDY = """
from pipelines.features.definitions import {decorator}, label_view

@{decorator}(entity="shop", sources=("payments",), ttl_days=1, history_days=30{more})
def shop_frauds({arguments}):
    {body}

@label_view(entity="payment", sources=("payments",))
def found(payments):
    return payments.select(
        payment_token=payments.payment_token, event_date=payments.business_date, label=payments.fraud.cast("int8"),
        known_at=payments.business_date, judged=payments.amount < 100,
    )
"""
IBIS = GREEDY.format(
    decorator="feature_view",
    more="",
    arguments="payments, business_date",
    body='return payments.group_by("shop_token").agg(frauds=payments.fraud.sum(), known=payments.fraud.count())',
)
SQL = GREEDY.format(
    decorator="computed_view",
    more=', features={"frauds": "integer", "known": "integer"}',
    arguments="connection, business_date",
    body='return "SELECT shop_token, sum(fraud) AS frauds, count(fraud) AS known FROM payments GROUP BY ALL"',
)
MODEL = {
    "entity": "payment",
    "population": "payments",
    "sources": ["payments"],
    "features": {"shop_frauds": {"frauds": {}, "known": {}}},
    "label": {"view": "found", "maturity_days": 1, "description": "Fraud."},
}


def payment(number: int, fraud: int, amount: float = 1.0) -> dict:
    return {
        "payment_token": f"{number:032x}",
        "shop_token": f"{7:032x}",
        "amount": amount,
        "fraud": fraud,
        "method": "stolen",
    }


@pytest.fixture
def shop(bank):
    """One shop with a fraud on each of three dates, a week and a day apart."""
    bank.contract("payments", COLUMNS)
    for number, on in enumerate((FIRST, SECOND, THIRD)):
        bank.publish("payments", on, [payment(10 * number, 1), payment(10 * number + 1, 0, amount=500.0)])
    return bank


def frauds(bank, on: date) -> tuple[int | None, int]:
    [row] = bank.read("features/shop_frauds", on)
    return row["frauds"], row["known"]


@pytest.mark.parametrize("view", [IBIS, SQL], ids=["ibis", "computed"])
def test_an_outcome_is_seen_when_it_is_as_old_as_its_delay_and_not_a_day_before(shop, view):
    shop.declare("shop_frauds.py", view)
    if view is SQL:
        shop.contract("payments", {name: column for name, column in COLUMNS.items() if name != "method"})
    model = shop.model(**MODEL)
    for on in (FIRST, SECOND, THIRD):
        build(shop.settings, model, on)
    assert frauds(shop, FIRST) == (None, 0)
    assert frauds(shop, SECOND) == (1, 2), "what is a week old, and nothing of the night itself"
    assert frauds(shop, THIRD) == (1, 2)


def test_younger_outcomes_change_no_feature(shop):
    shop.declare("shop_frauds.py", IBIS)
    model = shop.model(**MODEL)
    before = build(shop.settings, model, THIRD)
    for on in (SECOND, THIRD):
        shop.publish("payments", on, [payment(on.day, 0), payment(100 + on.day, 0)])
    build(shop.settings, model, THIRD)
    assert frauds(shop, THIRD) == (1, 2)
    shop.publish("payments", FIRST, [payment(0, 0), payment(1, 0)])
    assert build(shop.settings, model, THIRD).content_digest != before.content_digest
    assert frauds(shop, THIRD) == (0, 2)


def test_the_leakage_check_lets_a_delayed_column_pass_and_still_refuses_the_one_beside_it(shop):
    shop.declare("shop_frauds.py", IBIS.replace("known=payments.fraud.count()", "known=payments.method.nunique()"))
    model = shop.model(**MODEL)
    contracts = {"payments": load_contract(shop.settings.expectations, "payments")}
    refused = list(known_later(model.feature_names, source_columns(shop.settings, model), contracts))
    assert [finding.feature for finding in refused] == ["known"]
    assert "payments.method" in refused[0].reason


def test_filtering_by_a_delayed_column_is_no_leak_either(tables, contracts):
    [accounts] = [contract for contract in contracts if contract.source == "accounts"]
    delayed = accounts.columns["recovered"].model_copy(update={"delay_days": 30})
    known = accounts.model_copy(update={"columns": {**accounts.columns, "recovered": delayed}})
    made = tables["accounts"].filter(tables["accounts"].recovered > 0).select(x=tables["accounts"].balance)
    assert trace(made, [accounts])["x"] == {("accounts", "balance"), ("accounts", "recovered")}
    assert trace(made, [known])["x"] == {("accounts", "balance")}


def test_another_delay_is_another_definition_and_none_is_the_old_one(shop):
    shop.declare("shop_frauds.py", IBIS)
    digests = set()
    for delay in (7, 8, None):
        column = {"type": "integer", "known": "later"} | ({"delay_days": delay} if delay else {})
        shop.contract("payments", COLUMNS | {"fraud": column})
        view = load_definitions(shop.settings).feature_view("shop_frauds")
        digests.add(compile_view(shop.settings, view).digest)
    assert len(digests) == 3


def test_labels_see_every_outcome_and_say_who_is_judged(shop):
    shop.declare("shop_frauds.py", IBIS)
    model = shop.model(**MODEL)
    build_history(shop.settings, model, [FIRST, SECOND])
    made = training_rows(shop.settings, model, THIRD).table
    assert made.column_names == ["payment_token", "event_date", "frauds", "known", "label", "judged"]
    assert made["label"].to_pylist() == [1, 0, 1, 0]
    assert made["judged"].to_pylist() == [True, False, True, False]
    assert made["frauds"].to_pylist() == [None, None, 1, 1]


def test_a_row_that_is_neither_judged_nor_not_is_refused(shop):
    shop.declare("shop_frauds.py", IBIS.replace("payments.amount < 100", 'ibis.null("boolean")'))
    path = shop.settings.feature_repo / "shop_frauds.py"
    path.write_text("import ibis\n" + path.read_text())
    model = shop.model(**MODEL)
    with pytest.raises(DataFault, match="`judged` is absent"):
        training_rows(shop.settings, model, THIRD)
