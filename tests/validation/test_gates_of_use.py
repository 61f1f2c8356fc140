"""Explainability, latency and artefact safety: what a model must be to be used at night and told a customer about."""

from __future__ import annotations

import pickle
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from judged_lender import Scored, failing, measuring, of_gate, scored_by, with_rules

from pipelines.contracts import EvidenceMissing, GateReport, Verdict
from pipelines.spec import Reasons, Rule
from pipelines.training.contributions import Contributions
from pipelines.validation.gates import latency
from pipelines.validation.gates.engine import MEASURES, verdicts_of
from pipelines.validation.gates.inputs import Inputs

FAIL, NOT_ASSESSABLE = Verdict.FAIL, Verdict.NOT_ASSESSABLE


# ----------------------------------------------------------------------------------------------------- explainability


def explained_by(inputs: Inputs, change: Any) -> Inputs:
    """The inputs with other contributions, made from the real ones."""
    real = inputs.candidate.predictor

    class Other(Scored):
        def contributions(self, features: Any) -> Contributions:
            return change(real.contributions(features))

    predictor: Any = Other(real, real.predict)
    return replace(inputs, candidate=replace(inputs.candidate, predictor=predictor))


def test_an_adverse_row_without_a_reason_fails(inputs: Inputs) -> None:
    def moved_into_the_baseline(found: Contributions) -> Contributions:
        values = found.values - found.values.max(axis=1, keepdims=True)
        return replace(found, values=values)

    assert (
        failing(explained_by(inputs, moved_into_the_baseline), "explainability")[("adverse_without_reason", "")] is FAIL
    )


def test_reasons_that_do_not_add_up_fail(inputs: Inputs) -> None:
    found = failing(explained_by(inputs, lambda real: replace(real, baseline=real.baseline + 1e-5)), "explainability")
    assert found == {("largest_sum_error", ""): FAIL}


def test_scores_beyond_what_a_probability_can_tell_are_compared_as_far_as_it_can(inputs: Inputs) -> None:
    """Log odds of 700, as a model trained elsewhere has where it says 1: no probability is that close to 1."""

    def certain(features: Any) -> np.ndarray:
        probability = inputs.candidate.predictor.predict(features)
        return np.where(probability > np.quantile(probability, 0.9), 1.0, 0.1)

    def explained(log_odds: float) -> Inputs:
        scored = scored_by(inputs.candidate, certain)
        told = explained_by(
            replace(inputs, candidate=scored),
            lambda real: replace(real, baseline=0.0, values=np.full((len(real), 1), log_odds), features=("amount",)),
        )
        return measuring(told, approved_share=0.8)

    assert failing(explained(700.0), "explainability") == {}
    assert failing(explained(19.0), "explainability") == {("largest_sum_error", ""): FAIL}


def test_what_may_not_be_told_is_no_reason(inputs: Inputs) -> None:
    parts = explained_by(inputs, lambda real: replace(real, features=tuple(f"part {n}" for n in real.features)))
    assert failing(parts, "explainability") == {("adverse_without_reason", ""): FAIL}
    assert inputs.measuring.fairness is not None
    attributes = dict.fromkeys(inputs.candidate.model.feature_names, inputs.measuring.fairness.attributes["sex"])
    fairness = inputs.measuring.fairness.model_copy(update={"attributes": attributes})
    protected = measuring(inputs, fairness=fairness)
    assert set(failing(protected, "explainability").values()) == {NOT_ASSESSABLE}


def test_only_what_the_catalogue_tells_is_a_reason(inputs: Inputs) -> None:
    first, *others = inputs.model.feature_names
    told = {"catalogue": {"only": {"text": "The one thing that is told", "features": [first]}}}
    untold = dict.fromkeys(others, "a test says nothing of it")
    model = inputs.model.model_copy(update={"reasons": Reasons.model_validate(told | {"untold": untold})})
    assert failing(replace(inputs, model=model), "explainability") == {("adverse_without_reason", ""): FAIL}


def test_a_credit_model_without_a_catalogue_can_tell_nobody_why(inputs: Inputs) -> None:
    bare = inputs.model.model_copy(update={"reasons": None})
    assert set(failing(replace(inputs, model=bare), "explainability").values()) == {NOT_ASSESSABLE}
    fraud = bare.model_copy(update={"domain": "fraud"})
    assert failing(replace(inputs, model=fraud), "explainability") == {}


def test_an_algorithm_that_cannot_explain_is_not_assessable(inputs: Inputs) -> None:
    def cannot(_: Contributions) -> Contributions:
        raise EvidenceMissing("this algorithm gives no reasons")

    assert set(failing(explained_by(inputs, cannot), "explainability").values()) == {NOT_ASSESSABLE}


def test_one_score_for_everyone_leaves_nobody_to_explain_to(inputs: Inputs) -> None:
    flat = scored_by(inputs.candidate, lambda features: np.full(features.num_rows, 0.2))
    assert set(failing(replace(inputs, candidate=flat), "explainability").values()) == {NOT_ASSESSABLE}


