"""Business dates of the sample bank, and days and months as whole numbers.

A day number counts from 1970-01-01, as Arrow's date32 does. A month number is `year * 12 + month - 1`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

EPOCH = date(1970, 1, 1)
NEVER = 2**30
"""A day number no date reaches."""

BURN_IN_MONTHS = 6
"""Months simulated before the first business date, so that arrears are in their steady state on it."""

MONTHS_BOOKED_IN_FULL = 12
"""The last months of the window whose transactions are there day by day."""


def day_number(day: date) -> int:
    """Days from 1970-01-01."""
    return (day - EPOCH).days


def month_number(day: date) -> int:
    """`year * 12 + month - 1`."""
    return day.year * 12 + day.month - 1


def first_day(month: int) -> date:
    """First day of a month number."""
    return date(month // 12, month % 12 + 1, 1)


def month_end(month: int) -> date:
    """Last day of a month number."""
    return first_day(month + 1) - timedelta(days=1)


@dataclass(frozen=True)
class Calendar:
    """The window of the bank: month-ends of `months` calendar months, the last one holding `end`, and `nights` nightly
    dates up to and including `end`."""

    end: date
    months: int
    nights: int

    @cached_property
    def business_dates(self) -> tuple[date, ...]:
        """Ascending, without repeats."""
        last = month_number(self.end)
        month_ends = (month_end(month) for month in range(last - self.months + 1, last + 1))
        nightly = (self.end - timedelta(days=back) for back in range(self.nights))
        return tuple(sorted({day for day in month_ends if day <= self.end} | set(nightly)))

    @property
    def start(self) -> date:
        """The first business date."""
        return self.business_dates[0]

    @property
    def full_from(self) -> date:
        """From this day on files of transactions hold every day, not only their own: the first of the month eleven months
        before the one of `end`, or of the first business date."""
        return first_day(max(month_number(self.end) - MONTHS_BOOKED_IN_FULL + 1, month_number(self.start)))

    def booked(self, day: date) -> tuple[int, int]:
        """Day numbers of the first and the last day whose transactions are in the file of a business date."""
        if day < self.full_from:
            return day_number(day), day_number(day)
        earlier = [before for before in self.business_dates if before < day]
        first = max(earlier[-1] + timedelta(days=1), self.full_from) if earlier else self.full_from
        return day_number(first), day_number(day)

    @property
    def simulated_months(self) -> range:
        """Month numbers from the burn-in to the month of `end`."""
        return range(month_number(self.start) - BURN_IN_MONTHS, month_number(self.end) + 1)

    def dates_of(self, month: int) -> tuple[date, ...]:
        """Business dates in one month."""
        return tuple(day for day in self.business_dates if month_number(day) == month)

    def is_month_end(self, day: date) -> bool:
        return day == month_end(month_number(day))
