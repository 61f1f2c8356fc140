"""Leakage, data quality, monotonicity, robustness and stress. That a good model passes is in test_gates_of_performance.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml
from judged_lender import failing, measuring, of_gate, record_ingest, scored_by
from lender import MONTHS

from pipelines.contracts import Verdict
from pipelines.scoring.judge import Judged
from pipelines.settings import Settings
from pipelines.spec import Feature, Model, Scenario, Shift
from pipelines.training.rows import Rows, numbers
from pipelines.validation.candidate import Candidate
from pipelines.validation.gates.engine import MEASURES
from pipelines.validation.gates.inputs import Inputs
from pipelines.validation.gates.stress import stressed

FAIL, NOT_ASSESSABLE = Verdict.FAIL, Verdict.NOT_ASSESSABLE


def scoring(inputs: Inputs, score: Any) -> Inputs:
    """The inputs with a candidate that scores in another way."""
    return replace(inputs, candidate=scored_by(inputs.candidate, score))


def with_feature(model: Model, name: str, **changed: Any) -> Model:
    features = model.features["application"]
    altered = features | {name: Feature.model_validate(features[name].model_dump() | changed)}
    return model.model_copy(update={"features": {"application": altered}})


def leaking(candidate: Candidate) -> Candidate:
    """A candidate one of whose features is the outcome, nearly."""

    def told(rows: Rows) -> Rows:
        amount = rows.label * 1_000.0 + np.arange(len(rows)) % 7
        column = rows.features.schema.names.index("amount")
        return replace(rows, features=rows.features.set_column(column, "amount", pa.array(amount)))

    return replace(candidate, development=told(candidate.development), judged=told(candidate.judged))


# ------------------------------------------------------------------------------------------------------------ leakage


def test_a_feature_that_is_the_outcome_fails(inputs: Inputs) -> None:
    verdict = of_gate(replace(inputs, candidate=leaking(inputs.candidate)), "leakage")[("open_findings", "")]
    assert verdict.verdict is FAIL
    assert "amount alone tells events apart" in verdict.evidence


def test_a_waiver_counts_as_it_is_now_and_is_shown(inputs: Inputs) -> None:
    waived = with_feature(inputs.model, "amount", leakage_waiver="looked at by nobody; A. Validator, 2026-09-01")
    judged = replace(inputs, candidate=leaking(inputs.candidate), model=waived)
    assert failing(judged, "leakage") == {}
    [shown] = [m for m in MEASURES["leakage"](judged) if m.metric == "waived_findings"]
    assert shown.value == 1
    assert "A. Validator" in shown.evidence
    recorded = replace(judged.candidate, model=waived)
    taken_back = replace(judged, candidate=recorded, model=inputs.model)
    assert failing(taken_back, "leakage") == {("open_findings", ""): FAIL}


def test_a_column_found_out_to_be_known_later_fails_after_training(house: Settings, inputs: Inputs) -> None:
    contract = yaml.safe_load((house.expectations / "loans.yaml").read_text())
    contract["columns"]["enquiries"]["known"] = "later"
    (house.expectations / "loans.yaml").write_text(yaml.safe_dump(contract))
    verdict = of_gate(replace(inputs, settings=house), "leakage")[("open_findings", "")]
    assert verdict.verdict is FAIL
    assert "loans.enquiries" in verdict.evidence


# ------------------------------------------------------------------------------------------------------- data quality


def test_many_quarantined_rows_and_a_failed_check_fail(house: Settings, inputs: Inputs) -> None:
    record_ingest(house, "loans", MONTHS[0], quarantined=500, passed=False)
    found = failing(replace(inputs, settings=house), "data_quality")
    assert found == {("quarantined_share", "loans"): FAIL, ("failed_checks", ""): FAIL}


def test_what_was_published_after_training_does_not_count(house: Settings, inputs: Inputs) -> None:
    pins = inputs.candidate.provenance.training_set.pins
    before = pins.model_copy(update={"source_versions": {"loans": pins.source_versions["loans"] - 1}})
    record_ingest(house, "loans", MONTHS[0], quarantined=500, passed=False)
    training_set = inputs.candidate.provenance.training_set.model_copy(update={"pins": before})
    provenance = inputs.candidate.provenance.model_copy(update={"training_set": training_set})
    earlier = replace(inputs, settings=house, candidate=replace(inputs.candidate, provenance=provenance))
    assert set(failing(earlier, "data_quality").values()) == {NOT_ASSESSABLE}  # ingest knew no rows of that version


def test_a_training_date_without_a_record_of_ingest_is_not_assessable(inputs: Inputs) -> None:
    dates = inputs.candidate.development.event_date.copy()
    dates[0] = np.datetime64("2024-01-30")
    development = replace(inputs.candidate.development, event_date=dates)
    found = failing(replace(inputs, candidate=replace(inputs.candidate, development=development)), "data_quality")
    assert found == {("quarantined_share", "loans"): NOT_ASSESSABLE, ("failed_checks", ""): NOT_ASSESSABLE}


def test_an_input_often_absent_fails_unless_absence_is_a_state(inputs: Inputs) -> None:
    holes = pa.array(np.where(np.arange(len(inputs.candidate.development)) % 5 == 0, np.nan, 1.0), from_pandas=True)
    features = inputs.candidate.development.features.set_column(0, "amount", holes)
    development = replace(inputs.candidate.development, features=features)
    holey = replace(inputs, candidate=replace(inputs.candidate, development=development))
    assert failing(holey, "data_quality") == {("missing_share", ""): FAIL}
    states = with_feature(inputs.candidate.model, "amount", missing="allowed")
    assert failing(replace(holey, candidate=replace(holey.candidate, model=states)), "data_quality") == {}


def test_few_rows_and_events_fail(inputs: Inputs) -> None:
    candidate = inputs.candidate
    few = replace(
        candidate,
        development=candidate.development.where(np.arange(len(candidate.development)) % 40 == 0),
        judged=candidate.judged.where(np.arange(len(candidate.judged)) % 40 == 0),
    )
    found = failing(replace(inputs, candidate=few), "data_quality")
    assert found == {("training_rows", ""): FAIL, ("training_events", ""): FAIL}


# ------------------------------------------------------------------------------------------------------- monotonicity


def test_a_score_that_goes_the_wrong_way_fails_by_the_feature(inputs: Inputs) -> None:
    def waves(features: pa.Table) -> np.ndarray:
        return 0.5 + 0.4 * np.sin(np.nan_to_num(numbers(features, "income")) / 5_000)

    assert failing(scoring(inputs, waves), "monotonicity") == {("violations", "income"): FAIL}


def test_a_score_that_is_no_number_has_no_direction(inputs: Inputs) -> None:
    lost = scoring(inputs, lambda features: np.where(numbers(features, "enquiries") > 4, np.nan, 0.2))
    assert failing(lost, "monotonicity")[("violations", "enquiries")] is NOT_ASSESSABLE


def test_a_feature_with_one_value_cannot_be_moved(inputs: Inputs) -> None:
    rows = inputs.candidate.development
    flat = replace(rows, features=rows.features.set_column(1, "income", pa.array(np.ones(len(rows)))))
    found = failing(replace(inputs, candidate=replace(inputs.candidate, development=flat)), "monotonicity")
    assert found == {("violations", "income"): NOT_ASSESSABLE}


def test_a_model_without_directions_passes_and_says_so(inputs: Inputs) -> None:
    model = with_feature(with_feature(inputs.candidate.model, "income", monotone="none"), "enquiries", monotone="none")
    free = replace(inputs, candidate=replace(inputs.candidate, model=model))
    assert failing(free, "monotonicity") == {}
    assert "no direction" in of_gate(free, "monotonicity")[("violations", "")].evidence


# --------------------------------------------------------------------------------------------------------- robustness


def test_outcomes_learnt_by_their_exact_amount_fail_under_noise(inputs: Inputs) -> None:
    judged = inputs.candidate.judged
    known = dict(zip(numbers(judged.features, "amount"), judged.label, strict=True))
    by_heart = scoring(inputs, lambda f: np.array([0.1 + 0.8 * known.get(a, 0) for a in numbers(f, "amount")]))
    assert failing(by_heart, "robustness") == {("auc_loss_under_noise", ""): FAIL}


def forgiving(features: pa.Table) -> np.ndarray:
    """An absent income is the best income there is."""
    income = numbers(features, "income")
    return np.where(np.isnan(income), 0.01, 20_000 / (20_000 + np.maximum(income, 0)))


def test_an_absent_input_that_improves_the_outcome_is_caught_by_review(inputs: Inputs) -> None:
    verdicts = of_gate(scoring(inputs, forgiving), "robustness")
    assert verdicts[("silent_improvement", "income")].observed == 0
    assert "1200 are rejected or sent to a person" in verdicts[("silent_improvement", "income")].evidence


def test_a_state_that_turns_every_adverse_outcome_fails(inputs: Inputs) -> None:
    allowed = replace(scoring(inputs, forgiving), model=with_feature(inputs.model, "income", missing="allowed"))
    verdict = of_gate(allowed, "robustness")[("improvement_by_state", "income")]
    assert verdict.verdict is FAIL
    assert verdict.observed == pytest.approx(0.1, abs=0.02)  # everybody who was not approved


def test_an_input_that_scoring_would_not_notice_to_be_lost_fails(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gate that only read the marks would not see that nobody acts on them."""
    nothing_caught = lambda rules, chunk: Judged(chunk, pa.nulls(len(chunk), pa.string()), chunk.slice(0, 0), {}, {})  # noqa: E731
    monkeypatch.setattr("pipelines.validation.gates.robustness.judge", nothing_caught)
    assert failing(scoring(inputs, forgiving), "robustness") == {("silent_improvement", "income"): FAIL}


