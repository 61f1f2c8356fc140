"""How fast both models score, and what that costs: measured by the clock, so it stands beside a comparison, not in it."""

from __future__ import annotations

from time import perf_counter, process_time

import numpy as np
import pyarrow as pa

from pipelines.contracts import EvidenceMissing, Value
from pipelines.spec import Measuring
from pipelines.training.artefact import Predictor

_UNIT = 1_000
_MILLION = 1_000_000


class Speed(Value):
    """Of one model on this machine.

    Attributes:
        p50_ms, p99_ms: milliseconds for 1,000 rows in one call.
        cpu_seconds: processor seconds of all threads for a million rows.
        calls, rows: how many calls of how many rows were timed.
    """

    p50_ms: float
    p99_ms: float
    cpu_seconds: float
    calls: int
    rows: int


def speed(predictor: Predictor, features: pa.Table, measuring: Measuring) -> Speed:
    """Score the same rows again and again; the first call, which loads, is not counted. Raises EvidenceMissing without rows."""
    if not features.num_rows:
        raise EvidenceMissing("there are no rows to time a model on.")
    rows = features.take(pa.array(np.arange(measuring.latency_rows) % features.num_rows)).combine_chunks()
    predictor.predict(rows)
    seconds = np.empty(measuring.latency_repeats)
    busy = process_time()
    for call in range(measuring.latency_repeats):
        begun = perf_counter()
        predictor.predict(rows)
        seconds[call] = perf_counter() - begun
    busy = process_time() - busy
    p50, p99 = np.quantile(seconds, [0.5, 0.99]) * 1_000 * _UNIT / rows.num_rows
    return Speed(
        p50_ms=float(p50),
        p99_ms=float(p99),
        cpu_seconds=busy / (len(seconds) * rows.num_rows) * _MILLION,
        calls=len(seconds),
        rows=rows.num_rows,
    )
