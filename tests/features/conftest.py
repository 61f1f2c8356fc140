"""A bank of three sources written straight into the lake, with contracts, feature_repo and model of its own."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import ibis.expr.types as ir
import pyarrow as pa
import pytest
import yaml

from pipelines.features.definitions import contract_table
from pipelines.lake import PARTITION, Lake, connect
from pipelines.settings import Settings
from pipelines.spec import Contract, Model, load_contract, load_model

ARROW = {
    "string": pa.string(),
    "float64": pa.float64(),
    "int64": pa.int64(),
    "date": pa.date32(),
    "boolean": pa.bool_(),
}

SOURCES: dict[str, dict[str, dict[str, Any]]] = {
    "accounts": {
        "account_id": {"type": "string", "token": "account"},
        "customer_id": {"type": "string", "token": "customer"},
        "balance": {"type": "float", "nullable": True},
        "days_late": {"type": "integer"},
        "product": {"type": "string"},
        "recovered": {"type": "float", "nullable": True, "known": "later"},
    },
    "customers": {
        "customer_id": {"type": "string", "token": "customer"},
        "income": {"type": "float", "nullable": True},
        "citizenship": {"type": "string", "protected": True},
    },
    "outcomes": {
        "account_id": {"type": "string", "token": "account"},
        "happened_on": {"type": "date", "known": "later"},
        "outcome": {"type": "string", "known": "later"},
        "reported_on": {"type": "date", "known": "later"},
    },
}

ACCOUNT_VIEW = """
import ibis
from pipelines.features.definitions import feature_view

@feature_view(entity="account", sources=("accounts",), ttl_days=40, history_days=100)
def behaviour(accounts, business_date):
    today = accounts.filter(accounts.business_date == business_date)
    history = accounts.group_by("account_token").agg(
        worst_late=accounts.days_late.max(), mean_balance=accounts.balance.mean()
    )
    joined = today.left_join(history, "account_token")
    return joined.select(
        account_token=joined.account_token,
        balance=joined.balance,
        worst_late=joined.worst_late,
        mean_balance=joined.mean_balance,
        product=joined["product"],
        is_late=joined.days_late > 0,
    )
"""

CUSTOMER_VIEW = """
from pipelines.features.definitions import feature_view

@feature_view(entity="customer", sources=("customers",), ttl_days=40, history_days=10)
def profile(customers, business_date):
    today = customers.filter(customers.business_date == business_date)
    return today.select("customer_token", "income")
"""

LABEL_VIEW = """
import ibis
from pipelines.features.definitions import label_view

@label_view(entity="account", sources=("accounts", "outcomes"))
def went_bad(accounts, outcomes):
    events = accounts.select("account_token", event_date=accounts.business_date)
    bad = outcomes.filter(outcomes.outcome == "default").select(
        token=outcomes.account_token, happened_on=outcomes.happened_on, reported_on=outcomes.reported_on
    )
    end = events.event_date + ibis.interval(days=90)
    within = (events.account_token == bad.token) & (bad.happened_on > events.event_date) & (bad.happened_on <= end)
    joined = events.left_join(bad, within)
    by_event = joined.group_by("account_token", "event_date").agg(reported=joined.reported_on.min())
    return by_event.select(
        account_token=by_event.account_token,
        event_date=by_event.event_date,
        label=by_event.reported.notnull().cast("int8"),
        known_at=ibis.coalesce(by_event.reported, by_event.event_date + ibis.interval(days=90)),
    )
"""

MODEL: dict[str, Any] = {
    "name": "risk",
    "title": "Risk",
    "description": "A model of the tests.",
    "owner": "owner@bank.example",
    "validator": "validator@bank.example",
    "tier": 1,
    "domain": "credit",
    "purpose": "Tests.",
    "policy": "internal",
    "entity": "account",
    "population": "accounts",
    "sources": ["accounts", "customers", "outcomes"],
    "features": {
        "behaviour": {
            "balance": {},
            "worst_late": {},
            "mean_balance": {},
            "product": {"categorical": True},
            "is_late": {},
        },
        "profile": {"income": {}},
    },
    "label": {"view": "went_bad", "maturity_days": 90, "description": "Default within 90 days."},
    "training": {
        "algorithms": ["scorecard"],
        "seed": 1,
        "validation": {"kind": "out_of_time", "out_of_time_months": 1},
    },
    "schedule": {"cron": None, "timeout_minutes": 10},
}


def token(number: int) -> str:
    """A token of the right shape."""
    return f"{number:032x}"


def contract_document(source: str, columns: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The keys of a contract file."""
    return {
        "source": source,
        "description": "A source of the tests.",
        "owner": "owner@bank.example",
        "location": {"kind": "files", "path": source + "/{business_date}.csv", "format": "csv"},
        "business_date": {"cadence": "month"},
        "key": [next(iter(columns))],
        "columns": {name: dict(column) for name, column in columns.items()},
        "max_quarantined_fraction": 0.1,
    }