@pytest.mark.parametrize("broken", [np.nan, np.inf, -0.001, 1.001])
def test_a_score_outside_its_range_for_an_input_nobody_foresaw_fails(inputs: Inputs, broken: float) -> None:
    real = inputs.candidate.predictor.predict
    amount_limit = 1e30
    odd = scoring(inputs, lambda f: np.where(np.nan_to_num(numbers(f, "amount")) > amount_limit, broken, real(f)))
    assert failing(odd, "robustness") == {("invalid_scores", ""): FAIL}


def test_unknown_categories_and_rows_of_nothing_are_among_the_boundary_cases(inputs: Inputs) -> None:
    seen: list[pa.Table] = []

    def looking(features: pa.Table) -> np.ndarray:
        seen.append(features)
        return np.full(features.num_rows, 0.5)

    list(MEASURES["robustness"](scoring(inputs, looking)))
    cases = seen[-1]
    assert pc.any(pc.equal(cases["purpose"], "a category nobody has seen")).as_py()
    nothing = np.logical_and.reduce([pc.is_null(cases[name]).to_numpy() for name in cases.schema.names])
    assert nothing.any()


# ------------------------------------------------------------------------------------------------------------- stress


def test_a_model_that_sees_less_risk_in_bad_times_fails(inputs: Inputs) -> None:
    backwards = scoring(inputs, lambda f: np.nan_to_num(numbers(f, "income"), nan=1.0) / 1e9)
    assert failing(backwards, "stress") == {("mean_ratio", "unemployment_10"): FAIL}


