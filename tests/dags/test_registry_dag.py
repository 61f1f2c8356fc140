"""The daily DAG of the registry: built like the others, red when the record or an alias was tampered with."""

from __future__ import annotations

import ast
import json
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from inventoried import project_of, promote

from pipelines import database, mlflow_store
from pipelines.contracts import Blocked
from pipelines.failure import next_command
from pipelines.registry import journal
from pipelines.registry.incidents import incidents
from pipelines.settings import REPOSITORY, Settings

NOW = datetime.now(UTC)
TASKS = ("verify", "anchor", "watch", "check_aliases")


@pytest.fixture
def dag(bag):
    return bag.dags["vigil_registry"]


def test_it_runs_by_itself_every_day_one_at_a_time(dag):
    assert dag.timetable.can_be_scheduled
    assert (dag.max_active_runs, dag.catchup, dag.is_paused_upon_creation) == (1, False, False)
    assert dag.on_failure_callback.__name__ == "report_failure"


def test_nothing_is_anchored_unless_the_journal_verified_and_the_rest_does_not_wait(dag):
    assert {task.task_id: set(task.downstream_task_ids) for task in dag.tasks} == {
        "verify": {"anchor"},
        "anchor": set(),
        "watch": set(),
        "check_aliases": set(),
    }


def test_every_task_has_a_limit_retries_and_a_pool_and_is_explained(dag):
    pools = json.loads((REPOSITORY / "dags" / "pools.json").read_text())
    page = ast.get_docstring(ast.parse((REPOSITORY / "dags" / "registry.py").read_text()))
    for task in dag.tasks:
        assert task.execution_timeout < dag.dagrun_timeout
        assert task.retries >= 3
        assert type(task.retry_policy).__name__ == "FaultsAreFinal"
        assert task.pool in pools
        assert f"`{task.task_id}`" in page
        assert task.doc_md
    for heading in ("**When**", "**Reads**", "**Writes**", "**If it fails**", "**Rerun**"):
        assert heading in page
    assert page.strip() in dag.doc_md


def test_the_next_command_of_a_failure_is_one_of_the_registry():
    for task in TASKS:
        command = next_command("registry", task, "vigil", None)
        assert command == f"python -m pipelines registry {task.replace('_', '-')}"


@pytest.fixture
def run(bag, settings: Settings, monkeypatch: pytest.MonkeyPatch):
    """A task of the DAG as a function, on a machine with one model in production."""
    bank = project_of(settings, "kept")
    promote(bank, "kept", 1, granted=NOW, expires=NOW + timedelta(days=300))
    module = sys.modules["vigil_dags"]
    noted: dict[str, object] = {}
    ti = SimpleNamespace(xcom_push=lambda key, value: noted.update({key: value}))
    monkeypatch.setattr(module, "get_current_context", lambda: {"ti": ti})
    monkeypatch.setattr(module, "get_settings", lambda: bank)
    aliases = {"kept": {"champion": 1}}
    monkeypatch.setattr(mlflow_store, "all_aliases", lambda _settings: aliases)

    def do(task: str):
        return bag.dags["vigil_registry"].get_task(task).python_callable()

    return SimpleNamespace(do=do, bank=bank, aliases=aliases, noted=noted)


def test_a_sound_registry_is_green(run):
    assert run.do("verify")["ok"]
    assert run.do("anchor")["head"] == 1
    assert run.do("watch")["models"] == 1
    assert run.do("check_aliases") == {"models": 1, "moved": []}
    assert incidents(run.bank) == ()


def test_a_changed_journal_is_red_and_the_worst_incident(run):
    with database.transaction(run.bank) as connection:
        database.execute(connection, "ALTER TABLE vigil.journal DISABLE TRIGGER journal_append_only")
        database.execute(connection, "UPDATE vigil.journal SET payload = replace(payload, '1', '2')")
    with pytest.raises(Blocked, match="First bad entry: 1"):
        run.do("verify")
    [opened] = incidents(run.bank)
    assert (opened.model, opened.kind, opened.severity) == ("registry", "journal_broken", 1)
    assert run.noted["failure"]["kind"] == "Blocked"


def test_an_alias_moved_by_hand_is_red_until_it_is_put_back(run):
    run.aliases["kept"] = {"champion": 2}
    run.aliases["stranger"] = {"champion": 7, "challenger": 8}
    with pytest.raises(Blocked, match=r"kept: the journal says version 1 .* version 2.*align --model kept"):
        run.do("check_aliases")
    assert [(i.model, i.kind) for i in incidents(run.bank)] == [("stranger", "alias_moved"), ("kept", "alias_moved")]
    run.aliases["kept"] = {"champion": 1}
    del run.aliases["stranger"]["champion"]
    run.do("check_aliases")
    assert incidents(run.bank) == ()


def test_what_the_watch_finds_does_not_make_it_fail(run):
    with database.transaction(run.bank) as connection:
        journal.append(connection, "kept", "promoted", {"version": 1, "permit_no": 999})
    assert run.do("watch")["permit_expired"] == ["kept"]
    assert [i.kind for i in incidents(run.bank)] == ["permit_expired"]
