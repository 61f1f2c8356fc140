"""Fixtures shared by all tests: one real PostgreSQL for the session, a fresh database and home for each test."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from example_fixtures import (  # noqa: F401
    _start_examples_early,
    amlsim,
    data_folder,
    fraud_handbook,
    lending_club,
    running,
    uci_default,
)
from sqlalchemy import create_engine, text

from pipelines import database
from pipelines.settings import Settings, get_settings
from pipelines.stack.postgres import EmbeddedPostgres
from pipelines.stack.processes import free_ports

_numbers = count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    with tempfile.TemporaryDirectory(prefix="vigil-pg-") as folder:
        server = EmbeddedPostgres(Path(folder))
        server.start()
        _without_waiting_for_the_disk(server)
        yield server
        server.stop()


def _without_waiting_for_the_disk(server: EmbeddedPostgres) -> None:
    """Tests kill processes, never the machine, so nothing is lost; a database is made ten times sooner."""
    admin = create_engine(server.url("postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        for setting in ("fsync", "full_page_writes"):
            connection.execute(text(f"ALTER SYSTEM SET {setting} = off"))
        connection.execute(text("SELECT pg_reload_conf()"))
    admin.dispose()


@pytest.fixture
def settings(postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings of an empty demo machine with its own database, migrated. Also in force for `get_settings()`."""
    name = f"test_{next(_numbers)}"
    admin = create_engine(postgres.url("postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    home = tmp_path / "home"
    monkeypatch.setenv("VIGIL_HOME", str(home))
    monkeypatch.setenv("VIGIL_ENVIRONMENT", "demo")
    monkeypatch.setenv("VIGIL_DATABASE_URL", postgres.url(name))
    monkeypatch.setenv("VIGIL_LAKE_URL", str(home / "lake"))
    monkeypatch.setenv("VIGIL_SOURCES", str(home / "sources"))
    monkeypatch.setenv("VIGIL_TOKEN_KEY_FILE", str(home / "token.key"))
    monkeypatch.setenv("VIGIL_DATA_DOCS", str(home / "data_docs"))
    monkeypatch.setenv("VIGIL_MLFLOW_TRACKING_URI", postgres.url(name))
    monkeypatch.setenv("VIGIL_MLFLOW_ARTIFACTS", str(home / "mlflow"))
    get_settings.cache_clear()
    made = get_settings().model_copy(update={"home": home})
    database.migrate(made)
    yield made
    get_settings.cache_clear()
    database.engine(made.database_url).dispose()
    with admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
    admin.dispose()


@pytest.fixture(scope="session")
def _moto() -> Iterator[str]:
    """A server in a process of its own: deltalake holds the interpreter while it asks, and a thread could not answer."""
    [port] = free_ports(1)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    _wait_for(url, server)
    yield url
    server.terminate()
    server.wait(10)


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"{url}/moto-api/").close()
            return
        except OSError:
            assert server.poll() is None, "moto's server has ended"
            assert time.monotonic() < deadline, "moto's server does not answer"
            time.sleep(0.1)


@pytest.fixture
def s3_server(_moto: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of an empty S3 server over HTTP with one bucket, `vigil`; the AWS_* variables point to it."""
    import boto3

    for name, value in {
        "AWS_ENDPOINT_URL": _moto,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test-secret",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    reset = urllib.request.Request(f"{_moto}/moto-api/reset", method="POST")
    urllib.request.urlopen(reset).close()
    boto3.client("s3").create_bucket(Bucket="vigil")
    return _moto
