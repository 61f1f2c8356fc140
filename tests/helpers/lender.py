"""A small lender written straight into the lake, and random rows with a known relation to the outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from pipelines import features
from pipelines.lake import Lake
from pipelines.settings import Settings
from pipelines.spec import Feature, Model, load_model
from pipelines.training.rows import Rows

MONTHS = [date(2024, 1, 31), date(2024, 2, 29), date(2024, 3, 31), date(2024, 4, 30), date(2024, 5, 31)]
AS_OF = date(2024, 12, 31)

COLUMNS: dict[str, dict[str, Any]] = {
    "loan_id": {"type": "string", "token": "loan"},
    "amount": {"type": "float"},
    "income": {"type": "float", "nullable": True},
    "enquiries": {"type": "integer"},
    "purpose": {"type": "string"},
    "due_on": {"type": "date", "known": "at_event"},
    "last_paid_on": {"type": "date", "nullable": True},
    "repaid": {"type": "float"},
    "recovered": {"type": "float", "known": "later"},
    "status": {"type": "string", "known": "later"},
}

VIEW = """
from pipelines.features.definitions import feature_view, label_view
import ibis

@feature_view(entity="loan", sources=("loans",), ttl_days=5, history_days=5)
def application(loans, business_date):
    today = loans.filter(loans.business_date == business_date)
    return today.select(
        loan_token=today.loan_token,
        amount=today.amount,
        income=today.income,
        enquiries=today.enquiries,
        purpose=today.purpose,
        days_to_due=today.due_on.delta(today.business_date, unit="day"),
        days_since_paid=today.last_paid_on.delta(today.business_date, unit="day"),
        repaid=today.repaid,
        recovered=today.recovered,
    )

@label_view(entity="loan", sources=("loans",))
def charged_off(loans):
    return loans.select(
        loan_token=loans.loan_token,
        event_date=loans.business_date,
        label=(loans.status == "bad").cast("int8"),
        known_at=loans.business_date + ibis.interval(days=90),
    )
"""

# Only loans whose token ends in certain digits were looked at; the others have no label.
PARTLY = """
from pipelines.features.definitions import label_view
import ibis

@label_view(entity="loan", sources=("loans",), unlabelled=True)
def investigated(loans):
    looked_at = loans.loan_token.right(1).isin(list("{digits}"))
    return loans.select(
        loan_token=loans.loan_token,
        event_date=loans.business_date,
        label=ibis.cases((looked_at, (loans.status == "bad").cast("int8")), else_=ibis.null("int8")),
        known_at=loans.business_date + ibis.interval(days=90),
    )
