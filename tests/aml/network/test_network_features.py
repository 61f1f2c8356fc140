"""What each feature of the transfer network counts, and how it treats bad input."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from network_bank import ON, Bank, limits, moment, read

from pipelines.aml.network import FEATURES, customer_features, find_schemes
from pipelines.aml.network.passing import pieces
from pipelines.contracts import DataFault

HOUR = 3_600_000_000


@pytest.fixture
def bank() -> Bank:
    return Bank()


def counts(bank: Bank) -> dict[str, int]:
    with bank.connect() as connection:
        find_schemes(connection, ON, limits())
        return {row["reason"]: row["rows"] for row in read(connection, "network_count")}


# Payments


def test_a_payment_between_two_accounts_of_the_bank_is_one_payment(bank):
    bank.pay("A", "B", 100, 3)
    bank.pay("A", "x", 100, 3)
    assert counts(bank) | {"payments": 2, "second_booking": 1} == counts(bank)
    with bank.connect() as connection:
        find_schemes(connection, ON, limits())
        first, second = read(connection, "payments")
    assert first == {
        "payment_id": "t00000",
        "payer": "A",
        "payee": "B",
        "amount": 100.0,
        "paid_at": moment(3),
        "cross_border": False,
        "cash": False,
    }
    assert (second["payer"], second["payee"]) == ("A", "x")


@pytest.mark.parametrize(("debits", "credits", "payments"), [(2, 2, 2), (3, 1, 3), (1, 3, 3), (0, 2, 2), (2, 0, 2)])
def test_equal_payments_are_as_many_as_the_side_that_booked_more(bank, debits, credits, payments):
    for _ in range(debits):
        bank.book("A", "B", 100, 3, "debit")
    for _ in range(credits):
        bank.book("B", "A", 100, 3, "credit")
    assert counts(bank)["payments"] == payments
    features = bank.features()
    assert features[f"c{'A' if debits else 'B'}"][f"equal_{'out' if debits else 'in'}_30d"] == payments


@pytest.mark.parametrize(
    "change", [{"amount": 100.01}, {"booked_at": moment(3) + timedelta(microseconds=1)}, {"currency": "USD"}]
)
def test_bookings_that_differ_are_two_payments(bank, change):
    bank.book("A", "B", 100, 3, "debit")
    bank.book("B", "A", 100, 3, "credit")
    bank.rows[-1].update(change)
    assert counts(bank)["payments"] == 2


BAD = {
    "amount_not_positive": [
        {"amount": 0.0},
        {"amount": -5.0},
        {"amount": None},
        {"amount": math.nan},
        {"amount": math.inf},
    ],
    "null_token": [{"account_token": None}, {"counterparty_token": None}, {"transaction_token": None}],
    "unknown_direction": [{"direction": "reversal"}, {"direction": None}],
    "self_transfer": [{"counterparty_token": "A"}],
    "never_booked": [{"booked_at": None}],
    "booked_later": [{"booked_at": moment(0)}],
}


@pytest.mark.parametrize(
    ("reason", "change"), [(reason, change) for reason, changes in BAD.items() for change in changes]
)
def test_bad_rows_are_left_out_and_counted(bank, reason, change):
    bank.pay("A", "x", 100, 3)
    bank.pay("A", "y", 100, 3)
    bank.rows[-1].update(change)
    assert counts(bank) | {reason: 1, "payments": 1} == counts(bank)
    assert bank.features()["cA"]["payees_7d"] == 1


def test_a_repeated_transaction_counts_once_and_the_first_booking_wins(bank):
    bank.pay("A", "x", 100, 3)
    bank.rows += [dict(bank.rows[0]), bank.rows[0] | {"booked_at": moment(2), "counterparty_token": "y"}]
    assert counts(bank) | {"repeated_token": 2, "payments": 1} == counts(bank)
    for rows in (bank.rows, bank.rows[::-1]):
        assert bank.features(rows=rows)["cA"]["equal_out_30d"] == 1
        assert [p["payee"] for p in payments(bank, rows)] == ["x"]


def payments(bank: Bank, rows) -> list[dict]:
    with bank.connect(rows) as connection:
        find_schemes(connection, ON, limits())
        return read(connection, "payments")


def test_an_unknown_currency_counts_as_a_payment_without_an_amount(bank):
    bank.pay("A", "B", 5000, 20, currency="QQQ")
    bank.pay("B", "C", 5000, 19, currency="QQQ")
    features = bank.features()
    assert features["cB"]["payers_30d"] == 1
    assert features["cB"]["pass_through_share_30d"] is None
    assert features["cB"]["touches_unknown_currency"] is True
    assert bank.schemes() == []


def test_amounts_are_compared_in_the_currency_of_the_limits(bank):
    bank.pay("A", "B", 5000, 20, currency="USD")
    bank.pay("B", "A", 4400, 19)
    under = limits(currencies={"EUR": 1, "USD": 0.9})
    assert [s.kind for s in bank.schemes(under=under) if s.kind == "cycle"] == ["cycle"]
    under = limits(currencies={"EUR": 1, "USD": 0.8})
    assert "cycle" not in [s.kind for s in bank.schemes(under=under)], "4000 do not grow to 4400"


def test_accounts_without_a_customer_take_part_and_get_no_row(bank):
    bank.pay("A", "B", 100, 3)
    for row in bank.rows:
        row["customer_token"] = "cA" if row["account_token"] == "A" else None
    assert bank.features()["cA"]["payees_7d"] == 1
    assert bank.features().keys() == {"cA"}


def test_a_customer_with_nothing_but_bad_rows_has_a_row(bank):
    bank.pay("A", "x", -1, 3)
    row = bank.features()["cA"]
    assert row["payees_90d"] == 0
    assert row["fan_out_peak_share"] is None


def test_an_account_belongs_to_the_customer_of_its_newest_row(bank):
    bank.pay("A", "x", 100, 30, customer_token="before")
    bank.pay("A", "y", 100, 3, customer_token="now")
    assert bank.features()["now"]["payees_30d"] == 2
    assert bank.features().keys() == {"now"}


# Degrees


def test_degrees_count_accounts_in_whole_days_back_from_the_end_of_the_date(bank):
    for place, day in enumerate((0.001, 7, 7.001, 30, 30.001, 90, 90.001)):
        bank.pay("A", f"x{place}", 10, day)
    row = bank.features()["cA"]
    assert (row["payees_7d"], row["payees_30d"], row["payees_90d"], row["payers_90d"]) == (2, 4, 6, 0)


def test_payments_between_accounts_of_one_customer_are_nobodys_business(bank):
    bank.pay("A1", "A2", 5000, 3, customer_token="c")
    bank.pay("x", "A1", 5000, 3.5, customer_token="c")
    bank.pay("A2", "y", 5000, 2, customer_token="c")
    row = bank.features()["c"]
    assert (row["payers_7d"], row["payees_7d"]) == (1, 1)
    assert row["pass_through_share_7d"] == 1, "what came into one account left from the other"


def test_new_counterparties_were_not_paid_with_before(bank):
    bank.pay("A", "old", 10, 200)
    bank.pay("A", "old", 10, 3)
    bank.pay("A", "new", 10, 3)
    bank.pay("A", "newer", 10, 20)
    row = bank.features()["cA"]
    assert (row["new_payees_7d"], row["new_payees_30d"]) == (1, 2)
    forgotten = bank.features(under=limits(known_days=100, least_known_days=10))["cA"]
    assert forgotten["new_payees_7d"] == 2, "what is longer ago than known_days is forgotten"


def test_without_enough_history_nobody_is_said_to_be_new(bank):
    bank.pay("A", "x", 10, 80)
    row = bank.features()["cA"]
    assert row["new_payees_7d"] == 0
    assert row["new_payees_30d"] is None, "80 days are less than 30 and 60 before"


def test_equal_payments_are_of_one_amount_one_day_and_one_account(bank):
    for hour in (1, 2, 3):
        bank.pay(f"x{hour}", "A", 9500, 3 + hour / 24)
    bank.pay("x", "A", 9500.01, 3.2)
    bank.pay("x", "A", 9500, 5)
    row = bank.features()["cA"]
    assert (row["equal_in_30d"], row["equal_out_30d"]) == (3, 0)


# Bursts


def test_the_fullest_window_slides_over_days(bank):
    for day in range(14):
        bank.pay(f"x{day}", "A", 10, 40 - day)
    bank.pay("x0", "A", 30, 20)
    row = bank.features()["cA"]
    assert row["fan_in_peak"] == 7
    assert row["fan_in_peak_share"] == 70 / 170


def test_members_of_schemes_are_told_by_their_part(bank):
    for place in range(8):
        bank.pay(f"S{place}", "H", 500, 20)
    features = bank.features()
    assert (features["cH"]["fan_in_hub"], features["cH"]["fan_in_payer"]) == (1, 0)
    assert (features["cS3"]["fan_in_hub"], features["cS3"]["fan_in_payer"]) == (0, 1)


# Pass-through


def matched(*flows: tuple[bool, float, int]) -> list[tuple]:
    numbered = [("c", into, place, round(hour * HOUR), cents) for place, (into, hour, cents) in enumerate(flows)]
    return [(came, left, cents, waited / HOUR) for _, _, came, left, cents, waited in pieces(numbered, 48 * HOUR)]


def test_money_leaves_in_the_order_in_which_it_came():
    assert matched((True, 0, 100), (True, 1, 50), (False, 2, 120), (False, 3, 60)) == [
        (0, 2, 100, 2),
        (1, 2, 20, 1),
        (1, 3, 30, 2),
    ]


def test_money_that_waited_too_long_does_not_hide_money_that_did_not():
    assert matched((True, 0, 9000), (True, 100, 500), (False, 101, 500)) == [(1, 2, 500, 1)]
    assert matched((True, 0, 10), (False, 48, 10)) == [(0, 1, 10, 48)]
    assert matched((True, 0, 10), (False, 48.0001, 10)) == []


def test_episodes_are_stays_that_overlap():
    flows = [("c", True, 0, 0, 10), ("c", True, 1, 1, 10), ("c", False, 2, 2, 10), ("c", False, 3, 3, 10)]
    flows += [("c", True, 4, 4, 10), ("c", False, 5, 5, 10), ("d", True, 6, 4, 10), ("d", False, 7, 5, 10)]
    assert [episode for _, episode, *_ in pieces(flows, 48 * HOUR)] == [1, 1, 2, 3]


def test_pass_through_share_amount_and_dwell(bank):
    bank.pay("x", "A", 1000, 20)
    bank.pay("A", "y", 250, 19.5)
    bank.pay("A", "z", 500, 18.5)
    bank.pay("A", "z", 500, 10)
    row = bank.features()["cA"]
    assert (row["pass_through_share_30d"], row["pass_through_amount_30d"]) == (0.75, 750)
    assert row["pass_through_share_7d"] is None
    assert (row["dwell_hours_p10"], row["dwell_hours_p50"], row["dwell_hours_p90"]) == (12, 36, 36)


# Exposure


def suspicious_neighbourhood(bank: Bank) -> None:
    bank.pay("Bad", "A", 100, 5)
    bank.pay("A", "x", 300, 4)
    bank.pay("M", "A", 50, 4)
    bank.pay("M", "Bad", 70, 6)


def test_exposure_at_one_and_two_hops(bank):
    suspicious_neighbourhood(bank)
    bank.find("cBad", ON)
    row = bank.features()["cA"]
    assert (row["exposed_payments_1"], row["exposed_share_1"], row["exposed_amount_1"]) == (1, 1 / 3, 100)
    assert (row["exposed_payments_2"], row["exposed_share_2"], row["exposed_amount_2"]) == (1, 1 / 3, 50)


@pytest.mark.parametrize(
    ("found", "hops"),
    [
        pytest.param(("cBad", ON + timedelta(days=1)), (0, 0), id="reported tomorrow"),
        pytest.param(("cBad", ON, "cleared"), (0, 0), id="cleared"),
        pytest.param(("cA", ON), (0, 0), id="the customer itself"),
        pytest.param(("cM", ON), (1, 1), id="the one between, who is one hop away; and two through the other"),
        pytest.param(("nobody", ON), (0, 0), id="somebody without payments"),
    ],
)
def test_what_is_no_exposure(bank, found, hops):
    suspicious_neighbourhood(bank)
    bank.find(*found)
    row = bank.features()["cA"]
    assert (row["exposed_payments_1"], row["exposed_payments_2"]) == hops


def test_without_investigations_exposure_is_absent_and_not_zero(bank):
    suspicious_neighbourhood(bank)
    assert {bank.features()["cA"][name] for name in FEATURES if name.startswith("exposed_")} == {None}


def test_a_shop_where_everybody_buys_exposes_nobody(bank):
    bank.pay("Bad", "shop", 10, 5)
    bank.pay("A", "shop", 10, 5)
    bank.find("cBad", ON)
    assert bank.features()["cA"]["exposed_payments_2"] == 1
    for place in range(99):
        bank.pay(f"P{place}", "shop", 10, 5)
    assert bank.features()["cA"]["exposed_payments_2"] == 0


# Time


def test_what_comes_later_changes_nothing(bank):
    suspicious_neighbourhood(bank)
    for place in range(8):
        bank.pay(f"S{place}", "H", 500, 20)
    bank.find("cBad", ON)
    features, schemes = bank.features(), bank.schemes()
    for day in (0, -1, -30):
        bank.pay("A", "new", 100, day)
        bank.pay("H", "Bad", 500, day, customer_token="another")
    bank.find("cA", ON + timedelta(days=1))
    assert bank.features() == features
    assert bank.schemes() == schemes


def test_the_same_bytes_for_any_order_and_any_number_of_threads(bank):
    for place in range(300):
        bank.pay(f"P{place % 17}", f"P{place * 7 % 23}x", 0.1 + place % 13 / 10, place % 60)
    first = bank.features(threads=1)
    assert all(bank.features(rows=bank.rows[::step], threads=4) == first for step in (1, -1))


def test_a_day_missing_in_the_middle_breaks_nothing(bank):
    for day in range(1, 60):
        if day != 20:
            bank.pay("A", f"x{day % 7}", 10, day)
    assert bank.features()["cA"]["payees_30d"] == 7


def test_an_empty_relation_has_no_rows(bank):
    assert bank.features() == {}
    assert bank.schemes() == []


# Bounds


def through_a_hub(bank: Bank) -> None:
    """Thirty accounts pay one, which pays them all back: nine hundred possible links."""
    for place in range(30):
        bank.pay(f"P{place}", "hub", 1000, 20 - place / 100)
        bank.pay("hub", f"P{place}", 990, 19 - place / 100)
    bank.pay("Q", "R", 1000, 20)
    bank.pay("R", "Q", 1000, 19)


def test_a_hub_is_bounded_and_reported(bank):
    through_a_hub(bank)
    whole = bank.features()
    assert whole["cP0"]["cycles"] == 1
    assert not any(row["touches_bounded_hub"] for row in whole.values())
    bounded = bank.features(under=limits(chains={"max_links": 899}))
    assert bounded["cP0"]["cycles"] == 0
    assert bounded["cP0"]["touches_bounded_hub"] is True
    assert (bounded["cQ"]["cycles"], bounded["cQ"]["touches_bounded_hub"]) == (1, False)
    assert bounded["cP0"]["payees_30d"] == 1, "degrees are not bounded"
    with bank.connect() as connection:
        find_schemes(connection, ON, limits(chains={"max_links": 899}))
        (hub,) = read(connection, "bounded_hub")
    assert hub == {"account_token": "hub", "cells": 1, "payments_in": 30, "payments_out": 30, "links": 900}


def test_more_chains_than_allowed_stop_the_run(bank):
    through_a_hub(bank)
    with bank.connect() as connection, pytest.raises(DataFault, match=r"aml_network\.yaml.*chains\.max_links"):
        find_schemes(connection, ON, limits(chains={"max_chains": 100}))


def test_limits_that_are_not_in_force_are_refused(bank):
    with bank.connect() as connection, pytest.raises(DataFault, match="in force"):
        customer_features(connection, ON, limits(in_force_to=ON - timedelta(days=1)))
