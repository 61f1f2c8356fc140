"""Income and bureau items of a block's customers, month by month, and what they add to the odds of missing a payment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.sample_bank.columns import Numbers
from pipelines.sample_bank.customers import MEDIAN_INCOME, Customers
from pipelines.sample_bank.draws import Stream, generator
from pipelines.sample_bank.truth import MISSING_RATES, Truth

_RAISE_A_YEAR = 0.02


@dataclass(frozen=True)
class CustomerMonth:
    """What the bank knows about each customer from one month-end to the next; shape (customers,).

    `eta` is the customers' part of the sum in truth.DefaultProcess, with the downturn in it.
    """

    income: Numbers
    no_income: Numbers
    enquiries: Numbers
    delinquencies: Numbers
    utilisation: Numbers
    score: Numbers
    eta: Numbers


class Bureau:
    """Sums of enquiries over 6 and delinquencies over 24 months, a utilisation that returns to its level, and a score
    made of them."""

    def __init__(self, seed: int, block: int, customers: Customers, truth: Truth, start_month: int) -> None:
        self._seed, self._block, self._start = seed, block, start_month
        self._who, self._process, self._downturn = customers, truth.default_process, truth.downturn
        draw = generator(seed, Stream.BUREAU, block)
        self._enquiries = (draw.random((6, len(customers))) < customers.enquiry_rate).astype(np.int8)
        self._delinquencies = (draw.random((24, len(customers))) < customers.delinquency_rate).astype(np.int8)
        self._enquiries_6m = self._enquiries.sum(axis=0, dtype=np.int64)
        self._delinquencies_24m = self._delinquencies.sum(axis=0, dtype=np.int64)
        self._utilisation = customers.bureau_level

    def month(self, month: int, depth: float, late: Numbers) -> CustomerMonth:
        """State at the end of a month. `depth` is how far the downturn has come, 0 to 1; `late` is true for customers
        who were newly late with a payment here in the month before."""
        who, change = self._who, self._downturn
        draw = generator(self._seed, Stream.BUREAU, self._block, month)
        rate = who.enquiry_rate * (1 + depth * (change.enquiry_rate_factor - 1))
        enquired = draw.random(len(who)) < rate
        delinquent = late | (draw.random(len(who)) < who.delinquency_rate)
        self._enquiries_6m = self._enquiries_6m + enquired - self._enquiries[month % 6]
        self._delinquencies_24m = self._delinquencies_24m + delinquent - self._delinquencies[month % 24]
        self._enquiries[month % 6], self._delinquencies[month % 24] = enquired, delinquent
        pull = 0.3 * (who.bureau_level + depth * change.utilisation_shift - self._utilisation)
        moved = self._utilisation + pull + 0.05 * draw.standard_normal(len(who))
        self._utilisation = np.clip(moved, 0, 1.2)
        return self._state(month, depth, draw)

    def _state(self, month: int, depth: float, draw: np.random.Generator) -> CustomerMonth:
        who, change = self._who, self._downturn
        enquiries, delinquencies = self._enquiries_6m, self._delinquencies_24m
        score = (
            who.score_base
            - 7 * (enquiries - 1)
            - 22 * np.minimum(delinquencies, 5)
            - 55 * (self._utilisation - 0.4)
            + depth * change.bureau_score_shift
            + 4 * draw.standard_normal(len(who))
        )
        score = np.clip(np.rint(score), 300, 850)
        log_income = who.log_income + _RAISE_A_YEAR * (month - self._start) / 12
        log_income = log_income + np.log1p(depth * (change.income_factor - 1))
        return CustomerMonth(
            income=MEDIAN_INCOME * np.exp(log_income),
            no_income=draw.random(len(who)) < MISSING_RATES["income"],
            enquiries=enquiries,
            delinquencies=delinquencies,
            utilisation=self._utilisation,
            score=score,
            eta=self._eta(depth, log_income, score, enquiries, delinquencies),
        )

    def _eta(
        self, depth: float, log_income: Numbers, score: Numbers, enquiries: Numbers, delinquencies: Numbers
    ) -> Numbers:
        process, change = self._process, self._downturn
        return (
            process.intercept
            + depth * change.intercept_change
            + (process.income + depth * change.income_change) * log_income / 0.5
            + process.bureau_score * (score - 640) / 60
            + process.enquiries * np.minimum(enquiries, 8)
            + process.delinquencies * np.minimum(delinquencies, 4)
            + process.bureau_utilisation * (self._utilisation - 0.45)
            + process.hidden_trait * self._who.trait
        )
