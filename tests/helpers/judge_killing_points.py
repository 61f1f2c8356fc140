"""Gates that measure what they are told, and where a judgement is killed, in children of dying.py's server."""

from __future__ import annotations

import sys
from typing import Any

import dying
from judged_lender import ON

from pipelines import validation
from pipelines.settings import Settings
from pipelines.spec import GATES, load_model
from pipelines.validation.gates import engine
from pipelines.validation.measurement import Measurement

STEP = "pipelines.validation.judgement"

PLANTS: dict[str, dying.Plant] = {
    "before the commit": dying.before_postgres_commits(STEP, "_permit"),
    "after the commit": dying.after_postgres_committed(STEP, "_permit"),
    "before the pages are logged": dying.before("pipelines.mlflow_store", "log_folder"),
    "before the alias": dying.before(STEP, "_set_alias"),
}


def made_up(found: dict[str, float]) -> dict[Any, engine.Measure]:
    """For every gate a measure that gives the number `found` has for it."""

    def measure_of(gate: str) -> engine.Measure:
        return lambda _: [Measurement(metric="number", value=found[gate], evidence="made up")]

    return {gate: measure_of(gate) for gate in GATES}


def step(settings: Settings, plant: str) -> None:
    """Judge version 1 as one that passes, until the plant kills the process."""
    engine.MEASURES = made_up(dict.fromkeys(GATES, 1.0))
    PLANTS[plant](settings)
    validation.judge(settings, load_model(settings.models, "loans"), 1, ON)
    sys.exit(0)


def killed(settings: Settings, plant: str) -> int | None:
    """Run the step in a child with the plant in force; the exit code, -9 when it died of SIGKILL."""
    child = dying.server().Process(target=step, args=(settings, plant))
    child.start()
    child.join(120)
    return child.exitcode
