"""What is planted in the sample bank: every number that shapes defaults, the downturn, laundering, missing values and dirty
rows.

`generate` writes these into planted.json, so a test asks for them back instead of repeating them. docs/sample_bank.md
explains them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Any

from pydantic_core import to_jsonable_python


@dataclass(frozen=True)
class DefaultProcess:
    """Log-odds of missing this month's instalment, before the downturn.

    `log_odds = slope[k] * eta + shift[k]` with k instalments already missed in a row, and eta the sum of coefficient
    times input. Missing three in a row and not paying before day 90 is a default on day 90. Inputs: `income` is the
    standardised log income, `bureau_score` is (score - 640) / 60, `bureau_utilisation` and `utilisation` are centred at
    0.45, `delinquencies` is capped at 4, `enquiries` at 8, `young_account` fades with exp(-months on book / 12),
    `hidden_trait` is never shown.
    """

    intercept: float = -3.85
    income: float = -0.12
    bureau_score: float = -0.17
    enquiries: float = 0.08
    delinquencies: float = 0.15
    bureau_utilisation: float = 0.30
    hidden_trait: float = 0.12
    utilisation: float = 0.65
    cash_advance: float = 0.30
    young_account: float = 0.30
    loan: float = 0.15
    slope: tuple[float, float, float, float] = (1.0, 0.50, 0.45, 0.35)
    shift: tuple[float, float, float, float] = (0.0, 1.25, 2.20, 2.60)
    charge_off_intercept: float = -5.20
    charge_off_slope: float = 0.60


@dataclass(frozen=True)
class Downturn:
    """What changes from `starts` on; None means that it never comes. Effects grow evenly to full size in `ramp_days`.

    Inputs, what the sources show: income_factor to enquiry_rate_factor. Relation, the default process for the same
    inputs: intercept_change to charge_off_change, added to the coefficient or log-odds of that name; `roll_change` to
    those of accounts that have already missed a payment.
    """

    starts: date | None = None
    ramp_days: int = 45
    income_factor: float = 0.92
    utilisation_shift: float = 0.12
    bureau_score_shift: float = -18.0
    enquiry_rate_factor: float = 1.6
    intercept_change: float = 0.35
    utilisation_change: float = 0.60
    income_change: float = 0.08
    loan_change: float = 0.25
    roll_change: float = 0.45
    charge_off_change: float = 1.00

    def depth(self, day: date) -> float:
        """How far the downturn has come on a day, 0 to 1."""
        if self.starts is None:
            return 0.0
        return min(max((day - self.starts).days / self.ramp_days, 0.0), 1.0)


MISSING_RATES = MappingProxyType(
    {
        "income": 0.03,
        "employment_years": 0.06,
        "bureau_score": 0.02,
        "bureau_utilisation": 0.05,
    }
)
"""Share of customers (income: of customer-months) whose value is absent. Whoever has no bureau score has no bureau
utilisation either; those 0.02 are part of the 0.05."""

DIRTY_RATES = MappingProxyType(
    {
        "account_snapshots": {
            "negative_limit": 2e-4,
            "unknown_product": 2e-4,
            "null_key": 2e-4,
            "future_snapshot_date": 2e-4,
            "impossible_days_past_due": 2e-4,
            "duplicate_key": 2e-4,
        },
        "customer_snapshots": {
            "negative_income": 2e-4,
            "unknown_segment": 2e-4,
            "null_key": 2e-4,
            "impossible_bureau_score": 2e-4,
            "duplicate_key": 2e-4,
        },
        "applications": {"negative_amount": 2e-3, "null_key": 2e-3},
        "transactions": {
            "negative_amount": 2e-4,
            "zero_amount": 2e-4,
            "unknown_currency": 2e-4,
            "unknown_direction": 2e-4,
            "null_key": 2e-4,
            "booked_too_late": 2e-4,
            "duplicate_key": 2e-4,
            "self_transfer": 2e-4,
        },
        "outcomes": {"unknown_outcome": 2e-3, "null_key": 2e-3},
        "investigations": {"unknown_outcome": 2e-3, "null_key": 2e-3},
        "protected_attributes": {"null_key": 1e-3},
    }
)
"""Expected share of rows of each kind. `duplicate_key` repeats a row; the others spoil one that was right. A transaction of a
planted scheme is never spoiled."""

VALID_ODDITIES = MappingProxyType({"transactions": ("self_transfer",)})
"""Kinds that no rule refuses: strange rows that whoever reads the source has to live with."""

QUARANTINE_REASONS = MappingProxyType(
    {
        "account_snapshots": {
            "negative_limit": "credit_limit:below_min",
            "unknown_product": "product:not_allowed",
            "null_key": "account_id:null",
            "future_snapshot_date": "snapshot_date:future",
            "impossible_days_past_due": "days_past_due:below_min",
            "duplicate_key": "key:duplicate",
        },
        "customer_snapshots": {
            "negative_income": "income:below_min",
            "unknown_segment": "segment:not_allowed",
            "null_key": "customer_id:null",
            "impossible_bureau_score": "bureau_score:above_max",
            "duplicate_key": "key:duplicate",
        },
        "applications": {"negative_amount": "amount:below_min", "null_key": "application_id:null"},
        "transactions": {
            "negative_amount": "amount:below_min",
            "zero_amount": "amount:below_min",
            "unknown_currency": "currency:not_allowed",
            "unknown_direction": "direction:not_allowed",
            "null_key": "txn_id:null",
            "booked_too_late": "booked_at:future",
            "duplicate_key": "key:duplicate",
        },
        "outcomes": {"unknown_outcome": "outcome:not_allowed", "null_key": "account_id:null"},
        "investigations": {"unknown_outcome": "outcome:not_allowed", "null_key": "investigation_id:null"},
        "protected_attributes": {"null_key": "customer_id:null"},
    }
)
"""Why ingest quarantines each kind under the contracts in expectations/."""


@dataclass(frozen=True)
class Laundering:
    """Who launders, and what the bank's investigators make of it. Shares are of customers unless said otherwise.

    Attributes:
        threshold: EUR in cash from which a bank has to report; structuring stays below it.
        sleepers: share of launderers whose account sleeps until their scheme begins.
        sleeping: customers who never use their account.
        paid_by_small_employers, tenants_of_landlords: customers whose wage or rent stays within the bank.
        accounts_without_customer: current accounts of which the bank does not know whose they are.
        rings_that_go_on: share of rings that run a further scheme after the one before, again and again.
        rings_that_begin_early: share of the rings whose first scheme begins in the first two thirds of the time, when there is
            still time for its investigation to be reported.
        days_before_the_first_opened: investigations open this many days after the files begin to hold every day.
        reported_after_days: of an investigation, least and most.
        investigated_once_in_days: nobody is investigated again sooner.
        alerts_taken_up: share of the legacy rule's alerts for which there is somebody to investigate them.
        referred: share of the accounts in a scheme that somebody refers, a branch or another bank.
        reviewed_at_random_a_month: customers.
        missed: share of investigated launderers whose investigation is cleared.
        wrongly_suspected: share of investigated innocents called suspicious.
        not_dated: share of investigations of which the day of closing was not filled in.
    """

    launderers: float = 0.0135
    sleepers: float = 0.08
    sleeping: float = 0.005
    accounts_without_customer: float = 0.003
    paid_by_small_employers: float = 0.025
    tenants_of_landlords: float = 0.025
    threshold: float = 10_000.0
    rings_that_begin_early: float = 0.75
    rings_that_go_on: float = 0.55
    days_before_the_first_opened: int = 62
    reported_after_days: tuple[int, int] = (21, 70)
    investigated_once_in_days: int = 120
    alerts_taken_up: float = 0.25
    referred: float = 0.6
    reviewed_at_random_a_month: float = 0.001
    missed: float = 0.10
    wrongly_suspected: float = 0.02
    not_dated: float = 0.03


LOOK_ALIKES = MappingProxyType(
    {
        "small_employers": 0.0025,
        "landlords": 0.0025,
        "market_sellers": 0.0035,
        "cash_heavy_shops": 0.006,
        "remitters_to_high_risk_countries": 0.01,
        "people_who_wake_an_account": 0.006,
    }
)
"""Share of customers who do something that a simple rule takes for laundering, by what they do."""


@dataclass(frozen=True)
class Truth:
    """All that is planted, apart from counts."""

    default_process: DefaultProcess = field(default_factory=DefaultProcess)
    downturn: Downturn = field(default_factory=Downturn)
    laundering: Laundering = field(default_factory=Laundering)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "default_process": to_jsonable_python(asdict(self.default_process)),
            "downturn": to_jsonable_python(asdict(self.downturn)),
            "laundering": to_jsonable_python(asdict(self.laundering)),
            "look_alikes": dict(LOOK_ALIKES),
            "missing_rates": dict(MISSING_RATES),
            "dirty_rates": {source: dict(kinds) for source, kinds in DIRTY_RATES.items()},
            "quarantine_reasons": {source: dict(kinds) for source, kinds in QUARANTINE_REASONS.items()},
        }
