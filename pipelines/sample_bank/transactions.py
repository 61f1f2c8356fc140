"""The file of transactions of one block and business date: habits, the other side of payments within the bank, schemes, dirt.

Every customer has a current account besides cards and loans; its id ends in 0 and it has no account snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date

import numpy as np
import pyarrow as pa

from pipelines.sample_bank import columns
from pipelines.sample_bank.bookings import (
    CHANNELS,
    COUNTRIES,
    DIRECTIONS,
    OUTSIDE,
    PERSON,
    Bookings,
    Span,
    day_of,
    moment,
    outside,
)
from pipelines.sample_bank.columns import Numbers, numbered
from pipelines.sample_bank.dirt import Dirt
from pipelines.sample_bank.draws import Stream
from pipelines.sample_bank.habits import PATTERNS
from pipelines.sample_bank.schemes import Schemes

CURRENCY = "EUR"
UNKNOWN_CURRENCY = "QQQ"
UNKNOWN_DIRECTION = "reversal"
MINUTES_TOO_LATE = 90
"""What a clock that is wrong adds to the end of the file's day, at most."""

_KINDS = {"amount": np.float64, "channel": np.int8, "country": np.int8, "direction": np.int8}


@dataclass(frozen=True)
class Booked:
    """All bookings of a block in one file, as they should be: those of habits first, `schemed` of schemes last.

    `numbers` tells each transaction by block, pattern and place in it.
    """

    numbers: Numbers
    bookings: Bookings
    schemed: int


def book(span: Span, schemes: Schemes) -> Booked:
    """Everything that happens in a span, on both sides of payments within the bank."""
    made: list[tuple[Stream, int, Bookings]] = []
    for stream, pattern in PATTERNS:
        bookings = _to_accounts_in_use(span, pattern(span))
        made += [(stream, 0, bookings), (stream, len(bookings), bookings.other_side())]
    at = schemes.between(span.first, span.last)
    made.append((Stream.SCHEMES, at.start, schemes.bookings.of(at)))
    ends = np.cumsum([len(bookings) for *_, bookings in made])
    numbers = np.empty(ends[-1], dtype=np.int64)
    values = {f.name: np.empty(ends[-1], dtype=_KINDS.get(f.name, np.int64)) for f in fields(Bookings)}
    for (stream, place, bookings), start, end in zip(made, (0, *ends), ends, strict=False):
        numbers[start:end] = (span.block * 100 + stream) * 1_000_000 + np.arange(place, place + end - start)
        for name, filled in values.items():
            filled[start:end] = getattr(bookings, name)
    return Booked(numbers, Bookings(**values), at.stop - at.start)


def _to_accounts_in_use(span: Span, bookings: Bookings) -> Bookings:
    """Habits never pay an account of the bank that is not in use on that day: somebody elsewhere stands in for it."""
    inside = np.flatnonzero(bookings.counterparty < OUTSIDE)
    customer = bookings.counterparty[inside] // 10 - span.customers.numbers[0]
    not_in_use = inside[span.people.active_from[customer] > day_of(bookings.at[inside])]
    bookings.counterparty[not_in_use] = outside(PERSON, bookings.counterparty[not_in_use])
    return bookings


def transactions(
    span: Span, day: date, booked: Booked, customer_ids: Numbers
) -> tuple[pa.Table, dict[str, int], Numbers]:
    """The table of a business date, the counts of its dirty rows by kind, and the ids of the bookings of schemes."""
    numbers, bookings = booked.numbers, booked.bookings
    dirt = Dirt("transactions", span.seed, span.block, span.last, len(numbers) - booked.schemed)
    rows = dirt.with_repeats(np.arange(len(numbers)))
    bookings = bookings.of(rows)
    currency = _spoil(dirt, bookings, span.last)
    customer = bookings.account // 10 - span.customers.numbers[0]
    ids = numbered(f"T{day:%Y%m%d}", numbers[rows], 24)
    table = pa.table(
        {
            "txn_id": columns.text(ids, dirt.is_null_key(len(rows))),
            "account_id": columns.text(numbered("A", bookings.account, 12)),
            "counterparty_id": columns.text(columns.account_ids(bookings.counterparty, OUTSIDE)),
            "customer_id": columns.text(customer_ids[customer], span.people.no_customer[customer]),
            "booked_at": columns.moments(bookings.at),
            "amount": columns.real(bookings.amount),
            "currency": columns.choice(currency, (CURRENCY, UNKNOWN_CURRENCY)),
            "channel": columns.choice(bookings.channel, CHANNELS),
            "country": columns.choice(bookings.country, COUNTRIES),
            "direction": columns.choice(bookings.direction, (*DIRECTIONS, UNKNOWN_DIRECTION)),
        }
    )
    return table, dirt.counts, ids[len(numbers) - booked.schemed : len(numbers)]


def _spoil(dirt: Dirt, bookings: Bookings, last: int) -> Numbers:
    """Spoil the bookings where they are; return the currency of each."""
    currency = np.zeros(len(bookings), dtype=np.int8)
    currency[dirt.at("unknown_currency")] = 1
    bookings.amount[dirt.at("negative_amount")] *= -1
    bookings.amount[dirt.at("zero_amount")] = 0
    at = dirt.at("booked_too_late")
    bookings.at[at] = moment(last + 1, (1 + at % MINUTES_TOO_LATE) / 60)
    at = dirt.at("self_transfer")
    bookings.counterparty[at] = bookings.account[at]
    bookings.direction[dirt.at("unknown_direction")] = len(DIRECTIONS)
    return currency
