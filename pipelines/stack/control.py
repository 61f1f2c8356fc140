"""Start, stop and describe the stack of a home, from a command."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pipelines.contracts import Blocked, ConnectionBroken
from pipelines.settings import get_settings
from pipelines.stack import demo, lease, processes, state
from pipelines.stack.airflow_home import ADMIN, AirflowHome
from pipelines.stack.postgres import USER
from pipelines.stack.state import Phase, Ports, StackState

_START_SECONDS = 420
_STOP_SECONDS = 45
_LOOK_SECONDS = 0.2

Progress = Callable[[StackState | None], None]


def up(home: Path, *, pages: bool, port: int | None, progress: Progress) -> tuple[StackState, bool]:
    """The running stack, and whether this call started it. Returns when every process has answered.

    Args:
        pages: also start the pages for people (MLflow, Feast, data quality).
        port: Airflow's port; None takes the one of last time, or a free one.
        progress: called with what the supervisor last said, several times a second.

    Raises:
        Blocked: the port is taken, or a process of the stack cannot be kept alive.
        ConnectionBroken: the stack did not come up.
    """
    with lease.alone(home, "control"):
        if state.supervisor(home) is not None:
            return _wait_until_running(home, None, progress), False
        down(home)
        launched = _launch(home, _choose_ports(home, pages, port))
        try:
            return _wait_until_running(home, launched, progress), True
        except BaseException:
            down(home)
            raise


def down(home: Path) -> int:
    """Stop every process of the home's stack, supervised or left behind by a crash; return how many strays there were.

    PostgreSQL stays as long as another command of this home runs, and stops with it.
    """
    if (supervisor := state.supervisor(home)) is not None:
        processes.stop([supervisor], _STOP_SECONDS)
    strays = processes.stop_marked(home, grace_seconds=8)
    lease.stop_if_unused(home)
    state.forget(home)
    return strays


def status(home: Path) -> StackState | None:
    """What runs now. None when nothing does; phase `failed` with the reason when the stack ended by itself."""
    said = state.read(home)
    if said is None or said.phase is Phase.FAILED or state.supervisor(home) is not None:
        return said
    strays = len(processes.marked(home))
    return said.model_copy(
        update={
            "phase": Phase.FAILED,
            "failure": f"the supervisor was killed; {strays} of its processes still run. `make down` ends them.",
        }
    )


def logins(home: Path) -> dict[str, str]:
    """User and password of Airflow's first login."""
    return {"user": ADMIN, "password": AirflowHome(home).admin_password}


def demo_logins(home: Path) -> dict[str, dict[str, str]]:
    """Role and password of the demo's persons by user name; none elsewhere."""
    if get_settings().environment != "demo":
        return {}
    airflow = AirflowHome(home)
    return {user: {"role": role, "password": airflow.password(user)} for user, role in demo.LOGINS.items()}


def psql_address(home: Path) -> str:
    """What to give to psql; the password is in the file that is named."""
    url = lease.cluster(home).url()
    _, _, place = url.partition("@")
    return f"postgresql://{USER}@{place}  password in {home / 'postgres' / 'password'}"


def _choose_ports(home: Path, pages: bool, port: int | None) -> Ports:
    remembered = home / "run" / "ports.json"
    wanted = Ports.model_validate_json(remembered.read_bytes()) if remembered.exists() else None
    if port is not None and not processes.is_free(port):
        raise Blocked(f"port {port} is in use by another program. Nothing was started. Name another with --port.")
    fresh = processes.free_ports(4)
    chosen = [port, None, None, None]
    if wanted is not None:
        chosen = [port or wanted.airflow, wanted.mlflow, wanted.feast, wanted.data_docs]
    airflow, *others = [c if c and processes.is_free(c) else f for c, f in zip(chosen, fresh, strict=True)]
    ports = Ports(airflow=airflow, mlflow=others[0], feast=others[1], data_docs=others[2])
    remembered.write_text(ports.model_dump_json())
    return ports if pages else Ports(airflow=airflow)


def _launch(home: Path, ports: Ports) -> subprocess.Popen[bytes]:
    with _supervisor_log(home).open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "pipelines.stack.supervisor", ports.model_dump_json()],
            env=AirflowHome(home).environment(get_settings().database_url),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _wait_until_running(home: Path, launched: subprocess.Popen[bytes] | None, progress: Progress) -> StackState:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        ended = launched.poll() is not None if launched else state.supervisor(home) is None
        said = state.read(home)
        progress(said)
        if said is not None and said.phase is Phase.RUNNING:
            return said
        if said is not None and said.phase is Phase.FAILED:
            raise Blocked(f"the stack did not start. {said.failure}")
        if ended:
            raise ConnectionBroken(f"the supervisor ended while it started. The end of its log:\n{_log_end(home)}")
        time.sleep(_LOOK_SECONDS)
    raise ConnectionBroken(f"the stack did not come up in {_START_SECONDS} s. See {home / 'logs'}, then `make down`.")


def _supervisor_log(home: Path) -> Path:
    return home / "run" / "supervisor.log"


def _log_end(home: Path) -> str:
    return "\n".join(_supervisor_log(home).read_text(errors="replace").splitlines()[-25:])
