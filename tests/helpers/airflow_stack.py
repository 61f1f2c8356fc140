"""A running Airflow with LocalExecutor for a project, and persons who use its API with their own logins."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import create_engine, text

from pipelines.settings import Settings
from pipelines.stack.airflow_home import ADMIN, AirflowHome
from pipelines.stack.postgres import EmbeddedPostgres
from pipelines.stack.processes import free_ports, stop_marked

PATIENCE = 400  # seconds, on a machine that does much else besides
FASTER = {
    "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
    "AIRFLOW__CORE__PARALLELISM": "4",
}


class Person:
    """Somebody logged in to Airflow, or the administrator."""

    def __init__(self, address: str, user: str, password: str) -> None:
        self._client = httpx.Client(base_url=address, timeout=30, trust_env=False)
        login = self._client.post("/auth/token", json={"username": user, "password": password}).raise_for_status()
        self._client.headers["Authorization"] = f"Bearer {login.json()['access_token']}"

    def get(self, path: str, **query: Any) -> Any:
        return self._client.get(f"/api/v2{path}", params=query).raise_for_status().json()

    def send(self, method: str, path: str, body: Any) -> httpx.Response:
        return self._client.request(method, f"/api/v2{path}", json=body)

    def start(self, dag_id: str, **conf: Any) -> str:
        """Trigger a run; its id."""
        answer = self.send("POST", f"/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf})
        return answer.raise_for_status().json()["dag_run_id"]

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        return self.get(f"/dags/{dag_id}/dagRuns/{run_id}")

    def tasks(self, dag_id: str, run_id: str) -> dict[str, str]:
        """State of each task of a run."""
        found = self.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]
        return {t["task_id"]: t["state"] or "none" for t in found}

    def asked(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any] | None:
        """The form of a task that waits for a person now."""
        if self.tasks(dag_id, run_id)[task_id] != "awaiting_input":
            return None
        return self.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails")

    def answer(self, dag_id: str, run_id: str, task_id: str, choice: str, **fields: Any) -> httpx.Response:
        """Answer a form with its own fields, some of them filled in."""
        form = self.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails")
        shown = {name: field["value"] for name, field in form["params"].items()}
        body = {"chosen_options": [choice], "params_input": shown | fields}
        return self.send("PATCH", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails", body)

    def clear(self, dag_id: str, run_id: str, task_id: str) -> None:
        body = {"dag_run_id": run_id, "task_ids": [task_id], "dry_run": False, "include_downstream": True}
        body |= {"only_failed": False, "reset_dag_runs": True}
        self.send("POST", f"/dags/{dag_id}/clearTaskInstances", body).raise_for_status()

    def mark_success(self, dag_id: str, run_id: str, task_id: str) -> None:
        body = {"new_state": "success"}
        self.send("PATCH", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}", body).raise_for_status()

    def note_of(self, dag_id: str, run_id: str, task_id: str) -> dict[str, str]:
        """What a failed task left in XCom: kind and message of its error."""
        return self.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/failure")["value"]


class Airflow:
    """The running stack."""

    def __init__(self, home: AirflowHome, address: str, logs: Path) -> None:
        self._home, self._address, self._logs = home, address, logs
        self._people: dict[str, Person] = {}

    def person(self, user: str = ADMIN) -> Person:
        if user not in self._people:
            self._people[user] = Person(self._address, user, self._home.password(user))
        return self._people[user]

    def wait_for(self, find: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
        """What `find` gives once it is true; in time, or the ends of the logs are shown."""
        deadline = time.monotonic() + seconds
        while not (found := find()):
            if time.monotonic() > deadline:
                ends = [f"{log.name}:\n{log.read_text(errors='replace')[-1500:]}" for log in self._logs.glob("*.log")]
                pytest.fail(f"{what}: not within {seconds} s\n" + "\n".join(ends))
            time.sleep(0.4)
        return found


@contextmanager
def running_airflow(
    settings: Settings, postgres: EmbeddedPostgres, logs: Path, logins: Mapping[str, str], dag_ids: list[str]
) -> Iterator[Airflow]:
    """Airflow's processes on the project of the settings, until the DAGs are known; all ended afterwards."""
    [port] = free_ports(1)
    name = f"airflow_{settings.database_url.rsplit('/', 1)[1]}"
    with create_engine(postgres.url("postgres"), isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    home = AirflowHome(settings.home)
    home.configure(postgres.url(name), port)
    environment = home.environment(settings.database_url) | FASTER | {"VIGIL_PROJECT": str(settings.project)}
    home.prepare(environment, logs / "prepared", logins)
    started: list[psutil.Popen] = []
    try:
        for part in (("api-server",), ("dag-processor",), ("scheduler", "--skip-serve-logs")):
            with (logs / f"{part[0]}.log").open("wb") as log:
                command = [sys.executable, "-m", "airflow", *part]
                started.append(psutil.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True))
        airflow = Airflow(home, f"http://127.0.0.1:{port}", logs)
        airflow.wait_for(lambda: _logs_in(airflow), "the api-server")
        airflow.wait_for(lambda: _knows(airflow.person(), dag_ids), "the dag-processor")
        yield airflow
    finally:
        stop_marked(settings.home, grace_seconds=3)
        for process in started:
            with suppress(psutil.NoSuchProcess):
                process.kill()
            process.wait()


def _logs_in(airflow: Airflow) -> bool:
    try:
        airflow.person()
    except httpx.HTTPError:
        return False
    return True


def _knows(person: Person, dag_ids: list[str]) -> bool:
    known = {dag["dag_id"] for dag in person.get("/dags", limit=100)["dags"]}
    return known >= set(dag_ids)
