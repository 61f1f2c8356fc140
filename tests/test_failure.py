"""The failure line: complete, in one line, without ids, never torn by another writer."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime

import pytest

from pipelines import failure
from pipelines.contracts import DataFault

FAILED = failure.Failure(
    at=datetime(2026, 7, 1, 2, 15, tzinfo=UTC),
    model="credit_default",
    business_date=date(2026, 6, 30),
    dag_id="credit_default_score",
    run_id="scheduled__2026-07-01",
    task="score",
    reason="task_failure",
    kind="Blocked",
    message="no champion.\nNothing was published.",
    next_command=failure.next_command("score", "score", "credit_default", date(2026, 6, 30)),
    log_url="http://localhost/log",
)


def test_a_line_is_one_line_of_json_with_every_field():
    written = failure.line(FAILED)
    assert "\n" not in written
    assert json.loads(written) == {
        "at": "2026-07-01T02:15:00+00:00",
        "model": "credit_default",
        "business_date": "2026-06-30",
        "dag_id": "credit_default_score",
        "run_id": "scheduled__2026-07-01",
        "task": "score",
        "reason": "task_failure",
        "kind": "Blocked",
        "message": "no champion.\nNothing was published.",
        "next_command": "python -m pipelines night --model credit_default --date 2026-06-30",
        "log_url": "http://localhost/log",
    }


def test_parallel_writers_never_tear_a_line(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: failure.record(tmp_path / "new", FAILED), range(400)))
    lines = (tmp_path / "new" / "failures.jsonl").read_text().splitlines()
    assert lines == [failure.line(FAILED)] * 400


def test_only_our_own_messages_leave_the_process():
    assert failure.describe(KeyError("account 4711"), safe=False) == {"kind": "KeyError", "message": ""}
    assert failure.describe(DataFault("two rows"), safe=True) == {"kind": "DataFault", "message": "two rows"}
    assert len(failure.describe(DataFault("x" * 10_000), safe=True)["message"]) == 2_000


@pytest.mark.parametrize(
    ("step", "task", "business_date", "command"),
    [
        ("train", "train", date(2026, 6, 30), "python -m pipelines train --model m --date 2026-06-30"),
        ("ingest", "land", date(2026, 6, 30), "python -m pipelines night --model m --date 2026-06-30"),
        ("features", None, date(2026, 6, 30), "python -m pipelines night --model m --date 2026-06-30"),
        (
            "features",
            "materialise",
            date(2026, 6, 30),
            "python -m pipelines feast materialise --model m --date 2026-06-30",
        ),
        ("score", "raise_alerts", date(2026, 6, 30), "python -m pipelines raise-alerts --model m --date 2026-06-30"),
        ("ingest", "land", None, "python -m pipelines status --model m"),
        ("release", "promote", date(2026, 6, 30), "python -m pipelines registry requests --model m"),
        ("rehearsal", "rehearse", None, "python -m pipelines registry rehearse --model m"),
        ("rollback", "rollback", None, "python -m pipelines registry champion --model m"),
    ],
)
def test_the_next_command_fits_the_step(step, task, business_date, command):
    assert failure.next_command(step, task, "m", business_date) == command


def test_a_dag_id_names_model_and_step():
    assert failure.split_dag_id("credit_default_score") == ("credit_default", "score")
