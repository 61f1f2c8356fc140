"""What a booking is made of: the days a file covers, who pays whom, and in which words a file says it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import date, timedelta

import numpy as np

from pipelines.sample_bank.accounts import Accounts
from pipelines.sample_bank.columns import Numbers
from pipelines.sample_bank.customers import CITIZENSHIPS, Customers
from pipelines.sample_bank.dates import EPOCH, day_number, month_end, month_number
from pipelines.sample_bank.draws import Stream, generator, some
from pipelines.sample_bank.people import People

CHANNELS = ("transfer", "card", "online", "atm", "branch")
TRANSFER, CARD, ONLINE, ATM, BRANCH = range(5)
DIRECTIONS = ("credit", "debit")
CREDIT, DEBIT = range(2)
HIGH_RISK_COUNTRIES = ("AF", "HT", "MM", "YE")
COUNTRIES = (*CITIZENSHIPS, "NL", "AT", "US", *HIGH_RISK_COUNTRIES)
HOME = 0
FIRST_HIGH_RISK = COUNTRIES.index("AF")

OUTSIDE = 10_000_000_000
"""Accounts of the bank have lower numbers, everybody else's this one or higher."""

EMPLOYER, LANDLORD, MERCHANT, FAMILY, PERSON, CASH_DESK, SAVINGS_ACCOUNT, FIRM, ACCOMPLICE = range(1, 10)
_FIRST_BRANCH = 1_000_000
BRANCHES = 300
_MICROSECONDS_A_DAY = 86_400_000_000


def outside(kind: int, numbers: Numbers) -> Numbers:
    """Counterparties at other banks. Those of different kinds never share a number."""
    return kind * OUTSIDE + numbers


def branch(numbers: Numbers) -> Numbers:
    """The cash desks of branches."""
    return outside(CASH_DESK, _FIRST_BRANCH + numbers)


def moment(day: Numbers | int, hour: Numbers | float = 0.0) -> Numbers:
    """Microseconds since 1970 of an hour (with fractions) of a day number."""
    return np.asarray((day + hour / 24) * _MICROSECONDS_A_DAY).astype(np.int64)


def day_of(at: Numbers) -> Numbers:
    """Day number of a moment."""
    return at // _MICROSECONDS_A_DAY


@dataclass(frozen=True)
class Bookings:
    """Bookings seen from an account of the bank; arrays of shape (n,).

    `account` and `counterparty` are numbers, `at` is in microseconds since 1970, `channel`, `country` (of the counterparty)
    and `direction` are indexes into the tuples above.
    """

    account: Numbers
    counterparty: Numbers
    amount: Numbers
    at: Numbers
    channel: Numbers
    country: Numbers
    direction: Numbers

    def __len__(self) -> int:
        return len(self.account)

    def of(self, rows: Numbers | slice) -> Bookings:
        """These rows only."""
        return Bookings(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def other_side(self) -> Bookings:
        """What a payment between two accounts of the bank is at the other one: same amount and moment, one credited, one
        debited."""
        here = self.of(np.flatnonzero(self.counterparty < OUTSIDE))
        return replace(
            here,
            account=here.counterparty,
            counterparty=here.account,
            country=np.full(len(here), HOME, dtype=np.int8),
            direction=1 - here.direction,
        )


def bookings(
    account: Numbers,
    counterparty: Numbers,
    amount: Numbers,
    at: Numbers,
    channel: Numbers | int,
    country: Numbers | int,
    direction: Numbers | int,
) -> Bookings:
    """Bookings of which some fields are the same for all."""
    codes = (np.broadcast_to(np.asarray(code, dtype=np.int8), len(account)) for code in (channel, country, direction))
    return Bookings(account, counterparty, amount, at, *codes)


@dataclass(frozen=True)
class Span:
    """What a pattern may look at: days `first` to `last` (day numbers, of one month), the customers of a block and their
    accounts. `income` is monthly, per customer; `left_on` is per account."""

    seed: int
    block: int
    first: int
    last: int
    customers: Customers
    accounts: Accounts
    people: People
    income: Numbers
    left_on: Numbers

    @property
    def days(self) -> int:
        return self.last - self.first + 1

    @property
    def here(self) -> Numbers:
        """Rows of the customers who use their account on some day of the span."""
        return np.flatnonzero(self.people.active_from <= self.last)

    def draw(self, stream: Stream) -> np.random.Generator:
        """The generator of one pattern in this span."""
        return generator(self.seed, stream, self.block, self.last)

    def current_accounts(self, rows: Numbers) -> Numbers:
        """Account numbers of the current accounts of customers."""
        return self.customers.numbers[rows] * 10

    def some_days(self, draw: np.random.Generator, who: Numbers, rate: float) -> tuple[Numbers, Numbers]:
        """Customers of `who` and days, each customer picked on each day at a small rate; those who are not active yet on
        their day are left out."""
        picked = some(draw, len(who) * self.days, rate)
        place = picked // self.days
        rows, day = who[place], self.first + picked - place * self.days
        active = day >= self.people.active_from[rows]
        return rows[active], day[active]

    def due_on(self, who: Numbers, days_of_month: Numbers) -> tuple[Numbers, Numbers]:
        """Positions in `who` whose day of the month (the last one, where a month is too short) is in the span, and that day.
        Those who are not active yet on their day are left out."""
        end = month_end(month_number(self._date(self.last)))
        day = day_number(end) - end.day + np.minimum(days_of_month, end.day)
        due = np.flatnonzero((day >= self.first) & (day <= self.last) & (day >= self.people.active_from[who]))
        return due, day[due]

    def on_days_of_month(self, who: Numbers, days_of_month: Numbers) -> tuple[Numbers, Numbers]:
        """The customers of `who` due in the span, and their day."""
        due, day = self.due_on(who, days_of_month)
        return who[due], day

    @staticmethod
    def _date(day: int) -> date:
        return EPOCH + timedelta(days=day)
