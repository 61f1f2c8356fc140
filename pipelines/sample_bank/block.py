"""One block of customers through the whole window: simulate a month, write its business dates, go on."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa

from pipelines.sample_bank import events, snapshots
from pipelines.sample_bank.accounts import draw_accounts
from pipelines.sample_bank.book import AccountMonth, Book
from pipelines.sample_bank.bureau import Bureau, CustomerMonth
from pipelines.sample_bank.columns import Numbers, numbered
from pipelines.sample_bank.customers import draw_customers
from pipelines.sample_bank.dates import NEVER, Calendar, day_number, first_day, month_end, month_number
from pipelines.sample_bank.dirt import Dirt
from pipelines.sample_bank.tally import Tally
from pipelines.sample_bank.transactions import Night, transactions
from pipelines.sample_bank.truth import Truth
from pipelines.sample_bank.writer import BankWriter


class Block:
    """The customers `first` to `first + count - 1` and all that is theirs."""

    def __init__(self, seed: int, block: int, first: int, count: int, calendar: Calendar, truth: Truth) -> None:
        self._seed, self._block, self._calendar, self._truth = seed, block, calendar, truth
        months = calendar.simulated_months
        self._customers = draw_customers(seed, block, first, count, calendar)
        self._customer_ids = numbered("C", self._customers.numbers, 12)
        self._accounts = draw_accounts(seed, block, self._customers, calendar)
        self._bureau = Bureau(seed, block, self._customers, truth, months[0])
        self._book = Book(seed, block, self._accounts, truth, months[0])
        self._applications = events.Applications(seed, block, self._customers, self._accounts)
        self._tally = Tally()

    def write(self, writer: BankWriter) -> Tally:
        """Simulate and write everything; return the counts."""
        self._writer = writer
        known: CustomerMonth | None = None
        for month in self._calendar.simulated_months:
            depth = self._truth.downturn.depth(month_end(month))
            before, known = known, self._bureau.month(month, depth, self._newly_late())
            lived = self._book.month(month, depth, known.eta)
            for day in self._calendar.dates_of(month):
                at_end = self._calendar.is_month_end(day)
                self._snapshots(day, lived, known if at_end or before is None else before)
                if at_end:
                    self._write_applications(day, known)
        self._write_arrivals()
        self._count_events()
        return self._tally

    def _newly_late(self) -> Numbers:
        late = self._accounts.owner[self._book.newly_late]
        return np.bincount(late, minlength=len(self._customers)) > 0

    def _snapshots(self, day: date, lived: AccountMonth, known: CustomerMonth) -> None:
        number = day_number(day)
        accounts = snapshots.on_book(self._accounts, self._book, number)
        customers = np.flatnonzero(self._customers.joined_on <= number)
        dirt = self._dirt("account_snapshots", number, len(accounts))
        table = snapshots.account_snapshots(self._customer_ids, self._book, lived, number, accounts, dirt)
        self._put("account_snapshots", day, table, dirt.counts)
        dirt = self._dirt("customer_snapshots", number, len(customers))
        table = snapshots.customer_snapshots(self._customers, self._customer_ids, known, number, customers, dirt)
        self._put("customer_snapshots", day, table, dirt.counts)
        night = Night(self._seed, self._block, day, self._customers, self._accounts, customers, accounts, known.income)
        self._put("transactions", day, *transactions(night))

    def _write_applications(self, day: date, known: CustomerMonth) -> None:
        first = day_number(first_day(month_number(day)))
        made = self._applications.of_month(self._customer_ids, known, f"{day:%Y%m}", first, day_number(day))
        self._put("applications", day, *made)

    def _write_arrivals(self) -> None:
        """Outcomes and new customers since the business date before; on the first one, all before it."""
        after = -NEVER
        for day in self._calendar.business_dates:
            until = day_number(day)
            self._write_outcomes(day, after, until)
            self._write_protected(day, after, until)
            after = until

    def _write_outcomes(self, day: date, after: int, until: int) -> None:
        rows = events.reported(self._book, after, until)
        dirt = self._dirt("outcomes", until, len(rows))
        self._put("outcomes", day, events.outcomes(self._book, rows, dirt), dirt.counts)

    def _write_protected(self, day: date, after: int, until: int) -> None:
        joined_on = self._customers.joined_on
        rows = np.flatnonzero((joined_on > after) & (joined_on <= until))
        dirt = self._dirt("protected_attributes", until, len(rows))
        table = events.protected_attributes(self._customers, self._customer_ids, rows, dirt)
        self._put("protected_attributes", day, table, dirt.counts)

    def _count_events(self) -> None:
        book = self._book
        ended = book.event_on < day_number(self._calendar.end) + 1
        self._tally.happened("defaults", book.event_on[ended & book.defaulted])
        self._tally.happened("charge_offs", book.event_on[ended & book.charged_off])
        self._tally.happened("repayments", book.event_on[ended & ~book.defaulted])

    def _dirt(self, source: str, day: int, rows: int) -> Dirt:
        return Dirt(source, self._seed, self._block, day, rows)

    def _put(self, source: str, day: date, table: pa.Table, dirty: dict[str, int]) -> None:
        self._writer.write(source, day, self._block, table)
        self._tally.wrote(source, day, table.num_rows, dirty)
