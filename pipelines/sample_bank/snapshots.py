"""Account and customer snapshots of one business date, inside a month or at its end, with their dirty rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipelines.sample_bank import columns
from pipelines.sample_bank.accounts import PRODUCTS, Accounts
from pipelines.sample_bank.book import AccountMonth, Book
from pipelines.sample_bank.bureau import CustomerMonth
from pipelines.sample_bank.columns import Numbers
from pipelines.sample_bank.customers import REGIONS, SEGMENTS, Customers
from pipelines.sample_bank.dirt import Dirt

UNKNOWN_PRODUCT = "overdraft"
UNKNOWN_SEGMENT = "vip"
IMPOSSIBLE_DAYS_PAST_DUE = -7
IMPOSSIBLE_BUREAU_SCORE = 9999
DAYS_IN_FUTURE = 365

_DAYS_A_YEAR = 365.25


def on_book(accounts: Accounts, book: Book, day: int) -> Numbers:
    """Row numbers of the accounts on the book on a day."""
    return np.flatnonzero((accounts.opened_on <= day) & (day < book.left_on))


def account_snapshots(
    customer_ids: Numbers, book: Book, lived: AccountMonth, day: int, rows: Numbers, dirt: Dirt
) -> pa.Table:
    """One row per account of `rows` as it stood on `day`, a day of the month `lived`.

    Balances move evenly through the month; what falls due, is paid or drawn counts from its day on; days past due grow by
    one a day.
    """
    accounts = book.accounts
    rows = dirt.with_repeats(rows)
    through = (day - lived.first + 1) / lived.days
    before, after = lived.balance_before[rows], lived.balance_after[rows]
    late_since = np.where(day >= lived.settled_on[rows], lived.late_after[rows], lived.late_before[rows])
    is_loan = accounts.is_loan[rows]
    limit, product = lived.limit[rows], is_loan.astype(np.int8)
    past_due = np.maximum(day - late_since, 0)
    snapshot_date = np.full(len(rows), day)
    limit[dirt.at("negative_limit")] *= -1
    product[dirt.at("unknown_product")] = len(PRODUCTS)
    past_due[dirt.at("impossible_days_past_due")] = IMPOSSIBLE_DAYS_PAST_DUE
    snapshot_date[dirt.at("future_snapshot_date")] += DAYS_IN_FUTURE
    return pa.table(
        {
            "account_id": columns.text(accounts.ids[rows], dirt.is_null_key(len(rows))),
            "customer_id": columns.text(customer_ids[accounts.owner[rows]]),
            "snapshot_date": columns.days(snapshot_date),
            "product": columns.choice(product, (*PRODUCTS, UNKNOWN_PRODUCT)),
            "opened_on": columns.days(accounts.opened_on[rows]),
            "credit_limit": columns.real(limit),
            "balance": columns.real(before + (after - before) * through),
            "payment_due": columns.real(np.where(day >= lived.due_on[rows], lived.due[rows], 0.0)),
            "payment_made": columns.real(np.where(day >= lived.paid_on[rows], lived.paid[rows], 0.0)),
            "days_past_due": columns.whole(past_due),
            "cash_advance": columns.real(lived.cash_advance[rows] * through),
            "interest_rate": columns.real(accounts.rate[rows], digits=4),
            "term_months": columns.whole(accounts.term[rows], nulls=~is_loan),
        }
    )


def customer_snapshots(
    customers: Customers, customer_ids: Numbers, known: CustomerMonth, day: int, rows: Numbers, dirt: Dirt
) -> pa.Table:
    """One row per customer of `rows` with what the bank knows on `day`: income and bureau items change at month-ends."""
    rows = dirt.with_repeats(rows)
    income, segment, score = known.income[rows], customers.segment[rows].astype(np.int8), known.score[rows]
    no_income, no_score = known.no_income[rows], customers.missing["bureau_score"][rows]
    at = dirt.at("negative_income")
    income[at], no_income[at] = -income[at], False
    at = dirt.at("impossible_bureau_score")
    score[at], no_score[at] = IMPOSSIBLE_BUREAU_SCORE, False
    segment[dirt.at("unknown_segment")] = len(SEGMENTS)
    years = np.maximum(day - customers.employed_since[rows], 0) / _DAYS_A_YEAR
    return pa.table(
        {
            "customer_id": columns.text(customer_ids[rows], dirt.is_null_key(len(rows))),
            "snapshot_date": columns.days(np.full(len(rows), day)),
            "segment": columns.choice(segment, (*SEGMENTS, UNKNOWN_SEGMENT)),
            "region": columns.choice(customers.region[rows], REGIONS),
            "income": columns.real(income, no_income),
            "employment_years": columns.real(years, customers.missing["employment_years"][rows]),
            "bureau_score": columns.real(score, no_score),
            "bureau_enquiries_6m": columns.whole(known.enquiries[rows]),
            "bureau_delinquencies_24m": columns.whole(known.delinquencies[rows]),
            "bureau_utilisation": columns.real(
                known.utilisation[rows], customers.missing["bureau_utilisation"][rows], digits=4
            ),
        }
    )
