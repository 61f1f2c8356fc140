"""Training on a real lake, a real registry and real features, from rows to registered versions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from lender import AS_OF, COLUMNS, MONTHS

from pipelines import mlflow_store, training
from pipelines.completion import completed
from pipelines.contracts import Blocked, DataFault
from pipelines.settings import REPOSITORY
from pipelines.training import artefact


def write_policy(lender, **limits) -> None:
    policy = yaml.safe_load((REPOSITORY / "policies" / "internal.yaml").read_text())
    policy["training"] |= limits
    (lender.settings.project / "policies").mkdir(exist_ok=True)
    (lender.settings.project / "policies" / "internal.yaml").write_text(yaml.safe_dump(policy))


def test_every_algorithm_becomes_a_version_whose_files_can_be_proved(lender, tmp_path):
    model = lender.model()
    lender.build(model)
    made = training.train(lender.settings, model, AS_OF)
    assert [(v.algorithm, v.version) for v in made] == [("catboost", 1), ("scorecard", 2)]
    assert mlflow_store.get_aliases(lender.settings, "loans") == {}
    for trained in made:
        assert trained.rows == 3000
        assert 0.65 < trained.metrics["auc"] < 0.9
        assert trained.metrics["gini"] == pytest.approx(2 * trained.metrics["auc"] - 1)
        assert {"ks", "average_precision", "brier", "calibration_error", "development_auc"} <= set(trained.metrics)
        assert trained.metrics["rows"] == 600
        stored = mlflow_store.version(lender.settings, "loans", trained.version)
        assert stored.tags["vigil.artefact_digest"] == trained.artefact_digest
        assert stored.tags["vigil.training_set_digest"] == trained.training_set_digest
        assert len(stored.tags["vigil.code_digest"]) == 64
        folder = mlflow_store.download_artefact(lender.settings, stored, tmp_path / trained.algorithm)
        predictor = artefact.load_verified(folder, trained.artefact_digest)
        assert predictor.features == model.feature_names
        assert predictor.provenance["training_set"]["pins"]["source_versions"] == {"loans": 4}
        assert sum(predictor.reference.probability.counts) == 600


def test_the_report_holds_pictures_months_and_the_verdict(lender):
    model = lender.model(algorithms=["scorecard"])
    lender.build(model)
    (made,) = training.train(lender.settings, model, AS_OF)
    report = next(Path(lender.settings.mlflow_artifacts).rglob(f"{made.run_id}/artifacts/report"))
    assert {p.name for p in report.iterdir()} == {
        *("roc.png", "calibration.png", "scores.png"),
        *("months.csv", "deciles.csv", "importance.csv", "leakage.json"),
    }
    months = (report / "months.csv").read_text().splitlines()
    assert months[0].startswith("month,rows,events")
    assert months[1].startswith("2024-05-01,600,")
    verdict = json.loads((report / "leakage.json").read_text())
    assert verdict["findings"] == []
    assert verdict["rows"] == 3000


def test_training_again_from_the_same_rows_registers_nothing(lender):
    model = lender.model()
    lender.build(model)
    first = training.train(lender.settings, model, AS_OF)
    ended = completed(lender.settings, "loans", "train")
    assert training.train(lender.settings, model, AS_OF) == first
    assert len(mlflow_store.versions(lender.settings, "loans")) == 2
    assert completed(lender.settings, "loans", "train")[AS_OF] > ended[AS_OF]


def test_other_parameters_make_another_version_of_that_algorithm_only(lender):
    model = lender.model()
    lender.build(model)
    training.train(lender.settings, model, AS_OF)
    changed = lender.model(parameters={"catboost": {"iterations": 41, "depth": 3, "learning_rate": 0.1}})
    assert [v.version for v in training.train(lender.settings, changed, AS_OF)] == [3, 2]


def test_a_training_killed_between_two_versions_goes_on_where_it_was(lender):
    model = lender.model()
    lender.build(model)
    killed = """
import os, signal
from datetime import date
from pathlib import Path
from pipelines import training
from pipelines.settings import get_settings
from pipelines.spec import load_model
from pipelines.training import register, steps

