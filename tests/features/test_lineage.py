"""From a feature back to the columns of its sources."""

from __future__ import annotations

from datetime import date

import ibis
import pytest

from pipelines.contracts import DataFault
from pipelines.features import load_definitions, source_columns
from pipelines.features.lineage import require_traceable, trace
from pipelines.spec import Contract, Model

REPORTED = ("outcomes", "reported_on")
HAPPENED = ("outcomes", "happened_on")
OUTCOME = ("outcomes", "outcome")
RECOVERED = ("accounts", "recovered")
ALL_OUTCOMES = {REPORTED, HAPPENED, OUTCOME}


def columns(expression: ibis.Table, contracts: list[Contract], feature: str = "x") -> set[tuple[str, str]]:
    return set(trace(expression, contracts)[feature])


def accounts(*names: str) -> set[tuple[str, str]]:
    return {("accounts", name) for name in names}


def test_the_features_of_the_model(bank):
    found = source_columns(bank.settings, bank.model())
    assert found["balance"] == accounts("balance")
    assert found["worst_late"] == found["is_late"] == accounts("days_late")
    assert found["income"] == {("customers", "income")}


def test_a_feature_the_view_does_not_have(bank):
    with pytest.raises(DataFault, match=r"no feature 'incomme' \(did you mean 'income'\?\)"):
        source_columns(bank.settings, bank.model(features={"profile": {"incomme": {}}}))


def test_arithmetic_and_renaming(tables, contracts):
    t = tables["accounts"]
    renamed = t.select(y=t.balance, z=t.days_late).mutate(x=lambda s: s.y / s.z)
    assert columns(renamed, contracts) == accounts("balance", "days_late")


def test_a_column_not_used_is_not_there(tables, contracts):
    t = tables["accounts"]
    assert columns(t.mutate(x=t.balance, unused=t.recovered), contracts) == accounts("balance")


def test_a_condition_of_an_aggregate_is_part_of_its_value(tables, contracts):
    t = tables["accounts"]
    made = t.group_by("account_token").agg(x=t.balance.sum(where=t.days_late > 0))
    assert columns(made, contracts) == accounts("balance", "days_late")


def test_a_filter_by_what_is_known_is_not_a_source_of_the_value(tables, contracts):
    t = tables["accounts"]
    assert columns(t.filter(t.days_late < 90).select("account_token", x=t.balance), contracts) == accounts("balance")


def test_a_filter_by_what_is_known_later_is(tables, contracts):
    t = tables["accounts"]
    made = t.filter(t.recovered > 0).select("account_token", x=t.balance)
    assert columns(made, contracts) == accounts("balance", "recovered")


def test_a_filter_below_an_aggregate_that_is_joined_back(tables, contracts):
    t = tables["accounts"]
    means = t.filter(t.recovered > 0).group_by("account_token").agg(x=t.balance.mean())
    joined = t.left_join(means, "account_token")
    traced = trace(joined.select("account_token", joined.x, joined.days_late), contracts)
    assert traced["x"] == accounts("balance", "recovered")
    assert traced["days_late"] == accounts("days_late")


def test_window_order_and_partition_count(tables, contracts):
    t = tables["accounts"]
    window = ibis.window(group_by=t.customer_token, order_by=t.recovered)
    assert columns(t.mutate(x=t.balance.lag().over(window)), contracts) == accounts(
        "balance", "customer_token", "recovered"
    )
    assert columns(t.mutate(x=ibis.row_number().over(window)), contracts) == accounts("customer_token", "recovered")


def test_a_window_over_filtered_rows(tables, contracts):
    t = tables["accounts"]
    kept = t.filter(t.recovered.isnull())
    made = kept.mutate(x=kept.balance.sum().over(ibis.window(group_by=kept.customer_token)))
    assert columns(made, contracts) == accounts("balance", "customer_token", "recovered")


def test_counting_rows_comes_from_their_being_there(tables, contracts):
    t = tables["accounts"]
    assert columns(t.group_by("customer_token").agg(x=t.count()), contracts) == accounts("business_date")


def test_counting_rows_of_a_source_known_later_is_the_outcome(tables, contracts):
    o = tables["outcomes"]
    counted = o.group_by("account_token").agg(x=o.count())
    assert columns(counted, contracts) == ALL_OUTCOMES | {("outcomes", "business_date")}


def test_that_a_row_known_later_exists_is_the_outcome_even_by_its_token(tables, contracts):
    t, o = tables["accounts"], tables["outcomes"]
    joined = t.left_join(o, "account_token")
    made = joined.select(joined.account_token, x=joined.account_token_right.notnull(), y=joined.balance)
    traced = trace(made, contracts)
    assert traced["x"] >= ALL_OUTCOMES
    assert traced["y"] == accounts("balance")


