"""The cards and loans of one block: terms and habits. What happens to them month by month is in book.py."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.sample_bank.columns import Numbers, numbered
from pipelines.sample_bank.customers import MEDIAN_INCOME, Customers
from pipelines.sample_bank.dates import Calendar, day_number
from pipelines.sample_bank.draws import Stream, generator

PRODUCTS = ("card", "loan")
SLOT_SHARES = (1.0, 0.5, 0.18)
"""Share of customers with a first, a second and a third account."""

_LOAN_SHARES = np.array([0.35, 0.6, 0.5])
_TERMS = np.array([12, 24, 36, 48, 60, 72, 84])
_SHARE_PAYING_IN_FULL = 0.3


@dataclass(frozen=True)
class Accounts:
    """What is agreed for each account, and how its owner uses it; every array has shape (accounts,), cards before loans.

    `numbers` are the digits of `ids`; `owner` is the row of the customer in the block. `level` is the share of the limit
    that a card's balance returns to, `due_day` the day of the month a payment falls due, `cash_rate` the chance of a cash
    advance in a month.
    """

    numbers: Numbers
    ids: Numbers
    owner: Numbers
    is_loan: Numbers
    opened_on: Numbers
    limit: Numbers
    rate: Numbers
    term: Numbers
    instalment: Numbers
    level: Numbers
    due_day: Numbers
    cash_rate: Numbers

    def __len__(self) -> int:
        return len(self.owner)

    @property
    def cards(self) -> slice:
        """The rows that are cards."""
        return slice(0, len(self) - int(self.is_loan.sum()))

    @property
    def loans(self) -> slice:
        """The rows that are loans."""
        return slice(self.cards.stop, len(self))


def draw_accounts(seed: int, block: int, customers: Customers, calendar: Calendar) -> Accounts:
    """One account per customer from the day of joining, further ones later; ids follow from customer and slot."""
    draw = generator(seed, Stream.ACCOUNTS, block)
    owner, slot = np.nonzero(draw.random((len(customers), len(SLOT_SHARES))) < SLOT_SHARES)
    count = len(owner)
    is_loan = draw.random(count) < _LOAN_SHARES[slot]
    cards_first = np.argsort(is_loan, kind="stable")
    owner, slot, is_loan = owner[cards_first], slot[cards_first], is_loan[cards_first]
    trait, log_income = customers.trait[owner], customers.log_income[owner]
    limit = _limit(draw, is_loan, trait, log_income)
    rate = _rate(draw, is_loan, trait)
    term = _TERMS[draw.integers(0, len(_TERMS), count)]
    numbers = customers.numbers[owner] * 10 + slot + 1
    return Accounts(
        numbers=numbers,
        ids=numbered("A", numbers, 12),
        owner=owner,
        is_loan=is_loan,
        opened_on=_opened(draw, customers.joined_on[owner], slot, calendar),
        limit=limit,
        rate=rate,
        term=term,
        instalment=limit * (rate / 12) / (1 - (1 + rate / 12) ** -term),
        level=_level(draw, trait),
        due_day=draw.integers(5, 29, count),
        cash_rate=np.minimum(0.035 * np.exp(0.6 * trait), 0.5),
    )


def _limit(draw: np.random.Generator, is_loan: Numbers, trait: Numbers, log_income: Numbers) -> Numbers:
    noise = draw.standard_normal(len(trait))
    card = MEDIAN_INCOME * np.exp(log_income + 0.25 - 0.15 * trait + 0.4 * noise)
    loan = 9000 * np.exp(0.5 * log_income + 0.7 * noise)
    return np.where(is_loan, np.clip(np.round(loan, -2), 1000, 75_000), np.clip(np.round(card, -2), 300, 25_000))


def _rate(draw: np.random.Generator, is_loan: Numbers, trait: Numbers) -> Numbers:
    noise = draw.standard_normal(len(trait))
    loan = np.clip(0.072 + 0.012 * trait + 0.012 * noise, 0.019, 0.16)
    card = np.clip(0.168 + 0.014 * trait + 0.015 * noise, 0.089, 0.249)
    return np.round(np.where(is_loan, loan, card), 4)


def _opened(draw: np.random.Generator, joined_on: Numbers, slot: Numbers, calendar: Calendar) -> Numbers:
    wait = draw.random(len(slot)) * (day_number(calendar.end) - joined_on)
    return joined_on + np.where(slot == 0, 0, wait.astype(np.int64))


def _level(draw: np.random.Generator, trait: Numbers) -> Numbers:
    revolving = 1 / (1 + np.exp(0.45 - 0.70 * trait - 0.8 * draw.standard_normal(len(trait))))
    in_full = draw.random(len(trait)) < 2 * _SHARE_PAYING_IN_FULL / (1 + np.exp(0.8 * trait))
    return np.where(in_full, 0.25 * revolving, revolving)
