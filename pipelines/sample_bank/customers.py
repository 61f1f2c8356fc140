"""The customers of one block: who they are. What moves from month to month is in bureau.py."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.sample_bank.columns import Numbers
from pipelines.sample_bank.dates import Calendar, day_number
from pipelines.sample_bank.draws import Stream, generator
from pipelines.sample_bank.truth import MISSING_RATES

REGIONS = ("north", "east", "south", "west", "capital")
SEGMENTS = ("mass", "affluent", "private", "student")
SEXES = ("female", "male")
CITIZENSHIPS = ("DE", "TR", "PL", "RO", "IT", "UA", "SY")

_CITIZEN_SHARES = (0.84, 0.035, 0.035, 0.03, 0.02, 0.02, 0.02)
_REGION_SHARES = (0.18, 0.17, 0.25, 0.28, 0.12)
_SHARE_AT_START = 0.72
MEDIAN_INCOME = 2900.0

_DAYS_A_YEAR = 365.25


@dataclass(frozen=True)
class Customers:
    """What does not change about the customers of a block; every array has shape (customers,).

    `trait` is the hidden part of a customer's risk, standard normal. `log_income` is the log of monthly income over the
    median. `missing` holds, by column, whose value is absent for good.
    """

    numbers: Numbers
    joined_on: Numbers
    birth_year: Numbers
    sex: Numbers
    citizenship: Numbers
    region: Numbers
    segment: Numbers
    log_income: Numbers
    employed_since: Numbers
    trait: Numbers
    score_base: Numbers
    bureau_level: Numbers
    enquiry_rate: Numbers
    delinquency_rate: Numbers
    missing: dict[str, Numbers]

    def __len__(self) -> int:
        return len(self.numbers)


def draw_customers(seed: int, block: int, first: int, count: int, calendar: Calendar) -> Customers:
    """Customers number `first` to `first + count - 1`. Citizenship, sex and age act on income and employment only; the
    default process never sees them."""
    draw = generator(seed, Stream.CUSTOMERS, block)
    trait = draw.standard_normal(count)
    joined_on = _joined(draw, count, calendar)
    age = _age(draw, joined_on, calendar)
    sex = draw.integers(0, len(SEXES), count)
    citizenship = draw.choice(len(CITIZENSHIPS), count, p=_CITIZEN_SHARES)
    student = (age < 27) & (draw.random(count) < 0.5)
    log_income = (
        0.15
        + 0.45 * draw.standard_normal(count)
        - 0.22 * trait
        - 0.00045 * (age - 47) ** 2
        - 0.10 * (sex == SEXES.index("female"))
        - 0.18 * (citizenship > 0)
        - 0.70 * student
    )
    return Customers(
        numbers=np.arange(first, first + count),
        joined_on=joined_on,
        birth_year=(calendar.end.year - age).astype(np.int64),
        sex=sex,
        citizenship=citizenship,
        region=draw.choice(len(REGIONS), count, p=_REGION_SHARES),
        segment=np.select([student, log_income > 1.15, log_income > 0.60], [3, 2, 1], default=0),
        log_income=log_income,
        employed_since=_employed(draw, age, calendar),
        trait=trait,
        score_base=652 - 46 * trait + 34 * draw.standard_normal(count),
        bureau_level=1 / (1 + np.exp(0.65 - 0.65 * trait - 0.7 * draw.standard_normal(count))),
        enquiry_rate=np.minimum(0.16 * np.exp(0.35 * trait + 0.4 * draw.standard_normal(count)), 0.7),
        delinquency_rate=np.minimum(0.010 * np.exp(0.9 * trait + 0.4 * draw.standard_normal(count)), 0.3),
        missing=_missing(draw, count),
    )


def _joined(draw: np.random.Generator, count: int, calendar: Calendar) -> Numbers:
    start, end = day_number(calendar.start), day_number(calendar.end)
    before = start - draw.integers(1, 3000, count)
    within = start + 1 + (draw.random(count) * (end - start)).astype(np.int64)
    return np.where(draw.random(count) < _SHARE_AT_START, before, within)


def _age(draw: np.random.Generator, joined_on: Numbers, calendar: Calendar) -> Numbers:
    """Years at the end of the window; nobody joined as a child."""
    age = np.clip(19 + 62 * draw.beta(1.6, 2.6, len(joined_on)), 19, 80)
    youngest: Numbers = 18.5 + (day_number(calendar.end) - joined_on) / _DAYS_A_YEAR
    return np.maximum(age, youngest)


def _employed(draw: np.random.Generator, age: Numbers, calendar: Calendar) -> Numbers:
    years = np.maximum(age - 18, 0.5) * draw.beta(1.2, 2.2, len(age))
    since: Numbers = day_number(calendar.start) - (years * _DAYS_A_YEAR).astype(np.int64)
    return since


def _missing(draw: np.random.Generator, count: int) -> dict[str, Numbers]:
    no_score = draw.random(count) < MISSING_RATES["bureau_score"]
    otherwise = 1 - (1 - MISSING_RATES["bureau_utilisation"]) / (1 - MISSING_RATES["bureau_score"])
    return {
        "bureau_score": no_score,
        "bureau_utilisation": no_score | (draw.random(count) < otherwise),
        "employment_years": draw.random(count) < MISSING_RATES["employment_years"],
    }
