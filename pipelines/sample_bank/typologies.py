"""How money is laundered: one function per typology, which makes the payments of one scheme.

A function is given the accounts of the bank that take part (the first one in the leading part), accounts elsewhere, the first
day, and a generator of its own. It says who pays whom, how much and when, in days with fractions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pipelines.sample_bank.bookings import (
    ACCOMPLICE,
    ATM,
    BRANCH,
    BRANCHES,
    CASH_DESK,
    FIRST_HIGH_RISK,
    HIGH_RISK_COUNTRIES,
    HOME,
    TRANSFER,
    branch,
    outside,
)
from pipelines.sample_bank.columns import Numbers
from pipelines.sample_bank.draws import Stream
from pipelines.sample_bank.truth import Laundering

LONGEST_CYCLE = 6
_ACCOMPLICES = 60
_ACCOMPLICES_PER_BLOCK = 100_000


@dataclass
class Plot:
    """One scheme in the making.

    `members` are account numbers of the bank, `outsiders` those of accomplices at other banks; `begins` is a day number.
    Payments are collected by `pay`.
    """

    draw: np.random.Generator
    members: Numbers
    outsiders: Numbers
    begins: int
    threshold: float
    paid: list[tuple[Numbers, ...]] = field(default_factory=list)

    def pay(
        self,
        payer: Numbers | int,
        payee: Numbers | int,
        amount: Numbers | float,
        at: Numbers | float,
        channel: int = TRANSFER,
        country: Numbers | int = HOME,
    ) -> None:
        """Payments, one per element; single values hold for all."""
        self.paid.append(np.broadcast_arrays(*map(np.atleast_1d, (payer, payee, amount, at, channel, country))))

    def others(self, least: int, most: int) -> Numbers:
        """Some accomplices at other banks, each once."""
        return self.draw.permutation(self.outsiders)[: self.draw.integers(least, most + 1)]

    def number(self, least: int, most: int) -> int:
        """A whole number, `most` included."""
        return int(self.draw.integers(least, most + 1))

    def between(self, low: float, high: float, count: int | None = None) -> Numbers:
        """Uniform numbers; one of shape () without `count`."""
        return np.asarray(low + (high - low) * self.draw.random(count))

    def by_day(self, days: Numbers) -> Numbers:
        """Moments in opening hours of day numbers."""
        return np.floor(days) + self.between(8.5, 18.5, len(days)) / 24

    def split(self, amount: float, parts: int) -> Numbers:
        """The amount in unequal parts."""
        shares = 0.4 + self.draw.random(parts)
        return np.asarray(amount * shares / shares.sum())


def structuring(plot: Plot) -> None:
    """Cash in sums just under the threshold, over days and by one to three people; then most of it goes to one account."""
    count, days = plot.number(5, 14), plot.number(10, 35)
    who = plot.draw.integers(0, len(plot.members), count)
    who[: len(plot.members)] = np.arange(len(plot.members))[:count]
    at = plot.by_day(plot.begins + np.sort(plot.draw.integers(0, days, count)))
    amount = np.round(plot.threshold * plot.between(0.82, 0.995, count), -1)
    plot.pay(branch(plot.draw.integers(0, BRANCHES, count)), plot.members[who], amount, at, BRANCH)
    to = plot.others(1, 1)[0]
    for place, member in enumerate(plot.members):
        brought = amount[who == place]
        if len(brought):
            parts = plot.number(1, 3)
            sums = plot.split(float(brought.sum() * plot.between(0.88, 0.97)), parts)
            plot.pay(member, to, sums, plot.by_day(at[who == place][-1] + plot.draw.integers(1, 4, parts)))


def fan_in(plot: Plot) -> None:
    """Many pay one within days; nearly all of it leaves again."""
    payers = np.concatenate([plot.others(8, 25), plot.members[1:]])
    payers = np.concatenate([payers, payers[plot.draw.random(len(payers)) < 0.3]])
    ends = _gathered(plot, payers, plot.members[0], float(plot.between(3, 14)))
    total = float(_sum_to(plot, plot.members[0]))
    parts = plot.number(1, 2)
    sums = plot.split(total * float(plot.between(0.85, 0.98)), parts)
    plot.pay(plot.members[0], plot.others(1, 1)[0], sums, plot.by_day(ends + plot.draw.integers(1, 4, parts)))


def fan_out(plot: Plot) -> None:
    """A large sum comes and is spread over many accounts within days."""
    parts = plot.number(1, 2)
    amount = float(plot.between(12_000, 70_000))
    plot.pay(plot.others(1, 1)[0], plot.members[0], plot.split(amount, parts), plot.by_day(np.full(parts, plot.begins)))
    payees = np.concatenate([plot.others(8, 25), plot.members[1:]])
    _scattered(plot, plot.members[0], payees, amount * float(plot.between(0.88, 0.98)), plot.begins + 1, 1, 7)


def gather_scatter(plot: Plot) -> None:
    """Many pay one, who pays many others."""
    half = len(plot.members) // 2 + 1
    payers = np.concatenate([plot.others(5, 12), plot.members[1:half]])
    ends = _gathered(plot, payers, plot.members[0], float(plot.between(2, 8)))
    total = float(_sum_to(plot, plot.members[0]))
    payees = np.concatenate([plot.others(5, 12), plot.members[half:]])
    _scattered(plot, plot.members[0], payees, total * float(plot.between(0.9, 0.98)), ends + 0.3, 1, 6)


def cycle(plot: Plot) -> None:
    """Money goes round and comes back a little smaller, once to three times. One account of the circle may be elsewhere:
    with two in a row the bank would not see the payment between them."""
    ring = plot.members[:LONGEST_CYCLE]
    if len(ring) < 3 or (len(ring) < LONGEST_CYCLE and plot.draw.random() < 0.25):
        ring = np.append(ring, plot.others(1, 1))
    at = plot.begins + float(plot.between(0.3, 0.8))
    for _ in range(plot.number(1, 3)):
        amount = float(plot.between(5_000, 60_000))
        kept = 1 - plot.between(0.005, 0.04, len(ring))
        waited = plot.between(0.15, 3.5, len(ring))
        moments = at + np.cumsum(waited)
        plot.pay(ring, np.roll(ring, -1), amount * np.cumprod(kept), moments)
        at = float(moments[-1] + plot.between(2, 12))


def pass_through(plot: Plot) -> None:
    """What comes in goes on within hours, from account to account and out; several times in some weeks."""
    chain = np.concatenate([plot.others(1, 1), plot.members, plot.others(1, 1)])
    for starts in np.sort(plot.between(0, float(plot.between(7, 30)), plot.number(3, 7))):
        amount = float(plot.between(3_000, 40_000))
        steps = len(chain) - 1
        at = plot.begins + starts + 0.3 + np.cumsum(plot.between(0.02, 1.2, steps))
        plot.pay(chain[:-1], chain[1:], amount * np.cumprod(1 - plot.between(0.005, 0.04, steps)), at)


def dormant_waking(plot: Plot) -> None:
    """An account that slept for months takes in large sums and is emptied within days."""
    count = plot.number(2, 5)
    amount = plot.between(3_000, 20_000, count)
    at = plot.by_day(plot.begins + np.sort(plot.draw.integers(0, 5, count)))
    sleeper = plot.members[0]
    plot.pay(plot.draw.choice(plot.others(1, 3), count), sleeper, amount, at)
    cash = plot.number(1, 4)
    drawn = np.round(plot.between(300, 1000, cash), -1)
    plot.pay(
        sleeper,
        outside(CASH_DESK, plot.draw.integers(0, 2500, cash)),
        drawn,
        plot.by_day(at[-1] + 1 + np.arange(cash)),
        ATM,
    )
    parts = plot.number(1, 3)
    sums = plot.split(float(amount.sum() * plot.between(0.9, 0.99) - drawn.sum()), parts)
    plot.pay(sleeper, plot.draw.choice(plot.others(1, 3), parts), sums, plot.by_day(at[-1] + 1 + np.arange(parts)))


def round_amounts(plot: Plot) -> None:
    """Whole thousands in and out, over weeks, without a reason that one could see."""
    for member in plot.members:
        count, days = plot.number(3, 7), float(plot.between(14, 40))
        come = plot.by_day(plot.begins + np.sort(plot.between(0, days, count)))
        amount = 1000.0 * plot.draw.integers(2, 10, count)
        plot.pay(plot.draw.choice(plot.others(2, 4), count), member, amount, come)
        gone = plot.by_day(come + plot.draw.integers(1, 8, count))
        plot.pay(
            member, plot.draw.choice(plot.others(2, 4), count), amount - 1000.0 * (plot.draw.random(count) < 0.3), gone
        )


def high_risk_corridor(plot: Plot) -> None:
    """Several people in one or two high-risk countries are sent money that came just before."""
    for member in plot.members:
        count, days = plot.number(4, 12), float(plot.between(7, 35))
        amount = np.round(plot.between(900, 6_000, count))
        at = plot.by_day(plot.begins + 1 + np.sort(plot.between(0, days, count)))
        funds = plot.number(1, 3)
        came = plot.by_day(plot.begins + np.floor(days * np.arange(funds) / funds))
        plot.pay(plot.others(1, 1)[0], member, plot.split(float(amount.sum()) * 1.05, funds), came)
        where = FIRST_HIGH_RISK + plot.draw.integers(0, len(HIGH_RISK_COUNTRIES), plot.number(1, 2))
        payees = plot.others(3, 8)
        to = plot.draw.integers(0, len(payees), count)
        plot.pay(member, payees[to], amount, at, TRANSFER, where[to % len(where)])


def _gathered(plot: Plot, payers: Numbers, hub: int, days: float) -> float:
    """All payers pay the hub within days; the last moment."""
    amount = np.clip(900 * np.exp(0.6 * plot.draw.standard_normal(len(payers))), 150, 6_000)
    amount = np.where(plot.draw.random(len(payers)) < 0.4, np.round(amount, -2) + 100, amount)
    at = plot.by_day(plot.begins + plot.between(0, days, len(payers)))
    plot.pay(payers, hub, amount, at)
    return float(at.max())


def _scattered(plot: Plot, hub: int, payees: Numbers, amount: float, starts: float, low: float, high: float) -> None:
    """The hub pays all payees within a number of days drawn between `low` and `high`."""
    days = float(plot.between(low, high))
    at = plot.by_day(np.ceil(starts) + plot.between(0, days, len(payees)))
    plot.pay(hub, plot.draw.permutation(payees), plot.split(amount, len(payees)), at)


def _sum_to(plot: Plot, account: int) -> float:
    return float(sum(amount[payee == account].sum() for _, payee, amount, *_ in plot.paid))


@dataclass(frozen=True)
class Typology:
    """A way to launder. `least` to `most` accounts of the bank take part: first the `leader`, then the `aides`."""

    name: str
    stream: Stream
    plan: Callable[[Plot], None]
    least: int
    most: int
    leader: str
    aides: str


TYPOLOGIES = (
    Typology("structuring", Stream.STRUCTURING, structuring, 1, 3, "depositor", "depositor"),
    Typology("fan_in", Stream.FAN_IN, fan_in, 1, 4, "collector", "payer"),
    Typology("fan_out", Stream.FAN_OUT, fan_out, 1, 4, "distributor", "payee"),
    Typology("gather_scatter", Stream.GATHER_SCATTER, gather_scatter, 1, 5, "hub", "spoke"),
    Typology("cycle", Stream.CYCLE, cycle, 2, 6, "member", "member"),
    Typology("pass_through", Stream.PASS_THROUGH, pass_through, 1, 3, "relay", "relay"),
    Typology("dormant_waking", Stream.DORMANT_WAKING, dormant_waking, 1, 1, "sleeper", "sleeper"),
    Typology("round_amounts", Stream.ROUND_AMOUNTS, round_amounts, 1, 2, "mover", "mover"),
    Typology("high_risk_corridor", Stream.HIGH_RISK_CORRIDOR, high_risk_corridor, 1, 2, "sender", "sender"),
)
WAKING = next(t for t in TYPOLOGIES if t.name == "dormant_waking")


def plot_for(
    draw: np.random.Generator, members: Numbers, block: int, ring: int, begins: int, laundering: Laundering
) -> Plot:
    """A plot of a ring, whose accomplices elsewhere are nobody else's."""
    accomplices = block * _ACCOMPLICES_PER_BLOCK + ring * _ACCOMPLICES + np.arange(_ACCOMPLICES)
    return Plot(draw, members, outside(ACCOMPLICE, accomplices), begins, laundering.threshold)
