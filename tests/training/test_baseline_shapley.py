"""Baseline Shapley values against Shapley's own formula, and what must hold of any model and any cut of the rows."""

from __future__ import annotations

from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import pytest
from catboost import CatBoostClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from pipelines.training import baseline_shapley as module
from pipelines.training.baseline_shapley import EXACT, baseline_shapley
from pipelines.training.contributions import Contributions

FEW, MANY = 5, 12
SIZES = (1, 2, FEW, EXACT, EXACT + 1, MANY)


def values(rows: int, features: int, seed: int = 1) -> np.ndarray:
    """Of which some are the reference's, and some absent."""
    random = np.random.default_rng(seed)
    made = random.normal(size=(rows, features))
    made[random.random(made.shape) < 0.2] = 0.0
    made[random.random(made.shape) < 0.05] = np.nan
    return made


def explained(model: Any, rows: np.ndarray) -> Contributions:
    """Against a row of zeros, but for the last feature."""
    features = rows.shape[1]
    reference = np.zeros(features)
    reference[-1] = 0.5
    return baseline_shapley(model, rows, reference, tuple(f"f{n}" for n in range(features)))


def entangled(rows: np.ndarray) -> np.ndarray:
    """Log odds in which all features do something together."""
    known = np.nan_to_num(rows, nan=-1.5)
    return np.asarray(np.prod(1 + 0.3 * known, axis=1) - np.abs(known.sum(axis=1)) + (known[:, 0] > 0.3) * known[:, -1])


