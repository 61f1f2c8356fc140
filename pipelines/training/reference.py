"""How the features and the score were distributed when the model was made: what drift is measured against.

Histograms in the order of pipelines.monitoring.psi: for numbers the rows below the first edge, between edges (lower edge
included), from the last edge on, and absent; for categories the rows of each, of any other, and absent.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contracts import Value
from pipelines.evaluation.metrics import Scores
from pipelines.spec import Feature
from pipelines.training.rows import Rows, numbers

SCORE_BINS = 10
MOST_CATEGORIES = 50


class NumberReference(Value):
    """k inner edges and k + 2 counts."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


class CategoryReference(Value):
    """The most frequent categories by name, and two more counts: any other, and absent."""

    categories: tuple[str, ...]
    counts: tuple[int, ...]


class Reference(Value):
    """Distributions over the rows the model was judged on, the newest it had not learnt from.

    With unlabelled rows these are the judged ones and the background of the same dates together: a night scores everyone,
    and everyone is not like those somebody chose to investigate.

    Attributes:
        probability: of the calibrated score, in ten equally filled bins.
    """

    rows: int
    probability: NumberReference
    features: dict[str, NumberReference | CategoryReference]


def reference_of(rows: Rows, features: dict[str, Feature], probability: Scores) -> Reference:
    """The reference of judged rows; `probability` is in the order of `rows.population`."""
    everyone = rows.population
    return Reference(
        rows=everyone.num_rows,
        probability=_number_reference(probability),
        features={
            name: _category_reference(everyone[name])
            if feature.categorical
            else _number_reference(numbers(everyone, name))
            for name, feature in features.items()
        },
    )


def _number_reference(values: Scores) -> NumberReference:
    absent = np.isnan(values)
    present = values[~absent]
    edges = np.unique(np.quantile(present, np.arange(1, SCORE_BINS) / SCORE_BINS)) if len(present) else present
    counts = np.bincount(np.searchsorted(edges, present, side="right"), minlength=len(edges) + 1)
    return NumberReference(edges=tuple(edges.tolist()), counts=(*counts.tolist(), int(absent.sum())))


def _category_reference(values: pa.ChunkedArray) -> CategoryReference:
    counted = sorted(
        ((c["counts"], c["values"]) for c in pc.value_counts(values.drop_null()).to_pylist()),
        key=lambda pair: (-pair[0], pair[1]),
    )
    kept, rest = counted[:MOST_CATEGORIES], counted[MOST_CATEGORIES:]
    return CategoryReference(
        categories=tuple(name for _, name in kept),
        counts=(*(count for count, _ in kept), sum(count for count, _ in rest), values.null_count),
    )
