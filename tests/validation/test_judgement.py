"""A judgement from its first number to the challenger's alias: recorded once, whatever is killed, and only when asked to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from judge_killing_points import PLANTS, killed, made_up
from judged_lender import ON

from pipelines import database, mlflow_store, validation
from pipelines.cli.main import main
from pipelines.contracts import Blocked, GateReport, Verdict
from pipelines.registry import bootstrap, permit_for
from pipelines.registry.versions import challengers
from pipelines.settings import REPOSITORY, Settings
from pipelines.spec import GATES, Model
from pipelines.validation.gates import engine

BLOCKED = 3


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What every gate measures, in place of the real measures; a test may change it."""
    found = dict.fromkeys(GATES, 1.0)
    monkeypatch.setattr(engine, "MEASURES", made_up(found))
    return found


@pytest.fixture
def policies(house: Settings) -> Path:
    """The house's own policies: every gate must give at least 1; `lax` asks for nothing."""
    folder = house.project / "policies"
    folder.mkdir()
    policy = yaml.safe_load((REPOSITORY / "policies" / "internal.yaml").read_text())
    policy["rules"] = [{"gate": g, "metric": "number", "at_least": 1, "source": "the tests"} for g in GATES]
    (folder / "internal.yaml").write_text(yaml.safe_dump(policy))
    (folder / "lax.yaml").write_text(yaml.safe_dump(policy | {"policy": "lax", "version": "1", "rules": []}))
    return folder


def stored_runs(settings: Settings) -> list[dict[str, Any]]:
    return [dict(row) for row in database.rows(settings, "SELECT * FROM vigil.gate_run ORDER BY gate_run_no")]


def pages_of(settings: Settings) -> list[Path]:
    return sorted(Path(settings.mlflow_artifacts).rglob("gates/*"))


@pytest.mark.usefixtures("measured", "policies")
def test_what_passed_is_stored_and_scored_in_the_shadow(house: Settings, loans: Model) -> None:
    report = validation.judge(house, loans, 1, ON)
    assert report.passed
    [run] = stored_runs(house)
    assert (run["passed"], run["digest"], run["judged_on"]) == (True, report.digest, ON)
    assert GateReport.model_validate_json(run["report"]) == report
    [challenger] = challengers(house, loans)
    assert challenger.version == 1
    permit = challenger.permit
    assert (permit.kind, permit.role, permit.gate_digest) == ("gates", "challenger", report.digest)
    assert (permit.expires - permit.granted_at).days == 365


@pytest.mark.usefixtures("policies")
def test_what_failed_is_stored_and_gets_nothing(house: Settings, loans: Model, measured: dict[str, float]) -> None:
    measured["stress"] = 0.5
    report = validation.judge(house, loans, 1, ON)
    assert [(v.gate, v.verdict) for v in report.blocking] == [("stress", Verdict.FAIL)]
    assert [run["passed"] for run in stored_runs(house)] == [False]
    assert permit_for(house, loans.name, 1) is None
    assert mlflow_store.get_aliases(house, loans.name) == {}


@pytest.mark.usefixtures("measured", "policies")
def test_judged_twice_it_is_the_same_report_stored_once(house: Settings, loans: Model) -> None:
    first, again = (validation.judge(house, loans, 1, ON) for _ in range(2))
    assert first.digest == again.digest
    assert len(stored_runs(house)) == 1
    assert len(database.rows(house, "SELECT 1 FROM vigil.permit")) == 1


@pytest.mark.usefixtures("measured", "policies")
def test_a_second_version_takes_the_next_alias_and_keeps_it(house: Settings, loans: Model) -> None:
    for version in (1, 2, 2, 1):
        validation.judge(house, loans, version, ON)
    assert mlflow_store.get_aliases(house, loans.name) == {"challenger": 1, "challenger_2": 2}


@pytest.mark.usefixtures("policies")
def test_what_passed_once_and_fails_now_leaves_the_shadow(
    house: Settings, loans: Model, measured: dict[str, float]
) -> None:
    for version in (1, 2):
        validation.judge(house, loans, version, ON)
    measured["stress"] = 0.0
    assert not validation.judge(house, loans, 1, ON).passed
    assert [challenger.version for challenger in challengers(house, loans)] == [2]


@pytest.mark.usefixtures("measured", "policies")
@pytest.mark.parametrize("asked", [{"record": False}, {"policy": "lax"}], ids=str)
def test_a_what_if_changes_nothing_anywhere(house: Settings, loans: Model, asked: dict[str, Any]) -> None:
    report = validation.judge(house, loans, 1, ON, **asked)
    assert report.passed is ("policy" not in asked)
    assert stored_runs(house) == []
    assert database.rows(house, "SELECT 1 FROM vigil.permit") == []
    assert mlflow_store.get_aliases(house, loans.name) == {}
    assert pages_of(house) == []