# ------------------------------------------------------------------------------------------------------------ latency


def slow(inputs: Inputs) -> Inputs:
    def late(features: Any) -> np.ndarray:
        time.sleep(0.5)
        return np.full(features.num_rows, 0.2)

    candidate = replace(inputs.candidate, predictor=Scored(inputs.candidate.predictor, late))
    rule = Rule(gate="latency", metric="p99_ms", at_most=400, source="the tests")
    return with_rules(measuring(inputs, latency_repeats=1), rule, candidate=candidate)


def test_a_slow_model_fails(inputs: Inputs) -> None:
    assert failing(slow(inputs), "latency") == {("p99_ms", ""): FAIL}


def report_of(inputs: Inputs) -> GateReport:
    return GateReport(
        model="loans",
        version=1,
        artefact_digest=inputs.candidate.artefact_digest,
        judged_on=inputs.judged_on,
        champion_version=None,
        champion_digest=None,
        policy="internal",
        policy_version="1",
        verdicts=verdicts_of(inputs, {"latency": latency.measure}),
    )


def seen(inputs: Inputs) -> float | None:
    return of_gate(inputs, "latency")[("p99_ms", "")].observed


def test_a_measurement_that_held_is_kept_so_that_the_report_stays_the_same(inputs: Inputs) -> None:
    report = report_of(inputs)
    again = replace(inputs, earlier=report)
    assert seen(again) == seen(replace(inputs, earlier=report))
    assert report_of(again).digest == report.digest


def test_it_is_measured_anew_when_it_failed_or_was_measured_otherwise(inputs: Inputs) -> None:
    failed = report_of(slow(inputs))
    quick = replace(slow(inputs), candidate=inputs.candidate, earlier=failed)
    assert failing(quick, "latency") == {}
    otherwise = measuring(replace(inputs, earlier=report_of(inputs)), latency_rows=50)
    assert "50 rows" in of_gate(otherwise, "latency")[("p99_ms", "")].evidence


def test_the_rows_of_a_call_are_as_many_as_the_policy_says(inputs: Inputs) -> None:
    asked: list[int] = []

    def counting(features: Any) -> np.ndarray:
        asked.append(features.num_rows)
        return np.full(features.num_rows, 0.2)

    list(MEASURES["latency"](replace(inputs, candidate=scored_by(inputs.candidate, counting))))
    assert asked[1:] == [100] * 23  # the first call scored the judged rows; three are for warming up


# ----------------------------------------------------------------------------------------------------------- artefact


@pytest.fixture
def files(inputs: Inputs, tmp_path: Path) -> Path:
    """A copy of the candidate's files that a test may spoil."""
    return Path(shutil.copytree(inputs.candidate.folder, tmp_path / "files"))


def of_files(inputs: Inputs, folder: Path) -> dict[tuple[str, str], Verdict]:
    return failing(replace(inputs, candidate=replace(inputs.candidate, folder=folder)), "artefact")


@pytest.mark.parametrize("name", ["model.pkl", "more.json", "other.cbm", "noextension"])
def test_a_pickle_by_whatever_name_fails(inputs: Inputs, files: Path, name: str) -> None:
    assert of_files(inputs, files) == {}
    (files / name).write_bytes(pickle.dumps({"weights": [1, 2]}))
    assert of_files(inputs, files) == {("unsafe_files", ""): FAIL}


def test_a_link_or_a_folder_among_the_files_fails(inputs: Inputs, files: Path) -> None:
    (files / "linked.json").symlink_to(files / "schema.json")
    (files / "deeper").mkdir()
    verdict = of_gate(replace(inputs, candidate=replace(inputs.candidate, folder=files)), "artefact")
    assert verdict[("unsafe_files", "")].observed == 2


def test_golden_rows_that_score_differently_fail(inputs: Inputs) -> None:
    real = inputs.candidate.predictor.predict
    nudged = scored_by(inputs.candidate, lambda f: np.nextafter(real(f), 1))
    assert failing(replace(inputs, candidate=nudged), "artefact") == {("golden_differences", ""): FAIL}


def test_without_golden_rows_or_files_nothing_can_be_said(inputs: Inputs, files: Path, tmp_path: Path) -> None:
    (files / "golden.json").unlink()
    assert of_files(inputs, files) == {("golden_differences", ""): NOT_ASSESSABLE}
    (tmp_path / "empty").mkdir()
    assert of_files(inputs, tmp_path / "empty")[("unsafe_files", "")] is NOT_ASSESSABLE


def test_a_model_of_hundreds_of_megabytes_fails(inputs: Inputs, files: Path) -> None:
    with (files / "large.cbm").open("wb") as file:
        file.truncate(250_000_000)  # a sparse file: nothing is written
    assert of_files(inputs, files)[("size_mb", "")] is FAIL
