"""The laundering schemes of one block: who is in them, from when to when, and every booking they leave at the bank."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa

from pipelines.sample_bank import columns
from pipelines.sample_bank.bookings import CREDIT, DEBIT, DIRECTIONS, OUTSIDE, Bookings, day_of, moment
from pipelines.sample_bank.columns import Numbers, numbered
from pipelines.sample_bank.customers import Customers
from pipelines.sample_bank.dates import NEVER, Calendar, day_number
from pipelines.sample_bank.draws import Stream, generator
from pipelines.sample_bank.people import People
from pipelines.sample_bank.truth import Laundering
from pipelines.sample_bank.typologies import TYPOLOGIES, WAKING, Plot, Typology, plot_for

_SCHEMES_PER_BLOCK = 10_000
_WARM_UP_DAYS = 3
_NAMES = tuple(typology.name for typology in TYPOLOGIES)
_PARTS = tuple(sorted({part for typology in TYPOLOGIES for part in (typology.leader, typology.aides)}))


@dataclass(frozen=True)
class Scheme:
    """One scheme: `members` are rows of customers, whose current accounts take part."""

    number: int
    typology: Typology
    members: Numbers
    begins: int


@dataclass(frozen=True)
class Schemes:
    """All schemes of a block. `bookings` are in the order of their moments, up to the end of the window, and `scheme` tells
    the place in `planned` that each belongs to."""

    planned: tuple[Scheme, ...]
    bookings: Bookings
    scheme: Numbers

    def between(self, first: int, last: int) -> slice:
        """The bookings of days `first` to `last`."""
        start, stop = np.searchsorted(self.bookings.at, [moment(first), moment(last + 1)])
        return slice(int(start), int(stop))

    def first_days(self) -> Numbers:
        """Day number of the first booking of each planned scheme; NEVER where none comes before the end."""
        first = np.full(len(self.planned), NEVER)
        np.minimum.at(first, self.scheme, day_of(self.bookings.at))
        return first

    def launders_from(self, customers: int) -> Numbers:
        """Per customer of the block the first day of the first scheme, NEVER for everybody else."""
        found = np.full(customers, NEVER)
        for scheme, first in zip(self.planned, self.first_days(), strict=True):
            found[scheme.members] = np.minimum(found[scheme.members], first)
        return found


def plan_schemes(
    seed: int, block: int, people: People, customers: Customers, calendar: Calendar, laundering: Laundering
) -> Schemes:
    """Rings are formed of the block's launderers, typology after typology; each runs a scheme, and some run further ones."""
    draw = generator(seed, Stream.SCHEMES, block)
    planned: list[Scheme] = []
    plots: list[Plot] = []
    for ring, (typology, members) in enumerate(_rings(draw, people)):
        for begins in _beginnings(draw, typology, calendar, laundering):
            number = block * _SCHEMES_PER_BLOCK + len(planned)
            own = generator(seed, typology.stream, block, len(planned))
            plot = plot_for(own, customers.numbers[members] * 10, block, ring, begins, laundering)
            typology.plan(plot)
            planned.append(Scheme(number, typology, members, begins))
            plots.append(plot)
    return _booked(planned, plots, moment(day_number(calendar.end) + 1))


def _rings(draw: np.random.Generator, people: People) -> list[tuple[Typology, Numbers]]:
    rings = [(WAKING, people.sleepers[at : at + 1]) for at in range(len(people.sleepers))]
    awake = people.launderers[len(people.sleepers) :]
    others = [typology for typology in TYPOLOGIES if typology is not WAKING]
    turn, used = int(draw.integers(len(others))), 0
    while used < len(awake):
        typology = others[turn % len(others)]
        turn += 1
        left = len(awake) - used
        if left < typology.least:
            continue
        size = min(int(draw.integers(typology.least, typology.most + 1)), left)
        rings.append((typology, awake[used : used + size]))
        used += size
    return rings


def _beginnings(draw: np.random.Generator, typology: Typology, calendar: Calendar, laundering: Laundering) -> list[int]:
    """Days on which the schemes of a ring begin, most of them early. An account can wake only once."""
    first, end = day_number(calendar.full_from), day_number(calendar.end)
    early = draw.random() < laundering.rings_that_begin_early
    share = draw.random() * 2 / 3 if early else 2 / 3 + draw.random() / 3
    begins = first + min(_WARM_UP_DAYS + int(share * (end - first - _WARM_UP_DAYS)), end - first)
    days = [begins]
    while typology is not WAKING and draw.random() < laundering.rings_that_go_on:
        days.append(days[-1] + int(draw.integers(35, 120)))
    return [day for day in days if day <= end]


