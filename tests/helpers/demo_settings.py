"""A demo machine of its own for a test or a module: an empty migrated database and a home."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from pipelines import database
from pipelines.settings import REPOSITORY, Settings, get_settings
from pipelines.stack.postgres import EmbeddedPostgres

_numbers = count()


@contextmanager
def demo_settings(postgres: EmbeddedPostgres, home: Path, patch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings of the machine, also in force for `get_settings()`; its database goes at the end."""
    name = f"test_{next(_numbers)}"
    admin = create_engine(postgres.url("postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    patch.setenv("VIGIL_HOME", str(home))
    patch.setenv("VIGIL_ENVIRONMENT", "demo")
    patch.setenv("VIGIL_DATABASE_URL", postgres.url(name))
    patch.setenv("VIGIL_LAKE_URL", str(home / "lake"))
    patch.setenv("VIGIL_SOURCES", str(home / "sources"))
    patch.setenv("VIGIL_TOKEN_KEY_FILE", str(home / "token.key"))
    patch.setenv("VIGIL_DATA_DOCS", str(home / "data_docs"))
    patch.setenv("VIGIL_MLFLOW_TRACKING_URI", postgres.url(name))
    patch.setenv("VIGIL_MLFLOW_ARTIFACTS", str(home / "mlflow"))
    patch.setenv("VIGIL_PROJECT", str(REPOSITORY))  # a command's --project changes it; the patch puts it back
    get_settings.cache_clear()
    made = get_settings().model_copy(update={"home": home})
    database.migrate(made)
    yield made
    get_settings.cache_clear()
    database.engine(made.database_url).dispose()
    with admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
    admin.dispose()
