"""Rows to learn from: features, label and event date, kept together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contracts import DataFault
from pipelines.evaluation.metrics import Dates, Labels, Scores
from pipelines.spec import Feature

Mask = npt.NDArray[np.bool_]
Features: TypeAlias = pa.Table | pa.RecordBatch


@dataclass(frozen=True)
class Background:
    """Rows of the population that nobody investigated: they have no label and are never taken for negatives.

    Attributes:
        features, event_date: as in Rows, in the same order.
    """

    features: pa.Table
    event_date: Dates

    def __len__(self) -> int:
        return len(self.event_date)

    def where(self, mask: Mask) -> Background:
        """The rows for which the mask is true, in the same order."""
        return Background(self.features.filter(pa.array(mask)), self.event_date[mask])


@dataclass(frozen=True)
class Rows:
    """Rows in the order they are learnt from: by event date, then token.

    Everything that counts, measures or splits rows means the labelled ones. The background only goes along, for what learns
    without labels.

    Attributes:
        features: one column per feature, numbers as doubles and categories as strings; null is absent.
        label: 1 where the event happened, else 0.
        event_date: what the label looks forward from.
        judged: false where nobody would have asked the model; such rows are learnt from and not measured on.
        background: the unlabelled rows; None where the label view labels every row.
    """

    features: pa.Table
    label: Labels
    event_date: Dates
    background: Background | None = None
    judged: Mask | None = None

    def __len__(self) -> int:
        return len(self.label)

    @property
    def events(self) -> int:
        return int(self.label.sum())

    @property
    def unlabelled(self) -> int:
        """How many rows nobody investigated."""
        return 0 if self.background is None else len(self.background)

    @property
    def population(self) -> pa.Table:
        """Features of all rows, the labelled ones first."""
        return self.features if self.background is None else pa.concat_tables([self.features, self.background.features])

    def where(self, mask: Mask) -> Rows:
        """The labelled rows for which the mask is true, in the same order, with the whole background."""
        judged = None if self.judged is None else self.judged[mask]
        return Rows(
            self.features.filter(pa.array(mask)), self.label[mask], self.event_date[mask], self.background, judged
        )

    def before(self, start: np.datetime64) -> Rows:
        """All rows with an earlier event date, labelled or not."""
        return self._dated(self.event_date < start, lambda dates: dates < start)

    def since(self, start: np.datetime64) -> Rows:
        """All rows with that event date or a later one, labelled or not."""
        return self._dated(self.event_date >= start, lambda dates: dates >= start)

    def _dated(self, labelled: Mask, chosen: Callable[[Dates], Mask]) -> Rows:
        others = self.background
        return replace(self.where(labelled), background=others and others.where(chosen(others.event_date)))


def rows_of(table: pa.Table, features: Mapping[str, Feature]) -> Rows:
    """Rows of a training set table (event_date, features, label), in its order; those without a label are background.

    Raises DataFault for a feature that is not there, of another kind, or infinite.
    """
    learnt = typed(table, features)
    for name, feature in features.items():
        infinite = 0 if feature.categorical else int(np.isinf(numbers(learnt, name)).sum())
        if infinite:
            raise DataFault(
                f"feature {name!r} is infinite in {infinite} of {len(table)} training rows: something was divided by zero. "
                "Nothing was trained. Make it absent instead (nullif) in feature_repo/."
            )
    event_date = table["event_date"].cast(pa.date32()).to_numpy()
    judged = table["judged"].to_numpy() if "judged" in table.schema.names else None
    if not table["label"].null_count:
        return Rows(learnt, table["label"].to_numpy().astype(np.int8), event_date, judged=judged)
    labelled = table["label"].is_valid().to_numpy()
    return Rows(
        features=learnt.filter(pa.array(labelled)),
        label=table["label"].drop_null().to_numpy().astype(np.int8),
        event_date=event_date[labelled],
        background=Background(learnt, event_date).where(~labelled),
        judged=None if judged is None else judged[labelled],
    )


def typed(table: Features, features: Mapping[str, Feature]) -> pa.Table:
    """The features by name, as doubles and strings. Raises DataFault for an absent column or one of another kind."""
    return pa.table({name: _typed(table, name, feature.categorical) for name, feature in features.items()})


def numbers(table: Features, name: str) -> Scores:
    """A numeric column as doubles, absent values as NaN; without a copy where it is that already."""
    column = table[name]
    if column.type != pa.float64():
        column = pc.cast(column, pa.float64())
    values: Scores = column.to_numpy() if isinstance(column, pa.ChunkedArray) else column.to_numpy(zero_copy_only=False)
    return values


def _typed(table: Features, name: str, categorical: bool) -> pa.ChunkedArray | pa.Array:
    if name not in table.schema.names:
        raise DataFault(f"the rows have no feature {name!r}; have {', '.join(table.schema.names)}.")
    kind = pa.string() if categorical else pa.float64()
    try:
        return pc.cast(table[name], kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        asked = "a category" if categorical else "a number"
        raise DataFault(
            f"feature {name!r} is {table[name].type}, the model file declares {asked}. Correct `categorical` in the model "
            "file or the feature's type in feature_repo/."
        ) from None