@pytest.mark.usefixtures("measured", "policies")
@pytest.mark.parametrize("point", PLANTS)
def test_killed_and_judged_again_it_is_recorded_once(house: Settings, loans: Model, point: str) -> None:
    assert killed(house, point) == -9
    report = validation.judge(house, loans, 1, ON)
    [run] = stored_runs(house)
    assert run["digest"] == report.digest
    assert len(database.rows(house, "SELECT 1 FROM vigil.permit")) == 1
    assert [challenger.version for challenger in challengers(house, loans)] == [1]


@pytest.mark.usefixtures("measured", "policies")
def test_the_report_is_in_the_run_for_people_and_as_it_was_digested(house: Settings, loans: Model) -> None:
    report = validation.judge(house, loans, 1, ON)
    page, record = pages_of(house)
    assert GateReport.model_validate_json(record.read_text()).digest == report.digest
    said = page.read_text()
    assert "Passed: every rule that blocks holds" in said
    assert all(verdict.rule in said and verdict.source in said for verdict in report.verdicts)


@pytest.mark.usefixtures("measured", "policies")
def test_the_champion_is_judged_again_without_becoming_a_challenger(house: Settings, loans: Model) -> None:
    bootstrap(house, loans, [1])
    report = validation.judge(house, loans, 1, ON)
    assert (report.passed, report.champion_version) == (True, 1)
    assert len(stored_runs(house)) == 1
    assert mlflow_store.get_aliases(house, loans.name) == {"champion": 1}


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("section", ["measuring", "approvals"])
def test_a_policy_that_does_not_say_how_to_measure_or_who_approves_blocks(
    house: Settings, loans: Model, policies: Path, section: str
) -> None:
    policy = yaml.safe_load((policies / "internal.yaml").read_text())
    del policy[section]
    (policies / "internal.yaml").write_text(yaml.safe_dump(policy))
    with pytest.raises(Blocked, match=f"no section {section}"):
        validation.judge(house, loans, 1, ON)
    assert stored_runs(house) == []


@pytest.mark.usefixtures("policies")
def test_the_command_shows_every_verdict_and_says_by_its_exit_code_whether_they_block(
    house: Settings,
    measured: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("pipelines.cli.app.get_settings", lambda: house)
    assert main(["judge", "--model", "loans", "--on", "2026-09-30"]) == 0
    assert [run["version"] for run in stored_runs(house)] == [2]
    assert "Version 2 passes the gates of internal on 2026-09-30." in capfd.readouterr().out
    measured["stress"] = float("nan")
    assert main(["judge", "--version", "1", "--on", "2026-09-30", "--no-record"]) == BLOCKED
    few = capfd.readouterr().out
    assert "internal/stress.number" in few
    assert "internal/latency.number" not in few
    assert main(["judge", "--version", "1", "--on", "2026-09-30", "--no-record", "--all"]) == BLOCKED
    said = capfd.readouterr()
    assert all(f"internal/{gate}.number" in said.out for gate in GATES)
    assert "not_assessable" in said.out
    assert "stress.number. The champion stays" in said.err
    assert main(["judge", "--policy", "lax"]) == BLOCKED
    assert len(stored_runs(house)) == 1


@pytest.mark.usefixtures("measured")
def test_two_days_are_told_apart_by_their_rules_alone(
    house: Settings, policies: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipelines.cli.app.get_settings", lambda: house)
    policy = yaml.safe_load((policies / "lax.yaml").read_text())
    policy["rules"] = [
        *({"gate": g, "metric": "number", "at_least": 1, "source": "the tests"} for g in GATES),
        {"gate": "stress", "metric": "number", "at_least": 2, "source": "old law", "in_force_to": "2026-07-20"},
        {"gate": "stress", "metric": "number", "at_least": 2, "source": "new law", "in_force_from": "2026-07-21",
         "effect": "record"},
    ]  # fmt: skip
    (policies / "lax.yaml").write_text(yaml.safe_dump(policy))
    asked = ["judge", "--policy", "lax", "--on", "2026-07-20", "--and-on"]
    assert main(["--json", *asked, "2026-07-21"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["source"], row["2026-07-20"], row["2026-07-21"]) for row in rows] == [
        ("old law", "fail, blocks", "no such rule"),
        ("new law", "no such rule", "fail, records"),
    ]
    assert main([*asked, "2026-07-19"]) == 0
    assert "say differently: nothing" in capsys.readouterr().out
    assert stored_runs(house) == []


def test_the_real_gates_say_the_same_twice_and_block_what_nobody_compared(house: Settings, loans: Model) -> None:
    first = validation.judge(house, loans, 1, ON)
    again = validation.judge(house, loans, 1, ON)
    assert first.digest == again.digest
    assert len(stored_runs(house)) == 1
    assert {v.gate for v in first.verdicts} == set(GATES)
    stopped = {v.gate for v in first.blocking}
    assert stopped == {"fairness", "stress"}  # no attributes, and no house among the features
