"""Reasons for everyone: what each of 30 features adds to each row's log odds, for a CatBoost model of 300 trees.

Usual: CatBoost's own ShapValues. Ours: tables of Shapley values by leaf (pipelines.training.tree_shapley). Raw: the lookups and
sums that any such table needs, on leaves that are known already. Ours is first checked against CatBoost's within 1e-6.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from catboost import Pool

from benchmarks.harness import Measurement, timed
from benchmarks.scoring import COLUMNS, FEATURES, TREES, feature_rows, labelled
from pipelines.training.catboost_model import FILE, INPUTS, CatBoostModel, fit, load
from pipelines.training.contributions import TOLERANCE
from pipelines.training.recipe import Recipe

_CHECKED = 5_000
_BLOCK = 8192


def measure(rows: int) -> list[Measurement]:
    """Seconds to explain `rows` rows, one after the other: raw, ours, usual."""
    with TemporaryDirectory(prefix="vigil-bench-") as folder:
        made = labelled(20_000)
        recipe = Recipe("bench", FEATURES, 1, {"iterations": TREES, "depth": 6, "early_stopping_rounds": TREES})
        for name, content in fit(recipe, made, made).files().items():
            Path(folder, name).write_bytes(content)
        raw = timed(_lookups, folder, rows)
        ours = timed(_ours, folder, rows)
        usual = timed(_catboost, folder, rows, runs=1)
    return [Measurement("reasons for every row", rows, COLUMNS, raw.seconds, ours.seconds, usual.seconds, ours.peak_mb)]


def _ours(folder: str, rows: int) -> Callable[[], object]:
    model, features = _model(folder), feature_rows(rows, seed=3)
    few = features.slice(0, _CHECKED)
    pool = Pool(model.inputs.frame(few))
    own, theirs = model.contributions(few).values, model.booster.get_feature_importance(pool, type="ShapValues")
    if np.abs(own - theirs[:, :-1]).max() > TOLERANCE:
        raise AssertionError("our reasons are not CatBoost's")
    return lambda: model.contributions(features)


def _catboost(folder: str, rows: int) -> Callable[[], object]:
    model, features = _model(folder), feature_rows(rows, seed=3)
    return lambda: model.booster.get_feature_importance(
        Pool(model.inputs.frame(features)), type="ShapValues", thread_count=2
    )


def _lookups(folder: str, rows: int) -> Callable[[], object]:
    """Six lookups and sums for each tree and row, in blocks that stay in the cache."""
    leaves = np.random.default_rng(4).integers(0, 64, _BLOCK)
    adds = np.random.default_rng(5).normal(size=64)
    total, added = np.zeros((COLUMNS, _BLOCK)), np.empty(_BLOCK)

    def work() -> None:
        for _ in range(0, rows, _BLOCK):
            for lookup in range(TREES * 6):
                np.take(adds, leaves, out=added, mode="clip")
                total[lookup % COLUMNS] += added

    return work


def _model(folder: str) -> CatBoostModel:
    return load({name: Path(folder, name).read_bytes() for name in (FILE, INPUTS)})
