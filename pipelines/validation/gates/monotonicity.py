"""Monotonicity: where the model file promises a direction, does the score keep it, whatever the other inputs are?

On a seeded sample of judged rows the feature is moved through its own values, everything else held; a step is a violation
when the probability goes the other way by more than 1e-9.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipelines.contracts import EvidenceMissing
from pipelines.evaluation.metrics import Scores
from pipelines.training.rows import numbers
from pipelines.validation.gates.inputs import Inputs
from pipelines.validation.gates.rows import replaced, sample_of
from pipelines.validation.measurement import Measurement, assessed

_ROWS = 200
_GRID = 20
_TOLERANCE = 1e-9


def measure(inputs: Inputs) -> Iterator[Measurement]:
    """violations: share of the steps that go the wrong way, for each feature with a direction."""
    directions = {n: f.monotone for n, f in inputs.candidate.model.feature.items() if f.monotone != "none"}
    if not directions:
        yield Measurement(
            metric="violations", value=0.0, evidence="the model file promises no direction for any feature"
        )
    for name, direction in directions.items():
        sign = 1.0 if direction == "increasing" else -1.0
        yield assessed("violations", lambda name=name, sign=sign: _violations(inputs, name, sign), name)  # type: ignore[misc]


def _violations(inputs: Inputs, name: str, sign: float) -> Measurement:
    grid, rows = _grid(inputs, name), sample_of(inputs, _ROWS)
    if len(grid) < 2 or not rows.num_rows:
        raise EvidenceMissing(
            f"{name} has {len(grid)} values in {rows.num_rows} rows: there is nothing to move it through."
        )
    moved = pa.concat_tables([replaced(rows, name, np.full(rows.num_rows, value)) for value in grid])
    scores = inputs.candidate.predictor.predict(moved).reshape(len(grid), rows.num_rows)
    if not np.isfinite(scores).all():
        raise EvidenceMissing(f"moved through the values of {name}, the model gives probabilities that are no numbers.")
    wrong = sign * np.diff(scores, axis=0) < -_TOLERANCE
    promised = "rise" if sign > 0 else "fall"
    evidence = f"{int(wrong.sum())} of {wrong.size} steps of {rows.num_rows} rows; the score may only {promised}"
    return Measurement(metric="violations", segment=name, value=float(wrong.mean()), evidence=evidence)


def _grid(inputs: Inputs, name: str) -> Scores:
    """Values of the feature that occurred in training, spread evenly over the different ones, ends included."""
    values = np.unique(numbers(inputs.candidate.development.features, name))
    values = values[np.isfinite(values)]
    grid: Scores = values[np.unique(np.linspace(0, len(values) - 1, min(len(values), _GRID)).astype(int))]
    return grid
