"""What the supervisor tells the commands: one small file, `<home>/run/stack.json`, replaced whole at every change."""

from __future__ import annotations

import os
from datetime import datetime
from enum import StrEnum
from pathlib import Path

import psutil
from pydantic import ValidationError

from pipelines.contracts import Value
from pipelines.stack.processes import carries, stack_id


class Phase(StrEnum):
    """Where the stack is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    FAILED = "failed"


class Ports(Value):
    """Where each page listens. The pages for people are left out when they have no ports."""

    airflow: int
    mlflow: int | None = None
    feast: int | None = None
    data_docs: int | None = None


class ChildState(Value):
    """One process of the stack. `address` is empty for a process without a page."""

    name: str
    pid: int | None
    restarts: int
    healthy: bool
    address: str
    log: Path


class StackState(Value):
    """The whole stack. `failure` says why it stopped by itself, with the last lines of the log that matters."""

    stack_id: str
    supervisor: int
    started_at: datetime
    phase: Phase
    children: tuple[ChildState, ...] = ()
    failure: str = ""

    def child(self, name: str) -> ChildState | None:
        return next((c for c in self.children if c.name == name), None)


def write(home: Path, state: StackState) -> None:
    """Replace the state file; a reader sees the old one or the new one."""
    path = _path(home)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_suffix(".fresh")
    fresh.touch(mode=0o600)
    fresh.write_text(state.model_dump_json(indent=1))
    fresh.replace(path)


def read(home: Path) -> StackState | None:
    """What the supervisor last said, whether or not it still lives; None when it said nothing readable."""
    try:
        return StackState.model_validate_json(_path(home).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def forget(home: Path) -> None:
    """Remove the state file."""
    _path(home).unlink(missing_ok=True)


def supervisor(home: Path) -> psutil.Process | None:
    """The living supervisor of this home. A process that took over its number is not it: it lacks the home's id."""
    state = read(home)
    if state is None or state.supervisor == os.getpid():
        return None
    try:
        process = psutil.Process(state.supervisor)
    except psutil.Error:
        return None
    return process if carries(process, stack_id(home)) else None


def _path(home: Path) -> Path:
    return home / "run" / "stack.json"
