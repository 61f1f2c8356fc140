"""Calibration: right on average and in every band, rising, and the same from its JSON."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.contracts import Blocked
from pipelines.evaluation.metrics import calibration_error
from pipelines.training.calibration import Isotonic, Sigmoid, calibrate, dump, load, logistic


def overconfident(rows: int = 20_000, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Log odds that are twice too extreme and a half too high."""
    random = np.random.default_rng(seed)
    true = random.normal(-2, 1, rows)
    return 2 * true + 0.5, (random.random(rows) < logistic(true)).astype(np.int8)


@pytest.mark.parametrize("kind", ["sigmoid", "isotonic"])
def test_it_repairs_scores_that_are_too_sure_of_themselves(kind: str) -> None:
    scores, label = overconfident()
    fresh, outcome = overconfident(seed=2)
    assert calibration_error(outcome, logistic(fresh)) > 0.05
    made = calibrate(kind, scores, label)
    assert calibration_error(outcome, made.probability(fresh)) < 0.01
    ordered = made.probability(np.linspace(-20, 20, 1000))
    assert (np.diff(ordered) >= 0).all()
    assert ordered.min() > 0
    assert ordered.max() < 1


@pytest.mark.parametrize("kind", ["sigmoid", "isotonic", "none"])
def test_its_json_gives_back_every_bit(kind: str) -> None:
    scores, label = overconfident()
    made = calibrate(kind, scores, label)
    assert load(dump(made)) == made
    np.testing.assert_array_equal(load(dump(made)).probability(scores), made.probability(scores))


def test_sigmoid_finds_the_slope_and_intercept() -> None:
    made = calibrate("sigmoid", *overconfident(200_000))
    assert isinstance(made, Sigmoid)
    assert made.slope == pytest.approx(0.5, abs=0.02)
    assert made.intercept == pytest.approx(-0.25, abs=0.05)


@pytest.mark.parametrize("kind", ["sigmoid", "isotonic", "none"])
def test_scores_that_rank_backwards_are_blocked(kind: str) -> None:
    scores, label = overconfident()
    with pytest.raises(Blocked, match="a higher score does not mean a likelier event"):
        calibrate(kind, -scores, label)


def test_extreme_scores_do_not_overflow() -> None:
    with np.errstate(all="raise", under="ignore"):
        assert logistic(np.array([-1e9, 0.0, 1e9])).tolist() == pytest.approx([0, 0.5, 1])
    assert Isotonic(log_odds=(0.0, 1.0), probabilities=(0.1, 0.2)).probability(np.array([-9.0, 9.0])).tolist() == [
        0.1,
        0.2,
    ]
