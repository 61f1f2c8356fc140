"""The one line a failed DAG run leaves behind; alerting reads it. Standard library only.

A line holds counts-and-names, never an id of an account or customer: messages of our own errors are written under that
rule, and of any other exception only its class is kept.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path

STEPS = ("ingest", "features", "score", "train", "release")
UNDATED = {"rehearsal": "rehearse", "rollback": "champion"}  # command that shows where one is
MATERIALISE = "materialise"  # readers of scores do not wait for it
RAISE_ALERTS = "raise_alerts"  # nor for this: the scores are published before
REGISTRY = "registry"  # of no model: looks after all of them
KILLED = "killed"
_MESSAGE_CHARACTERS = 2_000


@dataclass(frozen=True)
class Failure:
    """One failed DAG run.

    Attributes:
        at: when the line was written, with a UTC offset.
        task: the task that failed last; None when the run failed without one, for instance by its time limit.
        reason: the scheduler's word: task_failure, timed_out, all_tasks_deadlocked.
        kind: class of the error; `killed` when the process left none behind (out of memory, lost worker, time limit).
        message: the error's own text for errors of pipelines.contracts, empty otherwise.
        next_command: finishes the night by hand once the cause is removed; safe to run again.
    """

    at: datetime
    model: str
    business_date: date | None
    dag_id: str
    run_id: str
    task: str | None
    reason: str
    kind: str
    message: str
    next_command: str
    log_url: str | None


def describe(error: BaseException, *, safe: bool) -> dict[str, str]:
    """The part of an error that may leave the process: its class and, when `safe`, its message."""
    return {"kind": type(error).__name__, "message": str(error)[:_MESSAGE_CHARACTERS] if safe else ""}


def split_dag_id(dag_id: str) -> tuple[str, str]:
    """`credit_default_score` is model `credit_default`, step `score`."""
    model, _, step = dag_id.rpartition("_")
    return model, step


def next_command(step: str, task: str | None, model: str, business_date: date | None) -> str:
    """What on-call types after removing the cause; without a business date, what shows the missing ones. A release is
    begun again by who asked for it; on-call sees which requests are open."""
    if step in UNDATED:
        return f"python -m pipelines registry {UNDATED[step]} --model {model}"
    if step == REGISTRY:
        return f"python -m pipelines registry {(task or 'verify').replace('_', '-')}"
    if business_date is None:
        return f"python -m pipelines status --model {model}"
    if step == "release":
        return f"python -m pipelines registry requests --model {model}"
    own = {MATERIALISE: "feast materialise", RAISE_ALERTS: "raise-alerts"}
    verb = own.get(task or "") or ("train" if step == "train" else "night")
    return f"python -m pipelines {verb} --model {model} --date {business_date}"


def line(failure: Failure) -> str:
    """The failure as one line of JSON, keys in a fixed order."""
    return json.dumps(asdict(failure), default=lambda value: value.isoformat(), ensure_ascii=False)


def record(home: Path, failure: Failure) -> Path:
    """Append the line to `<home>/failures.jsonl` in one write, so that lines of parallel writers never mix."""
    path = home / "failures.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640), "wb", buffering=0) as file:
        file.write(line(failure).encode() + b"\n")
    return path
