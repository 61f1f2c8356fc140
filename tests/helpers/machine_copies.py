"""Demo machines that are made once and copied for a test: PostgreSQL copies the database, the file system the home."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow.tracking._tracking_service.utils import _artifact_repos_cache
from sqlalchemy import create_engine, make_url, text

from pipelines import database
from pipelines.settings import Settings
from pipelines.stack.postgres import EmbeddedPostgres


def as_administrator(server: EmbeddedPostgres, statement: str) -> list:
    """Run one statement outside a transaction, as the server's own login; its rows."""
    engine = create_engine(server.url("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        result = connection.execute(text(statement))
        found = list(result) if result.returns_rows else []
    engine.dispose()
    return found


def machine_settings(server: EmbeddedPostgres, name: str, home: Path, **more: Any) -> Settings:
    """Settings of a demo machine with the database of that name and everything else in its home."""
    return Settings(
        environment="demo",
        home=home,
        project=home / "project",
        sources=home / "sources",
        database_url=server.url(name),
        lake_url=str(home / "lake"),
        mlflow_tracking_uri=server.url(name),
        mlflow_artifacts=str(home / "mlflow"),
        token_key_file=home / "token.key",
        data_docs=home / "data_docs",
        **more,
    )


@contextmanager
def copied_machine(
    server: EmbeddedPostgres, template: Settings, name: str, home: Path, **more: Any
) -> Iterator[Settings]:
    """A copy of a machine with its own database and home, thrown away afterwards."""
    original = make_url(template.database_url).database
    database.engine(template.database_url).dispose()  # a database in use cannot be copied
    as_administrator(server, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{original}'")
    as_administrator(server, f"CREATE DATABASE {name} TEMPLATE {original}")
    shutil.copytree(template.home, home)
    made = machine_settings(server, name, home, **more)
    _artifact_repos_cache.clear()  # MLflow keeps the folder of a run by its id, which the copy has too
    if database.rows(made, "SELECT FROM pg_class WHERE oid = to_regclass('runs')"):  # MLflow's, once it was used
        move = "UPDATE runs SET artifact_uri = replace(artifact_uri, :old, :new) RETURNING 1"
        database.rows(made, move, old=str(template.home), new=str(home))
    yield made
    database.engine(made.database_url).dispose()
    as_administrator(server, f"DROP DATABASE {name} WITH (FORCE)")
