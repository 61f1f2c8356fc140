"""Latency: how long a call takes.

A clock never gives the same number twice, and a report judged again must be the same report. So a measurement that held
every rule is kept with the report it stands in, for as long as the files and the way of measuring are the same; one that did
not is taken anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter

import numpy as np
import pyarrow as pa

from pipelines.contracts import EvidenceMissing, Verdict
from pipelines.validation.gates.inputs import Inputs
from pipelines.validation.measurement import Measurement

_WARMING_UP = 3


def measure(inputs: Inputs) -> Iterator[Measurement]:
    """p99_ms, the 99th percentile of milliseconds a call takes, and rows_per_second of the median call."""
    asked = inputs.measuring
    how = f"{asked.latency_repeats} calls of {asked.latency_rows} rows each, in this process"
    kept = _kept(inputs, how)
    if kept:
        yield from kept
        return
    rows = _rows(inputs, asked.latency_rows)
    seconds = np.array([_timed(inputs, rows) for _ in range(_WARMING_UP + asked.latency_repeats)])[_WARMING_UP:]
    yield Measurement(metric="p99_ms", value=float(np.quantile(seconds, 0.99) * 1_000), evidence=how)
    yield Measurement(metric="rows_per_second", value=float(rows.num_rows / np.median(seconds)), evidence=how)


def _kept(inputs: Inputs, how: str) -> Sequence[Measurement]:
    """What the earlier report measured in the same way, if every rule in force today has its number there and holds."""
    in_force = inputs.policy.rules_for(inputs.model.domain, inputs.model.tier, inputs.judged_on)
    rules = [rule for rule in in_force if rule.gate == "latency"]
    earlier = inputs.earlier.verdicts if inputs.earlier else ()
    known = {
        v.metric: v.observed
        for v in earlier
        if v.gate == "latency"
        and v.evidence == how
        and v.verdict is not Verdict.NOT_ASSESSABLE
        and v.observed is not None
    }
    if any(
        rule.metric not in known or (rule.effect == "block" and not rule.holds(known[rule.metric])) for rule in rules
    ):
        return ()
    return [Measurement(metric=metric, value=value, evidence=how) for metric, value in known.items()]


def _rows(inputs: Inputs, wanted: int) -> pa.Table:
    """As many judged rows as asked for, the same ones again where there are fewer."""
    features = inputs.candidate.judged.features
    if not features.num_rows:
        raise EvidenceMissing("there are no judged rows to time a call on.")
    return features.take(pa.array(np.arange(wanted) % features.num_rows)).combine_chunks()


def _timed(inputs: Inputs, rows: pa.Table) -> float:
    start = perf_counter()
    inputs.candidate.predictor.predict(rows)
    return perf_counter() - start
