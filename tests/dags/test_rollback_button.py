"""What the tasks of a rollback and of its rehearsal do, on a real registry: who decided, why, and never a step too far."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from approved import approved
from bank_fixtures import bank_template, copied  # noqa: F401
from small_night import MODEL

from pipelines import database, registry
from pipelines.contracts import Blocked, DataFault
from pipelines.settings import Settings
from pipelines.stack.postgres import EmbeddedPostgres

REASON = "scores moved after the release"


@pytest.fixture
def bank(
    postgres: EmbeddedPostgres,
    bank_template: Settings,  # noqa: F811
    tmp_path: Path,
    vigil_dags,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Settings]:
    """Version 2 became champion after version 1; the tasks find this bank."""
    with copied(postgres, bank_template, tmp_path / "home") as made:
        made.models.mkdir()
        (made.models / "small.yaml").write_text(yaml.safe_dump(json.loads(MODEL.model_dump_json(exclude_unset=True))))
        approved(made, 2)
        registry.promote(made, MODEL, 2, expected_champion=1, by="release@bank.example")
        monkeypatch.setattr(vigil_dags, "get_settings", lambda: made)
        yield made


@pytest.fixture
def run(bag, vigil_dags, monkeypatch: pytest.MonkeyPatch):
    """Run a task of a DAG for the small model, as started by a person or by the clock."""

    def call(part: str, task: str, *given: object, user: str | None = "Anna@Bank.example") -> object:
        context = {
            "params": {"reason": REASON},
            "dag_run": SimpleNamespace(dag_id=f"small_{part}", triggering_user_name=user),
            "ti": SimpleNamespace(xcom_push=lambda key, value: None),
        }
        monkeypatch.setattr(vigil_dags, "get_current_context", lambda: context)
        return bag.dags[f"credit_default_{part}"].get_task(task).python_callable("small", *given)

    return call


def test_whoever_presses_the_button_decides_and_a_second_try_goes_no_further(bank: Settings, run) -> None:
    assert run("rollback", "standing") == 2
    done = run("rollback", "rollback", 2)
    assert (done["to_version"], done["by"], done["reason"]) == (1, "anna@bank.example", REASON)
    again = run("rollback", "rollback", 2)
    assert (again["to_version"], again["already"], again["entry_no"]) == (1, True, done["entry_no"])
    assert registry.champion(bank, MODEL).version == 1
    with pytest.raises(Blocked, match="no earlier champion can be rolled back to"):
        run("rollback", "rollback", run("rollback", "standing"))


def test_a_champion_that_changed_since_it_was_looked_at_is_not_rolled_back(bank: Settings, run) -> None:
    with pytest.raises(Blocked, match="version 1 was to be rolled back, but version 2 is champion"):
        run("rollback", "rollback", 1)
    with pytest.raises(DataFault, match="is no person"):
        run("rollback", "rollback", 2, user=None)
    assert registry.champion(bank, MODEL).version == 2


def test_the_weekly_task_rehearses_and_rolls_nothing_back(bank: Settings, run) -> None:
    assert run("rehearsal", "rehearse", user=None)["outcome"] == "passed"
    assert registry.champion(bank, MODEL).version == 2
    assert database.rows(bank, "SELECT outcome FROM vigil.rehearsal") == [{"outcome": "passed"}]
