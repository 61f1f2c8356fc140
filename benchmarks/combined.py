"""Scoring everyone by an isolation forest of 100 trees on 40 features, and by the combined model that it is a part of.

Raw: scikit-learn's score_samples on a matrix of 32-bit numbers that is ready; for the combined model CatBoost's predict
beside it. Ours: from Arrow columns to scores; for the combined model to probabilities, with the parts and the typologies met.
Usual: the same libraries on a pandas frame, without typologies.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.harness import Measurement, timed
from pipelines.spec import Feature, Typology, TypologyPack
from pipelines.training import combined
from pipelines.training.combined import CombinedModel
from pipelines.training.recipe import Recipe
from pipelines.training.rows import Background, Rows

COLUMNS = 40
TREES = 100
NAMES = tuple(f"feature_{i:02d}" for i in range(COLUMNS))
FEATURES = {name: Feature(missing="review") for name in NAMES}
LEARNT = 20_000


def measure(rows: int) -> list[Measurement]:
    """Seconds to score `rows` rows with one part, and with all of them."""
    alone = [timed(way, rows) for way in (_matrix, _forest, _frame)]
    together = [timed(way, rows) for way in (_both_matrix, _combined, _both_frame)]
    return [
        Measurement(step, rows, COLUMNS, raw.seconds, ours.seconds, usual.seconds, ours.peak_mb)
        for step, (raw, ours, usual) in (("isolation forest score", alone), ("combined score", together))
    ]


@cache
def _model() -> CombinedModel:
    random = np.random.default_rng(1)
    learnt, beside = _features(LEARNT, seed=1), _features(LEARNT, seed=2)
    label = (random.random(LEARNT) < 1 / (1 + np.exp(2 - learnt[NAMES[0]].to_numpy()))).astype(np.int8)
    dates = np.full(LEARNT, np.datetime64("2026-06-30"))
    parameters: dict[str, Any] = {
        "catboost_iterations": 300,
        "catboost_depth": 6,
        "catboost_early_stopping_rounds": 300,
        "trees": TREES,
    }
    rows = Rows(learnt, label, dates, Background(beside, dates))
    return combined.fit(Recipe("bench", FEATURES, 1, parameters, _pack()), rows, rows)


def _pack() -> TypologyPack:
    why = "Found in no report: a typology of the benchmark."
    conditions = [[{"feature": NAMES[(3 * n + i) % COLUMNS], "at_least": 1.0} for i in range(3)] for n in range(10)]
    made = [
        {"name": f"typology_{n}", "title": "Three at once", "why": why, "points": 0.3, "all_of": all_of}
        for n, all_of in enumerate(conditions)
    ]
    return TypologyPack(
        pack="bench",
        version="1",
        description="Ten typologies.",
        in_force_from="2020-01-01",  # type: ignore[arg-type]
        typologies=tuple(Typology.model_validate(typology) for typology in made),
    )


def _forest(rows: int) -> Callable[[], object]:
    forest, features = _model().views.forest, _features(rows, seed=3)
    forest.scores(features.slice(0, 10))
    return lambda: forest.scores(features)


def _combined(rows: int) -> Callable[[], object]:
    model, features = _model(), _features(rows, seed=3)
    model.in_parts(features.slice(0, 10))
    return lambda: model.in_parts(features)


def _matrix(rows: int) -> Callable[[], object]:
    grown, features = _grown(), _features(rows, seed=3)
    matrix = np.column_stack([features[name].to_numpy() for name in NAMES]).astype(np.float32)
    return lambda: grown.score_samples(matrix)


def _both_matrix(rows: int) -> Callable[[], object]:
    forest, booster, frame = _matrix(rows), _model().views.supervised.booster, _features(rows, seed=3).to_pandas()
    return lambda: (forest(), booster.predict(frame))


def _frame(rows: int) -> Callable[[], object]:
    grown, features = _grown(), _features(rows, seed=3)
    return lambda: grown.score_samples(features.to_pandas().to_numpy())


def _both_frame(rows: int) -> Callable[[], object]:
    forest, booster, features = _frame(rows), _model().views.supervised.booster, _features(rows, seed=3)
    return lambda: (forest(), booster.predict(features.to_pandas()))


def _grown() -> Any:
    from sklearn.ensemble import IsolationForest

    learnt = _features(LEARNT, seed=1)
    matrix = np.column_stack([learnt[name].to_numpy() for name in NAMES]).astype(np.float32)
    return IsolationForest(n_estimators=TREES, max_samples=256, random_state=1).fit(matrix)


def _features(rows: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    return pa.table({name: random.normal(size=rows) for name in NAMES})
