"""Transactions of one night: each pattern of behaviour is one function, with a stream of randomness of its own.

This is where laundering schemes are planted: write a function of a Night that returns Bookings, give it a Stream, and
add it to PATTERNS. The transactions of the other patterns stay exactly as they were, ids included.

Every customer has a current account besides cards and loans; its id ends in 0 and it has no account snapshot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import date

import numpy as np
import pyarrow as pa

from pipelines.sample_bank import columns
from pipelines.sample_bank.accounts import Accounts
from pipelines.sample_bank.columns import Numbers, numbered
from pipelines.sample_bank.customers import CITIZENSHIPS, MEDIAN_INCOME, Customers
from pipelines.sample_bank.dates import day_number, month_end, month_number
from pipelines.sample_bank.dirt import Dirt
from pipelines.sample_bank.draws import Stream, generator, some

CURRENCY = "EUR"
CHANNELS = ("transfer", "card", "online", "atm")
DIRECTIONS = ("credit", "debit")
UNKNOWN_DIRECTION = "reversal"
COUNTRIES = (*CITIZENSHIPS, "NL", "AT", "US")

_TRANSFER, _CARD, _ONLINE, _ATM = range(4)
_CREDIT, _DEBIT = range(2)
_HOME = 0
_MICROSECONDS_A_HOUR = 3_600_000_000
_FRACTIONS = ("amount", "hour")
_MERCHANTS, _EMPLOYERS, _LANDLORDS, _MACHINES = 40_000, 9_000, 7_000, 2_500


@dataclass(frozen=True)
class Night:
    """What a pattern may look at: the customers of a block who have joined, and their accounts on the book.

    `customers_here` and `accounts_here` are row numbers; `income` is monthly, per customer of the block.
    """

    seed: int
    block: int
    day: date
    customers: Customers
    accounts: Accounts
    customers_here: Numbers
    accounts_here: Numbers
    income: Numbers

    def draw(self, stream: Stream) -> np.random.Generator:
        """The generator of one pattern on this night."""
        return generator(self.seed, stream, self.block, day_number(self.day))

    def current_accounts(self, rows: Numbers) -> Numbers:
        """Account numbers of the current accounts of customers."""
        return self.customers.numbers[rows] * 10

    def is_day(self, day_of_month: Numbers) -> Numbers:
        """True where this night is that day of the month, or the last day of a month that is too short for it."""
        last = month_end(month_number(self.day)).day
        due: Numbers = np.minimum(day_of_month, last) == self.day.day
        return due


@dataclass(frozen=True)
class Bookings:
    """Transactions of one pattern; arrays of shape (n,), or one value for all.

    `account` and `counterparty` are numbers, `hour` is the hour of the day with fractions, the rest are indexes into the
    tuples above.
    """

    account: Numbers
    counterparty: Numbers
    amount: Numbers
    hour: Numbers
    channel: Numbers | int
    country: Numbers | int
    direction: Numbers | int


Pattern = Callable[[Night], Bookings]


def payroll(night: Night) -> Bookings:
    """Wages, for one customer in five each on the 15th, 25th, 26th, 28th and the last day of the month."""
    draw = night.draw(Stream.PAYROLL)
    who = night.customers_here
    number = night.customers.numbers[who]
    who = who[night.is_day(np.array([31, 28, 26, 25, 15])[number % 5])]
    return Bookings(
        account=night.current_accounts(who),
        counterparty=_counterparty(1, night.customers.numbers[who] * 7 % _EMPLOYERS),
        amount=night.income[who] * (0.98 + 0.04 * draw.random(len(who))),
        hour=6 * draw.random(len(who)),
        channel=_TRANSFER,
        country=_HOME,
        direction=_CREDIT,
    )


def rent(night: Night) -> Bookings:
    """Rent of three customers in five, on one of the days from the 28th to the 3rd."""
    draw = night.draw(Stream.RENT)
    who = night.customers_here
    number = night.customers.numbers[who]
    who = who[(number // 5 % 5 < 3) & night.is_day(np.array([1, 3, 28, 31])[number // 25 % 4])]
    return Bookings(
        account=night.current_accounts(who),
        counterparty=_counterparty(2, night.customers.numbers[who] * 11 % _LANDLORDS),
        amount=np.clip(0.31 * MEDIAN_INCOME * np.exp(0.6 * night.customers.log_income[who]), 250, 4000),
        hour=6 * draw.random(len(who)),
        channel=_TRANSFER,
        country=_HOME,
        direction=_DEBIT,
    )


def shopping(night: Night) -> Bookings:
    """Merchants paid from current accounts."""
    return _purchases(night, Stream.SHOPPING, night.customers_here, night.current_accounts(night.customers_here), 0.12)


def card_purchases(night: Night) -> Bookings:
    """Merchants paid with credit cards."""
    cards = night.accounts_here[~night.accounts.is_loan[night.accounts_here]]
    number = night.accounts.numbers[cards]
    return _purchases(night, Stream.CARD_PURCHASES, night.accounts.owner[cards], number, 0.1)


def _purchases(night: Night, stream: Stream, who: Numbers, account: Numbers, rate: float) -> Bookings:
    draw = night.draw(stream)
    buys = some(draw, len(who), rate)
    count = len(buys)
    abroad = draw.random(count) < 0.04
    scale = np.exp(0.3 * night.customers.log_income[who[buys]])
    return Bookings(
        account=account[buys],
        counterparty=_counterparty(3, (_MERCHANTS * draw.random(count) ** 3).astype(np.int64)),
        amount=0.5 + 26 * scale * np.exp(0.9 * draw.standard_normal(count)),
        hour=8 + 14 * draw.random(count),
        channel=np.where(draw.random(count) < 0.35, _ONLINE, _CARD),
        country=np.where(abroad, draw.integers(1, len(COUNTRIES), count), _HOME),
        direction=_DEBIT,
    )


def remittances(night: Night) -> Bookings:
    """Money sent home by customers from abroad, always to the same one or two people."""
    draw = night.draw(Stream.REMITTANCES)
    abroad = night.customers_here[night.customers.citizenship[night.customers_here] > 0]
    who = abroad[some(draw, len(abroad), 0.04)]
    return Bookings(
        account=night.current_accounts(who),
        counterparty=_counterparty(4, night.customers.numbers[who] * 2 + draw.integers(0, 2, len(who))),
        amount=np.round(40 + 260 * draw.random(len(who)) ** 2, -1),
        hour=9 + 11 * draw.random(len(who)),
        channel=_TRANSFER,
        country=night.customers.citizenship[who],
        direction=_DEBIT,
    )


def transfers(night: Night) -> Bookings:
    """Small sums between people, both ways."""
    draw = night.draw(Stream.TRANSFERS)
    who = night.customers_here[some(draw, len(night.customers_here), 0.02)]
    return Bookings(
        account=night.current_accounts(who),
        counterparty=_counterparty(5, draw.integers(0, 5_000_000, len(who))),
        amount=5 + 60 * np.exp(0.9 * draw.standard_normal(len(who))),
        hour=7 + 16 * draw.random(len(who)),
        channel=_TRANSFER,
        country=_HOME,
        direction=draw.integers(0, 2, len(who)),
    )


def cash(night: Night) -> Bookings:
    """Withdrawals at machines, in tens."""
    draw = night.draw(Stream.CASH)
    who = night.customers_here[some(draw, len(night.customers_here), 0.02)]
    return Bookings(
        account=night.current_accounts(who),
        counterparty=_counterparty(6, draw.integers(0, _MACHINES, len(who))),
        amount=10.0 * draw.integers(1, 31, len(who)),
        hour=7 + 16 * draw.random(len(who)),
        channel=_ATM,
        country=_HOME,
        direction=_DEBIT,
    )


PATTERNS: tuple[tuple[Stream, Pattern], ...] = (
    (Stream.PAYROLL, payroll),
    (Stream.RENT, rent),
    (Stream.SHOPPING, shopping),
    (Stream.CARD_PURCHASES, card_purchases),
    (Stream.REMITTANCES, remittances),
    (Stream.TRANSFERS, transfers),
    (Stream.CASH, cash),
)


def transactions(night: Night) -> tuple[pa.Table, dict[str, int]]:
    """All transactions of a block on one night, and the counts of its dirty rows by kind."""
    numbers, booked = _all_patterns(night)
    dirt = Dirt("transactions", night.seed, night.block, day_number(night.day), len(numbers))
    rows = dirt.with_repeats(np.arange(len(numbers)))
    amount, direction = booked["amount"][rows], booked["direction"][rows]
    amount[dirt.at("negative_amount")] *= -1
    direction[dirt.at("unknown_direction")] = len(DIRECTIONS)
    midnight = day_number(night.day) * 24 * _MICROSECONDS_A_HOUR
    booked_at = midnight + (booked["hour"][rows] * _MICROSECONDS_A_HOUR).astype(np.int64)
    table = pa.table(
        {
            "txn_id": columns.text(numbered(f"T{night.day:%Y%m%d}", numbers[rows], 24), dirt.is_null_key(len(rows))),
            "account_id": columns.text(numbered("A", booked["account"][rows], 12)),
            "counterparty_id": columns.text(numbered("X", booked["counterparty"][rows], 12)),
            "booked_at": columns.moments(booked_at),
            "amount": columns.real(amount),
            "currency": columns.choice(np.zeros(len(rows)), (CURRENCY,)),
            "channel": columns.choice(booked["channel"][rows], CHANNELS),
            "country": columns.choice(booked["country"][rows], COUNTRIES),
            "direction": columns.choice(direction, (*DIRECTIONS, UNKNOWN_DIRECTION)),
        }
    )
    return table, dirt.counts


def _all_patterns(night: Night) -> tuple[Numbers, dict[str, Numbers]]:
    """Number of each transaction, told by block, pattern and place in it, and the fields of Bookings of all patterns."""
    made = [(stream, pattern(night)) for stream, pattern in PATTERNS]
    ends = np.cumsum([len(bookings.account) for _, bookings in made])
    numbers = np.empty(ends[-1], dtype=np.int64)
    booked = {f.name: np.empty(ends[-1], dtype=float if f.name in _FRACTIONS else int) for f in fields(Bookings)}
    for (stream, bookings), start, end in zip(made, (0, *ends), ends, strict=False):
        numbers[start:end] = (night.block * 100 + stream) * 1_000_000 + np.arange(end - start)
        for name, values in booked.items():
            values[start:end] = getattr(bookings, name)
    return numbers, booked


def _counterparty(kind: int, numbers: Numbers) -> Numbers:
    """Counterparties of different kinds never share a number."""
    return kind * 10_000_000_000 + numbers
