"""CatBoost: the same bytes on any number of cores, directions that hold, and what absence and new categories do."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from lender import FEATURES

from pipelines.contracts import DataFault
from pipelines.evaluation.metrics import auc
from pipelines.settings import REPOSITORY
from pipelines.spec import Validation
from pipelines.training import catboost_model
from pipelines.training.recipe import Recipe
from pipelines.training.rows import Rows, typed
from pipelines.training.split import hold_out

RECIPE = Recipe("loans", FEATURES, 1, {"iterations": 60, "depth": 4, "learning_rate": 0.1})
OUT_OF_TIME = Validation(kind="out_of_time", out_of_time_months=1)

TRAIN_ON_ONE_CORE = """
import os, hashlib
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from lender import FEATURES, random_rows
from pipelines.training import catboost_model
from pipelines.training.recipe import Recipe
rows = random_rows(6_000, seed=3)
made = catboost_model.fit(Recipe("loans", FEATURES, 1, {"iterations": 60, "depth": 4, "learning_rate": 0.1}), rows, rows)
print(hashlib.sha256(made.blob + made.files()["model_inputs.json"]).hexdigest())
"""


@pytest.fixture(scope="module")
def model(sample: Rows) -> catboost_model.CatBoostModel:
    return catboost_model.fit(RECIPE, sample, sample)


def changed(rows: Rows, **columns: object) -> pa.Table:
    table = rows.features
    for name, value in columns.items():
        kind = table.schema.field(name).type
        table = table.set_column(table.schema.get_field_index(name), name, pa.array([value] * len(rows), kind))
    return table


def test_one_core_or_several_the_file_is_the_same(model: catboost_model.CatBoostModel) -> None:
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests" / "helpers")])
    done = subprocess.run(
        [sys.executable, "-c", TRAIN_ON_ONE_CORE], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    ours = hashlib.sha256(model.blob + model.files()["model_inputs.json"]).hexdigest()
    assert done.stdout.strip() == ours, done.stderr[-2000:]


def test_the_loaded_model_scores_the_same(model: catboost_model.CatBoostModel, sample: Rows) -> None:
    again = catboost_model.load(model.files())
    np.testing.assert_array_equal(again.log_odds(sample.features), model.log_odds(sample.features))
    assert auc(sample.label, model.log_odds(sample.features)) > 0.72
    assert set(model.importance()) == set(FEATURES)
    assert not {name for name in model.files() if name.endswith((".pkl", ".pickle", ".joblib"))}


def test_risk_never_moves_against_the_declared_direction(model: catboost_model.CatBoostModel, sample: Rows) -> None:
    for name, feature in FEATURES.items():
        if feature.monotone == "none":
            continue
        steps = np.quantile(sample.features[name].drop_null().to_numpy(), np.linspace(0, 1, 15))
        scores = np.array([model.log_odds(changed(sample, **{name: value})) for value in steps])
        sign = 1 if feature.monotone == "increasing" else -1
        assert (np.diff(scores, axis=0) * sign >= -1e-12).all()


def test_an_absent_value_with_a_direction_counts_as_its_stand_in(
    model: catboost_model.CatBoostModel, sample: Rows
) -> None:
    for name in ("income", "enquiries", "trend"):
        absent = model.log_odds(changed(sample, **{name: None}))
        assert (absent == model.log_odds(changed(sample, **{name: model.inputs.stand_ins[name]}))).all()
        assert (absent == model.log_odds(changed(sample, **{name: float("nan")}))).all()


def test_leaving_a_field_empty_never_beats_having_its_best_value(
    model: catboost_model.CatBoostModel, sample: Rows
) -> None:
    for name, best in (("income", 1e9), ("enquiries", 0.0)):
        empty = model.log_odds(changed(sample, **{name: None}))
        assert (empty >= model.log_odds(changed(sample, **{name: best}))).all()
        assert empty.mean() > model.log_odds(changed(sample, **{name: best})).mean() + 0.1


def test_a_category_never_seen_counts_as_absent(model: catboost_model.CatBoostModel, sample: Rows) -> None:
    assert model.inputs.categories == {"purpose": ("car", "home", "other", "shop")}
    unknown, absent = (model.log_odds(changed(sample, purpose=value)) for value in ("yacht", None))
    np.testing.assert_array_equal(unknown, absent)


def test_a_row_scores_the_same_alone_in_a_batch_and_in_any_order(
    model: catboost_model.CatBoostModel, sample: Rows
) -> None:
    whole = model.log_odds(sample.features)
    parts = [model.log_odds(sample.features.slice(start, 777)) for start in range(0, len(sample), 777)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    backwards = sample.features.take(pa.array(np.arange(len(sample))[::-1]))
    np.testing.assert_array_equal(model.log_odds(backwards)[::-1], whole)
    assert model.log_odds(sample.features.slice(0, 0)).shape == (0,)


def test_it_stops_early_on_the_latest_dates_and_is_fitted_again_on_all(sample: Rows) -> None:
    recipe = Recipe("loans", FEATURES, 1, {"iterations": 400, "learning_rate": 0.3, "early_stopping_rounds": 5})
    parts = hold_out(sample, OUT_OF_TIME, 1)
    first = catboost_model.fit(recipe, parts.development, parts.judged)
    assert first.trees < 400
    assert catboost_model.refit(recipe, sample, first).trees == first.trees


def test_numbers_of_any_type_are_taken_and_anything_else_is_refused(model: catboost_model.CatBoostModel) -> None:
    given = pa.table(
        {
            "income": pa.array([30_000], pa.int64()),
            "enquiries": pa.array([2], pa.int8()),
            "noise": pa.array([0.5], pa.float32()),
            "trend": pa.array([True]),
            "purpose": pa.array(["car"]).dictionary_encode(),
        }
    )
    assert np.isfinite(model.log_odds(typed(given, FEATURES))).all()
    with pytest.raises(DataFault, match="'income' is string, the model file declares a number"):
        typed(given.set_column(0, "income", pa.array(["much"])), FEATURES)
    with pytest.raises(DataFault, match="no feature 'income'"):
        typed(given.drop_columns(["income"]), FEATURES)