@pytest.mark.parametrize("how", ["inner", "semi", "anti", "outer"])
def test_a_join_that_chooses_rows_by_the_outcome(tables, contracts, how):
    t, o = tables["accounts"], tables["outcomes"]
    made = t.join(o.select("account_token"), "account_token", how=how)
    assert columns(made.select(x=made.balance), contracts) == accounts("balance") | ALL_OUTCOMES


def test_a_left_join_that_multiplies_rows_counts_once_they_are_aggregated(tables, contracts):
    t, o = tables["accounts"], tables["outcomes"]
    joined = t.left_join(o, "account_token")
    summed = joined.group_by("customer_token").agg(x=joined.balance.sum(), n=joined.count())
    traced = trace(summed, contracts)
    assert traced["x"] == accounts("balance") | ALL_OUTCOMES
    assert traced["n"] >= ALL_OUTCOMES
    assert traced["customer_token"] == accounts("customer_token")


def test_a_join_condition_known_later_decides_the_joined_value(tables, contracts):
    t, c = tables["accounts"], tables["customers"]
    joined = t.left_join(c, (t.customer_token == c.customer_token) & (t.recovered > 0))
    traced = trace(joined.select(x=joined.income, y=joined.balance), contracts)
    assert traced["x"] == {("customers", "income")} | accounts("recovered")
    assert traced["y"] == accounts("balance")


def test_subqueries(tables, contracts):
    t, o = tables["accounts"], tables["outcomes"]
    assert columns(t.mutate(x=t.balance / t.recovered.max().as_scalar()), contracts) == accounts("balance", "recovered")
    inside = t.mutate(x=t.account_token.isin(o.account_token))
    assert columns(inside, contracts) >= ALL_OUTCOMES
    chosen = t.filter(t.account_token.isin(o.filter(o.outcome == "default").account_token)).select(x=t.balance)
    assert columns(chosen, contracts) == accounts("balance") | ALL_OUTCOMES


def test_unions_and_differences(tables, contracts):
    t = tables["accounts"]
    one, two = t.select("account_token", x=t.balance), t.select("account_token", x=t.recovered)
    assert columns(one.union(two), contracts) == accounts("balance", "recovered")
    late = t.filter(t.recovered > 0).select("account_token")
    left = t.select("account_token").difference(late).group_by("account_token").agg(x=ibis._.count())
    assert columns(left, contracts) == accounts("business_date", "recovered")


def test_nulls_dropped_filled_and_distinct(tables, contracts):
    t = tables["accounts"]
    assert columns(t.drop_null(["recovered"]).select(x=t.balance), contracts) == accounts("balance", "recovered")
    assert columns(t.fill_null({"recovered": 0.0}).select(x=ibis._.recovered), contracts) == accounts("recovered")
    pairs = t.select("account_token", "recovered").distinct()
    assert columns(pairs.group_by("account_token").agg(x=ibis._.count()), contracts) == accounts(
        "business_date", "recovered"
    )


def test_limit_of_rows_sorted_by_the_outcome(tables, contracts):
    t = tables["accounts"]
    assert columns(t.order_by(t.recovered.desc()).limit(9).select(x=t.balance), contracts) == accounts(
        "balance", "recovered"
    )


def test_a_self_join(tables, contracts):
    t = tables["accounts"]
    other = t.view()
    joined = t.join(other, t.account_token == other.account_token)
    assert columns(joined.select(x=other.recovered), contracts) == accounts("recovered")


def test_constants_come_from_nowhere(tables, contracts):
    t = tables["accounts"]
    assert columns(t.select("account_token", x=ibis.literal(1)), contracts) == set()


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("accounts.join(ibis.memtable({'account_token': ['a']}), 'account_token')", "InMemoryTable"),
        ("ibis.table({'account_token': 'string', 'y': 'int64'}, name='secrets')", "table secrets"),
        ("accounts.sql('SELECT * FROM accounts')", "SQLStringView|failed"),
    ],
)
def test_what_cannot_be_traced_is_refused(bank, tables, code, named):
    bank.declare(
        "behaviour.py",
        f"""
        import ibis
        from pipelines.features.definitions import feature_view

        @feature_view(entity="account", sources=("accounts",), ttl_days=1, history_days=1)
        def behaviour(accounts, business_date):
            return {code}
        """,
    )
    view = load_definitions(bank.settings).feature_view("behaviour")
    with pytest.raises(DataFault, match=named):
        require_traceable(view, view.expression(tables, date(2024, 1, 31)))
    model: Model = bank.model(features={"behaviour": {"balance": {}}})
    with pytest.raises(DataFault, match=named):
        source_columns(bank.settings, model)
