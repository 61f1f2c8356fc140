"""What is in the bank, asked back against planted.json."""

from __future__ import annotations

from datetime import date, timedelta
from math import sqrt
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.sample_bank import NAME, Planted
from pipelines.sample_bank.truth import DIRTY_RATES, MISSING_RATES

GOOD_ACCOUNTS = (
    "account_id IS NOT NULL AND snapshot_date = on_date AND credit_limit > 0 AND days_past_due >= 0 "
    "AND product IN ('card', 'loan')"
)
FIRST, LAST = date(2023, 7, 31), date(2026, 6, 30)


def one(bank: duckdb.DuckDBPyConnection, question: str) -> Any:
    """The single row of an answer."""
    return bank.sql(question).fetchall()[0]


@pytest.fixture(scope="module")
def accounts(bank: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """The bank with `accounts`: the clean account snapshots, once each."""
    bank.execute(f"CREATE OR REPLACE TABLE accounts AS SELECT DISTINCT * FROM account_snapshots WHERE {GOOD_ACCOUNTS}")
    return bank


def test_account_snapshots_have_the_agreed_columns(planted: Planted, bank_folder: Path) -> None:
    schema = pq.read_schema(bank_folder / NAME / "account_snapshots" / f"{LAST}.parquet")
    text, number, day = pa.string(), pa.float64(), pa.date32()
    assert dict(zip(schema.names, schema.types, strict=True)) == {
        "account_id": text,
        "customer_id": text,
        "snapshot_date": day,
        "product": text,
        "opened_on": day,
        "credit_limit": number,
        "balance": number,
        "payment_due": number,
        "payment_made": number,
        "days_past_due": pa.int64(),
        "cash_advance": number,
        "interest_rate": number,
        "term_months": pa.int64(),
    }


def test_timestamps_are_microseconds_in_utc(planted: Planted, bank_folder: Path) -> None:
    schema = pq.read_schema(bank_folder / NAME / "transactions" / f"{LAST}.parquet")
    assert schema.field("booked_at").type == pa.timestamp("us", tz="UTC")


def test_row_counts_are_those_written_down(planted: Planted, bank_folder: Path) -> None:
    for source, by_day in planted.rows.items():
        for day, rows in by_day.items():
            assert pq.read_metadata(bank_folder / NAME / source / f"{day}.parquet").num_rows == rows


@pytest.mark.parametrize(
    ("source", "kind", "where"),
    [
        ("account_snapshots", "negative_limit", "credit_limit < 0"),
        ("account_snapshots", "unknown_product", "product NOT IN ('card', 'loan')"),
        ("account_snapshots", "null_key", "account_id IS NULL"),
        ("account_snapshots", "future_snapshot_date", "snapshot_date > on_date"),
        ("account_snapshots", "impossible_days_past_due", "days_past_due < 0"),
        ("customer_snapshots", "negative_income", "income < 0"),
        ("customer_snapshots", "unknown_segment", "segment NOT IN ('mass', 'affluent', 'private', 'student')"),
        ("customer_snapshots", "null_key", "customer_id IS NULL"),
        ("customer_snapshots", "impossible_bureau_score", "bureau_score > 850"),
        ("applications", "negative_amount", "amount < 0"),
        ("applications", "null_key", "application_id IS NULL"),
        ("transactions", "negative_amount", "amount < 0"),
        ("transactions", "zero_amount", "amount = 0"),
        ("transactions", "unknown_currency", "currency <> 'EUR'"),
        ("transactions", "booked_too_late", "booked_at >= on_date + 1"),
        ("transactions", "self_transfer", "account_id = counterparty_id"),
        ("transactions", "unknown_direction", "direction NOT IN ('credit', 'debit')"),
        ("transactions", "null_key", "txn_id IS NULL"),
        ("outcomes", "unknown_outcome", "outcome NOT IN ('default', 'repaid')"),
        ("outcomes", "null_key", "account_id IS NULL"),
        ("protected_attributes", "null_key", "customer_id IS NULL"),
    ],
)
def test_dirty_rows_are_those_written_down(
    bank: duckdb.DuckDBPyConnection, planted: Planted, source: str, kind: str, where: str
) -> None:
    found = dict(bank.sql(f"SELECT on_date, count(*) FROM {source} WHERE {where} GROUP BY ALL").fetchall())
    told = {day: kinds[kind] for day, kinds in planted.dirty[source].items() if kinds[kind]}
    assert found == told
    assert sum(told.values()) > 0


@pytest.mark.parametrize(
    ("source", "key"),
    [("account_snapshots", "account_id"), ("customer_snapshots", "customer_id"), ("transactions", "txn_id")],
)
def test_duplicate_keys_are_those_written_down(
    bank: duckdb.DuckDBPyConnection, planted: Planted, source: str, key: str
) -> None:
    repeats = f"SELECT on_date, count(*) - 1 AS again FROM {source} WHERE {key} IS NOT NULL GROUP BY on_date, {key}"
    found = dict(bank.sql(f"SELECT on_date, sum(again)::INT FROM ({repeats}) WHERE again > 0 GROUP BY 1").fetchall())
    assert found == {d: kinds["duplicate_key"] for d, kinds in planted.dirty[source].items() if kinds["duplicate_key"]}


@pytest.mark.parametrize("source", ["account_snapshots", "customer_snapshots", "transactions"])
def test_dirty_rows_come_at_the_known_rates(planted: Planted, source: str) -> None:
    rows = sum(planted.rows[source].values())
    for kind, rate in DIRTY_RATES[source].items():
        found = sum(kinds[kind] for kinds in planted.dirty[source].values())
        assert abs(found - rate * rows) < 5 * sqrt(rate * rows), kind


@pytest.mark.parametrize("column", sorted(MISSING_RATES))
def test_missing_values_come_at_the_known_rates(bank: duckdb.DuckDBPyConnection, planted: Planted, column: str) -> None:
    rate = planted.truth["missing_rates"][column]
    customers = planted.rows["customer_snapshots"][LAST]
    (found,) = one(bank, f"SELECT avg(({column} IS NULL)::INT) FROM customer_snapshots WHERE on_date = '{LAST}'")
    assert abs(found - rate) < 5 * sqrt(rate / customers)


def test_only_cards_have_no_term_and_nothing_else_is_missing(accounts: duckdb.DuckDBPyConnection) -> None:
    columns = [row[0] for row in accounts.sql("DESCRIBE accounts").fetchall() if row[0] != "term_months"]
    absent = " OR ".join(f"{column} IS NULL" for column in columns)
    assert one(accounts, f"SELECT count(*) FROM accounts WHERE {absent}") == (0,)
    assert one(accounts, "SELECT count(*) FROM accounts WHERE (term_months IS NULL) <> (product = 'card')") == (0,)


def test_ids_do_not_clash(bank: duckdb.DuckDBPyConnection, planted: Planted) -> None:
    owners = "SELECT account_id, count(DISTINCT customer_id) AS n FROM account_snapshots GROUP BY 1"
    assert one(bank, f"SELECT max(n) FROM ({owners} HAVING account_id IS NOT NULL)") == (1,)
    (customers,) = one(bank, "SELECT count(DISTINCT customer_id) FROM customer_snapshots")
    assert customers == planted.customers
    everywhere = "SELECT txn_id, count(DISTINCT on_date) AS n FROM transactions WHERE txn_id IS NOT NULL GROUP BY 1"
    assert one(bank, f"SELECT max(n) FROM ({everywhere})") == (1,)


def test_every_account_has_its_customer_on_the_same_date(accounts: duckdb.DuckDBPyConnection) -> None:
    """Apart from the customers whose own row is dirty that night."""
    lost = (
        "SELECT count(*) FROM accounts ANTI JOIN customer_snapshots USING (customer_id, on_date) "
        "WHERE on_date NOT IN (SELECT on_date FROM customer_snapshots WHERE customer_id IS NULL)"
    )
    assert one(accounts, lost) == (0,)
    (share,) = one(accounts, "SELECT count(*) FROM accounts ANTI JOIN customer_snapshots USING (customer_id, on_date)")
    assert share < 0.001 * one(accounts, "SELECT count(*) FROM accounts")[0]


def test_the_population_evolves(accounts: duckdb.DuckDBPyConnection) -> None:
    def ids(day: date) -> set[str]:
        return {row[0] for row in accounts.sql(f"SELECT account_id FROM accounts WHERE on_date = '{day}'").fetchall()}

    first, last = ids(FIRST), ids(LAST)
    assert 0.3 < len(first - last) / len(first) < 0.7
    assert 0.4 < len(last - first) / len(last) < 0.8
    assert one(accounts, "SELECT count(*) FROM accounts WHERE opened_on > on_date") == (0,)


def test_outcomes_arrive_after_the_event_and_in_the_file_of_their_report(
    bank: duckdb.DuckDBPyConnection, planted: Planted
) -> None:
    assert one(bank, "SELECT count(*) FROM outcomes WHERE reported_on <= event_date") == (0,)
    assert one(
        bank,
        "SELECT min(reported_on - event_date), max(reported_on - event_date) FROM outcomes WHERE outcome = 'default'",
    ) == (3, 30)
    for before, day in zip(planted.business_dates, planted.business_dates[1:], strict=False):
        wrong = f"on_date = '{day}' AND NOT (reported_on > '{before}' AND reported_on <= '{day}')"
        assert one(bank, f"SELECT count(*) FROM outcomes WHERE {wrong}") == (0,)
    (earliest,) = one(bank, f"SELECT min(reported_on) FROM outcomes WHERE on_date = '{FIRST}'")
    assert earliest < date(2023, 6, 1)


def test_events_are_those_written_down(bank: duckdb.DuckDBPyConnection, planted: Planted) -> None:
    """Up to a month that lies long enough back for every report to have arrived; dirty outcomes are not events."""
    for outcome, name in (("default", "defaults"), ("repaid", "repayments")):
        found = dict(
            bank.sql(
                f"SELECT strftime(event_date, '%Y-%m'), count(*) FROM outcomes WHERE outcome = '{outcome}' GROUP BY 1"
            ).fetchall()
        )
        for month, count in planted.events[name].items():
            if month <= "2026-04":
                assert 0.93 * count - 2 <= found.get(month, 0) <= count, (name, month)
    assert all(planted.events["charge_offs"].get(m, 0) <= n for m, n in planted.events["defaults"].items())


def test_an_account_leaves_when_it_is_repaid_or_its_default_is_reported(accounts: duckdb.DuckDBPyConnection) -> None:
    ended = "FROM accounts JOIN outcomes USING (account_id) WHERE"
    assert one(accounts, f"SELECT count(*) {ended} outcome = 'default' AND accounts.on_date > reported_on") == (0,)
    assert one(accounts, f"SELECT count(*) {ended} outcome = 'repaid' AND accounts.on_date >= event_date") == (0,)
    waiting = "outcome = 'default' AND accounts.on_date BETWEEN event_date AND reported_on"
    assert one(accounts, f"SELECT count(*) > 100 {ended} {waiting}") == (True,)


def test_a_default_is_ninety_days_past_due_or_a_charge_off(
    accounts: duckdb.DuckDBPyConnection, planted: Planted
) -> None:
    seen = (
        "SELECT event_date, days_past_due - (accounts.on_date - event_date) AS at_event FROM accounts "
        "JOIN outcomes USING (account_id) WHERE outcome = 'default' AND accounts.on_date >= event_date"
    )
    rolled, other = one(
        accounts, f"SELECT count(*) FILTER (at_event = 90), count(*) FILTER (at_event <> 90) FROM ({seen})"
    )
    charge_offs = sum(planted.events["charge_offs"].values())
    assert rolled > 500
    assert 0 < other < charge_offs
    stay = "SELECT count(*) FROM accounts WHERE days_past_due >= 90 AND NOT EXISTS (FROM outcomes WHERE"
    assert one(accounts, f"{stay} account_id = accounts.account_id) AND on_date < '2026-05-01'")[0] < 20


def test_days_past_due_advance_by_day_within_a_month(accounts: duckdb.DuckDBPyConnection) -> None:
    pair = (
        "SELECT b.days_past_due - a.days_past_due AS step, a.days_past_due AS before FROM accounts a JOIN accounts b "
        "ON a.account_id = b.account_id AND b.on_date = a.on_date + 1 WHERE a.on_date >= '2026-06-26'"
    )
    steps = dict(accounts.sql(f"SELECT step, count(*) FROM ({pair}) WHERE before > 0 GROUP BY 1").fetchall())
    assert steps[1] > 0.9 * sum(steps.values())
    assert one(accounts, f"SELECT count(*) FROM ({pair}) WHERE before > 0 AND step NOT IN (1, -before)") == (0,)
    assert one(accounts, f"SELECT count(*) FROM ({pair}) WHERE before = 0 AND step NOT IN (0, 1)") == (0,)


def test_a_night_lies_between_its_month_ends(accounts: duckdb.DuckDBPyConnection) -> None:
    """Balances move evenly from the last month-end to the next; what was due or paid by a day stays so."""
    three = (
        "FROM accounts a JOIN accounts n USING (account_id) JOIN accounts e USING (account_id) "
        "WHERE a.on_date = '2026-05-31' AND n.on_date = '2026-06-27' AND e.on_date = '2026-06-30'"
    )
    off = "abs(n.balance - (a.balance + (e.balance - a.balance) * 27 / 30))"
    assert one(accounts, f"SELECT count(*) > 15000, max({off}) < 0.02 {three}") == (True, True)
    assert one(
        accounts, f"SELECT count(*) {three} AND (n.payment_due > e.payment_due OR n.payment_made > e.payment_made)"
    ) == (0,)
    assert one(accounts, f"SELECT count(*) {three} AND n.cash_advance > e.cash_advance") == (0,)
    assert one(accounts, f"SELECT count(*) {three} AND e.interest_rate <> a.interest_rate") == (0,)


def test_bureau_items_change_at_month_ends_only(bank: duckdb.DuckDBPyConnection) -> None:
    same = (
        "SELECT count(*), count(*) FILTER (a.bureau_utilisation = b.bureau_utilisation AND a.income = b.income) "
        "FROM customer_snapshots a JOIN customer_snapshots b USING (customer_id) "
        "WHERE a.on_date = '{}' AND b.on_date = '{}' AND a.income > 0 AND b.income > 0 AND a.bureau_utilisation > 0"
    )
    rows, unchanged = one(bank, same.format("2026-05-31", "2026-06-28"))
    assert rows > 15_000
    assert unchanged > 0.999 * rows
    rows, unchanged = one(bank, same.format("2026-06-29", "2026-06-30"))
    assert unchanged < 0.01 * rows


def test_every_joining_customer_gets_protected_attributes_once(
    bank: duckdb.DuckDBPyConnection, planted: Planted
) -> None:
    rows, distinct = one(bank, "SELECT count(*), count(DISTINCT customer_id) FROM protected_attributes")
    nulls = sum(kinds["null_key"] for kinds in planted.dirty["protected_attributes"].values())
    assert (rows, distinct) == (planted.customers, planted.customers - nulls)
    late = "FROM customer_snapshots c JOIN protected_attributes p USING (customer_id) WHERE p.on_date > c.on_date"
    assert one(bank, f"SELECT count(*) {late}") == (0,)


def test_transactions_are_those_since_the_business_date_before_and_of_every_kind(
    bank: duckdb.DuckDBPyConnection, planted: Planted
) -> None:
    """In the last twelve months; before, those of the date alone."""
    booked = (
        "SELECT min(CAST(booked_at AT TIME ZONE 'UTC' AS DATE)), max(CAST(booked_at AT TIME ZONE 'UTC' AS DATE)), "
        "count(DISTINCT CAST(booked_at AT TIME ZONE 'UTC' AS DATE)) FROM transactions WHERE booked_at < on_date + 1 "
    )
    for before, day in zip(planted.business_dates, planted.business_dates[1:], strict=False):
        first = before + timedelta(days=1) if day >= date(2025, 7, 1) else day
        assert one(bank, f"{booked} AND on_date = '{day}'") == (first, day, (day - first).days + 1)
    wages = "direction = 'credit' AND channel = 'transfer' AND amount > 1000"
    kinds = one(
        bank,
        f"""SELECT avg(({wages})::INT), avg((channel = 'atm')::INT), avg((country <> 'DE')::INT),
                      avg((channel IN ('card', 'online'))::INT) FROM transactions WHERE on_date = '{LAST}'""",
    )
    assert all(share > 0.01 for share in kinds)


def test_an_approved_application_comes_before_each_new_account(accounts: duckdb.DuckDBPyConnection) -> None:
    opened = (
        "SELECT customer_id, product, opened_on FROM accounts WHERE opened_on BETWEEN '2023-08-20' AND '2026-06-20'"
    )
    asked = (
        "SELECT 1 FROM applications p WHERE p.decision = 'approved' AND p.customer_id = o.customer_id "
        "AND p.product = o.product AND o.opened_on - p.applied_on BETWEEN 1 AND 9"
    )
    assert one(accounts, f"SELECT avg(EXISTS ({asked})::INT) = 1 FROM (SELECT DISTINCT * FROM ({opened})) o") == (True,)
