"""The desk's commands: what a person sees, what a script gets, and the exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
import yaml
from aml_night import ANNA, BERT, DAY, MODEL, NIGHT, OLGA, publish_scores, token, write_policy

from pipelines import database
from pipelines.cli.main import main
from pipelines.settings import Settings, get_settings

DONE, DATA_FAULT, BLOCKED = 0, 2, 3
NEXT = DAY + timedelta(days=1)

Vigil = Callable[..., tuple[int, str, str]]


@pytest.fixture
def vigil(bank: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Vigil:
    """Run a command line in this process on a project with the model: exit code, stdout, stderr."""
    (bank.project / "models").mkdir()
    model = MODEL.model_dump(mode="json")
    (bank.project / "models" / f"{MODEL.name}.yaml").write_text(yaml.safe_dump(model))
    monkeypatch.setenv("VIGIL_PROJECT", str(bank.project))
    get_settings.cache_clear()

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def case_of(bank: Settings, name: str) -> str:
    [row] = database.rows(bank, "SELECT case_no FROM vigil.alert WHERE token = :token", token=token(name))
    return str(row["case_no"])


def test_alerts_are_raised_listed_and_shown_with_their_reasons(bank: Settings, vigil: Vigil) -> None:
    code, out, err = vigil("raise-alerts", "--date", str(DAY))
    assert code == DONE, err
    assert "3 alerts of 3 (100% of the budget); 0 suppressed" in out
    code, out, _ = vigil("raise-alerts", "--date", str(DAY), "--json")
    assert (code, json.loads(out)["already_raised"]) == (DONE, True)
    code, out, _ = vigil("alerts", "--date", str(DAY))
    assert code == DONE
    assert "income missing" in out
    for line in vigil("alerts", "--date", str(DAY), "--json")[1].splitlines():
        assert set(json.loads(line)) >= {"alert_id", "token", "why", "case_no"}
        assert json.loads(line)["why"], "an alert without typologies says which parts its score rests on"
        assert not {"kind", "probability", "rank"} & set(json.loads(line))
    code, out, _ = vigil("case", "show", case_of(bank, "ann"))
    assert code == DONE
    for told in (token("ann"), "9,500.00 EUR", "branch", token("x-1")[:8], "Subgraph", "cash_in", "Story"):
        assert told in out, told
    shown = json.loads(vigil("case", "show", case_of(bank, "ann"), "--json")[1])
    assert shown["alerts"][0]["evidence"]["transactions_total"] == 4


def test_a_case_is_taken_to_its_end(bank: Settings, vigil: Vigil) -> None:
    vigil("raise-alerts", "--date", str(DAY))
    number = case_of(bank, "ann")
    code, _, err = vigil("case", "start", number, "--by", ANNA)
    assert (code, "Possible now: assign" in err) == (DATA_FAULT, True)
    assert vigil("case", "assign", number, "--to", ANNA, "--by", ANNA)[0] == DONE
    code, _, err = vigil("case", "assign", number, "--to", BERT, "--by", BERT, "--seen", "1")
    assert (code, "was faster" in err) == (BLOCKED, True)
    assert vigil("case", "start", number, "--by", ANNA)[0] == DONE
    code, out, _ = vigil("case", "close", number, "--outcome", "false_positive", "--by", ANNA)
    assert (code, "A second person runs" in out) == (DONE, True)
    code, _, err = vigil("case", "close", number, "--outcome", "false_positive", "--by", ANNA)
    assert (code, "second person" in err) == (BLOCKED, True)
    assert vigil("case", "close", number, "--outcome", "false_positive", "--by", BERT)[0] == DONE
    [row] = [json.loads(line) for line in vigil("cases", "--state", "closed", "--json")[1].splitlines()]
    assert (row["outcome"], row["by"]) == ("false_positive", BERT)
    assert vigil("case", "reopen", number, "--by", ANNA, "--note", "New payments.")[0] == DONE
    assert vigil("cases", "--assignee", ANNA)[1].count("assigned") >= 1


def test_a_report_is_seen_with_the_officer_s_option_only(bank: Settings, vigil: Vigil) -> None:
    vigil("raise-alerts", "--date", str(DAY))
    number = case_of(bank, "ann")
    vigil("case", "assign", number, "--to", ANNA, "--by", ANNA)
    vigil("case", "start", number, "--by", ANNA)
    code, out, _ = vigil("case", "close", number, "--outcome", "sar_filed", "--by", OLGA, "--reference", "FIU-1")
    assert (code, "sar" in out.lower()) == (DONE, False)
    for arguments in (("cases", "--state", "all"), ("case", "show", number), ("lines", "--date", str(DAY))):
        assert "sar_filed" not in vigil(*arguments)[1] + vigil(*arguments, "--json")[1]
    assert "sar_filed" in vigil("cases", "--state", "all", "--officer")[1]
    assert "Reports filed" in vigil("lines", "--date", str(DAY), "--officer")[1]


def test_suppressions_by_command(bank: Settings, vigil: Vigil) -> None:
    how = ("--from", str(NEXT), "--until", str(NEXT + timedelta(days=30)), "--by", ANNA)
    code, out, err = vigil("suppress", "--customer", token("ann"), "--reason", "Sale of a flat.", *how)
    assert code == DONE, err
    assert "suppression no 1" in out
    publish_scores(bank, NIGHT, NEXT)
    assert "1 suppressed" in vigil("raise-alerts", "--date", str(NEXT))[1]
    assert token("ann") in vigil("suppressions", "--date", str(NEXT), "--json")[1]
    assert vigil("unsuppress", "1", "--from", str(NEXT), "--reason", "Not a flat.", "--by", BERT)[0] == DONE
    assert vigil("unsuppress", "1", "--from", str(NEXT), "--reason", "Again.", "--by", BERT)[0] == DATA_FAULT
    code, _, err = vigil("suppress", "--customer", "0" * 32, "--reason", "Nobody at all.", *how)
    assert (code, "no published score" in err) == (DATA_FAULT, True)


def test_the_line_and_a_change_of_it(bank: Settings, vigil: Vigil) -> None:
    vigil("raise-alerts", "--date", str(DAY))
    assert "unknown" in vigil("lines", "--date", str(DAY))[1]
    code, out, err = vigil("replay", "--date", str(DAY), "--budget", "5", "--by", ANNA)
    assert code == DONE, err
    assert "budget: 3 -> 5" in out
    assert "put `replay: 1` into" in out
    write_policy(bank.project, version="2", budget=5)
    publish_scores(bank, NIGHT, NEXT)
    code, _, err = vigil("raise-alerts", "--date", str(NEXT))
    assert (code, "cites no replay" in err) == (BLOCKED, True)
    write_policy(bank.project, version="2", budget=5, replay=1)
    assert vigil("raise-alerts", "--date", str(NEXT))[0] == DONE


def test_dates_that_were_not_published_are_the_caller_s_fault(vigil: Vigil) -> None:
    assert vigil("raise-alerts", "--from", "2031-01-01", "--to", "2031-01-02")[0] == DATA_FAULT
    assert vigil("alerts")[0] == DATA_FAULT
    code, _, err = vigil("raise-alerts", "--date", "2031-01-01")
    assert (code, "no scores were published" in err) == (BLOCKED, True)
    assert vigil("lines", "--date", "2031-01-01")[0] == BLOCKED
