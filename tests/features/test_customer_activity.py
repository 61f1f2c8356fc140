"""The features of customer activity, on a handful of payments whose answers can be worked out by hand."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import pytest

from pipelines.features import load_definitions
from pipelines.features.views import CompiledView, compile_view
from pipelines.settings import REPOSITORY, Settings

ON = date(2026, 6, 30)
CREATED = datetime(2026, 7, 1, tzinfo=UTC)
COLUMNS = {
    "transaction_token": "VARCHAR",
    "account_token": "VARCHAR",
    "counterparty_token": "VARCHAR",
    "customer_token": "VARCHAR",
    "booked_at": "TIMESTAMPTZ",
    "amount": "DOUBLE",
    "currency": "VARCHAR",
    "channel": "VARCHAR",
    "country": "VARCHAR",
    "direction": "VARCHAR",
    "business_date": "DATE",
}
NOT_FEATURES = {"customer_token", "event_timestamp", "created_timestamp", "business_date"}
Row = dict[str, Any]


@pytest.fixture(scope="module")
def view() -> CompiledView:
    settings = Settings()
    return compile_view(settings, load_definitions(settings).feature_view("customer_activity"))


@pytest.fixture
def ask(view: CompiledView) -> Iterator[Callable[..., dict[str, Row]]]:
    """Features by customer, from payments; `bank` books one payment a day for somebody else."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SET threads = 1")

        def asked(
            payments: list[Row],
            on: date = ON,
            busy: bool = True,
            customers_on: Sequence[date] = (),
            compiled: CompiledView = view,
        ) -> dict[str, Row]:
            connection.execute(
                "CREATE OR REPLACE TABLE customer_snapshots AS SELECT * FROM (VALUES "
                + ", ".join(
                    f"('{name}', '{segment}', DATE '{day}')"
                    for day in {*customers_on, on}
                    for name, segment in PEOPLE.items()
                )
                + ") t(customer_token, segment, business_date)"
            )
            columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
            connection.execute(f"CREATE OR REPLACE TABLE transactions ({columns})")
            rows = payments + ([paid("bank", age) for age in range(200)] if busy else [])
            for number, row in enumerate(rows):
                full = {"transaction_token": f"t{number}"} | row
                connection.execute(
                    f"INSERT INTO transactions VALUES ({', '.join('?' * len(COLUMNS))})", [full.get(c) for c in COLUMNS]
                )
            found = connection.sql(compiled.query(connection, on, CREATED)).to_arrow_table().to_pylist()
            return {row["customer_token"]: row for row in found}

        yield asked


PEOPLE = {"anna": "mass", "ben": "mass", "carl": "mass", "dora": "private", "bank": "private"}


def paid(customer: str | None, age: float, amount: float = 100.0, **changes: Any) -> Row:
    """A transfer out at home, `age` days before the noon of the business date."""
    booked_at = datetime(ON.year, ON.month, ON.day, 12, tzinfo=UTC) - timedelta(days=age)
    row = {
        "customer_token": customer,
        "account_token": f"current of {customer}",
        "booked_at": booked_at,
        "amount": amount,
        "business_date": booked_at.date(),
    }
    return row | {"channel": "transfer", "country": "DE", "direction": "debit", "currency": "EUR"} | changes


def got(age: float, amount: float, customer: str = "anna", **changes: Any) -> Row:
    return paid(customer, age, amount, **({"direction": "credit"} | changes))


def test_windows_end_on_the_business_date_and_start_with_their_first_day(ask):
    payments = [paid("anna", age, 10.0) for age in (0, 0.4, 1, 6, 7, 29, 30, 89, 90)]
    anna = ask(payments)["anna"]
    assert [anna[f"payments_{days}d"] for days in (1, 7, 30, 90)] == [2, 4, 6, 8]
    assert [anna[f"amount_out_{days}d"] for days in (1, 7, 30, 90)] == [20.0, 40.0, 60.0, 80.0]


def test_what_was_booked_later_is_not_seen(ask):
    before = ask([paid("anna", 3)])["anna"]
    assert ask([paid("anna", 3), paid("anna", -1), paid("anna", -0.6)])["anna"] == before


def test_who_made_no_payment_has_zeros_and_no_shares(ask):
    dora = ask([paid("anna", 3)])["dora"]
    assert (dora["payments_90d"], dora["amount_in_30d"], dora["cash_in_30d"]) == (0, 0.0, 0.0)
    assert (dora["cash_share_30d"], dora["largest_amount_30d"], dora["longest_silence_30d"]) == (None, None, None)
    assert dora["payments_change"] == 0.0


def test_everybody_of_the_population_has_one_row_and_nobody_else(ask):
    assert sorted(ask([paid("zoe", 1), paid(None, 1)])) == sorted(PEOPLE)


def test_a_payment_delivered_again_counts_once_and_as_corrected(ask):
    first = paid("anna", 3, 10.0, transaction_token="same")
    again = first | {"amount": 70.0, "business_date": ON}
    for order in ([first, again], [again, first]):
        anna = ask(order)["anna"]
        assert (anna["payments_30d"], anna["amount_out_30d"]) == (1, 70.0)


