"""A missing input never lowers the combined score: it is at least that of the row with any values in the gaps."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from lender import FEATURES, random_rows
from typology_packs import PACK, partly_labelled, spec

from pipelines.spec import Feature
from pipelines.training import algorithms
from pipelines.training.catboost_model import CatBoostModel
from pipelines.training.combined import CombinedModel

STATES = [name for name, feature in FEATURES.items() if feature.missing == "allowed"]
INPUTS = [name for name in FEATURES if name not in STATES]


@pytest.fixture(scope="module")
def model() -> CombinedModel:
    developed = algorithms.develop(spec(), "combined", partly_labelled(), PACK)
    assert developed.in_parts is not None
    return developed.in_parts


@pytest.fixture(scope="module")
def whole() -> pa.Table:
    """Rows without a gap."""
    features = random_rows(3_000, 5).features
    return features.filter(pa.compute.is_valid(pa.compute.min_element_wise(*_presence(features), skip_nulls=False)))


def _presence(features: pa.Table) -> list[pa.ChunkedArray]:
    return [pa.compute.if_else(pa.compute.is_valid(features[name]), 1, None) for name in features.schema.names]


def without(features: pa.Table, *names: str) -> pa.Table:
    """The same rows with every value of these features absent."""
    for name in names:
        position = features.schema.names.index(name)
        features = features.set_column(position, name, pa.nulls(features.num_rows, features[name].type))
    return features


def test_the_features_of_the_test_are_of_both_kinds() -> None:
    assert STATES
    assert len(INPUTS) >= 3
    assert all(isinstance(feature, Feature) for feature in FEATURES.values())


@pytest.mark.parametrize(
    "lost", [*[(name,) for name in INPUTS], tuple(INPUTS), tuple(FEATURES)], ids=lambda names: "+".join(names)
)
def test_losing_inputs_never_lowers_the_score(model: CombinedModel, whole: pa.Table, lost: tuple[str, ...]) -> None:
    before = model.in_parts(whole)
    after = model.in_parts(without(whole, *lost))
    assert (after.log_odds >= before.log_odds - 1e-9).all()
    for name, values in after.values.items():
        assert (values >= before.values[name] - 1e-12).all(), name


def test_whatever_fills_the_gap_the_score_is_not_above_the_bound(model: CombinedModel, whole: pa.Table) -> None:
    """The bound is over all values, not only over the one that was lost."""
    random = np.random.default_rng(3)
    for name in INPUTS:
        bound = model.in_parts(without(whole, name)).log_odds
        for _ in range(5):
            other = whole[name].take(pa.array(random.permutation(whole.num_rows)))
            filled = whole.set_column(whole.schema.names.index(name), name, other)
            assert (model.in_parts(filled).log_odds <= bound + 1e-9).all(), name


def test_a_row_without_gaps_is_scored_as_ever(model: CombinedModel, whole: pa.Table) -> None:
    supervised = model.views.supervised
    np.testing.assert_array_equal(supervised.highest_log_odds(whole), supervised.log_odds(whole))


def test_a_documented_absence_alone_stays_a_state(model: CombinedModel, whole: pa.Table) -> None:
    alone = model.in_parts(without(whole, *STATES))
    np.testing.assert_array_equal(
        alone.values["supervised"],
        _logistic(model.views.supervised.log_odds(without(whole, *STATES))),
    )


def test_rows_do_not_depend_on_each_other(model: CombinedModel, whole: pa.Table) -> None:
    mixed = pa.concat_tables([whole.slice(0, 50), without(whole.slice(50, 50), INPUTS[0]), whole.slice(100, 50)])
    together = model.in_parts(mixed).log_odds
    apart = np.concatenate([model.in_parts(mixed.slice(start, 10)).log_odds for start in range(0, 150, 10)])
    np.testing.assert_array_equal(together, apart)


def test_trees_deeper_than_the_table_still_bound(
    whole: pa.Table, monkeypatch: pytest.MonkeyPatch, model: CombinedModel
) -> None:
    from pipelines.training import catboost_trees

    exact = model.views.supervised.highest_log_odds(without(whole, INPUTS[0]))
    monkeypatch.setattr(catboost_trees, "_DEEPEST", 1)
    loose = CatBoostModel(model.views.supervised.inputs, model.views.supervised.blob)
    assert (loose.highest_log_odds(without(whole, INPUTS[0])) >= exact - 1e-9).all()


def _logistic(log_odds: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-log_odds))
