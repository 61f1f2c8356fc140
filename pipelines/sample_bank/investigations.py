"""What the bank's investigators looked at, why, and what they found out weeks later, with mistakes.

Customers come to them in three ways: a simple legacy rule raises alerts on monthly sums, somebody refers an account of a
scheme, or a customer is drawn at random for review.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa

from pipelines.sample_bank import columns
from pipelines.sample_bank.bookings import BRANCH, CREDIT, DEBIT, FIRST_HIGH_RISK, TRANSFER, Bookings
from pipelines.sample_bank.columns import Numbers, numbered
from pipelines.sample_bank.customers import Customers
from pipelines.sample_bank.dates import NEVER, Calendar, day_number
from pipelines.sample_bank.dirt import Dirt
from pipelines.sample_bank.draws import Stream, generator
from pipelines.sample_bank.people import People
from pipelines.sample_bank.schemes import Schemes
from pipelines.sample_bank.truth import Laundering

REASONS = ("rule_alert", "referral", "random_review")
OUTCOMES = ("cleared", "suspicious")
UNKNOWN_OUTCOME = "unclear"

_RULE_ALERT, _REFERRAL, _RANDOM_REVIEW = range(3)
_INVESTIGATIONS_PER_BLOCK = 100_000
_MOST_DAYS_TO_OPEN_AN_ALERT = 5
_REFERRED_AFTER_DAYS = (5, 45)
_MOST_DAYS_FROM_CLOSING_TO_REPORT = 5

CASH_IN_A_MONTH = 12_000.0
CREDITS_IN_A_MONTH = 15
TO_HIGH_RISK_IN_A_MONTH = 1_000.0
CREDITED_IN_A_MONTH = 25_000.0


def legacy_alerts(bookings: Bookings, first_customer: int, customers: int) -> Numbers:
    """Rows of the customers of a block whose month breaks the legacy rule: much cash, many credits, much money to a
    high-risk country, or simply much money."""
    who = bookings.account // 10 - first_customer

    def total(chosen: Numbers, of: Numbers | None = None) -> Numbers:
        return np.bincount(who[chosen], None if of is None else of[chosen], minlength=customers)

    credits = bookings.direction == CREDIT
    broken = total(credits & (bookings.channel == BRANCH), bookings.amount) >= CASH_IN_A_MONTH
    transfers = credits & (bookings.channel == TRANSFER)
    broken |= total(transfers) >= CREDITS_IN_A_MONTH
    broken |= total(transfers, bookings.amount) >= CREDITED_IN_A_MONTH
    abroad = (bookings.direction == DEBIT) & (bookings.country >= FIRST_HIGH_RISK)
    broken |= total(abroad, bookings.amount) >= TO_HIGH_RISK_IN_A_MONTH
    return np.flatnonzero(broken)


@dataclass(frozen=True)
class Cases:
    """Investigations in the order they were opened; arrays of shape (n,). `customer` is a row of the block, `reason` and
    `outcome` are indexes into the tuples above, days are day numbers."""

    customer: Numbers
    opened_on: Numbers
    closed_on: Numbers
    reported_on: Numbers
    reason: Numbers
    outcome: Numbers

    def reported(self, after: int, until: int) -> Numbers:
        """Places of those reported in (after, until]."""
        return np.flatnonzero((self.reported_on > after) & (self.reported_on <= until))


class Investigators:
    """Collect what comes to the investigators of one block, month by month; say in the end what became of it."""

    def __init__(
        self, seed: int, block: int, customers: Customers, people: People, calendar: Calendar, laundering: Laundering
    ) -> None:
        self._seed, self._block, self._customers, self._people = seed, block, customers, people
        self._laundering, self._end = laundering, day_number(calendar.end)
        self._opens = day_number(calendar.full_from) + laundering.days_before_the_first_opened
        self._come: list[tuple[Numbers, Numbers, int]] = []

    def month(self, bookings: Bookings, first: int, last: int) -> None:
        """What comes of one month, days `first` to `last`: alerts in the days after it, reviews in it."""
        draw = generator(self._seed, Stream.INVESTIGATIONS, self._block, last)
        alerts = legacy_alerts(bookings, self._customers.numbers[0], len(self._customers))
        alerts = alerts[draw.random(len(alerts)) < self._laundering.alerts_taken_up]
        self._add(alerts, last + draw.integers(1, _MOST_DAYS_TO_OPEN_AN_ALERT + 1, len(alerts)), _RULE_ALERT)
        here = np.flatnonzero(self._customers.joined_on < first)
        drawn = here[draw.random(len(here)) < self._laundering.reviewed_at_random_a_month]
        self._add(drawn, draw.integers(first, last + 1, len(drawn)), _RANDOM_REVIEW)

    def cases(self, schemes: Schemes) -> Cases:
        """All investigations, those after the end of the window included."""
        draw = generator(self._seed, Stream.INVESTIGATIONS, self._block)
        self._refer(draw, schemes)
        customer, opened_on, reason = self._taken_up()
        rules, count = self._laundering, len(customer)
        guilty = schemes.launders_from(len(self._customers))[customer] <= opened_on
        suspicious = draw.random(count) < np.where(guilty, 1 - rules.missed, rules.wrongly_suspected)
        least, most = rules.reported_after_days
        reported_on = opened_on + draw.integers(least, most + 1, count)
        closed_on = reported_on - draw.integers(0, _MOST_DAYS_FROM_CLOSING_TO_REPORT + 1, count)
        not_dated = draw.random(count) < rules.not_dated
        return Cases(
            customer=customer,
            opened_on=opened_on,
            closed_on=np.where(not_dated, NEVER, closed_on),
            reported_on=reported_on,
            reason=reason,
            outcome=suspicious.astype(np.int8),
        )

    def _refer(self, draw: np.random.Generator, schemes: Schemes) -> None:
        least, most = _REFERRED_AFTER_DAYS
        for scheme, first in zip(schemes.planned, schemes.first_days(), strict=True):
            referred = scheme.members[draw.random(len(scheme.members)) < self._laundering.referred]
            wait = draw.integers(least, most + 1, len(referred))
            self._add(referred, np.maximum(first + wait, self._opens + wait), _REFERRAL)

    def _add(self, customers: Numbers, opened_on: Numbers, reason: int) -> None:
        due = (opened_on >= self._opens) & (opened_on <= self._end) & ~self._people.no_customer[customers]
        self._come.append((customers[due], opened_on[due], reason))

    def _taken_up(self) -> tuple[Numbers, Numbers, Numbers]:
        """Customer, day and reason of each, in order; nobody again within the days that the rules give."""
        customer = np.concatenate([who for who, *_ in self._come])
        opened_on = np.concatenate([days for _, days, _ in self._come])
        reason = np.repeat([kind for *_, kind in self._come], [len(who) for who, *_ in self._come])
        order = np.lexsort((reason, customer, opened_on))
        last: dict[int, int] = {}
        taken = []
        for place in order.tolist():
            who, day = int(customer[place]), int(opened_on[place])
            if day - last.get(who, -NEVER) >= self._laundering.investigated_once_in_days:
                taken.append(place)
                last[who] = day
        chosen = np.array(taken, dtype=np.int64)
        return customer[chosen], opened_on[chosen], reason[chosen].astype(np.int8)


def investigations(cases: Cases, places: Numbers, block: int, customer_ids: Numbers, dirt: Dirt) -> pa.Table:
    """One row per investigation of `places`."""
    chosen = Cases(**{f.name: getattr(cases, f.name)[places] for f in fields(Cases)})
    outcome = chosen.outcome
    outcome[dirt.at("unknown_outcome")] = len(OUTCOMES)
    return pa.table(
        {
            "investigation_id": columns.text(
                numbered("I", block * _INVESTIGATIONS_PER_BLOCK + places, 12), dirt.is_null_key(len(places))
            ),
            "customer_id": columns.text(customer_ids[chosen.customer]),
            "opened_on": columns.days(chosen.opened_on),
            "closed_on": columns.days(chosen.closed_on, chosen.closed_on == NEVER),
            "reported_on": columns.days(chosen.reported_on),
            "reason": columns.choice(chosen.reason, REASONS),
            "outcome": columns.choice(outcome, (*OUTCOMES, UNKNOWN_OUTCOME)),
        }
    )