def test_cash_just_under_the_threshold(ask):
    amounts = (8_499.99, 8_500.0, 9_990.0, 10_000.0)
    deposits = [got(2, amount, channel="branch") for amount in amounts]
    anna = ask([*deposits, got(2, 9_000.0), paid("anna", 2, 9_000.0, channel="branch")])["anna"]
    assert anna["just_under_threshold_30d"] == 2, "not the transfer, not the withdrawal, not the threshold itself"
    assert anna["just_under_threshold_share_30d"] == 0.5
    assert anna["cash_in_30d"] == pytest.approx(sum(amounts))
    assert anna["cash_share_30d"] == pytest.approx((sum(amounts) + 9_000) / (sum(amounts) + 18_000))


def test_corridors_and_round_amounts(ask):
    payments = [paid("anna", 40, 450.0, country="AF"), paid("anna", 2, 1_500.0, country="NL"), paid("anna", 2, 1_500.5)]
    anna = ask(payments)["anna"]
    assert (anna["high_risk_payments_90d"], anna["high_risk_amount_90d"]) == (1, 450.0)
    assert anna["abroad_share_30d"] == pytest.approx(1_500 / 3_000.5)
    assert (anna["round_payments_30d"], anna["round_share_30d"]) == (1, pytest.approx(1_500 / 3_000.5))


def test_an_account_that_wakes_though_the_customer_has_another(ask):
    daily = [paid("anna", age, account_token="card") for age in range(100)]
    anna = ask([*daily, paid("anna", 95), got(5, 4_000.0), paid("anna", 4, 3_900.0)])["anna"]
    assert (anna["longest_silence_30d"], anna["amount_after_silence_30d"]) == (90, 7_900.0)
    awake = ask([paid("anna", age) for age in range(0, 100, 20)])["anna"]
    assert (awake["longest_silence_30d"], awake["amount_after_silence_30d"]) == (20, 0.0)


def test_an_account_never_used_before_wakes_if_its_customer_is_an_old_one(ask):
    woken = [got(5, 4_000.0), paid("anna", 4, 3_900.0)]
    month_end = ON - timedelta(days=91)
    anna = ask(woken, customers_on=[month_end])["anna"]
    assert (anna["longest_silence_30d"], anna["amount_after_silence_30d"]) == (86, 7_900.0)
    assert ask(woken)["anna"]["longest_silence_30d"] == 1, "a new customer's account is new"
    assert ask(woken, customers_on=[month_end])["carl"]["longest_silence_30d"] is None


def test_change_against_the_own_past_and_the_peers(ask):
    steady = [paid("ben", age) for age in range(90)]
    burst = steady + [paid("anna", age) for age in range(90)] + [paid("anna", 1) for _ in range(63)]
    found = ask(burst)
    assert found["ben"]["payments_change"] == pytest.approx(0.0)
    assert found["anna"]["payments_change"] == pytest.approx(math.log((10 + 0.1) / (1 + 0.1)))
    assert found["ben"]["amount_to_peers"] == 0.0, "the median of the segment"
    assert found["anna"]["amount_to_peers"] == pytest.approx(math.log((9_300 + 100) / (3_000 + 100)))


def test_days_missing_at_the_whole_bank_make_counts_absent_and_not_small(ask):
    here = [paid("anna", age) for age in range(91)]
    assert ask(here, busy=False)["anna"]["payments_30d"] == 30
    assert ask(here[:90], busy=False)["anna"]["payments_90d"] == 90
    for gone in (0, 5, 29, 89):
        anna = ask([*here[:gone], *here[gone + 1 :]], busy=False)["anna"]
        assert {name for name, value in anna.items() if value is not None} == NOT_FEATURES


def test_a_nightly_file_that_did_not_come_makes_counts_absent_though_later_files_hold_some_of_its_day(ask):
    late = paid("anna", 7) | {"business_date": ON - timedelta(days=5)}
    rows = [p for p in (paid("bank", age) for age in range(90)) if p["business_date"] != ON - timedelta(days=7)]
    days = [ON - timedelta(days=age) for age in range(90)]
    assert ask([*rows, late], busy=False)["anna"]["payments_30d"] == 1
    assert ask([*rows, late], busy=False, customers_on=days)["anna"]["payments_30d"] is None


def test_a_bank_that_rests_at_weekends_still_misses_its_files(ask, tmp_path):
    for folder in ("feature_repo", "expectations", "policies"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder)
    limits = tmp_path / "policies" / "aml_activity.yaml"
    text = limits.read_text()
    assert "max_days_without_bookings: 0" in text
    limits.write_text(text.replace("max_days_without_bookings: 0", "max_days_without_bookings: 26"))
    settings = Settings(project=tmp_path)
    resting = compile_view(settings, load_definitions(settings).feature_view("customer_activity"))
    worked = [paid("anna", age) for age in range(90) if (ON - timedelta(days=age)).weekday() < 5]
    days = [row["business_date"] for row in worked]
    assert ask(worked, busy=False, customers_on=days)["anna"]["payments_30d"] is None
    assert ask(worked, busy=False, customers_on=days, compiled=resting)["anna"]["payments_90d"] == len(worked)
    late = [row | {"business_date": days[6]} if row["business_date"] == days[7] else row for row in worked]
    assert ask(late, busy=False, customers_on=days, compiled=resting)["anna"]["payments_90d"] is None


def test_no_booking_at_all_is_not_a_quiet_month(ask):
    assert ask([], busy=False)["anna"]["payments_30d"] is None
