"""From the sample bank's files to a model that can be made again: the real contracts, features, model file and policy."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from pipelines import features, ingest, mlflow_store, quality, training
from pipelines.sample_bank import generate
from pipelines.settings import Settings
from pipelines.spec import Model, load_contract, load_model, load_policy
from pipelines.training.artefact import load_verified
from pipelines.validation import fairness
from pipelines.validation.candidate import load_candidate

AS_OF = date(2026, 2, 28)


@pytest.fixture
def bank(settings: Settings) -> Model:
    """Eleven months of 2000 customers, taken in and with features built up to the last mature label."""
    generate(settings.sources, customers=2_000, months=11, nights=1, end=AS_OF, downturn=None)
    model = load_model(settings.models, "credit_default")
    contracts = [
        load_contract(settings.expectations, source)
        for source in ("customer_snapshots", "account_snapshots", "outcomes", "protected_attributes")
    ]
    for on in ingest.available_dates(settings, contracts[0]):
        for contract in contracts:
            ingest.land(settings, contract, on)
            quality.check_source(settings, contract, on)
            ingest.publish(settings, contract, on)
    features.build_history(settings, model, features.training_dates(settings, model, AS_OF))
    validation = model.training.validation.model_copy(update={"out_of_time_months": 1})
    return model.model_copy(update={"training": model.training.model_copy(update={"validation": validation})})


def test_the_credit_model_is_trained_registered_and_made_again(settings: Settings, bank: Model, tmp_path: Path) -> None:
    made = training.train(settings, bank, AS_OF)
    rows = features.training_rows(settings, bank, AS_OF).table
    assert [v.algorithm for v in made] == ["catboost", "scorecard"]
    for trained in made:
        assert trained.metrics["auc"] > 0.70
        assert trained.metrics["calibration_error"] < 0.05
        stored = mlflow_store.version(settings, bank.name, trained.version)
        folder = mlflow_store.download_artefact(settings, stored, tmp_path / trained.algorithm)
        predictor = load_verified(folder, trained.artefact_digest)
        probability = predictor.predict(rows)
        assert 0.005 < probability.mean() < 0.2
        assert training.reproduce(settings, bank, trained.version).identical
    assert training.train(settings, bank, AS_OF) == made
    _compares_the_groups_of_its_accounts(settings, bank, made[1].version)


def _compares_the_groups_of_its_accounts(settings: Settings, bank: Model, version: int) -> None:
    """Accounts lead to their customers' attributes; what the bank put in acts on income alone, and sexes are treated alike."""
    measuring = load_policy(settings.policies, "internal").measuring
    table = fairness.assess(settings, load_candidate(settings, bank, version), measuring)
    assert table.reason is None
    assert table.prohibited == ()
    sex, age, citizenship, both = table.groupings
    assert min(grouping.known_share for grouping in table.groupings) > 0.99
    assert [group.name for group in sex.groups] == ["sex=female", "sex=male"]
    assert min(group.impact.value for group in sex.groups) > 0.9
    assert len(age.groups) + len(age.small) == 6
    assert "citizenship=DE" in [group.name for group in citizenship.groups] or citizenship.reason
    assert both.name == "sex & age"
