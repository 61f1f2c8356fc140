"""One block of customers through the whole window: simulate a month, write its business dates, go on."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa

from pipelines.sample_bank import events, snapshots
from pipelines.sample_bank.accounts import draw_accounts
from pipelines.sample_bank.book import AccountMonth, Book
from pipelines.sample_bank.bookings import Span
from pipelines.sample_bank.bureau import Bureau, CustomerMonth
from pipelines.sample_bank.columns import Numbers, numbered
from pipelines.sample_bank.customers import draw_customers
from pipelines.sample_bank.dates import NEVER, Calendar, day_number, first_day, month_end, month_number
from pipelines.sample_bank.dirt import Dirt
from pipelines.sample_bank.investigations import Cases, Investigators, investigations
from pipelines.sample_bank.people import draw_people, look_alikes
from pipelines.sample_bank.schemes import plan_schemes, truth_tables
from pipelines.sample_bank.tally import Tally
from pipelines.sample_bank.transactions import book, transactions
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
        rules = truth.laundering
        self._people = draw_people(seed, block, self._customers, calendar, rules)
        self._schemes = plan_schemes(seed, block, self._people, self._customers, calendar, rules)
        self._investigators = Investigators(seed, block, self._customers, self._people, calendar, rules)
        self._scheme_ids: list[Numbers] = []
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
        self._write_truth()
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
        self._write_transactions(day, known)

    def _write_transactions(self, day: date, known: CustomerMonth) -> None:
        first, last = self._calendar.booked(day)
        span = Span(
            seed=self._seed,
            block=self._block,
            first=first,
            last=last,
            customers=self._customers,
            accounts=self._accounts,
            people=self._people,
            income=known.income,
            left_on=self._book.left_on,
        )
        booked = book(span, self._schemes)
        if self._calendar.is_month_end(day) and day >= self._calendar.full_from:
            self._investigators.month(booked.bookings, first, last)
        table, dirty, scheme_ids = transactions(span, day, booked, self._customer_ids)
        self._scheme_ids.append(scheme_ids)
        self._put("transactions", day, table, dirty)

    def _write_applications(self, day: date, known: CustomerMonth) -> None:
        first = day_number(first_day(month_number(day)))
        made = self._applications.of_month(self._customer_ids, known, f"{day:%Y%m}", first, day_number(day))
        self._put("applications", day, *made)

    def _write_arrivals(self) -> None:
        """Outcomes, investigations and new customers since the business date before; on the first one, all before it."""
        after = -NEVER
        cases = self._investigators.cases(self._schemes)
        for day in self._calendar.business_dates:
            until = day_number(day)
            self._write_outcomes(day, after, until)
            self._write_investigations(day, cases, after, until)
            self._write_protected(day, after, until)
            after = until

    def _write_outcomes(self, day: date, after: int, until: int) -> None:
        rows = events.reported(self._book, after, until)
        dirt = self._dirt("outcomes", until, len(rows))
        self._put("outcomes", day, events.outcomes(self._book, rows, dirt), dirt.counts)

    def _write_investigations(self, day: date, cases: Cases, after: int, until: int) -> None:
        places = cases.reported(after, until)
        dirt = self._dirt("investigations", until, len(places))
        table = investigations(cases, places, self._block, self._customer_ids, dirt)
        self._put("investigations", day, table, dirt.counts)

    def _write_protected(self, day: date, after: int, until: int) -> None:
        joined_on = self._customers.joined_on
        rows = np.flatnonzero((joined_on > after) & (joined_on <= until))
        dirt = self._dirt("protected_attributes", until, len(rows))
        table = events.protected_attributes(self._customers, self._customer_ids, rows, dirt)
        self._put("protected_attributes", day, table, dirt.counts)

    def _write_truth(self) -> None:
        """What launders, for whoever wants to know how much of it was found. No source: no contract, no business date."""
        tables = truth_tables(self._schemes, self._customers, np.concatenate(self._scheme_ids))
        tables["look_alikes"] = look_alikes(self._people, self._customer_ids)
        for name, table in tables.items():
            self._writer.write("truth", name, self._block, table)
            self._tally.planted(name, _counts(table["kind" if name == "look_alikes" else "typology"]))
        launderers = len(tables["accounts"]["customer_id"].unique())
        unknown = int(self._people.no_customer.sum())
        self._tally.planted("customers", {"launderers": launderers, "accounts_without_customer": unknown})

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


def _counts(values: pa.ChunkedArray) -> dict[str, int]:
    found = values.combine_chunks().dictionary_decode().value_counts()
    return dict(zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True))
