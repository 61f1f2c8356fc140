"""What the customers of a block book in ordinary life, and what makes some of them look like launderers.

Each pattern is one function of a Span with a stream of randomness of its own; a new one leaves all others as they are, ids
included. Payments are told from one side: the other side of a payment within the bank is booked for all patterns alike.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipelines.sample_bank.bookings import (
    ATM,
    BRANCH,
    BRANCHES,
    CARD,
    CASH_DESK,
    CREDIT,
    DEBIT,
    EMPLOYER,
    FAMILY,
    FIRM,
    FIRST_HIGH_RISK,
    HIGH_RISK_COUNTRIES,
    HOME,
    LANDLORD,
    MERCHANT,
    ONLINE,
    PERSON,
    SAVINGS_ACCOUNT,
    TRANSFER,
    Bookings,
    Span,
    bookings,
    branch,
    moment,
    outside,
)
from pipelines.sample_bank.columns import Numbers
from pipelines.sample_bank.customers import MEDIAN_INCOME
from pipelines.sample_bank.draws import Stream

_MERCHANTS, _EMPLOYERS, _LANDLORDS, _MACHINES, _PEOPLE = 40_000, 9_000, 7_000, 2_500, 5_000_000
_TENANTS, _CLIENTS, _BROKERS = 5_000_000_000, 2_000_000_000, 12
_ABROAD = FIRST_HIGH_RISK
_WELL_OFF = 0.6
_FIRST_BROKER = 9_000_000_000
_STANDING_ORDERS = np.array([50, 50, 100, 100, 150, 200, 250, 300, 500, 500, 1000, 2000])

Pattern = Callable[[Span], Bookings]


def payroll(span: Span) -> Bookings:
    """Wages, for one customer in five each on the 15th, 25th, 26th, 28th and the last day of the month."""
    draw = span.draw(Stream.PAYROLL)
    who = span.here
    who, day = span.on_days_of_month(who, np.array([31, 28, 26, 25, 15])[span.customers.numbers[who] % 5])
    number, employer = span.customers.numbers[who], span.people.employer[who]
    return bookings(
        account=span.current_accounts(who),
        counterparty=np.where(
            employer >= 0, span.current_accounts(employer), outside(EMPLOYER, number * 7 % _EMPLOYERS)
        ),
        amount=span.income[who] * (0.98 + 0.04 * draw.random(len(who))),
        at=moment(day, 6 * draw.random(len(who))),
        channel=TRANSFER,
        country=HOME,
        direction=CREDIT,
    )


def rent(span: Span) -> Bookings:
    """Rent of three customers in five, on one of the days from the 28th to the 3rd."""
    draw = span.draw(Stream.RENT)
    who = span.here
    number = span.customers.numbers[who]
    who, number = who[number // 5 % 5 < 3], number[number // 5 % 5 < 3]
    who, day = span.on_days_of_month(who, np.array([1, 3, 28, 31])[number // 25 % 4])
    number, landlord = span.customers.numbers[who], span.people.landlord[who]
    return bookings(
        account=span.current_accounts(who),
        counterparty=np.where(
            landlord >= 0, span.current_accounts(landlord), outside(LANDLORD, number * 11 % _LANDLORDS)
        ),
        amount=np.clip(0.31 * MEDIAN_INCOME * np.exp(0.6 * span.customers.log_income[who]), 250, 4000),
        at=moment(day, 6 * draw.random(len(who))),
        channel=TRANSFER,
        country=HOME,
        direction=DEBIT,
    )


def shopping(span: Span) -> Bookings:
    """Merchants paid from current accounts."""
    draw = span.draw(Stream.SHOPPING)
    who, day = span.some_days(draw, span.here, 0.06)
    return _purchases(span, draw, who, span.current_accounts(who), day)


def card_purchases(span: Span) -> Bookings:
    """Merchants paid with credit cards."""
    draw = span.draw(Stream.CARD_PURCHASES)
    accounts = span.accounts
    cards = np.arange(accounts.cards.stop)
    cards = cards[(accounts.opened_on[cards] <= span.last) & (span.left_on[cards] > span.first)]
    picked = draw.integers(0, max(len(cards) * span.days, 1), draw.binomial(len(cards) * span.days, 0.05))
    card, day = cards[picked // span.days], span.first + picked % span.days
    in_use = (day >= accounts.opened_on[card]) & (day < span.left_on[card])
    in_use &= day >= span.people.active_from[accounts.owner[card]]
    card, day = card[in_use], day[in_use]
    return _purchases(span, draw, accounts.owner[card], accounts.numbers[card], day)


def _purchases(span: Span, draw: np.random.Generator, who: Numbers, account: Numbers, day: Numbers) -> Bookings:
    count = len(who)
    abroad = draw.random(count) < 0.04
    scale = np.exp(0.3 * span.customers.log_income)[who]
    return bookings(
        account=account,
        counterparty=outside(MERCHANT, (_MERCHANTS * draw.random(count) ** 3).astype(np.int64)),
        amount=0.5 + 26 * scale * np.exp(0.9 * draw.standard_normal(count)),
        at=moment(day, 8 + 14 * draw.random(count)),
        channel=np.where(draw.random(count) < 0.35, ONLINE, CARD),
        country=np.where(abroad, draw.integers(1, _ABROAD, count), HOME),
        direction=DEBIT,
    )


def remittances(span: Span) -> Bookings:
    """Money sent home by customers from abroad, always to the same one or two people."""
    draw = span.draw(Stream.REMITTANCES)
    here = span.here
    who, day = span.some_days(draw, here[span.customers.citizenship[here] > 0], 0.04)
    return _sent_home(span, draw, who, day, span.customers.citizenship[who])


def remittances_to_high_risk_countries(span: Span) -> Bookings:
    """The same by people whose family lives in a country that a simple rule suspects."""
    draw = span.draw(Stream.HIGH_RISK_REMITTANCES)
    who, day = span.some_days(draw, _look_alikes(span, "remitters_to_high_risk_countries"), 0.06)
    country = FIRST_HIGH_RISK + span.customers.numbers[who] % len(HIGH_RISK_COUNTRIES)
    return _sent_home(span, draw, who, day, country)


def _sent_home(span: Span, draw: np.random.Generator, who: Numbers, day: Numbers, country: Numbers) -> Bookings:
    count = len(who)
    return bookings(
        account=span.current_accounts(who),
        counterparty=outside(FAMILY, span.customers.numbers[who] * 2 + draw.integers(0, 2, count)),
        amount=np.round(40 + 560 * draw.random(count) ** 2, -1),
        at=moment(day, 9 + 11 * draw.random(count)),
        channel=TRANSFER,
        country=country,
        direction=DEBIT,
    )


def transfers(span: Span) -> Bookings:
    """Small sums between people, both ways: mostly with the same three friends, some of whom bank here too."""
    draw = span.draw(Stream.TRANSFERS)
    who, day = span.some_days(draw, span.here, 0.02)
    count = len(who)
    friend = span.customers.numbers[who] * 31 + 7 * draw.integers(0, 3, count)
    here = friend * 7919 % len(span.customers)
    stranger = draw.integers(0, _PEOPLE, count)
    known = draw.random(count) < 0.8
    return bookings(
        account=span.current_accounts(who),
        counterparty=np.where(
            known & (friend % 5 < 2) & (here != who),
            span.current_accounts(here),
            outside(PERSON, np.where(known, friend * 104_729 % _PEOPLE, stranger)),
        ),
        amount=5 + 60 * np.exp(0.9 * draw.standard_normal(count)),
        at=moment(day, 7 + 16 * draw.random(count)),
        channel=TRANSFER,
        country=HOME,
        direction=draw.integers(0, 2, count),
    )


def cash(span: Span) -> Bookings:
    """Withdrawals at machines, in tens."""
    draw = span.draw(Stream.CASH)
    who, day = span.some_days(draw, span.here, 0.02)
    return bookings(
        account=span.current_accounts(who),
        counterparty=outside(CASH_DESK, draw.integers(0, _MACHINES, len(who))),
        amount=10.0 * draw.integers(1, 31, len(who)),
        at=moment(day, 7 + 16 * draw.random(len(who))),
        channel=ATM,
        country=HOME,
        direction=DEBIT,
    )


def counter(span: Span) -> Bookings:
    """Cash over the counter: small sums, and now and then a car sold for cash."""
    draw = span.draw(Stream.COUNTER)
    who, day = span.some_days(draw, span.here, 0.002)
    count = len(who)
    large = draw.random(count) < 0.05
    return bookings(
        account=span.current_accounts(who),
        counterparty=branch(draw.integers(0, BRANCHES, count)),
        amount=np.where(large, 1500 + 13_500 * draw.random(count), 20 + 480 * draw.random(count)).round(-1),
        at=moment(day, 9 + 8 * draw.random(count)),
        channel=BRANCH,
        country=HOME,
        direction=draw.integers(0, 2, count),
    )


def savings(span: Span) -> Bookings:
    """Standing orders of one customer in five to an account of their own at another bank: round, and the same every month."""
    draw = span.draw(Stream.SAVINGS)
    who = span.here
    number = span.customers.numbers[who]
    saves = number * 7 // 3 % 5 == 0
    who, number = who[saves], number[saves]
    who, day = span.on_days_of_month(who, 1 + number % 5)
    number = span.customers.numbers[who]
    return bookings(
        account=span.current_accounts(who),
        counterparty=outside(SAVINGS_ACCOUNT, number),
        amount=_STANDING_ORDERS[number // 7 % len(_STANDING_ORDERS)].astype(float),
        at=moment(day, 2 + 3 * draw.random(len(who))),
        channel=TRANSFER,
        country=HOME,
        direction=DEBIT,
    )


def big_purchases(span: Span) -> Bookings:
    """Savings taken back, and a day or so later nearly all of it paid for a car or a kitchen."""
    draw = span.draw(Stream.BIG_PURCHASES)
    who, day = span.some_days(draw, span.here, 0.001)
    count = len(who)
    came = moment(day, 7 + 4 * draw.random(count))
    went = moment(np.minimum(day + draw.integers(0, 4, count), span.last), 12 + 8 * draw.random(count))
    price = 2_000 * np.exp(np.abs(draw.standard_normal(count)))
    return bookings(
        account=np.tile(span.current_accounts(who), 2),
        counterparty=np.concatenate(
            [outside(SAVINGS_ACCOUNT, span.customers.numbers[who]), outside(FIRM, draw.integers(0, 5000, count))]
        ),
        amount=np.concatenate([(price * (1 + 0.2 * draw.random(count))).round(-2), price]),
        at=np.concatenate([came, went]),
        channel=TRANSFER,
        country=HOME,
        direction=np.repeat([CREDIT, DEBIT], count),
    )


def takings(span: Span) -> Bookings:
    """Shop owners bring their cash to the counter: below the reporting threshold mostly, without keeping close to it."""
    draw = span.draw(Stream.TAKINGS)
    who, day = span.some_days(draw, _look_alikes(span, "cash_heavy_shops"), 0.2)
    count = len(who)
    usual = 1500 + 3500 * (span.customers.numbers[who] * 13 % 97) / 97
    return bookings(
        account=span.current_accounts(who),
        counterparty=branch(span.customers.numbers[who] % BRANCHES),
        amount=np.clip(usual * np.exp(0.5 * draw.standard_normal(count)), 200, 19_000).round(-1),
        at=moment(day, 9 + 8 * draw.random(count)),
        channel=BRANCH,
        country=HOME,
        direction=CREDIT,
    )


def business_income(span: Span) -> Bookings:
    """Firms pay the small employers, who pay wages from it."""
    draw = span.draw(Stream.BUSINESS_INCOME)
    who, day = span.some_days(draw, _look_alikes(span, "small_employers"), 0.6)
    count = len(who)
    return bookings(
        account=span.current_accounts(who),
        counterparty=_client(span.customers.numbers[who], draw.integers(0, 40, count)),
        amount=900 * np.exp(0.8 * draw.standard_normal(count)),
        at=moment(day, 6 * draw.random(count)),
        channel=TRANSFER,
        country=HOME,
        direction=CREDIT,
    )


def freelancing(span: Span) -> Bookings:
    """One customer in twenty-five is paid by several firms instead of, or besides, an employer."""
    draw = span.draw(Stream.FREELANCING)
    here = span.here
    who, day = span.some_days(draw, here[span.customers.numbers[here] * 17 % 25 == 3], 0.15)
    count = len(who)
    return bookings(
        account=span.current_accounts(who),
        counterparty=_client(span.customers.numbers[who], draw.integers(0, 9, count)),
        amount=0.35 * span.income[who] * np.exp(0.8 * draw.standard_normal(count)),
        at=moment(day, 6 * draw.random(count)),
        channel=TRANSFER,
        country=HOME,
        direction=CREDIT,
    )


def investing(span: Span) -> Bookings:
    """Half of those who are well off move money to and from their broker, in round sums mostly."""
    draw = span.draw(Stream.INVESTING)
    here = span.here
    who = here[(span.customers.log_income[here] > _WELL_OFF) & (span.customers.numbers[here] % 2 == 0)]
    who, day = span.some_days(draw, who, 0.025)
    count = len(who)
    amount = 3_000 * np.exp(1.1 * draw.standard_normal(count))
    places = -draw.choice([-2, 1, 2, 3], count, p=[0.3, 0.1, 0.3, 0.3]).astype(float)
    return bookings(
        account=span.current_accounts(who),
        counterparty=outside(SAVINGS_ACCOUNT, _FIRST_BROKER + span.customers.numbers[who] % _BROKERS),
        amount=np.maximum(np.round(amount * 10**places) / 10**places, 100),
        at=moment(day, 8 + 10 * draw.random(count)),
        channel=TRANSFER,
        country=HOME,
        direction=draw.integers(0, 2, count),
    )


def tenants(span: Span) -> Bookings:
    """Tenants of landlords who bank elsewhere pay on the first three days, always the same ones the same rent."""
    draw = span.draw(Stream.TENANTS)
    landlords = _look_alikes(span, "landlords")
    flats = np.repeat(landlords, 3 + span.customers.numbers[landlords] % 9)
    flat = np.arange(len(flats)) - np.searchsorted(flats, flats) if len(flats) else flats
    number = span.customers.numbers[flats] * 20 + flat
    due, day = span.due_on(flats, 1 + number % 3)
    flats, number = flats[due], number[due]
    return bookings(
        account=span.current_accounts(flats),
        counterparty=outside(PERSON, _PEOPLE + number % _TENANTS),
        amount=400 + 10.0 * (number * 31 % 90),
        at=moment(day, 6 * draw.random(len(flats))),
        channel=TRANSFER,
        country=HOME,
        direction=CREDIT,
    )


def sales(span: Span) -> Bookings:
    """Sellers on online markets are paid by many people, a third of them customers of this bank."""
    draw = span.draw(Stream.SALES)
    who, day = span.some_days(draw, _look_alikes(span, "market_sellers"), 0.9)
    count = len(who)
    buyer = draw.integers(0, len(span.customers), count)
    return bookings(
        account=span.current_accounts(who),
        counterparty=np.where(
            (draw.random(count) < 0.35) & (buyer != who),
            span.current_accounts(buyer),
            outside(PERSON, draw.integers(0, _PEOPLE, count)),
        ),
        amount=4 + 40 * np.exp(draw.standard_normal(count)),
        at=moment(day, 24 * draw.random(count)),
        channel=ONLINE,
        country=HOME,
        direction=CREDIT,
    )


def waking(span: Span) -> Bookings:
    """Who really takes an old account into use again moves some money to it first."""
    draw = span.draw(Stream.WAKING)
    who = _look_alikes(span, "people_who_wake_an_account")
    day = span.people.active_from[who]
    wakes = (day >= span.first) & (day <= span.last)
    who, day = who[wakes], day[wakes]
    return bookings(
        account=span.current_accounts(who),
        counterparty=outside(SAVINGS_ACCOUNT, span.customers.numbers[who]),
        amount=np.round(400 + 6000 * draw.random(len(who)) ** 2, -1),
        at=moment(day, 7 * draw.random(len(who))),
        channel=TRANSFER,
        country=HOME,
        direction=CREDIT,
    )


def _client(customer: Numbers, place: Numbers) -> Numbers:
    """A firm among those that a customer works for."""
    return outside(FIRM, (customer * 41 + place) % _CLIENTS)


def _look_alikes(span: Span, kind: str) -> Numbers:
    return np.sort(span.people.look_alikes[kind])


PATTERNS: tuple[tuple[Stream, Pattern], ...] = (
    (Stream.PAYROLL, payroll),
    (Stream.RENT, rent),
    (Stream.SHOPPING, shopping),
    (Stream.CARD_PURCHASES, card_purchases),
    (Stream.REMITTANCES, remittances),
    (Stream.HIGH_RISK_REMITTANCES, remittances_to_high_risk_countries),
    (Stream.TRANSFERS, transfers),
    (Stream.CASH, cash),
    (Stream.COUNTER, counter),
    (Stream.SAVINGS, savings),
    (Stream.BIG_PURCHASES, big_purchases),
    (Stream.TAKINGS, takings),
    (Stream.BUSINESS_INCOME, business_income),
    (Stream.FREELANCING, freelancing),
    (Stream.INVESTING, investing),
    (Stream.TENANTS, tenants),
    (Stream.SALES, sales),
    (Stream.WAKING, waking),
)
