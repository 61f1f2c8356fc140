"""What is planted in the sample bank: every number that shapes defaults, the downturn, missing values and dirty rows.

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
            "unknown_direction": 2e-4,
            "null_key": 2e-4,
            "duplicate_key": 2e-4,
        },
        "outcomes": {"unknown_outcome": 2e-3, "null_key": 2e-3},
        "protected_attributes": {"null_key": 1e-3},
    }
)
"""Expected share of rows of each kind. `duplicate_key` repeats a row; the others spoil one that was right."""

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
            "unknown_direction": "direction:not_allowed",
            "null_key": "txn_id:null",
            "duplicate_key": "key:duplicate",
        },
        "outcomes": {"unknown_outcome": "outcome:not_allowed", "null_key": "account_id:null"},
        "protected_attributes": {"null_key": "customer_id:null"},
    }
)
"""Why ingest quarantines each kind under the contracts in expectations/."""


@dataclass(frozen=True)
class Truth:
    """All that is planted, apart from counts."""

    default_process: DefaultProcess = field(default_factory=DefaultProcess)
    downturn: Downturn = field(default_factory=Downturn)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "default_process": to_jsonable_python(asdict(self.default_process)),
            "downturn": to_jsonable_python(asdict(self.downturn)),
            "missing_rates": dict(MISSING_RATES),
            "dirty_rates": {source: dict(kinds) for source, kinds in DIRTY_RATES.items()},
            "quarantine_reasons": {source: dict(kinds) for source, kinds in QUARANTINE_REASONS.items()},
        }
