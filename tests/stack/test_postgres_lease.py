"""The embedded PostgreSQL: starts with its first user, stops with its last, and comes back after any crash."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine, text

from pipelines.stack import lease, processes
from pipelines.stack.postgres import EmbeddedPostgres

HOLD = """
import pathlib, sys
from pipelines.stack import lease
with lease.postgres(pathlib.Path(sys.argv[1])) as server:
    print(server.pid(), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def home(tmp_path: Path):
    yield tmp_path
    lease.stop_if_unused(tmp_path)


@contextmanager
def holder(home: Path) -> Iterator[subprocess.Popen[str]]:
    """Another command of the same home that needs the database until the block ends."""
    command = [sys.executable, "-c", HOLD, str(home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        started.stdout.readline()
        yield started


def kill(server: EmbeddedPostgres) -> None:
    os.kill(server.pid(), signal.SIGKILL)
    while server.pid() is not None:
        time.sleep(0.01)


def answers(home: Path) -> bool:
    engine = create_engine(lease.cluster(home).url())
    with engine.connect() as connection:
        found = connection.execute(text("SELECT 1")).scalar() == 1
    engine.dispose()
    return found


def test_it_stops_with_the_last_user_and_not_before(home):
    with holder(home):
        with lease.postgres(home) as server:
            pid = server.pid()
            assert answers(home)
        assert lease.cluster(home).pid() == pid, "stopped while another command needed it"
        assert not lease.stop_if_unused(home)
    assert lease.cluster(home).pid() is None


def test_a_killed_user_does_not_keep_it_for_ever(home):
    with holder(home) as other:
        other.kill()
    with lease.postgres(home):
        assert answers(home)
    assert lease.cluster(home).pid() is None


def test_it_starts_again_after_a_crash_and_what_was_committed_is_there(home):
    with lease.postgres(home) as server:
        engine = create_engine(server.url())
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE kept AS SELECT 7 AS answer"))
        engine.dispose()
        backends = psutil.Process(server.pid()).children()
        kill(server)
        lease.start_again(home)
        assert not [b for b in backends if b.is_running() and b.status() != psutil.STATUS_ZOMBIE]
        engine = create_engine(server.url())
        with engine.connect() as connection:
            assert connection.execute(text("SELECT answer FROM kept")).scalar() == 7
        engine.dispose()


def test_a_pid_file_that_names_a_stranger_is_not_believed(home):
    with lease.postgres(home) as server:
        kill(server)
        pid_file = home / "postgres" / "data" / "postmaster.pid"
        pid_file.write_text(f"{os.getpid()}\n" + pid_file.read_text().split("\n", 1)[1])
        assert server.pid() is None
        lease.start_again(home)
        assert answers(home)


def test_it_keeps_its_port_unless_somebody_took_it(home):
    with lease.postgres(home) as server:
        first = server.url()
    with lease.postgres(home) as server:
        assert server.url() == first
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", int(first.rsplit(":", 1)[1].split("/")[0])))
        taken.listen()
        with lease.postgres(home) as server:
            assert server.url() != first
            assert answers(home)


def test_it_listens_on_loopback_only_and_asks_for_a_password(home):
    with lease.postgres(home) as server:
        listening = [c.laddr.ip for c in psutil.Process(server.pid()).net_connections() if c.status == "LISTEN"]
        assert listening == ["127.0.0.1"]
        password = (home / "postgres" / "password").read_text()
        with pytest.raises(Exception, match="password"):
            create_engine(server.url().replace(password, "wrong")).connect()
        assert (home / "postgres" / "password").stat().st_mode & 0o077 == 0


def test_it_does_not_carry_the_mark_of_the_stack(home, monkeypatch):
    monkeypatch.setenv(processes.MARKER, processes.stack_id(home))
    with lease.postgres(home) as server:
        assert not processes.carries(psutil.Process(server.pid()), processes.stack_id(home))
