"""Where raising alerts is killed, in children of dying.py's server."""

from __future__ import annotations

import sys

import dying
from aml_night import DAY, MODEL, evidence

from pipelines.aml import alerts
from pipelines.settings import Settings

STEP, RECORDS = "pipelines.aml.alerts", "pipelines.aml.records"

PLANTS: dict[str, dying.Plant] = {
    "before the batch is read": dying.before(STEP, "published_batch"),
    "after the old alerts are withdrawn": dying.after(RECORDS, "supersede"),
    "before the rows are read": dying.before(STEP, "candidates"),
    "after the line is drawn": dying.after(STEP, "select"),
    "before the cases are formed": dying.before(STEP, "group"),
    "after the night is recorded": dying.after(RECORDS, "insert_run"),
    "after the sample is recorded": dying.after(RECORDS, "insert_below"),
    "between two cases": dying.before(RECORDS, "_event", call=2),
    "after the alerts are recorded": dying.after(RECORDS, "insert_alerts"),
    "after the held are recorded": dying.after(RECORDS, "insert_held"),
    "before the commit": dying.before_postgres_commits(RECORDS, "withdraw_empty_cases"),
    "after the commit": dying.after_postgres_committed(RECORDS, "withdraw_empty_cases"),
}


def step(settings: Settings, plant: str) -> None:
    """Raise the alerts, until the plant kills the process."""
    PLANTS[plant](settings)
    alerts.raise_alerts(settings, MODEL, DAY, evidence())
    sys.exit(0)


def killed(settings: Settings, plant: str) -> int | None:
    """Run the step in a child with the plant in force; the exit code, -9 when it died of SIGKILL."""
    child = dying.server().Process(target=step, args=(settings, plant))
    child.start()
    child.join(120)
    return child.exitcode
