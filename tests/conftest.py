"""Fixtures shared by all tests: one real PostgreSQL for the session, a fresh database and home for each test."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_settings import demo_settings
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

from pipelines.settings import Settings
from pipelines.stack.postgres import EmbeddedPostgres
from pipelines.stack.processes import free_ports


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
    with demo_settings(postgres, tmp_path / "home", monkeypatch) as made:
        yield made


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