"""

HONEST: dict[str, dict[str, Any]] = {
    "amount": {},
    "income": {"monotone": "decreasing"},
    "enquiries": {"monotone": "increasing"},
    "purpose": {"categorical": True},
    "days_to_due": {},
}

MODEL: dict[str, Any] = {
    "name": "loans",
    "title": "Loans",
    "description": "A model of the tests.",
    "owner": "owner@bank.example",
    "validator": "validator@bank.example",
    "tier": 1,
    "domain": "credit",
    "purpose": "Tests.",
    "policy": "internal",
    "entity": "loan",
    "population": "loans",
    "sources": ["loans"],
    "features": {"application": HONEST},
    "label": {"view": "charged_off", "maturity_days": 90, "description": "Charged off within 90 days."},
    "training": {
        "algorithms": ["catboost", "scorecard"],
        "seed": 7,
        "validation": {"kind": "out_of_time", "out_of_time_months": 1},
        "parameters": {"catboost": {"iterations": 40, "depth": 3, "learning_rate": 0.1}},
    },
    "schedule": {"cron": None, "timeout_minutes": 10},
}

FEATURES = {
    "income": Feature(monotone="decreasing", missing="review"),
    "enquiries": Feature(monotone="increasing", missing="review"),
    "noise": Feature(missing="review"),
    "trend": Feature(monotone="increasing", missing="allowed"),
    "purpose": Feature(categorical=True),
}


def _reason(feature: str) -> dict[str, Any]:
    return {"text": f"What is known of {feature}", "features": [feature]}


@dataclass
class Lender:
    """Writes months of loans and model files."""

    settings: Settings

    def model(self, extra: Mapping[str, Any] | None = None, **training: Any) -> Model:
        """The model file with more features and other training keys, written and loaded."""
        changed = MODEL | {"training": MODEL["training"] | training}
        changed["features"] = {"application": HONEST | dict(extra or {})}
        changed["reasons"] = {"catalogue": {n: _reason(n) for n in changed["features"]["application"]}}
        self.settings.models.mkdir(parents=True, exist_ok=True)
        (self.settings.models / "loans.yaml").write_text(yaml.safe_dump(changed, sort_keys=False))
        return load_model(self.settings.models, "loans")

    def contract(self, columns: Mapping[str, Mapping[str, Any]]) -> None:
        """Write expectations/loans.yaml."""
        self.settings.expectations.mkdir(parents=True, exist_ok=True)
        document = {
            "source": "loans",
            "description": "A source of the tests.",
            "owner": "owner@bank.example",
            "location": {"kind": "files", "path": "loans/{business_date}.csv", "format": "csv"},
            "business_date": {"cadence": "month"},
            "key": ["loan_id"],
            "columns": {name: dict(column) for name, column in columns.items()},
            "max_quarantined_fraction": 0.1,
        }
        (self.settings.expectations / "loans.yaml").write_text(yaml.safe_dump(document))

    def publish(self, months: list[date], rows: int) -> None:
        """Loans of each month straight into the lake."""
        for number, on in enumerate(months):
            Lake(self.settings).replace_date("source/loans", on, loans_of(on, rows, seed=number))

    def build(self, model: Model, months: list[date] = MONTHS) -> None:
        """Build the features of the months."""
        features.build_history(self.settings, model, months)


def new_lender(settings: Settings, project: Path) -> Lender:
    """Five months of 600 loans, with contract, features and label, in a project folder of their own."""
    made = Lender(settings.model_copy(update={"project": project}))
    made.contract(COLUMNS)
    made.settings.feature_repo.mkdir(parents=True)
    (made.settings.feature_repo / "loans.py").write_text(VIEW)
    made.publish(MONTHS, 600)
    return made


def random_rows(rows: int, seed: int) -> Rows:
    """Six months of rows: risk falls with income, rises with enquiries and trend; 10% of each number is absent."""
    random = np.random.default_rng(seed)
    income, enquiries = random.lognormal(10, 0.6, rows), random.poisson(1.5, rows).astype(float)
    noise, trend = random.normal(size=rows), random.normal(size=rows)
    purpose = random.choice(["car", "home", "shop", "other"], rows, p=[0.4, 0.3, 0.2, 0.1])
    log_odds = -2 - 1.2 * (np.log(income) - 10) + 0.5 * enquiries + 0.4 * trend + 0.8 * (purpose == "shop")
    label = (random.random(rows) < 1 / (1 + np.exp(-log_odds))).astype(np.int8)
    numbers = {"income": income, "enquiries": enquiries, "noise": noise, "trend": trend}
    columns = {name: pa.array(values, mask=random.random(rows) < 0.1) for name, values in numbers.items()}
    dates = np.array([*MONTHS, date(2024, 6, 30)], "datetime64[D]")
    when = np.sort(random.integers(0, 6, rows))
    return Rows(pa.table(columns | {"purpose": pa.array(purpose)}), label, dates[when])


def loans_of(on: date, rows: int, seed: int) -> pa.Table:
    """One month of loans as the lake holds them."""
    random = np.random.default_rng(seed)
    amount, income = random.uniform(1_000, 20_000, rows), random.lognormal(10, 0.6, rows)
    enquiries, purpose = random.poisson(1.5, rows), random.choice(["car", "home", "shop"], rows)
    log_odds = -2.2 - 1.2 * (np.log(income) - 10) + 0.5 * enquiries + 0.8 * (purpose == "shop")
    bad = random.random(rows) < 1 / (1 + np.exp(-log_odds))
    paid_on = [on + timedelta(days=int(d)) for d in random.integers(1, 300, rows)]
    return pa.table(
        {
            "loan_token": [f"{seed * 1_000_000 + n:032x}" for n in range(rows)],
            "amount": amount,
            "income": pa.array(income, mask=random.random(rows) < 0.05),
            "enquiries": pa.array(enquiries, pa.int64()),
            "purpose": purpose,
            "due_on": pa.array([on + timedelta(days=int(d)) for d in random.integers(90, 900, rows)], pa.date32()),
            "last_paid_on": pa.array(paid_on, pa.date32()),
            "repaid": amount * np.where(bad, random.uniform(0, 0.9, rows), 1.1),
            "recovered": np.where(bad, random.uniform(0, 100, rows), 0.0),
            "status": np.where(bad, "bad", "good"),
            "business_date": pa.array([on] * rows, pa.date32()),
        }
    )
