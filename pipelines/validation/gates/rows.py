"""Rows to try a model on, and ways to change them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipelines.evaluation.metrics import Scores
from pipelines.training.rows import Rows
from pipelines.validation.candidate import Candidate
from pipelines.validation.gates.inputs import Inputs


def sample_of(inputs: Inputs, most: int) -> pa.Table:
    """Features of so many judged rows at most, drawn by the policy's seed, in their order."""
    features = inputs.candidate.judged.features
    if features.num_rows <= most:
        return features
    chosen = np.random.default_rng(inputs.measuring.seed).choice(features.num_rows, most, replace=False)
    return features.take(pa.array(np.sort(chosen)))


def labelled_rows(candidate: Candidate) -> Rows:
    """The labelled rows of the training set: those learnt from, then those judged; in folds they are the same."""
    learnt, judged = candidate.development, candidate.judged
    if candidate.in_folds:
        return learnt
    return Rows(
        features=pa.concat_tables([learnt.features, judged.features]),
        label=np.concatenate([learnt.label, judged.label]),
        event_date=np.concatenate([learnt.event_date, judged.event_date]),
    )


def replaced(features: pa.Table, name: str, values: Scores | pa.Array | pa.ChunkedArray) -> pa.Table:
    """The table with other values of one feature; NaN is absent."""
    column = pa.array(values, from_pandas=True) if isinstance(values, np.ndarray) else values
    return features.set_column(features.schema.names.index(name), name, column)


def without(features: pa.Table, *names: str) -> pa.Table:
    """The table with these features absent in every row."""
    for name in names:
        features = replaced(features, name, pa.nulls(features.num_rows, features[name].type))
    return features
