"""How rows become the columns of a model that was trained elsewhere, and how what it says becomes log odds.

Absent values: a feature with a direction gets the same stand-in as in Vigil's own models (binning.stand_in). Of the others,
a model that was trained with absent values gets them as they are. A row with an absent value that the model has no way to
take has no answer; it gets the highest log odds there are, so that leaving a field empty never makes an account look better.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipelines.contracts import EvidenceMissing, Value
from pipelines.evaluation.metrics import Scores
from pipelines.training.rows import Features, Mask, numbers

FILE = "model_inputs.json"
HIGHEST = 700.0  # exp(-700) is still a normal double
UNKNOWN = ""


class ForeignFeature(Value):
    """One input of the model.

    Attributes:
        categories: those the model knows, in the order of their codes; None for a number.
        accepts_missing: the model was trained with absent values of it.
        stand_in: what an absent number counts as; None where absent values go in as they are, or not at all.
    """

    name: str
    categories: tuple[str, ...] | None = None
    accepts_missing: bool = False
    stand_in: float | None = None


class Output(Value):
    """Where the model says how likely the event is.

    Attributes:
        kind: a probability, or log odds without calibration.
        name: of the output, for a format that names its outputs.
        column: of the event, where the output has several; where it is a map, its key.
    """

    kind: Literal["probability", "log_odds"]
    name: str | None = None
    column: int | None = Field(default=None, ge=0)


class ForeignInputs(Value):
    """What lies between the bank's rows and the model.

    Attributes:
        features: in the model's order.
        trusted: types of a skops file that skops does not trust by itself and the bank's policy did at import.
    """

    format: str = "vigil-foreign-1"
    features: tuple[ForeignFeature, ...]
    output: Output
    trusted: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)

    def column(self, rows: Features, feature: ForeignFeature) -> Any:
        """One column as the model takes it by name: doubles, or strings with `UNKNOWN` for what it does not know."""
        if feature.categories is None:
            values = numbers(rows, feature.name)
            return values if feature.stand_in is None else np.where(np.isnan(values), feature.stand_in, values)
        known = pa.array(feature.categories, pa.string())
        return np.array([*feature.categories, UNKNOWN], object)[_positions(rows, feature.name, known)]

    def matrix(self, rows: Features) -> Scores:
        """All columns as doubles; a category is its position in `categories`, from 0, and NaN when unknown."""
        return np.column_stack([self._coded(rows, feature) for feature in self.features])

    def unanswerable(self, rows: Features) -> Mask:
        """Rows with an absent value or unknown category that the model has no way to take."""
        found = np.zeros(rows.num_rows, bool)
        for feature in self.features:
            if feature.accepts_missing or feature.stand_in is not None:
                continue
            column = rows[feature.name]
            if feature.categories is None:
                found |= np.isnan(numbers(rows, feature.name))
            else:
                found |= ~np.asarray(pc.is_in(column, pa.array(feature.categories, pa.string())))
        return found

    def log_odds(self, said: Scores, unanswerable: Mask) -> Scores:
        """Log odds from the model's own output; the highest where there is no answer, or none that is a number."""
        if self.output.kind == "probability":
            with np.errstate(divide="ignore", invalid="ignore"):
                said = np.log(said) - np.log1p(-said)
        answered = np.where(np.isnan(said) | unanswerable, HIGHEST, said)
        clipped: Scores = np.clip(answered, -HIGHEST, HIGHEST)
        return clipped

    def _coded(self, rows: Features, feature: ForeignFeature) -> Scores:
        if feature.categories is None:
            values: Scores = self.column(rows, feature)
            return values
        positions = _positions(rows, feature.name, pa.array(feature.categories, pa.string()))
        return np.where(positions == len(feature.categories), np.nan, positions.astype(np.float64))


def _positions(rows: Features, name: str, known: pa.Array) -> Any:
    return np.asarray(pc.fill_null(pc.index_in(rows[name], known), len(known)))


def no_contributions(format: str) -> EvidenceMissing:
    """Why a model of this format can give nobody a reason; a gate that asks for reasons then blocks."""
    return EvidenceMissing(
        f"a model that came as {format} does not tell what each feature adds to a score, so no reason can be given for it. "
        "A CatBoost file of the same model would."
    )
