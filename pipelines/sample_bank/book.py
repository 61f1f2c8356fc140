"""The book of one block: how accounts are used, fall behind, default, are repaid and leave, month by month.

Payments fall due on a day from 5 to 28, so the 90th day after a missed one lies in the third month after it: arrears
change at most once a month, and days past due can be told for any day of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.sample_bank.accounts import Accounts
from pipelines.sample_bank.columns import Numbers
from pipelines.sample_bank.dates import NEVER, day_number, first_day
from pipelines.sample_bank.draws import Stream, generator, some
from pipelines.sample_bank.truth import Truth

DAYS_TO_DEFAULT = 90
LONGEST_REPORTING_DAYS = 30
MISSED_BEFORE_DEFAULT = 3

_DAYS_A_MONTH = 30.4375
_PREPAID_A_MONTH = 0.006
_CARDS_CLOSED_A_MONTH = 0.008
_LIMITS_RAISED_A_MONTH = 0.015


@dataclass(frozen=True)
class AccountMonth:
    """One month of a block's accounts, enough to tell their state on any day of it; shape (accounts,).

    Days are day numbers. Up to the day before `settled_on` an account is late since `late_before`, from then on since
    `late_after`; NEVER means it is not late. `due` falls due on `due_on`, `paid` is paid on `paid_on`.
    """

    first: int
    days: int
    limit: Numbers
    balance_before: Numbers
    balance_after: Numbers
    due: Numbers
    due_on: Numbers
    paid: Numbers
    paid_on: Numbers
    cash_advance: Numbers
    late_before: Numbers
    late_after: Numbers
    settled_on: Numbers


class Book:
    """The state of a block's accounts.

    An account is on the book from its opening up to the day before `left_on`. `event_on` is the day of its default or
    repayment, `reported_on` the day the bank hears of it; a defaulted account leaves the day after that.
    """

    def __init__(self, seed: int, block: int, accounts: Accounts, truth: Truth, first_month: int) -> None:
        self._seed, self._block = seed, block
        self._process, self._downturn = truth.default_process, truth.downturn
        self.accounts = accounts
        count, first = len(accounts), day_number(first_day(first_month))
        age = np.maximum(first - accounts.opened_on, 0) // _DAYS_A_MONTH
        over = accounts.is_loan & (age >= accounts.term)
        self.left_on = np.where(over, accounts.opened_on, NEVER)
        self.event_on = np.full(count, NEVER)
        self.reported_on = np.full(count, NEVER)
        self.defaulted = np.zeros(count, dtype=bool)
        self.charged_off = np.zeros(count, dtype=bool)
        self.newly_late = np.zeros(count, dtype=bool)
        self._late_since = np.full(count, NEVER)
        self._missed_in_a_row = np.zeros(count, dtype=np.int64)
        self._limit = accounts.limit
        used = np.where(accounts.opened_on < first, accounts.level, 0.0)
        self._balance = accounts.limit * np.where(accounts.is_loan, _share_owed(accounts, age), used)

    def month(self, month: int, depth: float, customers_eta: Numbers) -> AccountMonth:
        """Live through one month. `depth` is how far the downturn has come, 0 to 1; `customers_eta` has one value per
        customer of the block."""
        draw = generator(self._seed, Stream.BEHAVIOUR, self._block, month)
        first = day_number(first_day(month))
        live = (self.accounts.opened_on < first) & (self.left_on == NEVER)
        limit = self._raised_limit(draw, live)
        cash = self._cash_advance(draw, live, limit)
        eta = self._eta(first, depth, customers_eta, cash)
        missed = live & (self._balance > 0) & (draw.random(len(live)) < self._miss_odds(eta, depth))
        due, paid, balance = self._money(draw, depth, live, missed, limit)
        due_on, paid_on, settled_on = self._days(draw, first, live)
        late_since = self._late_after(live, missed, due_on)
        days = day_number(first_day(month + 1)) - first
        defaults = live & missed & (self._missed_in_a_row == MISSED_BEFORE_DEFAULT)
        self._close_repaid(draw, live & ~missed, balance, limit, paid_on)
        self._default(draw, live, defaults, eta, depth, first, days)
        lived = AccountMonth(
            first=first,
            days=days,
            limit=limit,
            balance_before=self._balance,
            balance_after=balance,
            due=due,
            due_on=due_on,
            paid=paid,
            paid_on=paid_on,
            cash_advance=cash,
            late_before=self._late_since,
            late_after=late_since,
            settled_on=settled_on,
        )
        self.newly_late = missed & (self._missed_in_a_row == 1)
        self._missed_in_a_row = np.where(missed & ~defaults, self._missed_in_a_row + 1, 0)
        self._limit, self._balance, self._late_since = limit, balance, late_since
        return lived

    def _raised_limit(self, draw: np.random.Generator, live: Numbers) -> Numbers:
        chosen = some(draw, self.accounts.cards.stop, _LIMITS_RAISED_A_MONTH)
        raised = chosen[live[chosen] & (self._missed_in_a_row[chosen] == 0)]
        limit = self._limit.copy()
        limit[raised] = np.round(limit[raised] * 1.15, -2)
        return limit

    def _cash_advance(self, draw: np.random.Generator, live: Numbers, limit: Numbers) -> Numbers:
        share = draw.random(len(live)) / self.accounts.cash_rate
        taken = live & ~self.accounts.is_loan & (share < 1)
        return np.where(taken, limit * (0.02 + 0.10 * share), 0.0)

    def _eta(self, first: int, depth: float, customers_eta: Numbers, cash: Numbers) -> Numbers:
        process, change, accounts = self._process, self._downturn, self.accounts
        utilisation = process.utilisation + depth * change.utilisation_change
        by_product = np.full(len(accounts), process.loan + depth * change.loan_change)
        cards = accounts.cards
        by_product[cards] = utilisation * (self._balance[cards] / self._limit[cards] - 0.45)
        months = np.maximum(first - accounts.opened_on, 0) / _DAYS_A_MONTH
        young = process.young_account * np.exp(-months / 12)
        eta: Numbers = customers_eta[accounts.owner] + by_product + young + process.cash_advance * (cash > 0)
        return eta

    def _miss_odds(self, eta: Numbers, depth: float) -> Numbers:
        process, missed = self._process, self._missed_in_a_row
        log_odds = np.array(process.slope)[missed] * eta + np.array(process.shift)[missed]
        return _logistic(log_odds + depth * self._downturn.roll_change * (missed > 0))

    def _money(
        self, draw: np.random.Generator, depth: float, live: Numbers, missed: Numbers, limit: Numbers
    ) -> tuple[Numbers, Numbers, Numbers]:
        """What falls due, what is paid, and the balance at the end of the month."""
        with_interest = self._balance * (1 + self.accounts.rate / 12)
        arrears = 1 + self._missed_in_a_row
        cards = self._card_money(draw, depth, missed, limit, with_interest, arrears)
        loans = self._loan_money(draw, missed, with_interest, arrears)
        due, paid, balance = (np.concatenate(parts) for parts in zip(cards, loans, strict=True))
        return due * live, paid * (live & ~missed), np.where(live, balance, self._balance)

    def _card_money(
        self,
        draw: np.random.Generator,
        depth: float,
        missed: Numbers,
        limit: Numbers,
        with_interest: Numbers,
        arrears: Numbers,
    ) -> tuple[Numbers, Numbers, Numbers]:
        """A card's use returns to its level; what is paid covers at least what is due and the fall of the balance."""
        at = self.accounts.cards
        balance, most = self._balance[at], with_interest[at]
        level = self.accounts.level[at] + depth * self._downturn.utilisation_shift
        use = balance / limit[at]
        use += 0.25 * (level - use) + 0.05 * draw.standard_normal(len(use))
        used = limit[at] * np.clip(use, 0, 1.15)
        due = np.minimum(np.maximum(25, 0.03 * balance), most)
        least = np.maximum(np.minimum(due * arrears[at], most), balance - used)
        paid = np.maximum(least, balance * draw.random(len(use)) ** 2)
        return due, paid, np.where(missed[at], np.maximum(used, most), used)

    def _loan_money(
        self, draw: np.random.Generator, missed: Numbers, with_interest: Numbers, arrears: Numbers
    ) -> tuple[Numbers, Numbers, Numbers]:
        """A loan is paid by instalments, arrears included, or now and then in full."""
        at = self.accounts.loans
        most = with_interest[at]
        due = np.minimum(self.accounts.instalment[at], most)
        paid = np.minimum(due * arrears[at], most)
        in_full = some(draw, len(most), _PREPAID_A_MONTH)
        paid[in_full] = most[in_full]
        return due, paid, most - paid * ~missed[at]

    def _days(self, draw: np.random.Generator, first: int, live: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        due_on = first + self.accounts.due_day - 1
        third = live & (self._missed_in_a_row == MISSED_BEFORE_DEFAULT)
        settled_on = np.where(third, self._late_since + DAYS_TO_DEFAULT - 1, due_on)
        paid_on = np.where(self._missed_in_a_row > 0, settled_on, due_on - draw.integers(0, 4, len(live)))
        return due_on, paid_on, settled_on

    def _late_after(self, live: Numbers, missed: Numbers, due_on: Numbers) -> Numbers:
        still = np.where(self._missed_in_a_row > 0, self._late_since, due_on)
        return np.where(missed, still, np.where(live, NEVER, self._late_since))

    def _close_repaid(
        self, draw: np.random.Generator, paying: Numbers, balance: Numbers, limit: Numbers, paid_on: Numbers
    ) -> None:
        cards, loans = self.accounts.cards, self.accounts.loans
        wants = np.unique(some(draw, cards.stop, _CARDS_CLOSED_A_MONTH))
        done = loans.start + np.flatnonzero(balance[loans] < 0.01)
        closed = np.concatenate([wants[balance[wants] < 0.2 * limit[wants]], done])
        closed = closed[paying[closed]]
        self.event_on[closed] = self.left_on[closed] = paid_on[closed]
        self.reported_on[closed] = paid_on[closed] + draw.integers(1, 11, len(closed))

    def _default(
        self,
        draw: np.random.Generator,
        live: Numbers,
        rolled: Numbers,
        eta: Numbers,
        depth: float,
        first: int,
        days: int,
    ) -> None:
        process, change = self._process, self._downturn
        log_odds = process.charge_off_intercept + process.charge_off_slope * eta + depth * change.charge_off_change
        struck = live & (draw.random(len(live)) < _logistic(log_odds)) & ~rolled & (self.left_on == NEVER)
        gone = np.flatnonzero(rolled | struck)
        on_any_day = first + draw.integers(0, days, len(gone))
        self.event_on[gone] = np.where(rolled[gone], self._late_since[gone] + DAYS_TO_DEFAULT, on_any_day)
        delay = 3 + np.floor((LONGEST_REPORTING_DAYS - 2) * draw.random(len(gone)) ** 2).astype(np.int64)
        self.reported_on[gone] = self.event_on[gone] + delay
        self.left_on[gone] = self.reported_on[gone] + 1
        self.defaulted[gone] = True
        self.charged_off[struck] = True


def _share_owed(accounts: Accounts, age: Numbers) -> Numbers:
    growth = 1 + accounts.rate / 12
    paid_up = growth ** np.minimum(age, accounts.term)
    return (growth**accounts.term - paid_up) / (growth**accounts.term - 1)


def _logistic(log_odds: Numbers) -> Numbers:
    return 1 / (1 + np.exp(-log_odds))
