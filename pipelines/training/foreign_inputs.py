"""How rows become the columns of a model that was trained elsewhere, and how what it says becomes log odds.

Absent values: a feature with a direction gets the same stand-in as in Vigil's own models (binning.stand_in). Of the others,
a model that was trained with absent values gets them as they are. A row with an absent value that the model has no way to
take has no answer; it gets the highest log odds there are, so that leaving a field empty never makes an account look better.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipelines.contracts import EvidenceMissing, Value
from pipelines.evaluation.metrics import Scores
from pipelines.training.baseline_shapley import baseline_shapley
from pipelines.training.contributions import Contributions
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
        reference: per feature the usual value, which reasons compare with; None is absent. Not there in a model as its maker
            had it, nor in one imported before there were reasons.
    """

    format: str = "vigil-foreign-1"
    features: tuple[ForeignFeature, ...]
    output: Output
    trusted: tuple[str, ...] = ()
    reference: dict[str, float | str | None] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)

    def matrix(self, rows: Features) -> Scores:
        """All columns as doubles; a category is its position in `categories`, from 0, and NaN when unknown."""
        return np.column_stack([_coded(rows, feature) for feature in self.features])

    def columns(self, matrix: Scores) -> dict[str, Any]:
        """The columns of a matrix as the model takes them by name: doubles, or strings with `UNKNOWN` for what it does not
        know."""
        return {
            feature.name: values if feature.categories is None else _worded(values, feature.categories)
            for feature, values in zip(self.features, matrix.T, strict=True)
        }

    def unanswerable(self, matrix: Scores) -> Mask:
        """Rows of a matrix with an absent value or unknown category that the model has no way to take."""
        asked = [not feature.accepts_missing for feature in self.features]  # a stand-in leaves no absent value
        return np.asarray(np.isnan(matrix[:, asked]).any(axis=1))

    def log_odds(self, said: Scores, unanswerable: Mask) -> Scores:
        """Log odds from the model's own output; the highest where there is no answer, or none that is a number."""
        if self.output.kind == "probability":
            with np.errstate(divide="ignore", invalid="ignore"):
                said = np.log(said) - np.log1p(-said)
        answered = np.where(np.isnan(said) | unanswerable, HIGHEST, said)
        clipped: Scores = np.clip(answered, -HIGHEST, HIGHEST)
        return clipped

    def contributions(self, log_odds: Callable[[Scores], Scores], rows: Features) -> Contributions:
        """Baseline Shapley values (pipelines.training.baseline_shapley) against the reference row, whose log odds are the
        baseline. What has no answer counts as the highest log odds, and a stand-in as the feature's value.

        Args:
            log_odds: of the rows of a matrix, by the model.

        Raises:
            EvidenceMissing: there is no reference row, or the model has no answer for it.
        """
        reference = self._reference()
        if self.unanswerable(reference).any():
            raise EvidenceMissing(
                "the model has no answer for the reference row, which its reasons would be compared with: a feature that it "
                "cannot do without was absent in all development rows."
            )
        return baseline_shapley(log_odds, self.matrix(rows), reference[0], self.names)

    def _reference(self) -> Scores:
        """A matrix of the one row."""
        if self.reference is None:
            raise EvidenceMissing(
                "this version was imported before reasons were given for models trained elsewhere and has no reference row to "
                "compare with. Import its package again: this code makes a new version of it."
            )
        kinds = {f.name: pa.float64() if f.categories is None else pa.string() for f in self.features}
        return self.matrix(pa.table({name: pa.array([self.reference[name]], kind) for name, kind in kinds.items()}))


def _coded(rows: Features, feature: ForeignFeature) -> Scores:
    if feature.categories is None:
        values = numbers(rows, feature.name)
        return values if feature.stand_in is None else np.where(np.isnan(values), feature.stand_in, values)
    positions = pc.index_in(rows[feature.name], pa.array(feature.categories, pa.string()))
    return np.asarray(pc.fill_null(pc.cast(positions, pa.float64()), np.nan))


def _worded(codes: Scores, categories: tuple[str, ...]) -> Any:
    known = np.where(np.isnan(codes), len(categories), codes).astype(np.intp)
    return np.array([*categories, UNKNOWN], object)[known]
