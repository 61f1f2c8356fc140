"""The sample bank with its laundering on a demo machine: taken in, scored and alerted by the real steps, built once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import yaml
from machine_copies import as_administrator, copied_machine, machine_settings

from pipelines import database, features, ingest, night, quality, tokens, training
from pipelines.aml.alerts import raise_alerts
from pipelines.contracts import RaisedAlerts, TrainedVersion
from pipelines.lake import Lake, connect
from pipelines.sample_bank import generate
from pipelines.scoring import publish, score
from pipelines.settings import REPOSITORY, Settings
from pipelines.spec import Contract, Model, load_contract, load_model
from pipelines.stack.postgres import EmbeddedPostgres

END = date(2026, 6, 30)
KEY = b"the laundered bank's own test key"
"""Tokens decide who stands for the customers nobody investigated: with another key, another model."""

_numbers = count()


@dataclass(frozen=True)
class LaunderedBank:
    """A machine with the sample bank's files in its sources, a project of its own, and what is planted."""

    settings: Settings

    @cached_property
    def model(self) -> Model:
        return load_model(self.settings.models, "aml_customer")

    @cached_property
    def contracts(self) -> list[Contract]:
        return night.in_order([load_contract(self.settings.expectations, source) for source in self.model.sources])

    @property
    def folder(self) -> Path:
        return self.settings.sources / "sample_bank"

    def file(self, source: str, on: date) -> Path:
        """A nightly file that the sample bank wrote."""
        return self.folder / source / f"{on}.parquet"

    def contract(self, source: str) -> Contract:
        return next(c for c in self.contracts if c.source == source)

    def take_in(self, *sources: str, on: date) -> None:
        """Land, check and publish a date of the sources; of all that the model needs when none is named."""
        for contract in self.contracts:
            if not sources or contract.source in sources:
                night.ingest(self.settings, contract, on)

    @cached_property
    def dates(self) -> list[date]:
        return ingest.available_dates(self.settings, self.contract("customer_snapshots"))

    def train(self, as_of: date) -> tuple[TrainedVersion, ...]:
        """Train as `python -m pipelines train` does."""
        features.build_history(self.settings, self.model, features.training_dates(self.settings, self.model, as_of))
        return training.train(self.settings, self.model, as_of)

    def score(self, on: date) -> None:
        """From features to published scores."""
        features.build(self.settings, self.model, on)
        quality.check_features(self.settings, self.model, on).require_passed()
        score(self.settings, self.model, on)
        publish(self.settings, self.model, on)

    def night(self, on: date) -> RaisedAlerts:
        self.score(on)
        return raise_alerts(self.settings, self.model, on)

    def lake(self, table: str, on: date, columns: str = "*") -> list[dict[str, Any]]:
        """Rows of a lake table on a date."""
        with connect(self.settings) as connection:
            Lake(self.settings).scan(connection, "rows", table, dates=[on])
            return connection.sql(f"SELECT {columns} FROM rows").to_arrow_table().to_pylist()

    def scores(self, on: date) -> dict[str, dict[str, Any]]:
        """Published rows by customer token."""
        return {row["customer_token"]: row for row in self.lake("scores/aml_customer", on)}

    def tokens_of(self, entity: str, ids: list[str]) -> list[str]:
        return tokens.tokens(tokens.load_key(self.settings), entity, ids)

    def truth(self, query: str) -> list[dict[str, Any]]:
        """Answer of a query over the truth files `transactions`, `accounts`, `schemes`, `look_alikes`, with a
        `customer_token` beside each `customer_id`."""
        with duckdb.connect() as connection:
            for file in sorted((self.folder / "truth").glob("*.parquet")):
                connection.execute(f"CREATE VIEW {file.stem} AS FROM read_parquet('{file}')")
            rows = connection.sql(query).to_arrow_table().to_pylist()
        named = [row for row in rows if "customer_id" in row]
        for row, token in zip(named, self.tokens_of("customer", [row["customer_id"] for row in named]), strict=True):
            row["customer_token"] = token
        return rows

    def change_alerts(self, **changes: Any) -> None:
        """Change the `alerts` section of the project's policy."""
        _change(self.settings.project / "policies" / "internal_aml.yaml", alerts=changes)


def make_bank(postgres: EmbeddedPostgres, home: Path, **bank: Any) -> LaunderedBank:
    """A machine with the files of a sample bank and a copy of the repository's project; nothing is taken in yet."""
    name = f"laundered_{next(_numbers)}"
    as_administrator(postgres, f"CREATE DATABASE {name}")
    settings = machine_settings(postgres, name, home)
    for folder in ("models", "expectations", "feature_repo", "policies"):
        shutil.copytree(REPOSITORY / folder, settings.project / folder, ignore=shutil.ignore_patterns("__pycache__"))
    # A few thousand customers have fewer investigations than a bank; everything else is the policy as it is.
    _change(settings.project / "policies" / "internal_aml.yaml", training={"min_rows": 100, "min_events": 25})
    settings.token_key_file.write_bytes(KEY)
    database.migrate(settings)
    generate(settings.sources, **({"end": END, "months": 12, "downturn": None} | bank))
    return LaunderedBank(settings)


@contextmanager
def copy_of(postgres: EmbeddedPostgres, bank: LaunderedBank, home: Path) -> Iterator[LaunderedBank]:
    """A copy of a bank with its own database and home, thrown away afterwards."""
    with copied_machine(postgres, bank.settings, f"laundered_{next(_numbers)}", home) as settings:
        yield LaunderedBank(settings)


def _change(path: Path, **sections: dict[str, Any]) -> None:
    document = yaml.safe_load(path.read_text())
    for section, changes in sections.items():
        document[section] |= changes
    path.write_text(yaml.safe_dump(document, sort_keys=False))
