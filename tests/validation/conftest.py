"""A lender with two trained versions, made once for the session; a copy of its database for tests that change something."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from judged_lender import inputs_of, train
from lender import Lender, new_lender
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache
from sqlalchemy import create_engine, text

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
    _admin(postgres, f"CREATE DATABASE {_TEMPLATE}")
    settings = _settings(postgres, _TEMPLATE, home)
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
    name, home = f"{_TEMPLATE}_{next(_numbers)}", tmp_path / "home"
    _admin(postgres, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{_TEMPLATE}'")
    database.engine(lender_template.database_url).dispose()
    _admin(postgres, f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
    shutil.copytree(lender_template.home, home)
    _artifact_repos_cache.clear()  # MLflow keeps the folder of a run by its id, which the copy has too
    made = _settings(postgres, name, home).model_copy(update={"project": home / "project"})
    database.rows(
        made,
        "UPDATE runs SET artifact_uri = replace(artifact_uri, :old, :new) RETURNING 1",
        old=str(lender_template.home),
        new=str(home),
    )
    yield made
    database.engine(made.database_url).dispose()
    _admin(postgres, f"DROP DATABASE {name} WITH (FORCE)")


def _settings(postgres: EmbeddedPostgres, name: str, home: Path) -> Settings:
    return Settings(
        environment="demo",
        home=home,
        sources=home / "sources",
        database_url=postgres.url(name),
        lake_url=str(home / "lake"),
        mlflow_tracking_uri=postgres.url(name),
        mlflow_artifacts=str(home / "mlflow"),
        token_key_file=home / "token.key",
        data_docs=home / "data_docs",
    )


def _admin(postgres: EmbeddedPostgres, statement: str) -> None:
    engine = create_engine(postgres.url("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
