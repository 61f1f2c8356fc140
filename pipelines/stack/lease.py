"""Who needs the embedded PostgreSQL: it starts with the first and stops with the last.

Each user holds a shared lock on `run/postgres.users` for as long as it runs. The kernel lets go of the locks of a killed
process, so a crash never leaves a count that is wrong. The stack is a user like any command.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.stack.postgres import EmbeddedPostgres

_CHANGE = "postgres.change"


def cluster(home: Path) -> EmbeddedPostgres:
    """The embedded PostgreSQL of a home."""
    return EmbeddedPostgres(home / "postgres")


@contextmanager
def postgres(home: Path) -> Iterator[EmbeddedPostgres]:
    """The home's PostgreSQL, running. Whoever leaves last stops it. Raises ConnectionBroken when it does not start."""
    server = cluster(home)
    with _open(home, "postgres.users") as users:
        with alone(home, _CHANGE):
            fcntl.flock(users, fcntl.LOCK_SH)
            server.start()
        try:
            yield server
        finally:
            with alone(home, _CHANGE):
                _stop_if_last(server, users)


@contextmanager
def alone(home: Path, name: str) -> Iterator[None]:
    """One process at a time: the others wait here. A killed holder lets go."""
    with _open(home, name) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def start_again(home: Path) -> None:
    """Start a PostgreSQL that died while the caller holds a lease on it."""
    with alone(home, _CHANGE):
        cluster(home).start()


def stop_if_unused(home: Path) -> bool:
    """Stop the home's PostgreSQL unless a running command or stack needs it. Returns whether it is stopped."""
    if not (home / "postgres").is_dir():
        return True
    with _open(home, "postgres.users") as users, alone(home, _CHANGE):
        return _stop_if_last(cluster(home), users)


def _stop_if_last(server: EmbeddedPostgres, users: int) -> bool:
    fcntl.flock(users, fcntl.LOCK_UN)
    with suppress(BlockingIOError):
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        server.stop()
        return True
    return False


@contextmanager
def _open(home: Path, name: str) -> Iterator[int]:
    folder = home / "run"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