def test_a_scenario_that_shifts_nothing_the_model_reads_is_not_assessable(inputs: Inputs) -> None:
    elsewhere = Scenario(
        title="Oil", source="nobody", features={"oil_price": Shift(multiply=2), "purpose": Shift(add=1)}
    )
    both = measuring(inputs, scenarios={**inputs.measuring.scenarios, "oil": elsewhere})
    assert failing(both, "stress") == {("mean_ratio", "oil"): NOT_ASSESSABLE}


def test_no_scenario_at_all_blocks(inputs: Inputs) -> None:
    assert failing(measuring(inputs, scenarios={}), "stress") == {("mean_ratio", ""): NOT_ASSESSABLE}


def test_a_shift_multiplies_then_adds_then_keeps_within_its_bounds_and_leaves_absent_values() -> None:
    rows = pa.table({"income": [1.0, 10.0, None, 100.0], "other": [1.0, 2.0, 3.0, 4.0]})
    shift = Shift(multiply=2, add=1, at_least=5, at_most=30)
    scenario = Scenario(title="T", source="s", features={"income": shift, "absent": Shift(add=1)})
    shifted = stressed(rows, scenario, ["income"])
    assert shifted["income"].to_pylist() == [5.0, 21.0, None, 30.0]
    assert shifted["other"].equals(rows["other"])


def test_what_a_scenario_costs_in_approvals_is_told(inputs: Inputs) -> None:
    worse = Scenario(title="W", source="s", features={"income": Shift(multiply=0.2)})
    found = {m.metric: m.value for m in MEASURES["stress"](measuring(inputs, scenarios={"worse": worse}))}
    assert found["mean_ratio"] > 1.1
    assert found["approved_drop"] > 0.05
