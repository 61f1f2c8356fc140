"""The whole stack, started once: what `make up`, `make status` and `make down` promise, and a supervisor that is killed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from pipelines.stack import lease, processes, state
from pipelines.stack.airflow_api import AirflowApi

PAGES = {"api-server", "mlflow", "feast", "data-docs"}
WITHOUT_A_PAGE = {"scheduler", "dag-processor", "triggerer"}
GIGABYTE = 1e9


def vigil(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipelines", *arguments],
        env={k: v for k, v in os.environ.items() if not k.startswith("VIGIL_")} | {"VIGIL_HOME": str(home)},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stack")
    started = vigil(folder, "up", "--json")
    assert started.returncode == 0, started.stderr
    yield folder
    vigil(folder, "down")


def running(home: Path) -> state.StackState:
    said = state.read(home)
    assert said is not None
    return said


def own_processes(home: Path) -> list[psutil.Process]:
    return [*processes.marked(home), psutil.Process(lease.cluster(home).pid())]


def password(home: Path) -> str:
    return (home / "secrets" / "airflow_admin.password").read_text()


def until(condition, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.2)


def test_everything_runs_and_answers(home):
    children = {child.name: child for child in running(home).children}
    assert set(children) == PAGES | WITHOUT_A_PAGE
    assert all(child.healthy for child in children.values())
    for name in PAGES:
        assert httpx.get(children[name].address, trust_env=False, follow_redirects=True).status_code == 200, name


def test_it_is_on_loopback_only_and_small(home):
    group = own_processes(home)
    listening = {c.laddr.ip for p in group for c in p.net_connections() if c.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}
    assert sum(p.memory_full_info().pss for p in group) < 4 * GIGABYTE


def test_secrets_are_for_the_owner_only_and_in_no_argument(home):
    secret_files = [*(home / "secrets").iterdir(), home / "airflow" / "airflow.cfg", home / "postgres" / "password"]
    assert len(secret_files) == 9
    assert not [f for f in secret_files if f.stat().st_mode & 0o077]
    secrets = [password(home), (home / "postgres" / "password").read_text()]
    arguments = " ".join(a for p in own_processes(home) for a in p.cmdline())
    assert not [s for s in secrets if s in arguments]


def test_airflow_knows_the_model_and_takes_the_printed_login(home):
    address = running(home).child("api-server").address
    with AirflowApi(address, "admin", password(home)) as api:
        until(lambda: api.knows("credit_default_score"))
        assert api.is_paused("credit_default_ingest"), "a night starts because a person said so"
    refused = httpx.get(f"{address}/api/v2/dags", trust_env=False)
    assert refused.status_code == 401


def test_the_pages_are_in_airflows_menu(home):
    children = {child.name: child for child in running(home).children}
    address = children["api-server"].address
    login = {"username": "admin", "password": password(home)}
    token = httpx.post(f"{address}/auth/token", json=login, trust_env=False).json()["access_token"]
    answer = httpx.get(f"{address}/api/v2/plugins", headers={"Authorization": f"Bearer {token}"}, trust_env=False)
    [vigil_plugin] = [plugin for plugin in answer.json()["plugins"] if plugin["name"] == "vigil"]
    shown = {view["name"]: view["href"] for view in vigil_plugin["external_views"]}
    names = {"MLflow": "mlflow", "Feast": "feast", "Data Docs": "data-docs"}
    assert shown == {title: children[name].address for title, name in names.items()}


def test_a_second_up_says_so_and_changes_nothing(home):
    before = running(home)
    again = vigil(home, "up")
    assert again.returncode == 0
    assert "already" in again.stdout
    assert password(home) in again.stdout
    for person in ("credit-models", "model-validation", "second-validator"):
        known = (home / "secrets" / f"airflow_{person}@bank.example.password").read_text()
        assert f"{person}@bank.example, password {known}" in again.stdout
    assert [c.pid for c in running(home).children] == [c.pid for c in before.children]


def test_a_command_uses_the_stack_and_leaves_it_alone(home):
    postgres = lease.cluster(home).pid()
    shown = vigil(home, "status", "--json")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout.splitlines()[0])["phase"] == "running"
    assert lease.cluster(home).pid() == postgres


def test_what_is_killed_comes_back(home):
    before = running(home).child("triggerer")
    psutil.Process(before.pid).kill()
    until(lambda: running(home).child("triggerer").restarts == 1 and running(home).child("triggerer").pid != before.pid)
    os.kill(lease.cluster(home).pid(), 9)
    until(lambda: lease.cluster(home).pid() is not None)
    assert vigil(home, "status").returncode == 0


def test_after_the_supervisor_was_killed_down_leaves_nothing(home):
    ports = [int(c.address.rsplit(":", 1)[1]) for c in running(home).children if c.address]
    everything = own_processes(home)
    os.kill(running(home).supervisor, 9)
    until(lambda: state.supervisor(home) is None)
    assert "supervisor was killed" in vigil(home, "status").stdout
    stopped = vigil(home, "down")
    assert stopped.returncode == 0, stopped.stderr
    assert not processes.marked(home)
    assert lease.cluster(home).pid() is None
    assert not [p for p in everything if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert all(processes.is_free(port) for port in ports)
    assert "was not up" in vigil(home, "down").stdout


def test_a_port_in_use_is_said_before_anything_starts(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = vigil(tmp_path, "up", "--port", str(port))
    assert refused.returncode == 3
    assert f"port {port} is in use" in refused.stderr
    assert not processes.marked(tmp_path)
    assert not (tmp_path / "postgres").exists()


def test_a_state_file_of_a_crash_is_not_believed(tmp_path):
    (tmp_path / "run").mkdir()
    state.write(
        tmp_path,
        state.StackState(
            stack_id=processes.stack_id(tmp_path),
            supervisor=os.getppid(),
            started_at="2026-06-30T02:00:00Z",
            phase=state.Phase.RUNNING,
        ),
    )
    assert state.supervisor(tmp_path) is None
    shown = vigil(tmp_path, "status")
    assert shown.returncode == 0
    assert "was killed" in shown.stdout
    assert vigil(tmp_path, "down").returncode == 0
    assert "is down" in vigil(tmp_path, "status").stdout
