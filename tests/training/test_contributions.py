"""Reasons of a score: they add up to it, whichever algorithm and calibration, and a raised score names what was absent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from lender import FEATURES, random_rows
from typology_packs import PACK, partly_labelled, spec

from pipelines.spec import Model
from pipelines.training import algorithms, artefact
from pipelines.training.algorithms import Developed
from pipelines.training.calibration import Isotonic, Sigmoid
from pipelines.training.combined import CombinedModel
from pipelines.training.contributions import NONE, Contributions, principal
from pipelines.training.reference import reference_of
from pipelines.training.rows import Rows
from pipelines.training.scorecard import Scorecard

ALGORITHMS = ("catboost", "scorecard", "combined")


def log_odds(probability: np.ndarray) -> np.ndarray:
    return np.log(probability) - np.log1p(-probability)


def without(features: pa.Table, *names: str) -> pa.Table:
    for name in names:
        position = features.schema.names.index(name)
        features = features.set_column(position, name, pa.nulls(features.num_rows, features[name].type))
    return features


@pytest.fixture(scope="module")
def learnt() -> Rows:
    return partly_labelled()


@pytest.fixture(scope="module")
def models(learnt: Rows) -> dict[str, Developed]:
    small = {"catboost": {"iterations": 40, "depth": 4, "learning_rate": 0.1}}
    document = spec().model_dump()
    document["training"]["algorithms"] = list(ALGORITHMS)
    document["training"]["parameters"] |= small
    model = Model.model_validate(document)
    return {name: algorithms.develop(model, name, learnt, PACK) for name in ALGORITHMS}


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    """Rows with gaps as they come, some without the income and some without anything."""
    features = random_rows(1_500, 21).features
    return pa.concat_tables(
        [features, without(features.slice(0, 100), "income", "purpose"), without(features.slice(0, 5), *FEATURES)]
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_contributions_add_up_to_the_calibrated_log_odds(
    models: dict[str, Developed], rows: pa.Table, algorithm: str
) -> None:
    developed = models[algorithm]
    assert isinstance(developed.calibration, Sigmoid)
    found = developed.contributions(rows)
    assert found.calibrated
    assert found.values.dtype == np.float64
    assert found.values.shape == (rows.num_rows, len(found.features))
    np.testing.assert_allclose(found.log_odds, log_odds(developed.probability(rows)), atol=1e-6)
    assert (np.abs(found.values).sum(axis=0) > 0).sum() >= 3


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_under_isotonic_calibration_they_add_up_before_it_and_say_so(
    models: dict[str, Developed], rows: pa.Table, algorithm: str
) -> None:
    developed = replace(models[algorithm], calibration=Isotonic(log_odds=(-3.0, 3.0), probabilities=(0.1, 0.9)))
    found = developed.contributions(rows)
    assert not found.calibrated
    np.testing.assert_allclose(found.log_odds, developed.fitted.log_odds(rows), atol=1e-6)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_rows_have_no_contributions(models: dict[str, Developed], rows: pa.Table, algorithm: str) -> None:
    found = models[algorithm].contributions(rows.slice(0, 0))
    assert len(found) == 0
    assert found.values.shape == (0, len(found.features))


def test_a_card_compares_with_the_mean_points_of_the_rows_it_learnt_from(
    models: dict[str, Developed], learnt: Rows
) -> None:
    card = models["scorecard"].fitted
    assert isinstance(card, Scorecard)
    found = card.contributions(learnt.features)
    np.testing.assert_allclose(found.values.mean(axis=0), 0, atol=1e-6)
    assert found.baseline == pytest.approx(card.log_odds(learnt.features).mean(), abs=1e-5)
    assert (
        Scorecard.model_validate_json(card.files()["scorecard.json"]).contributions(learnt.features).baseline
        == found.baseline
    )


def test_a_card_that_does_not_say_its_expected_points_is_read_as_before(
    models: dict[str, Developed], rows: pa.Table
) -> None:
    document = models["scorecard"].fitted.model_dump()  # type: ignore[attr-defined]
    for part in (*document["numbers"], *document["categories"]):
        del part["expected"]
    old = Scorecard.model_validate(document)
    assert old.contributions(rows).baseline == old.intercept
    np.testing.assert_allclose(old.contributions(rows).log_odds, old.log_odds(rows), atol=1e-9)


def combined(models: dict[str, Developed]) -> CombinedModel:
    model = models["combined"].in_parts
    assert model is not None
    return model


def test_an_absent_input_gets_what_it_raised_the_supervised_part_by(models: dict[str, Developed]) -> None:
    views = combined(models).views
    rows = random_rows(300, 5).features
    whole = rows.filter(pa.array(~views.failed_inputs(rows).any(axis=1)))
    holed = without(whole, "income")
    found, plain = views.attributed(holed)["supervised"], views.supervised.contributions(holed)
    raised = views.supervised.highest_log_odds(holed) - views.supervised.log_odds(holed)
    assert raised.max() > 0.01
    income = found.features.index("income")
    np.testing.assert_allclose(found.values[:, income] - plain.values[:, income], raised, atol=1e-6)
    others = [n for n in range(len(found.features)) if n != income]
    np.testing.assert_array_equal(found.values[:, others], plain.values[:, others])


def test_two_absent_inputs_share_what_they_raise_equally(models: dict[str, Developed]) -> None:
    views = combined(models).views
    holed = without(random_rows(100, 5).features, "enquiries", "noise", "trend")
    found = views.attributed(holed)["anomaly"].values
    shares = {name: found[:, views.supervised.inputs.features.index(name)] for name in FEATURES}
    np.testing.assert_array_equal(shares["enquiries"], shares["noise"])
    assert (shares["enquiries"] >= 0).all()
    assert shares["enquiries"].max() > 0
    assert (shares["trend"] == 0).all()  # its absence is a state and no failed input


def test_rows_without_gaps_attribute_the_anomaly_to_its_part_alone(models: dict[str, Developed]) -> None:
    model = combined(models)
    rows = random_rows(200, 6).features
    whole = rows.filter(pa.array(~model.views.failed_inputs(rows).any(axis=1)))
    assert (model.views.attributed(whole)["anomaly"].values == 0).all()
    part = model.combination.parts["anomaly"]
    found = model.contributions(whole)
    mean = 1 - 1e-3
    expected = part.weight * (model.views.of(whole).evidence["anomaly"] - mean)
    np.testing.assert_allclose(found.values[:, found.features.index("part anomaly")], expected, atol=1e-9)


def test_the_features_of_the_conditions_that_are_met_share_a_typology(models: dict[str, Developed]) -> None:
    """`many_enquiries` asks for enquiries >= 4; `poor_shop` for a shop with income <= 15000 or enquiries >= 3."""
    views = combined(models).views
    rows = pa.table(
        {
            "income": [10_000.0, 50_000.0, 50_000.0, None, 10_000.0],
            "enquiries": [0.0, 3.0, 4.0, 0.0, 0.0],
            "noise": [0.0] * 5,
            "trend": [0.0] * 5,
            "purpose": ["shop", "shop", "car", "shop", "car"],
        }
    )
    found = views.attributed(rows)["typologies"]
    many, poor = np.log(2), -np.log(0.3)
    by_name = {name: found.values[:, found.features.index(name)] for name in FEATURES}
    np.testing.assert_allclose(by_name["income"], [poor / 2, 0, 0, poor, 0])  # absent: alone why nobody can say
    np.testing.assert_allclose(by_name["enquiries"], [0, poor / 2, many, 0, 0])
    np.testing.assert_allclose(by_name["purpose"], [poor / 2, poor / 2, 0, 0, 0])
    np.testing.assert_allclose(found.log_odds, views.of(rows).evidence["typologies"])


def test_the_most_adverse_features_come_first_and_those_that_help_are_left_out() -> None:
    values = np.array([[0.5, -1.0, 2.0, 0.5, 0.1, 0.2], [-1.0, 0.0, -0.1, -0.2, 0.3, -9.0], [0.0] * 6])
    found = Contributions(-1.0, values, ("a", "b", "c", "d", "e", "f"))
    assert principal(found, 0) == ("c", "a", "d", "f")
    assert principal(found, 0, limit=2) == ("c", "a")
    assert principal(found, 1) == ("e",)
    assert principal(found, 2) == ()
    assert found.adverse().tolist() == [[2, 0, 3, 5], [4, NONE, NONE, NONE], [NONE] * 4]


def test_a_loaded_artefact_tells_the_same(models: dict[str, Developed], learnt: Rows, tmp_path) -> None:
    developed = models["catboost"]
    reference = reference_of(learnt, FEATURES, developed.probability(learnt.population))
    files = artefact.pack("loans", developed, learnt, FEATURES, reference, {})
    predictor = artefact.load_verified(tmp_path, artefact.save(tmp_path, files))
    rows = random_rows(50, 9).features
    np.testing.assert_array_equal(predictor.contributions(rows).values, developed.contributions(rows).values)
