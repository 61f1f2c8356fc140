"""A logistic scorecard: points per bin of each feature, which add up to the log odds. Stored as JSON, scored in NumPy.

Every feature is cut into bins, each bin is replaced by its weight of evidence, and scikit-learn's LogisticRegression
weighs the features. points = coefficient * weight of evidence, so a feature's contribution is exactly its points. A
coefficient below zero would turn a feature's own evidence round (it happens when features repeat each other), so such
features leave the card one at a time. Siddiqi, Credit Risk Scorecards (2006).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from inspect import signature
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contracts import Blocked, Value
from pipelines.evaluation.metrics import Scores
from pipelines.spec import Feature
from pipelines.training.binning import CategoryBins, NumberBins, bin_categories, bin_numbers
from pipelines.training.contributions import Contributions
from pipelines.training.recipe import Parameters, Recipe, readable_refusal, require_known_parameters
from pipelines.training.rows import Features, Rows, numbers

FILE = "scorecard.json"
_RESERVED = frozenset({"random_state", "n_jobs", "fit_intercept", "warm_start", "verbose", "multi_class", "penalty"})
_DEFAULTS: Parameters = {"C": 1.0, "solver": "newton-cholesky", "tol": 1e-8, "max_iter": 200}
_DIGITS = 6  # points are rounded, so that the last bits of another machine's sums do not make another card


class NumberCharacteristic(Value):
    """A number: points of the bins [edge, next edge), with k edges k + 1 of them, and of an absent value.

    Attributes:
        expected: mean points of the rows it was fitted on; 0, the points of average odds, in a card that does not say.
    """

    feature: str
    edges: tuple[float, ...]
    points: tuple[float, ...]
    missing: float
    expected: float = 0.0

    def of(self, features: Features) -> Scores:
        """Points of each row."""
        values = numbers(features, self.feature)
        table = np.array([*self.points, self.missing])
        index = np.searchsorted(np.array(self.edges), values, side="right")
        index[np.isnan(values)] = len(self.points)
        points: Scores = table[index]
        return points


class CategoryCharacteristic(Value):
    """A category: points of each known one, of an absent value, and of a rare or unknown one; `expected` as for a number."""

    feature: str
    points: dict[str, float]
    missing: float
    other: float
    expected: float = 0.0

    def of(self, features: Features) -> Scores:
        """Points of each row."""
        values, known = features[self.feature], pa.array(list(self.points), pa.string())
        index = pc.fill_null(pc.index_in(values, known), len(known))
        index = pc.if_else(pc.is_null(values), len(known) + 1, index)
        points: Scores = np.array([*self.points.values(), self.other, self.missing])[np.asarray(index)]
        return points


class Scorecard(Value):
    """log odds = intercept + the points of each characteristic."""

    format: str = "vigil-scorecard-1"
    intercept: float
    numbers: tuple[NumberCharacteristic, ...]
    categories: tuple[CategoryCharacteristic, ...]

    def log_odds(self, features: Features) -> Scores:
        """Log odds of each row, before calibration; summed in the order of the card, the same on every machine."""
        total = np.full(features.num_rows, self.intercept)
        for number in self.numbers:
            total += number.of(features)
        for category in self.categories:
            total += category.of(features)
        return total

    def contributions(self, features: Features) -> Contributions:
        """Points less their mean over the rows the card was fitted on; the baseline is the card's mean over those rows."""
        parts: tuple[NumberCharacteristic | CategoryCharacteristic, ...] = (*self.numbers, *self.categories)
        return Contributions(
            baseline=self.intercept + sum(part.expected for part in parts),
            values=np.column_stack([part.of(features) - part.expected for part in parts]),
            features=tuple(part.feature for part in parts),
        )

    def files(self) -> dict[str, bytes]:
        """The card as its one file."""
        return {FILE: json.dumps(self.model_dump(mode="json"), indent=1).encode()}

    def importance(self) -> dict[str, float]:
        """Per feature how many points lie between its best and its worst bin."""
        spans = {c.feature: _span(c.points) for c in self.numbers}
        return spans | {c.feature: _span(c.points.values()) for c in self.categories}


