"""The combined score: three parts of which none can lower it, and uninvestigated rows that are never negatives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from lender import FEATURES, MODEL, random_rows
from typology_packs import DOCUMENT, PACK, PARAMETERS, partly_labelled, spec

from pipelines.contracts import Blocked, DataFault, EvidenceMissing
from pipelines.evaluation.metrics import auc
from pipelines.spec import Model, TypologyPack
from pipelines.training import algorithms, artefact, catboost_model, combined
from pipelines.training.algorithms import Developed
from pipelines.training.combined import PARTS, CombinedModel, weigh
from pipelines.training.recipe import Recipe
from pipelines.training.reference import reference_of
from pipelines.training.rows import Background, Rows
from pipelines.training.trial import try_out


@pytest.fixture(scope="module")
def rows() -> Rows:
    return partly_labelled()


@pytest.fixture(scope="module")
def developed(rows: Rows) -> Developed:
    return algorithms.develop(spec(), "combined", rows, PACK)


@pytest.fixture(scope="module")
def model(developed: Developed) -> CombinedModel:
    assert developed.in_parts is not None
    return developed.in_parts


def test_every_part_weighs_at_least_what_it_must_and_the_score_ranks(
    developed: Developed, model: CombinedModel
) -> None:
    assert tuple(model.combination.parts) == PARTS
    assert min(model.weights().values()) >= 0.1
    other = random_rows(5_000, 77)
    complete = other.where(np.asarray(other.features["income"].is_valid()))  # a gap raises a score, whatever the label
    assert auc(complete.label, developed.probability(complete.features)) > 0.7


def test_the_score_is_the_weighed_sum_of_its_parts(model: CombinedModel, rows: Rows) -> None:
    parts, weights = model.in_parts(rows.features), model.weights()
    values = parts.values
    rest = {name: np.maximum(1 - values[name], 1e-3) for name in ("anomaly", "typologies")}
    by_hand = (
        model.combination.intercept
        + weights["supervised"] * np.log(values["supervised"] / (1 - values["supervised"]))
        - weights["anomaly"] * np.log(rest["anomaly"])
        - weights["typologies"] * np.log(rest["typologies"])
    )
    np.testing.assert_allclose(parts.log_odds, by_hand, atol=1e-9)
    for value in values.values():
        assert ((value >= 0) & (value <= 1)).all()


@pytest.mark.parametrize("part", PARTS)
def test_raising_a_part_never_lowers_the_score(
    developed: Developed, model: CombinedModel, rows: Rows, part: str
) -> None:
    evidence = model.views.of(rows.features).evidence
    before = developed.calibration.probability(model.combination.log_odds(evidence))
    for more in (1e-6, 0.1, 3.0):
        raised = evidence | {part: evidence[part] + more}
        after = developed.calibration.probability(model.combination.log_odds(raised))
        assert (after >= before).all()
        assert (after > before).mean() > 0.99


@pytest.mark.parametrize("part", PARTS)
def test_a_part_without_a_value_never_lowers_the_score_and_sends_the_row_to_a_person(
    model: CombinedModel, rows: Rows, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = rows.population.drop_null()
    whole = model.in_parts(complete)
    patched = {
        "supervised": ("supervised", "log_odds", whole.log_odds),
        "anomaly": ("forest", "part", whole.values["anomaly"]),
    }
    broken = _with_holes(complete.num_rows)
    if part == "typologies":
        found = replace(model.views.of(complete).found, part=broken)
        monkeypatch.setattr(combined.rules, "judge", lambda *_: found)
    else:
        name, method, _ = patched[part]
        monkeypatch.setattr(type(getattr(model.views, name)), method, lambda *_: broken)
    seen = model.in_parts(complete)
    holes = np.isnan(broken)
    # The supervised part's other rows are broken too by the patch: only rows with holes are compared.
    assert (seen.log_odds[holes] >= whole.log_odds[holes]).all()
    assert np.isfinite(seen.log_odds).all()
    assert seen.unsure[f"part {part} absent"].tolist() == holes.tolist()
    assert np.isnan(seen.values[part][holes]).all()


def _with_holes(rows: int) -> np.ndarray:
    broken = np.zeros(rows)
    broken[::7], broken[::11] = np.nan, np.inf
    return np.where(np.isfinite(broken), broken, np.nan)


def test_an_absent_value_makes_no_row_less_anomalous_and_unjudged_typologies_go_to_a_person(
    model: CombinedModel,
) -> None:
    row: dict[str, Any] = {"income": 9_000.0, "enquiries": 5.0, "noise": 0.0, "trend": 0.0, "purpose": "shop"}
    whole = model.in_parts(_one(row))
    assert whole.typologies_met.to_pylist() == ["many_enquiries; poor_shop"]
    assert whole.unsure == {}
    holed = model.in_parts(_one(row | {"enquiries": None, "purpose": None}))
    assert holed.typologies_met.to_pylist() == [""]
    assert list(holed.unsure) == ["typology many_enquiries cannot be judged", "typology poor_shop cannot be judged"]
    assert holed.values["anomaly"][0] >= whole.values["anomaly"][0]
    assert model.in_parts(_one(row | {"trend": None})).unsure == {}


def _one(row: dict[str, Any]) -> pa.Table:
    return pa.table({n: pa.array([v], pa.string() if n == "purpose" else pa.float64()) for n, v in row.items()})


def test_uninvestigated_is_not_negative_the_supervised_part_never_sees_it(model: CombinedModel, rows: Rows) -> None:
    told = {name.removeprefix("catboost_"): v for name, v in PARAMETERS.items() if name.startswith("catboost_")}
    alone = algorithms.develop(
        spec().model_copy(update={"training": spec().training.model_copy(update={"parameters": {"catboost": told}})}),
        "catboost",
        replace(rows, background=None),
    )
    assert model.views.supervised.blob == alone.fitted.files()[catboost_model.FILE]


def test_the_background_teaches_what_is_usual(rows: Rows, model: CombinedModel) -> None:
    """Who was investigated is unlike the others: with the others beside them they are more anomalous."""
    assert rows.background is not None
    high = rows.where(np.asarray(pa.compute.fill_null(pa.compute.greater(rows.features["enquiries"], 2.0), False)))
    alone = algorithms.develop(spec(), "combined", replace(high, background=None), PACK).in_parts
    beside = algorithms.develop(spec(), "combined", high, PACK).in_parts
    assert alone is not None
    assert beside is not None
    of = {n: m.in_parts(high.features).values["anomaly"].mean() for n, m in (("alone", alone), ("beside", beside))}
    assert of["alone"] == pytest.approx(0.5, abs=0.01)
    assert of["beside"] > 0.55


def test_only_labelled_rows_are_counted_and_measured(rows: Rows) -> None:
    trial = try_out(spec(), "combined", rows, PACK)
    measured = trial.evidence.metrics
    assert rows.background is not None
    judged = rows.event_date >= np.datetime64("2024-06-01")
    late = int((rows.background.event_date >= np.datetime64("2024-06-01")).sum())
    assert (measured["rows"], measured["events"]) == (judged.sum(), rows.label[judged].sum())
    assert measured["unlabelled_rows"] == late
    assert measured["auc"] > max(measured["auc_anomaly"], measured["auc_typologies"])
    assert {f"weight_{name}" for name in PARTS} <= set(measured)
    reference = reference_of(trial.judged, FEATURES, trial.population_probability)
    assert reference.rows == judged.sum() + late
    assert sum(reference.probability.counts) == reference.rows
    assert sum(reference.features["income"].counts) == reference.rows


def test_folds_take_the_whole_background_along(rows: Rows) -> None:
    folds = {"kind": "folds", "folds": 2, "why_no_time": "one snapshot only"}
    document = spec().model_dump()
    document["training"]["validation"] = folds
    trial = try_out(Model.model_validate(document), "combined", rows, PACK)
    assert trial.evidence.metrics["rows"] == len(rows)
    assert trial.evidence.metrics["unlabelled_rows"] == rows.unlabelled == len(trial.population_probability) - len(rows)


def test_the_files_give_the_same_model_and_its_own_typologies(rows: Rows, developed: Developed) -> None:
    files = _packed(developed, rows)
    loaded = artefact._assembled(files, "")
    assert loaded.typologies == PACK
    whole, parts = loaded.predict(rows.population), loaded.predict_in_parts(rows.population)
    np.testing.assert_array_equal(whole, developed.probability(rows.population))
    np.testing.assert_array_equal(parts.probability, whole)
    again = algorithms.develop(spec(), "combined", rows, PACK)
    assert _packed(again, rows) == files


def _packed(developed: Developed, rows: Rows) -> dict[str, bytes]:
    reference = reference_of(rows, FEATURES, developed.probability(rows.population))
    return artefact.pack("loans", developed, rows, FEATURES, reference, {"made": "by a test"})


def test_golden_rows_hold_the_parts_too(rows: Rows, developed: Developed, tmp_path) -> None:
    files = _packed(developed, rows)
    golden = artefact.Golden.model_validate_json(files[artefact.GOLDEN])
    assert golden.parts is not None
    assert set(golden.parts.values) == set(PARTS)
    assert any(golden.parts.typologies_met)
    met = golden.parts.typologies_met
    other = golden.model_copy(update={"parts": golden.parts.model_copy(update={"typologies_met": ("", *met[1:], "x")})})
    digest = artefact.save(tmp_path / "model", files | {artefact.GOLDEN: other.model_dump_json().encode()})
    with pytest.raises(Blocked, match="the parts of its golden rows' scores differ here"):
        artefact.load_verified(tmp_path / "model", digest)


def test_a_model_without_parts_says_so(sample: Rows) -> None:
    document = MODEL["training"] | {"algorithms": ["scorecard"]}
    features = {"application": {name: feature.model_dump() for name, feature in FEATURES.items()}}
    card = Model.model_validate(MODEL | {"training": document, "features": features})
    plain = _packed(algorithms.develop(card, "scorecard", sample), sample)
    loaded = artefact._assembled(plain, "")
    assert not loaded.has_parts
    assert loaded.typologies is None
    assert b"parts" not in plain[artefact.GOLDEN]
    with pytest.raises(DataFault, match="does not put its scores together of parts"):
        loaded.predict_in_parts(sample.features)


def test_importance_says_what_each_part_moves(model: CombinedModel) -> None:
    importance = model.importance()
    assert set(importance) == {*FEATURES, "part anomaly", "part typologies"}
    assert sum(importance.values()) == pytest.approx(100)
    assert min(importance.values()) >= 0


def test_weights_are_those_of_a_logistic_regression_where_no_bound_holds() -> None:
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(4)
    evidence = random.normal(size=(5_000, 3))
    label = (random.random(5_000) < 1 / (1 + np.exp(1 - evidence @ [1.0, 0.5, 0.2]))).astype(np.int8)
    weights, intercept = weigh(evidence, label, 0.0)
    theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(evidence, label)
    np.testing.assert_allclose(list(weights.values()), theirs.coef_[0], atol=2e-5)
    assert intercept == pytest.approx(theirs.intercept_[0], abs=2e-5)


@pytest.mark.parametrize("least", [0.0, 0.3])
def test_a_part_that_speaks_against_the_label_weighs_the_least_it_may(least: float) -> None:
    random = np.random.default_rng(4)
    evidence = random.normal(size=(3_000, 3))
    label = (random.random(3_000) < 1 / (1 + np.exp(evidence[:, 1] - evidence[:, 0]))).astype(np.int8)
    weights, _ = weigh(evidence, label, least)
    assert weights["anomaly"] == least
    assert weights["supervised"] > 0.8
    assert weights["typologies"] >= least


def test_parts_that_are_not_all_there_are_not_weighed() -> None:
    evidence = np.ones((10, 3))
    evidence[3, 1] = np.nan
    with pytest.raises(EvidenceMissing, match="1 of 10 held-out rows lack a part"):
        weigh(evidence, np.arange(10, dtype=np.int8) % 2, 0.1)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"catboost_depht": 3}, r"combined\.catboost_depht is unknown.*did you mean 'catboost_depth'"),
        ({"catboost_thread_count": 8}, r"combined\.catboost_thread_count is unknown or fixed"),
        ({"depth": 3}, r"combined\.depth is unknown or fixed by Vigil"),
        ({"trees": 3}, r"combined\.trees: Input should be greater than or equal to 10"),
        ({"trees": True}, r"combined\.trees: Input should be a valid integer"),
        ({"least_weight": -0.1}, r"combined\.least_weight: Input should be greater than or equal to 0"),
        ({"max_samples": 0.5}, r"combined\.max_samples: Input should be a valid integer"),
    ],
)
def test_a_wrong_parameter_is_named(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(DataFault, match=said):
        algorithms.recipe_for(spec(**parameters), "combined")


def test_what_the_libraries_are_told_is_recorded() -> None:
    told = algorithms.effective_parameters(algorithms.recipe_for(spec(), "combined"), "combined")
    assert told["catboost_iterations"] == 30
    assert told["catboost_thread_count"] == 2
    assert (told["trees"], told["max_samples"], told["least_weight"]) == (30, 256, 0.1)


def test_catboosts_refusal_names_the_place_to_correct(rows: Rows) -> None:
    with pytest.raises(DataFault, match=r"Correct training\.parameters\.combined in the model file"):
        algorithms.develop(spec(catboost_depth=99), "combined", rows, PACK)


def test_no_typologies_or_unfitting_ones_are_refused(rows: Rows) -> None:
    with pytest.raises(DataFault, match="combined needs typologies"):
        algorithms.develop(spec(), "combined", rows)
    other = {
        **DOCUMENT,
        "typologies": [{**DOCUMENT["typologies"][0], "all_of": [{"feature": "amount", "at_least": 1}]}],
    }
    with pytest.raises(DataFault, match="no feature 'amount'"):
        algorithms.develop(spec(), "combined", rows, TypologyPack.model_validate(other))


def test_a_recipe_needs_no_typologies_for_other_algorithms(sample: Rows) -> None:
    made = catboost_model.fit(Recipe("loans", FEATURES, 1, {"iterations": 5}), sample, sample)
    assert made.trees == 5


def test_an_empty_background_is_as_good_as_none(rows: Rows) -> None:
    nobody = Background(rows.features.slice(0, 0), rows.event_date[:0])
    recipe = algorithms.recipe_for(spec(), "combined", PACK)
    with_none = combined.fit(recipe, replace(rows, background=None), rows)
    assert combined.fit(recipe, replace(rows, background=nobody), rows).files() == with_none.files()
