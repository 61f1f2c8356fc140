"""A registered version made again from its run's pins, after the bank has moved on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lender import AS_OF, MONTHS

from pipelines import mlflow_store, training
from pipelines.cli.main import main
from pipelines.contracts import Blocked, DataFault


def trained(lender, algorithms):
    model = lender.model(algorithms=algorithms)
    lender.build(model)
    training.train(lender.settings, model, AS_OF)
    return lender


@pytest.fixture
def both(lender):
    return trained(lender, ["catboost", "scorecard"])


@pytest.fixture
def card(lender):
    return trained(lender, ["scorecard"])


def test_every_prediction_is_identical_although_sources_model_file_and_features_moved_on(both):
    both.publish(MONTHS[:2], 550)  # two corrected months
    changed = both.model({"days_since_paid": {}}, seed=8)
    both.build(changed)
    for version in (1, 2):
        again = training.reproduce(both.settings, changed, version)
        assert again.identical
        assert again.same_files
        assert again.same_code
        assert (again.rows, again.rows_that_differ, again.largest_difference) == (3000, 0, 0.0)


def test_a_changed_definition_is_named(card):
    path = card.settings.feature_repo / "loans.py"
    path.write_text(path.read_text().replace("amount=today.amount,", "amount=today.amount * 2,"))
    with pytest.raises(DataFault, match="application changed since the pinned training set was made"):
        training.reproduce(card.settings, card.model(), 1)


def test_files_changed_in_the_registry_are_not_loaded(card):
    version = mlflow_store.version(card.settings, "loans", 1)
    (stored,) = Path(card.settings.mlflow_artifacts).rglob(f"{version.run_id}/artifacts/model/scorecard.json")
    stored.write_bytes(stored.read_bytes()[:-1] + b"x")
    with pytest.raises(Blocked, match=r"changed: scorecard\.json"):
        training.reproduce(card.settings, card.model(), 1)


def test_the_command_of_the_evidence_pack_makes_a_version_again(card, monkeypatch, capsys):
    monkeypatch.setattr("pipelines.cli.app.get_settings", lambda: card.settings)
    assert main(["--json", "reproduce", "--model", "loans", "--version", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["rows_that_differ"] == 0
    alike = training.reproduce(card.settings, card.model(), 1)
    monkeypatch.setattr(training, "reproduce", lambda *_: alike.model_copy(update={"rows_that_differ": 7}))
    assert main(["reproduce", "--version", "1"]) == 3
    assert "7 of 3,000 rows score otherwise" in capsys.readouterr().err
