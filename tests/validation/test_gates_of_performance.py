"""Discrimination, calibration and stability: a good model passes, one made worse on purpose does not."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from judged_lender import failing, of_gate, scored_by

from pipelines.contracts import Verdict
from pipelines.evaluation import metrics
from pipelines.settings import REPOSITORY
from pipelines.spec import GATES, Gate
from pipelines.validation.gates.engine import MEASURES
from pipelines.validation.gates.inputs import Inputs

FAIL, NOT_ASSESSABLE = Verdict.FAIL, Verdict.NOT_ASSESSABLE


def with_candidate(inputs: Inputs, **changed: Any) -> Inputs:
    return replace(inputs, candidate=replace(inputs.candidate, **changed))


def with_labels(inputs: Inputs, label: np.ndarray) -> Inputs:
    return with_candidate(inputs, judged=replace(inputs.candidate.judged, label=label.astype(np.int8)))


def with_a_state(inputs: Inputs) -> Inputs:
    """The same model, whose file says that income may be absent."""
    features = inputs.model.features["application"]
    changed = features | {"income": features["income"].model_copy(update={"missing": "allowed"})}
    return replace(inputs, model=inputs.model.model_copy(update={"features": {"application": changed}}))


def shuffled(inputs: Inputs) -> Inputs:
    """Outcomes that belong to other rows."""
    return with_labels(inputs, np.random.default_rng(1).permutation(inputs.candidate.judged.label))


@pytest.mark.parametrize("gate", [gate for gate in GATES if gate in MEASURES and gate not in ("champion", "fairness")])
def test_every_gate_passes_on_a_good_model(inputs: Inputs, gate: Gate) -> None:
    assert of_gate(inputs, gate)
    assert failing(inputs, gate) == {}


def test_the_measures_are_those_of_training(inputs: Inputs) -> None:
    candidate = inputs.candidate
    expected = metrics.measure(candidate.judged.label, candidate.probability)
    found = {m.metric: m for gate in ("discrimination", "calibration") for m in MEASURES[gate](inputs)}
    for name in ("auc", "gini", "ks", "average_precision", "calibration_error"):
        assert found[name].value == pytest.approx(expected[name])
    assert found["gini"].low == pytest.approx(2 * found["auc"].low - 1)
    base_rate = expected["event_rate"]
    assert found["brier_skill"].value == pytest.approx(1 - expected["brier"] / (base_rate * (1 - base_rate)))
    assert found["calibration_ratio"].value == pytest.approx(base_rate / expected["mean_predicted"])
    for measured in found.values():
        assert measured.low is not None
        assert measured.high is not None
        assert measured.low < measured.high


def test_a_model_that_does_not_rank_fails(inputs: Inputs) -> None:
    assert failing(shuffled(inputs), "discrimination") == {("auc", ""): FAIL, ("ks", ""): FAIL}


@pytest.mark.parametrize("gate", ["discrimination", "calibration", "stability"])
def test_probabilities_that_are_no_numbers_are_not_assessable(inputs: Inputs, gate: Gate) -> None:
    broken = with_candidate(inputs, probability=np.where(inputs.candidate.probability > 0.4, np.nan, 0.1))
    found = failing(broken, gate)
    assert set(found.values()) == {NOT_ASSESSABLE}
    assert set(found) == set(of_gate(broken, gate))


@pytest.mark.parametrize("gate", ["discrimination", "stability"])
def test_one_class_only_is_not_assessable(inputs: Inputs, gate: Gate) -> None:
    found = failing(with_labels(inputs, np.zeros(len(inputs.candidate.judged))), gate)
    assert ("auc", "") in found or ("auc_drop", "") in found
    assert set(found.values()) == {NOT_ASSESSABLE}


def test_no_rows_are_not_assessable(inputs: Inputs) -> None:
    nobody = np.zeros(len(inputs.candidate.judged), bool)
    empty = with_candidate(inputs, judged=inputs.candidate.judged.where(nobody), probability=np.array([]))
    for gate in ("discrimination", "calibration", "stability", "robustness", "stress", "explainability", "latency"):
        found = failing(empty, gate)
        assert found, gate
        assert set(found.values()) == {NOT_ASSESSABLE}, gate


def test_half_the_risk_fails_and_so_does_twice_the_risk(inputs: Inputs) -> None:
    for factor in (0.5, 1.7):
        told = with_candidate(inputs, probability=np.minimum(inputs.candidate.probability * factor, 1))
        assert failing(told, "calibration")[("calibration_ratio", "")] is FAIL


def test_probabilities_too_far_apart_fail_by_their_slope(inputs: Inputs) -> None:
    candidate = inputs.candidate

    def exaggerated(features: pa.Table) -> np.ndarray:
        odds = candidate.predictor.predict(features) / (1 - candidate.predictor.predict(features))
        return odds**3 / (1 + odds**3)

    found = failing(replace(inputs, candidate=scored_by(candidate, exaggerated)), "calibration")
    assert found[("calibration_slope", "")] is FAIL


def test_the_base_rate_for_everyone_has_no_slope(inputs: Inputs) -> None:
    flat = scored_by(inputs.candidate, lambda features: np.full(features.num_rows, 0.27))
    assert failing(replace(inputs, candidate=flat), "calibration")[("calibration_slope", "")] is NOT_ASSESSABLE


def test_what_was_learnt_by_heart_is_lost_on_the_judged_rows(inputs: Inputs) -> None:
    found = failing(shuffled(inputs), "stability")
    assert found == {("auc_drop", ""): FAIL, ("worst_month_auc", ""): FAIL}


def test_months_with_too_few_events_are_not_assessable(inputs: Inputs) -> None:
    few = inputs.candidate.judged.label.copy()
    few[np.flatnonzero(few)[19:]] = 0
    assert failing(with_labels(inputs, few), "stability")[("worst_month_auc", "")] is NOT_ASSESSABLE


def test_the_month_that_ranks_worst_is_named(inputs: Inputs) -> None:
    judged, dates = inputs.candidate.judged, inputs.candidate.judged.event_date.copy()
    late = np.arange(len(judged)) >= len(judged) // 2
    dates[late] = np.datetime64("2024-06-30")
    label = judged.label.copy()
    label[late] = np.random.default_rng(1).permutation(label[late])
    two = with_candidate(inputs, judged=replace(judged, event_date=dates, label=label))
    worst = of_gate(two, "stability")[("worst_month_auc", "")]
    assert worst.verdict is FAIL
    assert worst.evidence.startswith("2024-06")


def test_scores_that_moved_away_fail(inputs: Inputs) -> None:
    moved = with_candidate(inputs, probability=inputs.candidate.probability**2)
    assert failing(moved, "stability") == {("score_psi", ""): FAIL}


@pytest.mark.parametrize("gate", [gate for gate in GATES if gate in MEASURES and gate not in ("champion", "fairness")])
def test_the_page_names_what_a_gate_measures(inputs: Inputs, gate: Gate) -> None:
    page = (REPOSITORY / "docs" / "gates.md").read_text(encoding="utf-8")
    section = page.split(f"\n### {gate}\n")[1].split("\n### ")[0]
    told = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`([a-z_0-9]+)`", " ".join(told))) == {
        m.metric for kind in (inputs, with_a_state(inputs)) for m in MEASURES[gate](kind)
    }
