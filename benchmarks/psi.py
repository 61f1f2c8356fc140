"""PSI of every column on everyone: ours against the plain NumPy loop, and against Evidently's drift report as it comes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks.harness import Measurement, timed
from pipelines.monitoring.psi import column_psi, count_numbers

COLUMNS = 30
BINS = 10


def measure(rows: int) -> list[Measurement]:
    """PSI of 30 numeric columns in 10 bins against a reference of the same size."""
    raw = timed(_numpy_loop, rows)
    ours = timed(_ours, rows)
    usual = timed(_evidently, rows, runs=1)
    return [Measurement("PSI, everyone", rows, COLUMNS, raw.seconds, ours.seconds, usual.seconds, ours.peak_mb)]


def _numpy_loop(rows: int) -> Callable[[], object]:
    table, edges, expected = _inputs(rows)
    columns = {name: table[name].to_numpy() for name in edges}

    def work() -> dict[str, float]:
        found = {}
        for name, cuts in edges.items():
            counts = np.histogram(columns[name], [-np.inf, *cuts, np.inf])[0]
            a, e = counts / rows, expected[name][:-1] / rows
            found[name] = float(np.sum((a - e) * np.log(a / e)))
        return found

    return work


def _ours(rows: int) -> Callable[[], object]:
    table, edges, expected = _inputs(rows)
    return lambda: column_psi(table, edges, expected)


def _evidently(rows: int) -> Callable[[], object]:
    from evidently import Report
    from evidently.presets import DataDriftPreset

    current = _inputs(rows)[0].to_pandas()
    random = np.random.default_rng(1)
    reference = pd.DataFrame({name: random.normal(size=rows) for name in current.columns})
    return lambda: Report([DataDriftPreset()]).run(current, reference).dict()


def _inputs(rows: int) -> tuple[pa.Table, dict[str, list[float]], dict[str, np.ndarray]]:
    rng = np.random.default_rng(20260630)
    reference = rng.normal(size=rows)
    edges = np.quantile(reference, np.linspace(0, 1, BINS + 1)[1:-1]).tolist()
    counts = count_numbers(reference, edges)
    names = [f"feature_{i}" for i in range(COLUMNS)]
    table = pa.table({name: rng.normal(0.1, 1.0, rows) for name in names})
    return table, dict.fromkeys(names, edges), dict.fromkeys(names, counts)
