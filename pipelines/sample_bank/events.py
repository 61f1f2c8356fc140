"""What arrives as it happens: outcomes, applications, and the protected attributes of new customers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipelines.sample_bank import columns
from pipelines.sample_bank.accounts import PRODUCTS, Accounts
from pipelines.sample_bank.book import Book
from pipelines.sample_bank.bureau import CustomerMonth
from pipelines.sample_bank.columns import Numbers, numbered
from pipelines.sample_bank.customers import CITIZENSHIPS, SEXES, Customers
from pipelines.sample_bank.dirt import Dirt
from pipelines.sample_bank.draws import Stream, generator

OUTCOMES = ("repaid", "default")
UNKNOWN_OUTCOME = "unclear"
DECISIONS = ("declined", "approved")
CHANNELS = ("branch", "online", "broker")

_REFUSABLE_A_MONTH = 0.015
_LONGEST_DECISION_DAYS = 9


def reported(book: Book, after: int, until: int) -> Numbers:
    """Rows of the accounts whose outcome the bank heard of in (after, until]."""
    return np.flatnonzero((book.reported_on > after) & (book.reported_on <= until))


def outcomes(book: Book, rows: Numbers, dirt: Dirt) -> pa.Table:
    """One outcome per account of `rows`."""
    kind = book.defaulted[rows].astype(np.int8)
    kind[dirt.at("unknown_outcome")] = len(OUTCOMES)
    return pa.table(
        {
            "account_id": columns.text(book.accounts.ids[rows], dirt.is_null_key(len(rows))),
            "event_date": columns.days(book.event_on[rows]),
            "outcome": columns.choice(kind, (*OUTCOMES, UNKNOWN_OUTCOME)),
            "reported_on": columns.days(book.reported_on[rows]),
        }
    )


class Applications:
    """Applications of one block: an approved one before each account opens, and declined ones of weaker customers."""

    def __init__(self, seed: int, block: int, customers: Customers, accounts: Accounts) -> None:
        self._seed, self._block = seed, block
        self._customers, self._accounts = customers, accounts
        lead = generator(seed, Stream.APPLICATIONS, block).integers(1, _LONGEST_DECISION_DAYS + 1, len(accounts))
        self._applied_on = accounts.opened_on - lead

    def of_month(
        self, customer_ids: Numbers, known: CustomerMonth, month: str, first: int, last: int
    ) -> tuple[pa.Table, dict[str, int]]:
        """Applications made from day `first` to day `last`, and counts of dirty rows; `month` is YYYYMM."""
        draw = generator(self._seed, Stream.APPLICATIONS, self._block, first)
        approved = np.flatnonzero((self._applied_on >= first) & (self._applied_on <= last))
        declined = self._declined(draw, last)
        customer = np.concatenate([self._accounts.owner[approved], declined])
        asked = np.round(known.income[declined] * (0.5 + 4 * draw.random(len(declined))), -2)
        amount = np.concatenate([self._accounts.limit[approved], asked])
        rows = len(customer)
        dirt = Dirt("applications", self._seed, self._block, last, rows)
        amount[dirt.at("negative_amount")] *= -1
        table = pa.table(
            {
                "application_id": columns.text(
                    numbered(f"P{month}", self._block * 100_000 + np.arange(rows), 20), dirt.is_null_key(rows)
                ),
                "customer_id": columns.text(customer_ids[customer]),
                "applied_on": columns.days(
                    np.concatenate([self._applied_on[approved], draw.integers(first, last + 1, len(declined))])
                ),
                "product": columns.choice(
                    np.concatenate([self._accounts.is_loan[approved], draw.random(len(declined)) < 0.5]), PRODUCTS
                ),
                "channel": columns.choice(draw.choice(len(CHANNELS), rows, p=(0.25, 0.6, 0.15)), CHANNELS),
                "amount": columns.real(amount),
                "stated_income": columns.real(known.income[customer] * (1 + 0.05 * draw.random(rows))),
                "bureau_score": columns.real(known.score[customer], self._customers.missing["bureau_score"][customer]),
                "decision": columns.choice(np.arange(rows) < len(approved), DECISIONS),
            }
        )
        return table, dirt.counts

    def _declined(self, draw: np.random.Generator, last: int) -> Numbers:
        """Customers who are declined, the weaker ones more often. One may ask twice in a month."""
        customers = self._customers
        asked = draw.integers(0, len(customers), draw.binomial(len(customers), _REFUSABLE_A_MONTH))
        refused = draw.random(len(asked)) < 1 / (1 + np.exp(0.5 - 1.2 * customers.trait[asked]))
        return asked[refused & (customers.joined_on[asked] <= last)]


def protected_attributes(customers: Customers, customer_ids: Numbers, rows: Numbers, dirt: Dirt) -> pa.Table:
    """Birth year, sex and citizenship of the customers `rows`."""
    return pa.table(
        {
            "customer_id": columns.text(customer_ids[rows], dirt.is_null_key(len(rows))),
            "birth_year": columns.whole(customers.birth_year[rows]),
            "sex": columns.choice(customers.sex[rows], SEXES),
            "citizenship": columns.choice(customers.citizenship[rows], CITIZENSHIPS),
        }
    )
