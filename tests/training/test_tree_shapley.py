"""Tables of Shapley values against CatBoost's own, on every kind of model that can be in tables, and what falls back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from catboost import CatBoostClassifier, Pool
from pyarrow import Table

from pipelines.contracts import EvidenceMissing
from pipelines.training.catboost_model import CatBoostModel, Inputs

NUMBERS = ("income", "debt", "age_of_account")
PURPOSES = ("car", "home", "trável")
MONOTONE = {"income": 1, "age_of_account": -1}
ROWS = 20_000
BLOCKS = 150_000  # rows of more than two


def frame(rows: int, seed: int, *, holes: bool = True) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    made = pd.DataFrame({name: random.normal(size=rows) for name in NUMBERS})
    if holes:
        made.loc[random.random(rows) < 0.1, "debt"] = np.nan
    return made.assign(purpose=random.choice([*PURPOSES, ""], rows), region=random.choice(list("abcdefgh"), rows))


def label(rows: pd.DataFrame) -> np.ndarray:
    risk = rows.income - rows.debt.fillna(1.0) + (rows.purpose == "car") * rows.age_of_account + (rows.region == "c")
    return (np.random.default_rng(3).random(len(rows)) < 1 / (1 + np.exp(1 - risk))).astype(int)


def fitted(columns: tuple[str, ...], learnt: pd.DataFrame | None = None, **parameters: Any) -> CatBoostModel:
    rows = frame(4_000, 1) if learnt is None else learnt
    categories = [name for name in ("purpose", "region") if name in columns]
    options = {"iterations": 60, "depth": 6, "one_hot_max_size": 32, "thread_count": 2, "random_seed": 1, "verbose": 0}
    model = CatBoostClassifier(**(options | parameters), allow_writing_files=False)
    model.fit(rows[list(columns)], label(rows), cat_features=categories)
    known = {name: tuple(sorted(set(rows[name]) - {""})) for name in categories}
    return CatBoostModel(Inputs(features=columns, categories=known, stand_ins={}), bytes(model._serialize_model()))


def by_catboost(model: CatBoostModel, rows: Table) -> np.ndarray:
    pool = Pool(model.inputs.frame(rows), cat_features=list(model.inputs.categories))
    return model.booster.get_feature_importance(pool, type="ShapValues")


def require_equal(model: CatBoostModel, rows: Table) -> None:
    found, expected = model.contributions(rows), by_catboost(model, rows)
    np.testing.assert_allclose(found.values, expected[:, :-1], rtol=0, atol=1e-9)
    assert found.baseline == pytest.approx(expected[0, -1], abs=1e-9)
    np.testing.assert_allclose(found.log_odds, model.log_odds(rows), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("columns", "parameters"),
    [
        (NUMBERS, {}),
        (NUMBERS, {"nan_mode": "Max"}),
        (NUMBERS, {"depth": 8, "iterations": 20}),
        (NUMBERS, {"depth": 1}),
        ((*NUMBERS, "purpose", "region"), {}),
        (("debt", "purpose"), {"depth": 7}),  # the same columns again and again in one tree
        (("purpose",), {}),
    ],
    ids=str,
)
def test_the_tables_give_what_catboost_gives(columns: tuple[str, ...], parameters: Mapping[str, Any]) -> None:
    model = fitted(columns, **parameters)
    assert model._shapley is not None
    require_equal(model, Table.from_pandas(frame(ROWS, 2), preserve_index=False))


def test_a_category_that_training_never_saw_counts_as_absent() -> None:
    model = fitted((*NUMBERS, "purpose"))
    rows = frame(500, 4).assign(purpose=["yacht", None] * 250)
    table = Table.from_pandas(rows, preserve_index=False)
    require_equal(model, table)
    assert np.abs(model.contributions(table).values[:, 3]).max() > 0


def test_any_number_of_threads_gives_the_same_bytes_and_so_does_any_cut_of_the_rows() -> None:
    model = fitted((*NUMBERS, "purpose"))
    rows = Table.from_pandas(frame(BLOCKS, 5), preserve_index=False)
    columns = model.inputs.columns(rows)
    whole = model._shapley.of(columns, 2)
    assert whole.tobytes() == model._shapley.of(columns, 1).tobytes()
    cut = [model.contributions(rows.slice(start, 70_000)).values for start in range(0, BLOCKS, 70_000)]
    assert whole.tobytes() == np.concatenate(cut).tobytes()


def test_no_rows_have_no_contributions_but_the_baseline_of_all() -> None:
    model = fitted(NUMBERS)
    rows = Table.from_pandas(frame(3, 6), preserve_index=False)
    found = model.contributions(rows.slice(0, 0))
    assert (found.values.shape, found.baseline) == ((0, 3), model.contributions(rows).baseline)


@pytest.mark.parametrize(
    ("columns", "parameters"),
    [
        (NUMBERS, {"depth": 9, "iterations": 5}),
        ((*NUMBERS, "purpose", "region"), {"one_hot_max_size": 2}),  # statistics of categories, alone and combined
    ],
    ids=str,
)
def test_what_cannot_be_in_tables_falls_back_to_catboosts_own(
    columns: tuple[str, ...], parameters: Mapping[str, Any]
) -> None:
    model = fitted(columns, **parameters)
    assert model._shapley is None
    require_equal(model, Table.from_pandas(frame(500, 7), preserve_index=False))


@pytest.mark.parametrize(
    "parameters",
    [
        {"grow_policy": "Lossguide"},  # CatBoost's baseline of these is not the one of its scores
        {"depth": 9, "iterations": 5, "monotone_constraints": MONOTONE},  # its reasons are those of the rows beside
    ],
    ids=str,
)
def test_reasons_that_are_not_those_of_the_score_are_not_told(parameters: Mapping[str, Any]) -> None:
    model = fitted(NUMBERS, **parameters)
    with pytest.raises(EvidenceMissing, match="not those of the score alone"):
        model.contributions(Table.from_pandas(frame(500, 7), preserve_index=False))


def test_where_no_row_of_the_training_went_the_sum_is_still_the_score_and_no_row_depends_on_another() -> None:
    """Under monotone constraints leaves that no row reached have values. CatBoost says the same on the rows it was fitted on."""
    model = fitted(NUMBERS, monotone_constraints=MONOTONE)
    assert any((tree.values[tree.weights == 0] != 0).any() for tree in model._trees.trees)
    require_equal(model, Table.from_pandas(frame(4_000, 1), preserve_index=False))
    rows = Table.from_pandas(frame(ROWS, 9), preserve_index=False)
    found = model.contributions(rows)
    np.testing.assert_allclose(found.log_odds, model.log_odds(rows), rtol=0, atol=1e-9)
    assert np.abs(by_catboost(model, rows)[0, -1] - found.baseline) > 1e-4
    for row in (0, ROWS - 1):
        assert model.contributions(rows.slice(row, 1)).values.tobytes() == found.values[row].tobytes()