def check_parameters(model: str, parameters: Mapping[str, Any]) -> None:
    """Raises DataFault for a parameter LogisticRegression does not have, or that is fixed here."""
    from sklearn.linear_model import LogisticRegression

    known = set(signature(LogisticRegression.__init__).parameters) - {"self"} - _RESERVED
    require_known_parameters(model, "scorecard", parameters, known)


def effective_parameters(recipe: Recipe) -> Parameters:
    """What LogisticRegression is really told, with the defaults."""
    return _DEFAULTS | recipe.parameters | {"random_state": recipe.seed}


def load(files: Mapping[str, bytes]) -> Scorecard:
    """The card from its file."""
    return Scorecard.model_validate_json(files[FILE])


def fit(recipe: Recipe, rows: Rows, held_out: Rows) -> Scorecard:
    """Fit on `rows`; a card has nothing to stop early. Raises Blocked when no feature is left."""
    return _card(recipe, rows)


def refit(recipe: Recipe, rows: Rows, first: Scorecard) -> Scorecard:
    """Fit again on more rows. Raises Blocked when no feature is left."""
    return _card(recipe, rows)


def _card(recipe: Recipe, rows: Rows) -> Scorecard:
    bins = {name: _bins(rows, name, feature) for name, feature in recipe.features.items()}
    evidence = np.column_stack([_weights(rows, name, b) for name, b in bins.items()])
    coefficients, intercept = _fitted(recipe, evidence, rows)
    weights = {name: c for name, c in zip(bins, coefficients, strict=True) if c > 0}
    parts = [_characteristic(name, bins[name], weight) for name, weight in weights.items()]
    parts = [
        part.model_copy(update={"expected": round(float(part.of(rows.features).mean()), _DIGITS)}) for part in parts
    ]
    return Scorecard(
        intercept=round(intercept, _DIGITS),
        numbers=tuple(part for part in parts if isinstance(part, NumberCharacteristic)),
        categories=tuple(part for part in parts if isinstance(part, CategoryCharacteristic)),
    )


def _fitted(recipe: Recipe, evidence: Scores, rows: Rows) -> tuple[Scores, float]:
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    kept = np.flatnonzero(np.ptp(evidence, axis=0) > 0)
    while len(kept):
        regression = LogisticRegression(**effective_parameters(recipe))
        # One thread, because the order of a sum must not depend on the number of cores.
        with threadpool_limits(1), readable_refusal(recipe, "scorecard", ValueError, TypeError):
            regression.fit(evidence[:, kept], rows.label)
        found = regression.coef_[0]
        if found.min() >= 0:
            coefficients = np.zeros(evidence.shape[1])
            coefficients[kept] = found
            return coefficients, float(regression.intercept_[0])
        kept = np.delete(kept, np.argmin(found))
    raise Blocked("no feature of the scorecard says anything about the label. Nothing was registered.")


def _bins(rows: Rows, name: str, feature: Feature) -> NumberBins | CategoryBins:
    if feature.categorical:
        return bin_categories(rows.features[name], rows.label, feature)
    return bin_numbers(numbers(rows.features, name), rows.label, feature)


def _weights(rows: Rows, name: str, bins: NumberBins | CategoryBins) -> Scores:
    return _characteristic(name, bins, 1.0).of(rows.features)


def _characteristic(
    name: str, bins: NumberBins | CategoryBins, weight: float
) -> NumberCharacteristic | CategoryCharacteristic:
    return _number(name, bins, weight) if isinstance(bins, NumberBins) else _category(name, bins, weight)


def _number(name: str, bins: NumberBins, weight: float) -> NumberCharacteristic:
    points = tuple(round(weight * woe, _DIGITS) for woe in bins.woe)
    return NumberCharacteristic(
        feature=name, edges=bins.edges, points=points, missing=round(weight * bins.missing, _DIGITS)
    )


def _category(name: str, bins: CategoryBins, weight: float) -> CategoryCharacteristic:
    return CategoryCharacteristic(
        feature=name,
        points={category: round(weight * woe, _DIGITS) for category, woe in bins.woe.items()},
        missing=round(weight * bins.missing, _DIGITS),
        other=round(weight * bins.other, _DIGITS),
    )


def _span(points: Any) -> float:
    values = list(points)
    return max(values) - min(values) if values else 0.0