def by_the_formula(model: Any, row: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Sum over S without i of |S|! (n - |S| - 1)! / n! times (v(S and i) - v(S)); Shapley (1953)."""
    count, shares = len(row), np.zeros(len(row))

    def worth(coalition: tuple[int, ...]) -> float:
        made_up = reference.copy()
        made_up[list(coalition)] = row[list(coalition)]
        return float(model(made_up[None])[0])

    for feature in range(count):
        others = [n for n in range(count) if n != feature]
        for size in range(count):
            weight = factorial(size) * factorial(count - size - 1) / factorial(count)
            for coalition in combinations(others, size):
                shares[feature] += weight * (worth((*coalition, feature)) - worth(coalition))
    return shares


@pytest.mark.parametrize("features", [1, 2, FEW, EXACT])
def test_with_few_features_they_are_shapleys_own(features: int) -> None:
    rows = values(6, features)
    reference = np.zeros(features)
    reference[-1] = 0.5
    expected = [by_the_formula(entangled, row, reference) for row in rows]
    np.testing.assert_allclose(explained(entangled, rows).values, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("features", SIZES)
def test_they_add_up_from_the_reference_to_the_row(features: int) -> None:
    rows = values(200, features)
    found = explained(entangled, rows)
    reference = np.zeros(features)
    reference[-1] = 0.5
    assert found.baseline == pytest.approx(entangled(reference[None])[0], abs=1e-9)
    np.testing.assert_allclose(found.log_odds, entangled(rows), rtol=0, atol=1e-8)


@pytest.mark.parametrize("features", SIZES)
def test_of_a_line_they_are_coefficient_times_distance_from_the_reference(features: int) -> None:
    rows = np.nan_to_num(values(50, features))
    coefficients = np.random.default_rng(2).normal(size=features)
    reference = np.zeros(features)
    reference[-1] = 0.5
    found = explained(lambda asked: asked @ coefficients - 1, rows)
    np.testing.assert_allclose(found.values, coefficients * (rows - reference), rtol=0, atol=1e-8)


def test_what_features_do_two_by_two_is_exact_with_many_features_too() -> None:
    rows = np.nan_to_num(values(50, MANY))
    together = np.triu(np.random.default_rng(3).normal(size=(MANY, MANY)))
    reference = np.zeros(MANY)
    reference[-1] = 0.5

    def pairs(asked: np.ndarray) -> np.ndarray:
        return np.einsum("ri,ij,rj->r", asked, together, asked)

    mean = (rows + reference) / 2  # of a product's two factors each gets its change times the other's mean
    expected = (rows - reference) * (mean @ (together + together.T))
    np.testing.assert_allclose(explained(pairs, rows).values, expected, rtol=0, atol=1e-7)


def test_features_that_do_the_same_have_the_same_share_to_the_last_bit() -> None:
    rows = values(300, FEW)
    rows[:, 1] = rows[:, 0]
    rows[:, 2] = rows[:, 0]

    def same(asked: np.ndarray) -> np.ndarray:
        known = np.nan_to_num(asked, nan=0.7)
        return np.asarray(np.exp(known[:, :3].sum(axis=1) / 3) * known[:, 4] + known[:, 3])

    found = explained(same, rows).values
    assert found[:, 1].tobytes() == found[:, 0].tobytes() == found[:, 2].tobytes()


@pytest.mark.parametrize("features", [FEW, MANY])
def test_a_feature_that_does_nothing_or_is_as_in_the_reference_has_exactly_none(features: int) -> None:
    rows = values(300, features)
    found = explained(lambda asked: entangled(np.delete(asked, 1, axis=1)), rows)
    assert (found.values[:, 1] == 0).all()
    assert (found.values[:, 0][rows[:, 0] == 0] == 0).all()
    assert (found.values != 0).any(axis=0).sum() == features - 1


def fitted(kind: str) -> Any:
    rows = np.nan_to_num(values(2_000, MANY, seed=4))
    event = (rows[:, 0] + rows[:, 1] * rows[:, 2] * rows[:, 3] > 0.2).astype(int)
    if kind == "catboost":
        options = {"iterations": 100, "depth": 6, "verbose": 0, "thread_count": 1, "random_seed": 1}
        trees = CatBoostClassifier(**options, allow_writing_files=False).fit(rows, event)
        return lambda asked: trees.predict(asked, prediction_type="RawFormulaVal")
    if kind == "line":
        return LogisticRegression().fit(rows, event).decision_function
    network = MLPClassifier((16,), solver="lbfgs", tol=0.05, random_state=1).fit(rows, event)
    return lambda asked: (lambda p: np.log(p) - np.log1p(-p))(network.predict_proba(asked)[:, 1])


@pytest.mark.parametrize("kind", ["catboost", "line", "network"])
def test_a_rows_values_are_the_same_bytes_whatever_its_neighbours(kind: str) -> None:
    model, rows = fitted(kind), np.nan_to_num(values(700, MANY, seed=5))
    whole = explained(model, rows)
    for size in (1, 3, 256):
        cut = [explained(model, rows[start : start + size]) for start in range(0, min(30 * size, 700), size)]
        assert {part.baseline for part in cut} == {whole.baseline}
        joined = np.concatenate([part.values for part in cut])
        assert joined.tobytes() == whole.values[: len(joined)].tobytes()
    backwards = explained(model, rows[::-1].copy())
    assert backwards.values[::-1].tobytes() == whole.values.tobytes()


def test_with_many_features_the_error_is_small_and_the_first_reason_mostly_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, rows = fitted("catboost"), np.nan_to_num(values(100, MANY, seed=6))
    found = explained(model, rows).values
    monkeypatch.setattr(module, "_game", module._every_coalition)
    exact = explained(model, rows).values
    assert np.abs(found - exact).mean() < 0.03 * np.abs(exact).mean()
    assert (found.argmax(axis=1) == exact.argmax(axis=1)).mean() >= 0.9


@pytest.mark.parametrize("features", [FEW, MANY])
def test_no_rows_have_no_values_but_the_baseline_of_all(features: int) -> None:
    found = explained(entangled, np.empty((0, features)))
    assert found.values.shape == (0, features)
    assert found.baseline == explained(entangled, values(3, features)).baseline


def test_the_model_is_asked_in_blocks_of_one_size() -> None:
    asked: set[int] = set()

    def counting(rows: np.ndarray) -> np.ndarray:
        asked.add(len(rows))
        return entangled(rows)

    explained(counting, values(2_000, MANY))
    explained(counting, values(1, FEW))
    assert asked == {4_096}
