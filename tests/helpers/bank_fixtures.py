"""A demo machine with a permitted champion and a challenger, copied for each test from one made per session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path

import pytest
from machine_copies import as_administrator, copied_machine, machine_settings
from small_night import MODEL, artefact_files, register, small_settings

from pipelines import database
from pipelines.registry import bootstrap
from pipelines.settings import Settings
from pipelines.stack.postgres import EmbeddedPostgres

_TEMPLATE = "small_bank"
_CHUNK_ROWS = 512
_numbers = count()


@pytest.fixture(scope="session")
def bank_template(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Champion is version 1, challenger version 2."""
    return _made_once(postgres, tmp_path_factory.getbasetemp() / _TEMPLATE)


@cache
def _made_once(postgres: EmbeddedPostgres, home: Path) -> Settings:
    """Each conftest that imports the fixture has one of its own, but the session has one bank."""
    home.mkdir()
    as_administrator(postgres, f"CREATE DATABASE {_TEMPLATE}")
    made = small_settings(machine_settings(postgres, _TEMPLATE, home, chunk_rows=_CHUNK_ROWS))
    database.migrate(made)
    bootstrap(made, MODEL, [register(made, artefact_files(seed)) for seed in (1, 2)])
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
    with copied_machine(postgres, template, f"bank_{next(_numbers)}", home, chunk_rows=_CHUNK_ROWS) as made:
        yield small_settings(made)
