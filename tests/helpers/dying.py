"""Steps in a child process that kills itself at a named point.

A point is a boundary of the production code, wrapped in the child only. Children are forked from a clean server that has
imported everything once, so a kill costs a fraction of a second.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib import import_module
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlalchemy import event

from pipelines import database
from pipelines.lake import Lake
from pipelines.settings import Settings

Plant = Callable[[Settings], None]


def die(*_: object) -> None:
    """As the system kills a process that runs out of memory: no handler, no cleanup."""
    os.kill(os.getpid(), signal.SIGKILL)


def before(module: str, name: str, *, call: int = 1) -> Plant:
    """Die in place of the n-th call."""
    return _replaced(module, name, lambda run, count: die() if count == call else run())


def after(module: str, name: str) -> Plant:
    """Die when the first call has returned."""
    return _replaced(module, name, lambda run, count: die(run()))


def during(module: str, name: str, *, item: int) -> Plant:
    """Die when the n-th item of what the function yields is asked for."""
    return _replaced(module, name, lambda run, count: dying(run(), item))


def before_commit_of(table: str) -> Plant:
    """Die when a date of the lake table is about to be replaced."""
    return _lake_write(table, lambda write, rows: die())


def during_commit_of(table: str) -> Plant:
    """Die when some rows are on their way into the lake table and nothing is committed."""
    return _lake_write(table, lambda write, rows: write(pa.RecordBatchReader.from_batches(rows.schema, dying(rows, 3))))


def after_commit_of(table: str) -> Plant:
    """Die when a date of the lake table has been replaced."""
    return _lake_write(table, lambda write, rows: die(write(rows)))


def before_postgres_commits(module: str, name: str) -> Plant:
    """Die when Postgres is about to be told to commit what the function was called for."""
    return _at_database_event("commit", module, name)


def after_postgres_committed(module: str, name: str) -> Plant:
    """Die when the connection comes back on which was committed what the function was called for."""
    return _at_database_event("checkin", module, name)


def dying(items: Iterable[Any], at: int) -> Iterator[Any]:
    """The items, but death when the n-th is asked for."""
    for count, item in enumerate(items, start=1):
        if count == at:
            die()
        yield item


def killed(settings: Settings, plant_name: str, step_name: str) -> int | None:
    """Run the step of killing_points.py in a child with the plant in force; the exit code, -9 when it died of SIGKILL."""
    child = server().Process(target=_run, args=(settings, plant_name, step_name))
    child.start()
    child.join(300)
    return child.exitcode


@cache
def server() -> ForkServerContext:
    """Where children come from; it has imported everything and run nothing."""
    helpers = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([helpers, *filter(None, [os.environ.get("PYTHONPATH")])])
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killing_points", "mlflow", "catboost", "great_expectations", "scipy.special"])
    return context


def _run(settings: Settings, plant_name: str, step_name: str) -> None:
    points = import_module("killing_points")
    points.PLANTS[plant_name](settings)
    points.STEPS[step_name](settings)
    sys.exit(0)


def _at_database_event(name_of_event: str, module: str, name: str) -> Plant:
    def plant(settings: Settings) -> None:
        engine = database.engine(settings.database_url)

        def armed(run: Callable[[], Any], count: int) -> Any:
            event.listen(engine, name_of_event, die)
            return run()

        _replaced(module, name, armed)(settings)

    return plant


def _replaced(module: str, name: str, instead: Callable[[Callable[[], Any], int], Any]) -> Plant:
    def plant(settings: Settings) -> None:
        owner = import_module(module)
        original, calls = getattr(owner, name), []

        def wrapper(*args: Any, **kw: Any) -> Any:
            calls.append(1)
            return instead(lambda: original(*args, **kw), len(calls))

        setattr(owner, name, wrapper)

    return plant


def _lake_write(table: str, instead: Callable[[Callable[[Any], int], Any], Any]) -> Plant:
    def plant(settings: Settings) -> None:
        original = Lake.replace_date

        def wrapper(self: Lake, written: str, day: Any, rows: Any, **kw: Any) -> Any:
            def write(these: Any) -> int:
                return original(self, written, day, these, **kw)

            return instead(write, rows) if written == table else write(rows)

        Lake.replace_date = wrapper  # type: ignore[method-assign]

    return plant
