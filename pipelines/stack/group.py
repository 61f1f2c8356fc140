"""A group of processes kept alive: each is started, asked how it is, and started again when it dies, within limits."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pipelines.contracts import Blocked
from pipelines.stack.services import Service
from pipelines.stack.state import ChildState

RESTARTS = 3
_RESTART_WINDOW_SECONDS = 300
_HEALTH_SECONDS = 10
_TAIL_LINES = 25


@dataclass
class Restarts:
    """When something was started again: at most three times in five minutes, or it is broken and not unlucky."""

    at: list[float] = field(default_factory=list)

    def allow(self) -> bool:
        """Whether one more is allowed; it is then counted."""
        now = time.monotonic()
        self.at = [moment for moment in self.at if now - moment < _RESTART_WINDOW_SECONDS]
        if len(self.at) >= RESTARTS:
            return False
        self.at.append(now)
        return True


@dataclass
class Child:
    """A running service, when it last said that it is well and how often it was started again."""

    service: Service
    log: Path
    process: subprocess.Popen[bytes]
    healthy: bool = False
    asked_at: float = 0
    given_up: bool = False
    restarts: Restarts = field(default_factory=Restarts)

    @property
    def died(self) -> bool:
        return self.process.poll() is not None

    def ask(self, started_at: datetime) -> None:
        """Ask how it is: at every look until it is well, then every ten seconds."""
        if not self.healthy or time.monotonic() - self.asked_at > _HEALTH_SECONDS:
            self.asked_at = time.monotonic()
            self.healthy = self.service.healthy(started_at)

    def report(self) -> ChildState:
        return ChildState(
            name=self.service.name,
            pid=None if self.died else self.process.pid,
            restarts=len(self.restarts.at),
            healthy=self.healthy,
            address=self.service.address,
            log=self.log,
        )


class Group:
    """Processes that belong together, with a log file each in one folder."""

    def __init__(self, services: Iterable[Service], logs: Path, environment: Mapping[str, str]) -> None:
        self._logs = logs
        self._environment = environment
        self._started_at = datetime.now(UTC)
        for service in (services := tuple(services)):
            self._log(service).unlink(missing_ok=True)
        self.children = [Child(s, self._log(s), self._launch(s)) for s in services]

    @property
    def waiting_for(self) -> list[Child]:
        """Those that have not answered yet and may still, essential ones first."""
        late = [child for child in self.children if not child.healthy and not child.given_up]
        return sorted(late, key=lambda child: not child.service.essential)

    def look_after(self) -> None:
        """Ask everyone how it is and start again what died.

        Raises Blocked, with the end of its log, when an essential process died too often; any other is then left dead.
        """
        for child in self.children:
            if child.given_up:
                continue
            if not child.died:
                child.ask(self._started_at)
                continue
            child.healthy = False
            if child.restarts.allow():
                child.process = self._launch(child.service)
            elif child.service.essential:
                raise Blocked(f"{child.service.name} died {RESTARTS + 1} times in five minutes. {end_of(child.log)}")
            else:
                child.given_up = True

    def _launch(self, service: Service) -> subprocess.Popen[bytes]:
        with self._log(service).open("ab") as log:
            return subprocess.Popen(
                service.command,
                env={**self._environment, **service.secrets},
                cwd=self._logs,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _log(self, service: Service) -> Path:
        return self._logs / f"{service.name}.log"


def end_of(log: Path) -> str:
    """What a log says last, with what that means for the stack."""
    lines = log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
    return f"The whole stack was stopped. The end of {log}:\n" + "\n".join(lines)
