"""From a model's log odds to a probability that can be believed, fitted on rows the model had not learnt from.

Sigmoid: a logistic regression of the outcome on the log odds, Platt, Advances in Large Margin Classifiers (1999).
Isotonic: pool adjacent violators, Zadrozny and Elkan, KDD (2002), linear between the steps. Stored as JSON numbers, which
give back every bit of a double.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, TypeAdapter

from pipelines.contracts import Blocked, Value
from pipelines.evaluation.metrics import Labels, Scores, auc

_FURTHEST = 700.0  # exp(-700) is still a normal double
_DIGITS = 9


class Sigmoid(Value):
    """probability = 1 / (1 + exp(-(slope * log odds + intercept)))."""

    kind: Literal["sigmoid"] = "sigmoid"
    slope: float
    intercept: float

    def probability(self, log_odds: Scores) -> Scores:
        """Probability of the event, strictly rising with the log odds."""
        return logistic(self.slope * log_odds + self.intercept)


class Isotonic(Value):
    """Probability at each knot of the log odds; linear between knots, flat outside."""

    kind: Literal["isotonic"] = "isotonic"
    log_odds: tuple[float, ...]
    probabilities: tuple[float, ...]

    def probability(self, log_odds: Scores) -> Scores:
        """Probability of the event, never falling with the log odds."""
        return np.interp(log_odds, self.log_odds, self.probabilities)


Calibration = Annotated[Sigmoid | Isotonic, Field(discriminator="kind")]
_stored: TypeAdapter[Sigmoid | Isotonic] = TypeAdapter(Calibration)


def logistic(log_odds: Scores) -> Scores:
    """1 / (1 + exp(-x)), without overflow."""
    result: Scores = 1.0 / (1.0 + np.exp(-np.clip(log_odds, -_FURTHEST, _FURTHEST)))
    return result


def calibrate(kind: Literal["sigmoid", "isotonic", "none"], log_odds: Scores, label: Labels) -> Sigmoid | Isotonic:
    """Fit on held-out rows. Raises Blocked when the held-out rows rank the wrong way round or hold one class only."""
    if auc(label, log_odds) <= 0.5:
        raise _backwards()
    if kind == "none":
        return Sigmoid(slope=1.0, intercept=0.0)
    return _sigmoid(log_odds, label) if kind == "sigmoid" else _isotonic(log_odds, label)


def dump(calibration: Sigmoid | Isotonic) -> bytes:
    """As JSON."""
    return json.dumps(calibration.model_dump(mode="json"), indent=1).encode()


def load(stored: bytes) -> Sigmoid | Isotonic:
    """From JSON."""
    return _stored.validate_json(stored)


def _sigmoid(log_odds: Scores, label: Labels) -> Sigmoid:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(log_odds.reshape(-1, 1), label)
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    if slope <= 0:
        raise _backwards()
    return Sigmoid(slope=round(slope, _DIGITS), intercept=round(intercept, _DIGITS))


def _isotonic(log_odds: Scores, label: Labels) -> Isotonic:
    from sklearn.isotonic import IsotonicRegression

    rarest = 0.5 / len(label)  # half a row: no account is certain to repay, or not to
    fitted = IsotonicRegression(y_min=rarest, y_max=1 - rarest).fit(log_odds, label)
    return Isotonic(
        log_odds=tuple(fitted.X_thresholds_.tolist()), probabilities=tuple(fitted.y_thresholds_.astype(float).tolist())
    )


def _backwards() -> Blocked:
    return Blocked(
        "on the held-out rows a higher score does not mean a likelier event, so it cannot become a probability. Nothing was "
        "registered. Look at the features and the label of the latest development dates."
    )
