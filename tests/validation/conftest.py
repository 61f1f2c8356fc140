"""A lender with two trained versions, made once for the session; a copy of its database for tests that change something."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from judged_lender import inputs_of, train
from lender import Lender, new_lender
from machine_copies import as_administrator, copied_machine, machine_settings

from pipelines import database
from pipelines.settings import Settings
from pipelines.spec import Model, load_model
from pipelines.stack.postgres import EmbeddedPostgres
from pipelines.validation.candidate import Candidate, load_candidate
from pipelines.validation.gates.inputs import Inputs

_TEMPLATE = "judged_lender"
_numbers = count()


@pytest.fixture(scope="session")
def lender_template(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp(_TEMPLATE) / "home"
    as_administrator(postgres, f"CREATE DATABASE {_TEMPLATE}")
    settings = machine_settings(postgres, _TEMPLATE, home)
    database.migrate(settings)
    made: Lender = new_lender(settings, home / "project")
    train(made)
    return made.settings


@pytest.fixture(scope="session")
def loans(lender_template: Settings) -> Model:
    return load_model(lender_template.models, "loans")


@pytest.fixture(scope="session")
def candidate(lender_template: Settings, loans: Model) -> Candidate:
    """Version 1, a CatBoost model."""
    return load_candidate(lender_template, loans, 1)


@pytest.fixture(scope="session")
def inputs(lender_template: Settings, loans: Model, candidate: Candidate) -> Inputs:
    """Version 1 as the gates see it. Nothing may be changed in its database."""
    return inputs_of(lender_template, loans, candidate)


@pytest.fixture
def house(postgres: EmbeddedPostgres, lender_template: Settings, tmp_path: Path) -> Iterator[Settings]:
    """A copy of the lender that a test may change."""
    with copied_machine(postgres, lender_template, f"{_TEMPLATE}_{next(_numbers)}", tmp_path / "home") as made:
        yield made