@dataclass
class Bank:
    """Writes files and lake rows, and reads the lake back."""

    settings: Settings

    def model(self, name: str = "risk", **changes: Any) -> Model:
        """Write models/<name>.yaml and load it."""
        self.settings.models.mkdir(parents=True, exist_ok=True)
        (self.settings.models / f"{name}.yaml").write_text(yaml.safe_dump(MODEL | {"name": name} | changes))
        return load_model(self.settings.models, name)

    def contract(self, source: str, columns: Mapping[str, Mapping[str, Any]]) -> None:
        """Write expectations/<source>.yaml."""
        self.settings.expectations.mkdir(parents=True, exist_ok=True)
        document = contract_document(source, columns)
        (self.settings.expectations / f"{source}.yaml").write_text(yaml.safe_dump(document))

    def declare(self, file: str, code: str) -> Path:
        """Write feature_repo/<file>."""
        self.settings.feature_repo.mkdir(parents=True, exist_ok=True)
        path = self.settings.feature_repo / file
        path.write_text(textwrap.dedent(code))
        return path

    def publish(self, source: str, on: date, rows: Sequence[Mapping[str, Any]]) -> int:
        """Make `rows` the published rows of a date; columns left out are null."""
        unbound = contract_table(load_contract(self.settings.expectations, source))
        schema = pa.schema([(name, ARROW[str(kind)]) for name, kind in unbound.schema().items()])
        full = [{name: row.get(name) for name in schema.names} | {PARTITION: on} for row in rows]
        return Lake(self.settings).replace_date(f"source/{source}", on, pa.Table.from_pylist(full, schema=schema))

    def read(self, table: str, on: date | None = None, version: int | None = None) -> list[dict[str, Any]]:
        """The rows of a lake table, in file order."""
        with connect(self.settings) as connection:
            Lake(self.settings).scan(connection, "t", table, version=version, dates=None if on is None else [on])
            return connection.sql("SELECT * FROM t").to_arrow_table().to_pylist()

    def month(self, on: date, accounts: int = 4, late: Callable[[int], int] = lambda n: 0) -> None:
        """Publish a business date of `accounts` accounts; account n belongs to customer 100 + n // 2."""
        self.publish(
            "accounts",
            on,
            [
                {
                    "account_token": token(n),
                    "customer_token": token(100 + n // 2),
                    "balance": 100.0 * n + on.month,
                    "days_late": late(n),
                    "product": "card" if n % 2 else "loan",
                }
                for n in range(1, accounts + 1)
            ],
        )
        self.publish(
            "customers",
            on,
            [{"customer_token": token(100 + n), "income": 1000.0 * (n + 1)} for n in range(accounts // 2 + 1)],
        )


@pytest.fixture
def bank(settings: Settings, tmp_path: Path) -> Bank:
    """An empty bank: contracts, views, label and model file, and no rows."""
    made = Bank(settings.model_copy(update={"project": tmp_path / "project"}))
    for source, columns in SOURCES.items():
        made.contract(source, columns)
    made.declare("behaviour.py", ACCOUNT_VIEW)
    made.declare("profile.py", CUSTOMER_VIEW)
    made.declare("went_bad.py", LABEL_VIEW)
    return made


@pytest.fixture
def contracts() -> list[Contract]:
    """The bank's contracts, for tests that need no lake."""
    return [Contract.model_validate(contract_document(source, columns)) for source, columns in SOURCES.items()]


@pytest.fixture
def tables(contracts: list[Contract]) -> dict[str, ir.Table]:
    """Unbound tables of the bank's contracts."""
    return {contract.source: contract_table(contract) for contract in contracts}
