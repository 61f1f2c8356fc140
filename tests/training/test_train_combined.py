"""Training the combined model on a real lake and registry, where most rows were never investigated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from lender import AS_OF, HONEST, MODEL, PARTLY, Lender
from typology_packs import DOCUMENT

from pipelines import mlflow_store, training
from pipelines.contracts import Blocked, DataFault
from pipelines.settings import REPOSITORY
from pipelines.spec import Model, load_model
from pipelines.training import artefact

LABELLED = 5 * 304  # of 600 loans a month those whose token ends in 0 to 7
PARAMETERS = {"catboost_iterations": 30, "catboost_depth": 3, "catboost_learning_rate": 0.1, "trees": 20}


def write_pack(lender: Lender, **changed: Any) -> None:
    folder = lender.settings.project / "policies"
    folder.mkdir(exist_ok=True)
    (folder / "internal.yaml").write_bytes((REPOSITORY / "policies" / "internal.yaml").read_bytes())
    (folder / "typologies.yaml").write_text(yaml.safe_dump(DOCUMENT | changed))


def partly(lender: Lender, digits: str = "01234567", **training_keys: Any) -> Model:
    """The lender's model, combined and a card, on a label view that leaves rows unlabelled."""
    (lender.settings.feature_repo / "investigated.py").write_text(PARTLY.replace("{digits}", digits))
    training_changed = MODEL["training"] | {
        "algorithms": ["combined", "scorecard"],
        "parameters": {"combined": PARAMETERS},
    }
    document = MODEL | {
        "features": {"application": HONEST},
        "typologies": "typologies",
        "label": {"view": "investigated", "maturity_days": 90, "description": "Found by somebody who looked."},
        "training": training_changed | training_keys,
    }
    lender.settings.models.mkdir(exist_ok=True)
    (lender.settings.models / "loans.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return load_model(lender.settings.models, "loans")


@pytest.fixture
def investigated(lender: Lender) -> tuple[Lender, Model]:
    write_pack(lender)
    model = partly(lender)
    lender.build(model)
    return lender, model


def test_the_combined_model_becomes_a_version_that_can_be_proved_and_made_again(investigated, tmp_path: Path):
    lender, model = investigated
    made = training.train(lender.settings, model, AS_OF)
    assert [(v.algorithm, v.version, v.rows) for v in made] == [("combined", 1, LABELLED), ("scorecard", 2, LABELLED)]
    together, card = (v.metrics for v in made)
    assert together["unlabelled_rows"] == card["unlabelled_rows"] == 600 - together["rows"]
    assert {"auc_supervised", "auc_anomaly", "auc_typologies", "weight_anomaly"} <= set(together)
    assert "auc_anomaly" not in card
    stored = mlflow_store.version(lender.settings, "loans", 1)
    assert stored.tags["vigil.unlabelled_rows"] == str(3_000 - LABELLED)
    assert stored.tags["vigil.typologies"].startswith("typologies 2026.1 ")
    assert "vigil.typologies" not in mlflow_store.version(lender.settings, "loans", 2).tags
    folder = mlflow_store.download_artefact(lender.settings, stored, tmp_path / "combined")
    predictor = artefact.load_verified(folder, made[0].artefact_digest)
    assert predictor.typologies is not None
    assert predictor.typologies.version == "2026.1"
    assert predictor.provenance["training_set"]["unlabelled"] == 3_000 - LABELLED
    assert predictor.provenance["typologies"]["pack"] == "typologies"
    assert sum(predictor.reference.probability.counts) == 600  # everyone of the judged month

    write_pack(lender, version="2026.2", description="Another since.")
    for version in (1, 2):
        again = training.reproduce(lender.settings, model, version)
        assert (again.identical, again.same_files, again.rows) == (True, True, 3_000)


def test_another_pack_is_another_version_of_combined_alone(investigated):
    lender, model = investigated
    training.train(lender.settings, model, AS_OF)
    assert [v.version for v in training.train(lender.settings, model, AS_OF)] == [1, 2]
    write_pack(lender, version="2026.2")
    assert [v.version for v in training.train(lender.settings, model, AS_OF)] == [3, 2]


def test_only_labelled_rows_count_against_the_policys_minimum(lender: Lender):
    write_pack(lender)
    model = partly(lender, digits="0")
    lender.build(model)
    with pytest.raises(
        Blocked, match=r"has 190 rows and \d+ events \(2810 more rows are unlabelled, which do not count\)"
    ):
        training.train(lender.settings, model, AS_OF)


def test_a_pack_that_does_not_fit_stops_before_the_work(investigated):
    lender, model = investigated
    write_pack(lender, in_force_from="2025-01-01")
    with pytest.raises(DataFault, match=r"typology pack typologies 2026\.1 is in force from 2025-01-01"):
        training.train(lender.settings, model, AS_OF)
    write_pack(lender, typologies=[DOCUMENT["typologies"][0] | {"all_of": [{"feature": "enquiry", "at_least": 1}]}])
    with pytest.raises(DataFault, match=r"no feature 'enquiry' \(did you mean 'enquiries'"):
        training.train(lender.settings, model, AS_OF)
    (lender.settings.project / "policies" / "typologies.yaml").unlink()
    with pytest.raises(DataFault, match="no typology pack file"):
        training.train(lender.settings, model, AS_OF)


def test_folds_train_and_measure_with_rows_beside_them(investigated):
    lender, _ = investigated
    folds = {"kind": "folds", "folds": 2, "why_no_time": "one snapshot only"}
    model = partly(lender, validation=folds, algorithms=["combined"])
    (made,) = training.train(lender.settings, model, AS_OF)
    assert made.metrics["rows"] == LABELLED
    assert np.isfinite(made.metrics["auc_supervised"])


def test_a_pack_that_changed_under_its_version_is_not_trained(investigated):
    lender, model = investigated
    training.train(lender.settings, model, AS_OF)
    write_pack(lender, description="Changed in silence.")
    with pytest.raises(
        DataFault, match=r"pack typologies 2026\.1 is not what version 1 was trained with.*new\s`version`"
    ):
        training.train(lender.settings, model, AS_OF)
    write_pack(lender)
    assert [made.version for made in training.train(lender.settings, model, AS_OF)] == [1, 2]
    write_pack(lender, description="Changed.", version="2026.2")
    assert training.train(lender.settings, model, AS_OF)[0].version == 3
