"""The process that starts the stack, watches it, starts again what died, and ends it as one group.

`python -m pipelines.stack.supervisor` runs in a session of its own; its argument holds the ports. It ends by SIGTERM, or
when a process that the night needs cannot be kept alive: the state file then says why. A supervisor that is killed
leaves its group running; `control.down` finds that group.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from pipelines import database
from pipelines.contracts import Blocked, ConnectionBroken, VigilError
from pipelines.settings import Settings, get_settings
from pipelines.stack import demo, lease, processes, state
from pipelines.stack.airflow_home import NOBODY, AirflowHome
from pipelines.stack.group import RESTARTS, Child, Group, Restarts, end_of
from pipelines.stack.postgres import EmbeddedPostgres
from pipelines.stack.services import Service, airflow_services, menu_links, page_services
from pipelines.stack.state import Ports

_WATCH_SECONDS = 0.5
_START_SECONDS = 300
_GRACE_SECONDS = 12


class Supervisor:
    """One run of the stack of one home."""

    def __init__(self, home: Path, ports: Ports) -> None:
        self._home = home
        self._ports = ports
        self._started_at = datetime.now(UTC)
        self._end = threading.Event()
        self._postgres_restarts = Restarts()
        self._said: state.StackState | None = None

    def run(self) -> None:
        """Start everything, watch until SIGTERM, end everything. Raises VigilError with the reason of an early end."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked_to_end)
        with lease.postgres(self._home) as postgres:
            try:
                self._say(state.Phase.STARTING, ())
                environment = self._prepare(postgres)
                if not self._end.is_set():
                    self._watch(postgres, self._start(environment))
            finally:
                processes.stop_marked(self._home, _GRACE_SECONDS)

    def _asked_to_end(self, _number: int, _frame: FrameType | None) -> None:
        self._end.set()

    def _prepare(self, postgres: EmbeddedPostgres) -> dict[str, str]:
        airflow = AirflowHome(self._home)
        url = get_settings().database_url or postgres.url()
        os.environ["VIGIL_DATABASE_URL"] = url
        get_settings.cache_clear()
        database.migrate(get_settings())
        environment = airflow.environment(url)
        airflow.configure(postgres.url("airflow"), self._ports.airflow)
        logins = demo.LOGINS if get_settings().environment == "demo" else NOBODY
        airflow.prepare(environment, self._home / "postgres" / "airflow.prepared", logins)
        return environment

    def _start(self, environment: dict[str, str]) -> Group:
        logs = self._home / "logs"
        logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        chosen = services(get_settings(), self._ports)
        links = {"VIGIL_LINKS": json.dumps(menu_links(chosen))}
        return Group(chosen, logs, links | environment)  # links that a person has set win

    def _watch(self, postgres: EmbeddedPostgres, group: Group) -> None:
        phase = state.Phase.STARTING
        deadline = time.monotonic() + _START_SECONDS
        while not self._end.is_set():
            if postgres.pid() is None:
                self._revive(postgres)
            group.look_after()
            if phase is state.Phase.STARTING and _is_up(group, out_of_time=time.monotonic() > deadline):
                phase = state.Phase.RUNNING
            self._say(phase, group.children)
            self._end.wait(_WATCH_SECONDS)

    def _revive(self, postgres: EmbeddedPostgres) -> None:
        if not self._postgres_restarts.allow():
            raise Blocked(f"PostgreSQL died {RESTARTS + 1} times in five minutes. {end_of(postgres.log)}")
        lease.start_again(self._home)

    def _say(self, phase: state.Phase, children: Sequence[Child]) -> None:
        now = state.StackState(
            stack_id=processes.stack_id(self._home),
            supervisor=os.getpid(),
            started_at=self._started_at,
            phase=phase,
            children=tuple(child.report() for child in children),
        )
        if now != self._said:
            state.write(self._home, now)
            self._said = now


def _is_up(group: Group, *, out_of_time: bool) -> bool:
    """Whether everything has answered, or everything essential when there is no more time.

    Raises ConnectionBroken when there is no more time and something essential has not answered.
    """
    late = group.waiting_for
    if late and late[0].service.essential and out_of_time:
        raise ConnectionBroken(f"{late[0].service.name} did not answer in {_START_SECONDS} s. {end_of(late[0].log)}")
    return not late or out_of_time


def services(settings: Settings, ports: Ports) -> tuple[Service, ...]:
    """What belongs to the stack: Airflow, and the pages for people when they have ports."""
    airflow = airflow_services(ports.airflow)
    if ports.mlflow is None or ports.feast is None or ports.data_docs is None:
        return airflow
    return airflow + page_services(settings, ports.mlflow, ports.feast, ports.data_docs)


def main(home: Path, ports: Ports) -> int:
    """Supervise until told to end. Returns the exit code; a failure is left in the state file."""
    lock = os.open(home / "run" / "supervisor.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another supervisor has this home", file=sys.stderr)
        return Blocked.exit_code
    try:
        Supervisor(home, ports).run()
    except VigilError as failure:
        last = state.read(home)
        if last is not None:
            state.write(home, last.model_copy(update={"phase": state.Phase.FAILED, "failure": str(failure)}))
        print(failure, file=sys.stderr)
        return failure.exit_code
    state.forget(home)
    return 0


if __name__ == "__main__":
    sys.exit(main(get_settings().home, Ports.model_validate_json(sys.argv[1])))