registered, calls = register.register, []
def register_once(*arguments):
    if calls:
        os.kill(os.getpid(), signal.SIGKILL)
    calls.append(1)
    return registered(*arguments)
steps.register.register = register_once
settings = get_settings()
training.train(settings, load_model(settings.models, "loans"), date(2024, 12, 31))
"""
    environment = os.environ | {"VIGIL_PROJECT": str(lender.settings.project)}
    done = subprocess.run(
        [sys.executable, "-c", killed], env=environment, capture_output=True, text=True, cwd=REPOSITORY
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    (before,) = mlflow_store.versions(lender.settings, "loans")
    made = training.train(lender.settings, model, AS_OF)
    assert [(v.algorithm, v.version) for v in made] == [("catboost", 1), ("scorecard", 2)]
    assert made[0].run_id == before.run_id


def test_a_column_known_later_is_refused_by_name(lender):
    model = lender.model({"recovered": {}})
    lender.build(model)
    with pytest.raises(Blocked, match=r"recovered: comes from loans\.recovered, known only after the event"):
        training.train(lender.settings, model, AS_OF)
    assert mlflow_store.versions(lender.settings, "loans") == ()


def test_dates_after_the_event_are_refused_but_a_promised_due_date_is_not(lender):
    model = lender.model({"days_since_paid": {"missing": "allowed"}})
    lender.build(model)
    with pytest.raises(
        Blocked, match=r"days_since_paid: comes from loans\.last_paid_on, which in 3000 rows"
    ) as refusal:
        training.train(lender.settings, model, AS_OF)
    assert "due_on" not in str(refusal.value)


def test_an_outcome_nobody_marked_is_still_refused(lender):
    lender.contract(COLUMNS | {"recovered": {"type": "float"}})
    model = lender.model({"recovered": {}, "repaid": {}})
    lender.build(model)
    with pytest.raises(Blocked) as refusal:
        training.train(lender.settings, model, AS_OF)
    assert "recovered: alone tells events apart" in str(refusal.value)
    assert "repaid: " in str(refusal.value)
    assert "Nothing was trained" in str(refusal.value)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"min_rows": 3001}, "3000 rows and .* events; policy internal asks for 3001"),
        ({"min_events": 2999}, "asks for 1000 and 2999"),
        ({"min_auc": 0.99}, "catboost: it reaches AUC 0.* policy internal asks for 0.99. Nothing was registered"),
    ],
)
def test_the_policy_blocks(lender, limits, message):
    model = lender.model()
    lender.build(model)
    write_policy(lender, **limits)
    with pytest.raises(Blocked, match=message):
        training.train(lender.settings, model, AS_OF)
    assert mlflow_store.versions(lender.settings, "loans") == ()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"catboost": {"depht": 3}}, r"parameters\.catboost\.depht is unknown.*did you mean 'depth'"),
        ({"catboost": {"thread_count": 8}}, r"parameters\.catboost\.thread_count is unknown or fixed"),
        ({"scorecard": {"c": 1}}, r"parameters\.scorecard\.c is unknown"),
        ({"catboost": {"depth": 99}}, "catboost refused to train"),
        ({"scorecard": {"C": -1.0}}, "scorecard refused to train"),
    ],
)
def test_a_wrong_parameter_is_a_data_fault_with_the_place_to_correct(lender, parameters, message):
    model = lender.model(parameters=parameters)
    lender.build(model)
    with pytest.raises(DataFault, match=message):
        training.train(lender.settings, model, AS_OF)


def test_one_date_cannot_be_split_by_time(lender):
    model = lender.model(validation={"kind": "out_of_time", "out_of_time_from": MONTHS[1]}, history_from=MONTHS[0])
    lender.build(model)
    with pytest.raises(Blocked, match="as of 2024-12-31, catboost: all development rows have the event date"):
        training.train(lender.settings, model, AS_OF)


def test_folds_measure_every_row_once_where_the_model_file_says_why(lender):
    folds = {"kind": "folds", "folds": 3, "why_no_time": "one snapshot only"}
    model = lender.model(algorithms=["scorecard"], validation=folds)
    lender.build(model)
    (made,) = training.train(lender.settings, model, AS_OF)
    assert made.metrics["rows"] == 3000
    assert 0.65 < made.metrics["auc"] < 0.9
