"""A demo machine with a permitted champion and a challenger, copied for each test from one made per session."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path

import pytest
from small_night import MODEL, artefact_files, register, small_settings
from sqlalchemy import create_engine, text

from pipelines import database
from pipelines.registry import bootstrap
from pipelines.settings import Settings
from pipelines.stack.postgres import EmbeddedPostgres

_TEMPLATE = "small_bank"
_numbers = count()


@pytest.fixture(scope="session")
def bank_template(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Champion is version 1, challenger version 2."""
    return _made_once(postgres, tmp_path_factory.getbasetemp() / _TEMPLATE)


@cache
def _made_once(postgres: EmbeddedPostgres, home: Path) -> Settings:
    """Each conftest that imports the fixture has one of its own, but the session has one bank."""
    home.mkdir()
    _admin(postgres, f"CREATE DATABASE {_TEMPLATE}")
    made = small_settings(_settings(postgres, _TEMPLATE, home))
    database.migrate(made)
    bootstrap(made, MODEL, [register(made, artefact_files(seed)) for seed in (1, 2)])
    _disconnect(postgres, _TEMPLATE)  # a database in use cannot be copied
    return made


@pytest.fixture
def bank(postgres: EmbeddedPostgres, bank_template: Settings, tmp_path: Path) -> Iterator[Settings]:
    """A copy of the session's bank."""
    with copied(postgres, bank_template, tmp_path / "home") as made:
        yield made


@pytest.fixture(scope="module")
def lasting_bank(
    postgres: EmbeddedPostgres, bank_template: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """A copy of the session's bank that all tests of a module use one after the other."""
    with copied(postgres, bank_template, tmp_path_factory.mktemp("lasting_bank") / "home") as made:
        yield made


@contextmanager
def copied(postgres: EmbeddedPostgres, template: Settings, home: Path) -> Iterator[Settings]:
    """The bank with its own database and home. Chunks are small, so that a batch has several."""
    name = f"bank_{next(_numbers)}"
    _admin(postgres, f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
    shutil.copytree(template.home, home)
    made = small_settings(_settings(postgres, name, home))
    database.rows(
        made,
        "UPDATE runs SET artifact_uri = replace(artifact_uri, :old, :new) RETURNING 1",
        old=str(template.home),
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
        chunk_rows=512,
    )


def _disconnect(postgres: EmbeddedPostgres, name: str) -> None:
    _admin(postgres, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")


def _admin(postgres: EmbeddedPostgres, statement: str) -> None:
    engine = create_engine(postgres.url("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
