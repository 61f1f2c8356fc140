"""Airflow's REST API, version 2, as far as a night needs it: start runs, follow them, find out why one failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import httpx

from pipelines.contracts import ConnectionBroken, DataFault, Value

_SECONDS_TO_ANSWER = 30
_RETRIES_TO_CONNECT = 3
FINISHED = ("success", "failed")


class DagRun(Value):
    """One run of a DAG."""

    dag_id: str
    run_id: str
    state: str
    queued_at: datetime
    ended_at: datetime | None

    @property
    def finished(self) -> bool:
        return self.state in FINISHED


class AirflowApi:
    """A logged-in client of one Airflow. Use as a context."""

    def __init__(self, address: str, user: str, password: str) -> None:
        self._address = address
        self._login = {"username": user, "password": password}
        transport = httpx.HTTPTransport(retries=_RETRIES_TO_CONNECT)
        self._client = httpx.Client(base_url=address, timeout=_SECONDS_TO_ANSWER, trust_env=False, transport=transport)

    def __enter__(self) -> AirflowApi:
        with self._answers("log in"):
            answer = self._client.post("/auth/token", json=self._login).raise_for_status()
        self._client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def knows(self, dag_id: str) -> bool:
        """Whether the DAG was parsed already."""
        with self._answers(f"look for {dag_id}"):
            return self._client.get(f"/api/v2/dags/{dag_id}").status_code == httpx.codes.OK

    def is_paused(self, dag_id: str) -> bool:
        """Whether the scheduler leaves the DAG alone."""
        return bool(self._get(f"/api/v2/dags/{dag_id}")["is_paused"])

    def pause(self, dag_id: str, paused: bool) -> None:
        """Pause a DAG, or let the scheduler have it."""
        with self._answers(f"pause {dag_id}"):
            self._client.patch(f"/api/v2/dags/{dag_id}", json={"is_paused": paused}).raise_for_status()

    def trigger(self, dag_id: str, business_date: date) -> DagRun:
        """Start a run for a business date."""
        body = {"logical_date": None, "conf": {"business_date": business_date.isoformat()}}
        with self._answers(f"start {dag_id} for {business_date}"):
            answer = self._client.post(f"/api/v2/dags/{dag_id}/dagRuns", json=body).raise_for_status()
        return _run(answer.json())

    def end(self, run: DagRun) -> None:
        """End an unfinished run; it counts as failed."""
        with self._answers(f"end {run.run_id}"):
            path = f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}"
            self._client.patch(path, json={"state": "failed"}).raise_for_status()

    def run(self, dag_id: str, run_id: str) -> DagRun:
        """One run as it is now."""
        return _run(self._get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}"))

    def run_of_partition(self, dag_id: str, business_date: date, since: datetime) -> DagRun | None:
        """The newest run that an asset started for the business date after a moment, or None."""
        found = self._get(f"/api/v2/dags/{dag_id}/dagRuns", order_by="-run_after", limit=50)["dag_runs"]
        wanted = business_date.isoformat()
        runs = [_run(r) for r in found if r["partition_key"] == wanted]
        return max((r for r in runs if r.queued_at >= since), key=lambda r: r.queued_at, default=None)

    def tasks(self, run: DagRun) -> Mapping[str, str]:
        """State of each task of a run, in no particular order."""
        answer = self._get(f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances")
        return {t["task_id"]: t["state"] or "waiting" for t in answer["task_instances"]}

    def failure(self, run: DagRun, lines: int) -> str:
        """The failed task of a run and the end of its log."""
        answer = self._get(f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances")
        failed = [t for t in answer["task_instances"] if t["state"] == "failed"]
        if not failed:
            return "no task of it failed; it ran out of time or was ended in the UI."
        task = failed[0]
        path = (
            f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task['task_id']}/logs/{task['try_number']}"
        )
        said = list(_lines(self._get(path, full_content="true")["content"]))
        return f"task {task['task_id']}, try {task['try_number']}; the end of its log:\n" + "\n".join(said[-lines:])

    def page(self, run: DagRun) -> str:
        """Address of the run in the Airflow UI."""
        return f"{self._address}/dags/{run.dag_id}/runs/{run.run_id}"

    def _get(self, path: str, **query: Any) -> Any:
        with self._answers(f"read {path}"):
            return self._client.get(path, params=query).raise_for_status().json()

    @contextmanager
    def _answers(self, wish: str) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPStatusError as error:
            code = error.response.status_code
            raise DataFault(
                f"Airflow at {self._address} refused to {wish}: {code} {error.response.text[:300]}"
            ) from error
        except httpx.HTTPError as error:
            raise ConnectionBroken(
                f"Airflow at {self._address} did not answer to {wish} ({type(error).__name__}). `make status` shows the stack."
            ) from error


def _run(answer: Mapping[str, Any]) -> DagRun:
    return DagRun(
        dag_id=answer["dag_id"],
        run_id=answer["dag_run_id"],
        state=answer["state"],
        queued_at=answer["queued_at"] or datetime.now(UTC),
        ended_at=answer["end_date"],
    )


def _lines(content: Any) -> Iterator[str]:
    """Lines of a log: structured entries with an event, and errors with their type and value."""
    for entry in content:
        if isinstance(entry, str):
            yield entry
            continue
        yield entry.get("event", "")
        for error in (entry.get("error_detail") or ())[:1]:  # the others are its causes
            yield f"{error.get('exc_type')}: {error.get('exc_value')}"
