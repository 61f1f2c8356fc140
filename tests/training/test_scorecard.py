"""The scorecard: points that add up, directions that hold, absence that never helps, and JSON that is the whole model."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from lender import FEATURES, random_rows
from sklearn.linear_model import LogisticRegression

from pipelines.contracts import Blocked
from pipelines.evaluation.metrics import auc
from pipelines.spec import Feature
from pipelines.training import scorecard
from pipelines.training.recipe import Recipe
from pipelines.training.rows import Rows

RECIPE = Recipe("loans", FEATURES, 1, {})


@pytest.fixture(scope="module")
def card(sample: Rows) -> scorecard.Scorecard:
    return scorecard.fit(RECIPE, sample, sample)


def test_the_json_is_the_whole_model(card: scorecard.Scorecard, sample: Rows) -> None:
    files = card.files()
    assert list(files) == ["scorecard.json"]
    again = scorecard.load(files)
    assert again == card
    np.testing.assert_array_equal(again.log_odds(sample.features), card.log_odds(sample.features))
    assert auc(sample.label, card.log_odds(sample.features)) > 0.72


def test_it_equals_the_logistic_regression_on_weights_of_evidence(sample: Rows) -> None:
    card = scorecard.fit(Recipe("loans", FEATURES, 1, {"C": 1e9}), sample, sample)
    points = np.column_stack([c.of(sample.features) for c in (*card.numbers, *card.categories)])
    again = LogisticRegression(C=np.inf, tol=1e-8).fit(points, sample.label)
    np.testing.assert_allclose(again.coef_, 1.0, atol=0.001)
    assert again.intercept_[0] == pytest.approx(card.intercept, abs=0.001)


def test_points_add_up_to_the_log_odds(card: scorecard.Scorecard, sample: Rows) -> None:
    points = [c.of(sample.features) for c in (*card.numbers, *card.categories)]
    np.testing.assert_allclose(np.sum(points, axis=0) + card.intercept, card.log_odds(sample.features), atol=1e-12)


def test_points_follow_the_declared_directions(card: scorecard.Scorecard) -> None:
    points = {c.feature: np.diff(c.points) for c in card.numbers}
    assert (points["income"] < 0).all()
    assert (points["enquiries"] > 0).all()
    assert set(card.importance()) <= set(FEATURES)


def test_absence_and_unknown_categories_are_no_better_than_average(card: scorecard.Scorecard) -> None:
    reviewed = [c for c in card.numbers if FEATURES[c.feature].missing == "review"]
    assert all(c.missing >= 0 for c in (*reviewed, *card.categories))
    assert all(c.other >= 0 for c in card.categories)
    unknown = pa.table({"purpose": pa.array(["yacht", None], pa.string())})
    (purpose,) = card.categories
    assert purpose.of(unknown).tolist() == [purpose.other, purpose.missing]


def test_a_feature_that_only_repeats_another_the_wrong_way_round_leaves_the_card() -> None:
    rows = random_rows(4_000, 8)
    twin = rows.features["enquiries"].to_numpy() + np.random.default_rng(0).normal(0, 0.3, len(rows))
    features = FEATURES | {"twin": Feature(monotone="increasing")}
    more = Rows(rows.features.append_column("twin", pa.array(twin, from_pandas=True)), rows.label, rows.event_date)
    made = scorecard.fit(Recipe("loans", features, 1, {}), more, more)
    for c in made.numbers:
        sign = {"increasing": 1, "decreasing": -1, "none": 0}[features[c.feature].monotone]
        assert (np.diff(c.points) * sign >= 0).all()


def test_features_that_say_nothing_make_no_card(sample: Rows) -> None:
    nothing = Rows(pa.table({"x": np.ones(len(sample))}), sample.label, sample.event_date)
    with pytest.raises(Blocked, match="no feature of the scorecard says anything"):
        scorecard.fit(Recipe("loans", {"x": Feature()}, 1, {}), nothing, nothing)


def test_the_same_rows_give_the_same_bytes(card: scorecard.Scorecard, sample: Rows) -> None:
    assert scorecard.fit(RECIPE, sample, sample).files() == card.files()
    assert json.loads(card.files()["scorecard.json"])["format"] == "vigil-scorecard-1"
