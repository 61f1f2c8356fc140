"""Two Celery workers on a real Redis: one is lost in the middle of publishing, the night ends on the other; and a run that
fails leaves its one line.

The loss is made certain instead of timed: a lock on the table holds the publishing task inside its COPY, the worker that
runs it is killed with everything it started, as when its machine dies, and only then is the lock let go.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import psutil
import pytest
import yaml
from small_night import MODEL, artefact_files, night, register, small_settings
from sqlalchemy import create_engine, make_url, text

from pipelines import database, registry, scoring
from pipelines.contracts import VigilError
from pipelines.settings import Settings
from pipelines.stack.airflow_api import AirflowApi
from pipelines.stack.airflow_home import ADMIN, AirflowHome
from pipelines.stack.postgres import EmbeddedPostgres
from pipelines.stack.processes import free_ports, stop_marked

REFERENCE, NIGHT = date(2026, 6, 29), date(2026, 6, 30)
SCORE, FEATURES = f"{MODEL.name}_score", f"{MODEL.name}_features"
PATIENCE = 240  # seconds, on a machine that does much else besides


@dataclass(frozen=True)
class Cluster:
    """A running Airflow: its API, the process of each worker, and where the logs are."""

    api: AirflowApi
    workers: dict[str, psutil.Process]
    logs: Path

    def worker_running(self, pid: int) -> str:
        """Name of the worker that a process descends from."""
        ancestors = [parent.pid for parent in psutil.Process(pid).parents()]
        names = [name for name, worker in self.workers.items() if worker.pid in ancestors]
        assert len(names) == 1, f"process {pid} with ancestors {ancestors} belongs to {names}"
        return names[0]


@pytest.fixture
def bank(settings: Settings) -> Settings:
    """A champion, and two business dates with the same features; the first is scored and published in this process."""
    made = small_settings(settings)
    made.models.mkdir()
    (made.models / f"{MODEL.name}.yaml").write_text(yaml.safe_dump(MODEL.model_dump(mode="json")))
    registry.bootstrap(made, MODEL, [register(made, artefact_files())])
    for business_date in (REFERENCE, NIGHT):
        night(made, business_date)
    scoring.score(made, MODEL, REFERENCE)
    scoring.publish(made, MODEL, REFERENCE)
    return made


@pytest.fixture
def cluster(bank: Settings, postgres: EmbeddedPostgres, tmp_path: Path) -> Iterator[Cluster]:
    """Airflow on Celery with two workers of one task each."""
    port, redis_port = free_ports(2)
    home = AirflowHome(bank.home)
    home.configure(postgres.url("airflow"), port)
    environment = home.environment(bank.database_url) | {
        "VIGIL_PROJECT": str(bank.project),
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CELERY__BROKER_URL": f"redis://127.0.0.1:{redis_port}/0",
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{postgres.url('airflow')}",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "10",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    }
    home.prepare(environment, tmp_path / "prepared")

    started: list[psutil.Popen] = []

    def start(name: str, *command: str) -> psutil.Process:
        with (tmp_path / f"{name}.log").open("wb") as log:
            started.append(psutil.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True))
        return started[-1]

    def airflow(name: str, *arguments: str) -> psutil.Process:
        return start(name, sys.executable, "-m", "airflow", *arguments)

    redis = shutil.which("redis-server")
    assert redis, "redis-server is not installed. Run: apt-get install redis-server"
    with ExitStack() as stack:
        stack.callback(stop, started)
        stack.callback(stop_marked, bank.home, grace_seconds=5)
        start("redis", redis, "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path))
        airflow("api-server", "api-server")
        airflow("dag-processor", "dag-processor")
        airflow("scheduler", "scheduler", "--skip-serve-logs")
        options = ("celery", "worker", "--skip-serve-logs", "--concurrency", "1", "--celery-hostname")
        workers = {name: airflow(name, *options, f"{name}@localhost") for name in ("one", "two")}
        api = wait_for(
            lambda: _login(f"http://127.0.0.1:{port}", home.admin_password), PATIENCE, tmp_path, "api-server"
        )
        stack.callback(api.__exit__)
        wait_for(lambda: api.knows(SCORE), PATIENCE, tmp_path, "dag-processor")
        yield Cluster(api, workers, tmp_path)


def test_a_night_outlives_the_worker_that_was_publishing_it(
    bank: Settings, cluster: Cluster, postgres: EmbeddedPostgres
):
    run = cluster.api.trigger(SCORE, NIGHT)
    with database.transaction(bank) as connection:
        database.execute(connection, f"LOCK TABLE vigil.score_{MODEL.name} IN ACCESS EXCLUSIVE MODE")
        task = wait_for(lambda: _process_waiting_for_a_lock(bank), PATIENCE, cluster.logs, "scheduler", "one", "two")
        assert cluster.api.tasks(run) == {"score": "success", "publish": "running"}
        lost = cluster.worker_running(task)
        kill_with_descendants(cluster.workers[lost])
        assert scoring.published(bank, MODEL, NIGHT) is None

    wait_for(lambda: cluster.api.run(SCORE, run.run_id).finished, PATIENCE, cluster.logs, "scheduler", "one", "two")
    assert cluster.api.run(SCORE, run.run_id).state == "success"
    assert tries(postgres, run.run_id) == {"score": 1, "publish": 2}
    assert scores(bank, NIGHT) == scores(bank, REFERENCE)
    assert len(scores(bank, NIGHT)) == scoring.published(bank, MODEL, NIGHT).rows_scored
    scoring.verify_batch(bank, MODEL, NIGHT)
    assert failures(bank) == []

    failed = cluster.api.trigger(FEATURES, NIGHT)
    (line,) = wait_for(lambda: failures(bank), PATIENCE, cluster.logs, "scheduler", "dag-processor")
    assert (line["run_id"], line["task"], line["kind"]) == (failed.run_id, "build", "DataFault")
    assert line["next_command"] == f"python -m pipelines night --model {MODEL.name} --date {NIGHT}"
    assert tries(postgres, failed.run_id)["build"] == 1, "a fault in the data is not tried again"


def scores(bank: Settings, business_date: date) -> list[tuple[object, ...]]:
    """What a reader sees of a date, bit for bit, in token order."""
    statement = (
        "SELECT token, probability, route, review_reason FROM vigil.published_score "
        "WHERE model = :model AND business_date = :on ORDER BY token"
    )
    return [tuple(row.values()) for row in database.rows(bank, statement, model=MODEL.name, on=business_date)]


def failures(bank: Settings) -> list[dict[str, str]]:
    """The lines that failed runs have left."""
    path = bank.home / "failures.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def tries(postgres: EmbeddedPostgres, run_id: str) -> dict[str, int]:
    """How often each task of a run was started."""
    with create_engine(postgres.url("airflow")).connect() as connection:
        found = connection.execute(
            text("SELECT task_id, try_number FROM task_instance WHERE run_id = :run_id"), {"run_id": run_id}
        )
        return {row.task_id: row.try_number for row in found}


def kill_with_descendants(process: psutil.Process) -> None:
    """SIGKILL to all of them, the oldest first, so that nobody is left to tell the story."""
    everyone = [process, *process.children(recursive=True)]
    for one in everyone:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(everyone, timeout=10)


def stop(processes: list[psutil.Popen]) -> None:
    """What stop_marked cannot know: Redis rewrites its own environment."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
        process.wait()


def wait_for(find: Callable[[], object], seconds: float, logs: Path, *names: str):
    """What `find` gives once it is true; in time, or the ends of the logs are shown."""
    deadline = time.monotonic() + seconds
    while not (found := find()):
        if time.monotonic() > deadline:
            ends = [f"{name}:\n{(logs / f'{name}.log').read_text(errors='replace')[-1500:]}" for name in names]
            pytest.fail(f"not within {seconds} s\n" + "\n".join(ends))
        time.sleep(0.5)
    return found


def _login(address: str, password: str) -> AirflowApi | None:
    try:
        return AirflowApi(address, ADMIN, password).__enter__()
    except VigilError:
        return None


def _process_waiting_for_a_lock(bank: Settings) -> int | None:
    """Process id of the client whose connection waits for a lock in the bank's database."""
    statement = (
        "SELECT client_port FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'COPY%'"
    )
    ends = {(row["client_port"], make_url(bank.database_url).port) for row in database.rows(bank, statement)}
    connections = [c for c in psutil.net_connections("tcp") if c.pid and c.raddr]
    return next((c.pid for c in connections if (c.laddr.port, c.raddr.port) in ends), None)
