"""Fixtures of the release tests: a small lender with many models, trained by a person, and Airflow running on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml
from airflow_stack import Airflow, running_airflow
from demo_settings import demo_settings
from lender import AS_OF, HONEST, MODEL, new_lender

from pipelines import training
from pipelines.settings import REPOSITORY, Settings
from pipelines.spec import GATES, Model, load_model
from pipelines.stack.postgres import EmbeddedPostgres

ANNA, BORIS, STRANGER = "anna@bank.example", "boris@bank.example", "stranger@bank.example"
TRAINER, OWNER = "trainer@bank.example", "owner@bank.example"
LOGINS = dict.fromkeys((ANNA, BORIS, STRANGER, TRAINER), "validator") | {OWNER: "trainer"}
VALIDATORS = [ANNA, BORIS, TRAINER]
POLICIES = {
    "two": {"wait_hours": 1, "needed": 2},
    "one": {"wait_hours": 1, "needed": 1},
    "hasty": {"wait_hours": 0.002, "needed": 1},  # seven seconds
    "strict": {"wait_hours": 1, "needed": 1, "min_auc": 0.99},
}
MODELS = {"both": "two", "refused": "one", "late": "hasty", "own": "one", "swapped": "one", "weak": "strict"}


@pytest.fixture(scope="module")
def bank(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Each model of MODELS with one version, trained by the trainer."""
    folder = tmp_path_factory.mktemp("release")
    with pytest.MonkeyPatch.context() as patch, demo_settings(postgres, folder / "home", patch) as settings:
        lender = new_lender(settings, folder / "project")
        for name, asked in POLICIES.items():
            _write_policy(lender.settings, name, **asked)
        for name, policy in MODELS.items():
            _write_model(lender.settings, name, policy)
        lender.build(model_of(lender.settings, "both"))
        for name in MODELS:
            training.train(lender.settings, model_of(lender.settings, name), AS_OF, by=TRAINER)
        yield lender.settings


@pytest.fixture(scope="module")
def airflow(bank: Settings, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    dags = [*(f"{name}_release" for name in MODELS), "both_rollback", "both_rehearsal"]
    with running_airflow(bank, postgres, tmp_path_factory.mktemp("logs"), LOGINS, dags) as made:
        yield made


def model_of(settings: Settings, name: str) -> Model:
    return load_model(settings.models, name)


def _write_model(settings: Settings, name: str, policy: str) -> None:
    changed = MODEL | {"name": name, "policy": policy, "features": {"application": HONEST}}
    changed["training"] = MODEL["training"] | {"algorithms": ["scorecard"], "parameters": {}}
    settings.models.mkdir(parents=True, exist_ok=True)
    (settings.models / f"{name}.yaml").write_text(yaml.safe_dump(changed, sort_keys=False))


def _write_policy(settings: Settings, name: str, *, wait_hours: float, needed: int, min_auc: float = 0.6) -> None:
    policy = yaml.safe_load((REPOSITORY / "policies" / "internal.yaml").read_text())
    policy["policy"] = name
    policy["approvals"] = {
        "wait_hours": wait_hours,
        "valid_days": 30,
        "tiers": {1: {"needed": needed, "validators": VALIDATORS}},
    }
    others = [gate for gate in GATES if gate != "discrimination"]
    policy["rules"] = [
        {"gate": "discrimination", "metric": "auc", "at_least": min_auc, "source": "tests"},
        *({"gate": g, "metric": "noted", "at_least": 0, "effect": "record", "source": "tests"} for g in others),
    ]
    (settings.project / "policies").mkdir(exist_ok=True)
    (settings.project / "policies" / f"{name}.yaml").write_text(yaml.safe_dump(policy))