def _booked(planned: list[Scheme], plots: list[Plot], until: Numbers) -> Schemes:
    """Bookings at the bank's accounts, on both sides of a payment within it."""
    paid = [payments for plot in plots for payments in plot.paid]
    payer, payee, amount, at, channel, country = (
        np.concatenate([payments[column] for payments in paid]) if paid else np.zeros(0, dtype=np.int64)
        for column in range(6)
    )
    scheme = np.repeat(np.arange(len(planned)), [sum(len(p[0]) for p in plot.paid) for plot in plots])
    debited = payer < OUTSIDE
    one_side = Bookings(
        account=np.where(debited, payer, payee),
        counterparty=np.where(debited, payee, payer),
        amount=amount,
        at=moment(at),
        channel=channel,
        country=country,
        direction=np.where(debited, DEBIT, CREDIT),
    )
    other = one_side.other_side()
    both = Bookings(
        **{f.name: np.concatenate([getattr(side, f.name) for side in (one_side, other)]) for f in fields(Bookings)}
    )
    scheme = np.concatenate([scheme, scheme[one_side.counterparty < OUTSIDE]])
    order = np.lexsort((both.direction, scheme, both.at))
    order = order[both.at[order] < until]
    return Schemes(tuple(planned), both.of(order), scheme[order])


def truth_tables(schemes: Schemes, customers: Customers, ids: Numbers) -> dict[str, pa.Table]:
    """transactions, accounts and schemes, by name. `ids` are those of the transactions, in the order of the bookings."""
    number = np.array([scheme.number for scheme in schemes.planned], dtype=np.int64)
    typology = np.array([_NAMES.index(scheme.typology.name) for scheme in schemes.planned], dtype=np.int8)
    return {
        "transactions": _transactions(schemes, number, typology, ids),
        "accounts": _accounts(schemes, customers, number, typology),
        "schemes": _schemes(schemes, number, typology),
    }


def _transactions(schemes: Schemes, number: Numbers, typology: Numbers, ids: Numbers) -> pa.Table:
    booked = schemes.bookings
    return pa.table(
        {
            "txn_id": columns.text(ids),
            "scheme_id": columns.text(_scheme_ids(number[schemes.scheme])),
            "typology": columns.choice(typology[schemes.scheme], _NAMES),
            "account_id": columns.text(numbered("A", booked.account, 12)),
            "customer_id": columns.text(numbered("C", booked.account // 10, 12)),
            "counterparty_id": columns.text(columns.account_ids(booked.counterparty, OUTSIDE)),
            "booked_at": columns.moments(booked.at),
            "amount": columns.real(booked.amount),
            "direction": columns.choice(booked.direction, DIRECTIONS),
        }
    )


def _accounts(schemes: Schemes, customers: Customers, number: Numbers, typology: Numbers) -> pa.Table:
    """One row per scheme and account of the bank that has a booking in it by the end."""
    day = day_of(schemes.bookings.at)
    pairs, first, place = np.unique(_pairs(schemes), return_index=True, return_inverse=True)
    scheme, account = pairs // OUTSIDE, pairs % OUTSIDE
    last = np.zeros(len(pairs), dtype=np.int64)
    np.maximum.at(last, place, day)
    leaders = np.array([customers.numbers[s.members[0]] * 10 for s in schemes.planned], dtype=np.int64)
    leads = account == leaders[scheme]
    names = [(s.typology.leader, s.typology.aides) for s in schemes.planned]
    parts = np.array([[_PARTS.index(aides), _PARTS.index(leader)] for leader, aides in names]).reshape(-1, 2)
    return pa.table(
        {
            "scheme_id": columns.text(_scheme_ids(number[scheme])),
            "typology": columns.choice(typology[scheme], _NAMES),
            "account_id": columns.text(numbered("A", account, 12)),
            "customer_id": columns.text(numbered("C", account // 10, 12)),
            "part": columns.choice(parts[scheme, leads.astype(np.int8)], _PARTS),
            "first_day": columns.days(day[first]),
            "last_day": columns.days(last),
        }
    )


def _schemes(schemes: Schemes, number: Numbers, typology: Numbers) -> pa.Table:
    """One row per scheme that has a booking by the end."""
    count = len(number)
    first, last = schemes.first_days(), np.zeros(count, dtype=np.int64)
    np.maximum.at(last, schemes.scheme, day_of(schemes.bookings.at))
    found = np.flatnonzero(first < NEVER)
    return pa.table(
        {
            "scheme_id": columns.text(_scheme_ids(number[found])),
            "typology": columns.choice(typology[found], _NAMES),
            "first_day": columns.days(first[found]),
            "last_day": columns.days(last[found]),
            "accounts": columns.whole(np.bincount(np.unique(_pairs(schemes)) // OUTSIDE, minlength=count)[found]),
            "transactions": columns.whole(np.bincount(schemes.scheme, minlength=count)[found]),
        }
    )


def _pairs(schemes: Schemes) -> Numbers:
    """Scheme and account of each booking as one number."""
    return schemes.scheme * OUTSIDE + schemes.bookings.account


def _scheme_ids(numbers: Numbers) -> Numbers:
    return numbered("S", numbers, 12)
