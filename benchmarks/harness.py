"""How every benchmark is taken: three ways of the same step, in one process tree, one after the other.

A way runs in a fresh child process, so imports, caches and memory of one do not help or hurt another. Its import time is
outside the clock; peak memory is the child's own (VmHWM: ru_maxrss would start at what the parent held).
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Measurement:
    """One row of the speed table: seconds for the raw limit, ours and the usual way; None where a way does not exist."""

    step: str
    rows: int
    columns: int
    raw_s: float
    ours_s: float
    usual_s: float | None
    peak_mb: float


@dataclass(frozen=True)
class Timed:
    """Median seconds over the runs, and the child's peak memory in MB."""

    seconds: float
    peak_mb: float


def timed(prepare: Callable[..., Callable[[], Any]], *arguments: Any, runs: int = 3) -> Timed:
    """Run `prepare(*arguments)` in a fresh process, then time the callable it returns `runs` times."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_run, args=(sender, prepare, arguments, runs))
    child.start()
    sender.close()
    try:
        outcome = receiver.recv()
    except EOFError:
        outcome = RuntimeError(f"{prepare.__name__} died with exit code {child.exitcode}")
    child.join()
    if isinstance(outcome, BaseException):
        raise outcome
    return Timed(*outcome)


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def _run(sender: Any, prepare: Callable[..., Callable[[], Any]], arguments: tuple[Any, ...], runs: int) -> None:
    try:
        work = prepare(*arguments)
        seconds = []
        for _ in range(runs):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
        sender.send((median(seconds), _peak_mb()))
    except BaseException as error:
        sender.send(error)
        raise
