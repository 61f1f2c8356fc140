"""The command line: records on stdout, sentences on stderr, and exit codes an on-call script can rely on."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
import yaml
from typology_packs import DOCUMENT

from pipelines import night, sample_bank
from pipelines.cli.app import shared_options_first
from pipelines.cli.main import main
from pipelines.cli.output import sentence
from pipelines.contracts import DataFault, TrainedVersion
from pipelines.settings import REPOSITORY, get_settings
from pipelines.spec import Contract, load_contract
from pipelines.stack import lease

DONE, DATA_FAULT, BLOCKED, CONNECTION_BROKEN, UNEXPECTED = 0, 2, 3, 4, 1
SOURCES = ("account_snapshots", "customer_snapshots", "outcomes", "protected_attributes")


@pytest.fixture
def bank(settings):
    """A small sample bank at the sources, nothing ingested."""
    sample_bank.generate(settings.sources, customers=2000, months=3, nights=2, end=date(2026, 6, 30))
    return settings


@pytest.fixture
def vigil(capsys):
    """Run a command line in this process: exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def alone(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command line in a process of its own, on a machine that nobody set up."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("VIGIL_")} | {"VIGIL_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-m", "pipelines", *arguments], env=environment, capture_output=True, text=True
    )


def test_help_names_every_command_and_every_exit_code(vigil):
    code, out, _ = vigil("--help")
    assert code == DONE
    for command in (
        "ingest",
        "quarantine",
        "check",
        "features",
        "train",
        "bootstrap",
        "score",
        "publish",
        "night",
        "status",
        "verify",
        "performance",
    ):
        assert f" {command} " in out
    assert "0 done, 2 the data or a file is wrong, 3 blocked by a gate, 4 a" in out


def test_ingest_records_as_json_and_the_same_again_as_unchanged(bank, vigil):
    code, out, _ = vigil("ingest", "--model", "credit_default", "--date", "2026-05-31", "--json")
    manifests = [json.loads(line) for line in out.splitlines()]
    assert code == DONE
    assert sorted(m["source"] for m in manifests) == sorted(SOURCES)
    assert all(m["rows_in"] == m["rows_published"] + m["rows_quarantined"] for m in manifests)
    _, again, _ = vigil("ingest", "--model", "credit_default", "--json", "--date", "2026-05-31")
    assert {json.loads(line)["state"] for line in again.splitlines()} == {"unchanged"}


def test_quarantined_rows_are_shown_with_line_and_reason_and_without_ids(bank, vigil):
    _, out, _ = vigil("ingest", "--model", "credit_default", "--date", "2026-05-31", "--json")
    [taken] = [m for m in map(json.loads, out.splitlines()) if m["source"] == "account_snapshots"]
    reasons = taken["quarantine_reasons"]
    assert reasons
    code, out, _ = vigil("quarantine", "--source", "account_snapshots", "--date", "2026-05-31", "--json")
    shown = [json.loads(line) for line in out.splitlines()]
    assert (code, {row["reason"] for row in shown}) == (DONE, set(reasons))
    assert [row["source_line"] for row in shown] == sorted(row["source_line"] for row in shown)
    assert all("account_id" not in row["content"] and '"A0' not in row["content"] for row in shown)
    _, out, _ = vigil("quarantine", "--source", "account_snapshots", "--date", "2026-05-31", "--reason", min(reasons))
    assert min(reasons) in out
    assert not any(other in out for other in set(reasons) - {min(reasons)})
    assert vigil("quarantine", "--source", "account_snapshots", "--date", "2026-05-30")[1].endswith("nothing.\n")


def test_history_comes_in_many_dates_at_a_time(bank, vigil):
    code, out, err = vigil("ingest", "--model", "credit_default", "--from", "2026-04-01", "--to", "2026-06-29")
    assert code == DONE, err
    assert out.count("published") >= 3 * len(SOURCES)
    code, out, err = vigil("check", "--model", "credit_default", "--date", "2026-06-29")
    assert (code, out.count(": passed, ")) == (DONE, len(SOURCES)), err


def test_a_source_comes_after_those_it_refers_to(bank):
    contracts = [load_contract(bank.expectations, source) for source in SOURCES]
    assert [c.source for c in night.in_order(contracts)].index("customer_snapshots") == 0
    needs = night.history(bank, contracts, [date(2026, 5, 31), date(2026, 6, 29)])
    second = needs["account_snapshots", date(2026, 6, 29)]
    assert set(second) == {("account_snapshots", date(2026, 5, 31)), ("customer_snapshots", date(2026, 6, 29))}


def test_sources_in_a_circle_are_refused(bank):
    one = load_contract(bank.expectations, "account_snapshots")
    reference = one.references[0].model_copy(update={"source": "account_snapshots"})
    customers = load_contract(bank.expectations, "customer_snapshots").model_copy(update={"references": (reference,)})
    with pytest.raises(DataFault, match="circle"):
        night.in_order([one, customers])


def test_a_wrong_name_a_missing_file_and_no_date_are_the_data_s_fault(bank, vigil):
    for arguments, words in [
        (("ingest", "--model", "credit_defualt", "--date", "2026-06-30"), "did you mean 'credit_default'"),
        (("ingest", "--model", "credit_default", "--date", "2031-01-31"), "no file"),
        (("ingest", "--model", "credit_default"), "say which business dates"),
        (("ingest", "--model", "credit_default", "--date", "2026-06-30", "--all"), "say which business dates"),
        (("ingest", "--model", "credit_default", "--from", "2031-01-01"), "no business date in that range"),
        (("ingest", "--date", "30.06.2026"), "2026"),
        (("frobnicate",), "No such command"),
    ]:
        code, out, err = vigil(*arguments)
        assert (code, out) == (DATA_FAULT, ""), arguments
        assert words in err
        assert "Traceback" not in err


def test_without_a_champion_the_night_is_blocked_before_anything_is_scored(bank, vigil):
    code, out, err = vigil("night", "--model", "credit_default", "--date", "2026-05-31")
    assert code == BLOCKED, err
    assert "has no champion" in err
    assert "features of" in out
    code, _, err = vigil("publish", "--model", "credit_default", "--date", "2026-05-31")
    assert code == BLOCKED
    assert vigil("verify", "--model", "credit_default", "--date", "2026-05-31")[0] == BLOCKED


def test_a_database_that_does_not_answer_is_a_broken_connection(settings, vigil, monkeypatch):
    monkeypatch.setenv("VIGIL_DATABASE_URL", "postgresql+psycopg2://nobody:x@127.0.0.1:1/vigil")
    get_settings.cache_clear()
    code, _, err = vigil("status")
    assert code == CONNECTION_BROKEN
    assert "did not answer" in err


def test_an_unexpected_error_shows_no_value_unless_asked(bank, vigil, monkeypatch):
    def leak(*_arguments):
        raise RuntimeError("account DE-4711 is odd")

    monkeypatch.setattr(night, "ingest", leak)
    code, _, err = vigil("ingest", "--model", "credit_default", "--date", "2026-05-31")
    assert code == UNEXPECTED
    assert "RuntimeError" in err
    assert "4711" not in err
    assert "4711" in vigil("ingest", "--model", "credit_default", "--date", "2026-05-31", "--debug")[2]


def test_models_check_reports_everything_that_is_wrong_at_once(settings, vigil, tmp_path, monkeypatch):
    assert vigil("models", "check")[0] == DONE
    project = tmp_path / "project"
    for folder in ("models", "expectations", "feature_repo", "policies"):
        (project / folder).mkdir(parents=True)
        for file in (REPOSITORY / folder).iterdir():
            if file.is_file():
                (project / folder / file.name).write_text(file.read_text())
    model_file = project / "models" / "credit_default.yaml"
    model = yaml.safe_load(model_file.read_text())
    model["policy"] = "internl"
    model["features"]["account_behaviour"]["utilisatoin"] = {}
    model["reasons"]["untold"]["utilisatoin"] = "it is spelt wrong"
    model_file.write_text(yaml.safe_dump(model, sort_keys=False))
    monkeypatch.setenv("VIGIL_PROJECT", str(project))
    get_settings.cache_clear()
    code, out, err = vigil("models", "check")
    assert (code, out) == (DATA_FAULT, "aml_customer: fits together\ncredit_default: wrong\n")
    assert "did you mean 'internal'" in err
    assert "did you mean 'utilisation'" in err


def test_models_check_refuses_a_reason_that_names_a_prohibited_basis(settings, vigil, tmp_path, monkeypatch):
    project = tmp_path / "project"
    for folder in ("models", "expectations", "feature_repo", "policies"):
        shutil.copytree(REPOSITORY / folder, project / folder)
    model = project / "models" / "credit_default.yaml"
    model.write_text(model.read_text().replace("Cash was often drawn on", "The nationality on"))
    monkeypatch.setenv("VIGIL_PROJECT", str(project))
    get_settings.cache_clear()
    code, out, err = vigil("models", "check")
    assert (code, "credit_default: wrong" in out) == (DATA_FAULT, True)
    assert "reasons name a prohibited basis: cash_advances (nationality)" in err


def test_models_check_finds_a_feature_that_is_known_later(settings, vigil, tmp_path, monkeypatch):
    project = tmp_path / "project"
    for folder in ("models", "expectations", "feature_repo", "policies"):
        shutil.copytree(REPOSITORY / folder, project / folder)
    contract = project / "expectations" / "account_snapshots.yaml"
    text = contract.read_text()
    changed = re.sub(r"^(  balance: \{)", r"\1known: later, ", text, flags=re.M)
    assert changed != text
    contract.write_text(changed)
    monkeypatch.setenv("VIGIL_PROJECT", str(project))
    get_settings.cache_clear()
    code, _, err = vigil("models", "check")
    assert code == DATA_FAULT
    assert "utilisation comes from account_snapshots.balance, known only after the event" in err


def test_models_check_finds_a_label_view_that_cannot_run(settings, vigil, tmp_path, monkeypatch):
    project = tmp_path / "project"
    for folder in ("models", "expectations", "feature_repo", "policies"):
        shutil.copytree(REPOSITORY / folder, project / folder)
    label = project / "feature_repo" / "default_6m.py"
    label.write_text(label.read_text().replace("account_snapshots.days_past_due", "account_snapshots.days_overdue"))
    monkeypatch.setenv("VIGIL_PROJECT", str(project))
    get_settings.cache_clear()
    code, _, err = vigil("models", "check")
    assert code == DATA_FAULT
    assert "default_6m: the function failed with AttributeError" in err


def test_models_check_compares_typologies_with_the_features(settings, vigil, tmp_path, monkeypatch):
    project = tmp_path / "project"
    for folder in ("models", "expectations", "feature_repo", "policies"):
        shutil.copytree(REPOSITORY / folder, project / folder)
    model_file = project / "models" / "credit_default.yaml"
    model = yaml.safe_load(model_file.read_text())
    model["typologies"] = "house_typologies"
    model["training"]["algorithms"] = ["combined"]
    model_file.write_text(yaml.safe_dump(model, sort_keys=False))
    monkeypatch.setenv("VIGIL_PROJECT", str(project))
    get_settings.cache_clear()
    code, _, err = vigil("models", "check", "--model", "credit_default")
    assert code == DATA_FAULT
    assert "no typology pack file" in err
    pack = DOCUMENT | {"pack": "house_typologies", "typologies": [_typology("utilisatoin")]}
    (project / "policies" / "house_typologies.yaml").write_text(yaml.safe_dump(pack))
    code, _, err = vigil("models", "check", "--model", "credit_default")
    assert code == DATA_FAULT
    assert "many_enquiries: the model has no feature 'utilisatoin' (did you mean 'utilisation'?)" in err
    pack["typologies"] = [_typology("utilisation")]
    (project / "policies" / "house_typologies.yaml").write_text(yaml.safe_dump(pack))
    assert vigil("models", "check", "--model", "credit_default")[:2] == (DONE, "credit_default: fits together\n")


def test_models_check_wants_alert_limits_for_scheduled_nights_against_laundering(
    settings, vigil, tmp_path, monkeypatch
):
    project = tmp_path / "project"
    for folder in ("models", "expectations", "feature_repo", "policies"):
        shutil.copytree(REPOSITORY / folder, project / folder)
    policy_file = project / "policies" / "internal_aml.yaml"
    policy = yaml.safe_load(policy_file.read_text())
    del policy["alerts"]
    policy_file.write_text(yaml.safe_dump(policy))
    monkeypatch.setenv("VIGIL_PROJECT", str(project))
    get_settings.cache_clear()
    code, _, err = vigil("models", "check", "--model", "aml_customer")
    assert code == DATA_FAULT
    assert "policy internal_aml has no section `alerts`, so each would end blocked" in err
    model_file = project / "models" / "aml_customer.yaml"
    model = yaml.safe_load(model_file.read_text())
    model["schedule"]["cron"] = None
    model_file.write_text(yaml.safe_dump(model, sort_keys=False))
    assert vigil("models", "check", "--model", "aml_customer")[0] == DONE


def _typology(feature: str) -> dict:
    return DOCUMENT["typologies"][0] | {"all_of": [{"feature": feature, "at_least": 0.9}]}


def test_a_drafted_contract_is_complete_enough_to_load(settings, vigil, tmp_path):
    file = tmp_path / "Loans 2026.csv"
    rows = [f"{n},{'card' if n % 2 else 'loan'},{n * 1.5},2026-06-30,{'' if n % 5 else n}" for n in range(100)]
    file.write_text("Loan ID,Product,Balance,Snapshot Date,Score\n" + "\n".join(rows) + "\n")
    code, out, err = vigil("sources", "draft", str(file), "--owner", "a@b.example")
    assert code == DONE, err
    drafted = Contract.model_validate(yaml.safe_load(out))
    assert drafted.source == "loans_2026"
    assert drafted.key == ("loan_id",)
    assert drafted.columns["loan_id"].token == "loan"
    assert drafted.columns["product"].allowed == ("card", "loan")
    assert drafted.columns["score"].nullable
    assert drafted.business_date.column == "snapshot_date"
    assert vigil("sources", "draft", str(tmp_path / "absent.csv"))[0] == DATA_FAULT


def test_a_sample_bank_of_any_size(settings, vigil):
    assert vigil("sample-bank", "--customers", "500", "--months", "2", "--nights", "1")[0] == DONE
    assert sample_bank.read_planted(settings.sources).customers == 500


def test_shared_options_are_found_wherever_they_stand():
    given = ["ingest", "--json", "--date", "2026-06-30", "--project", "here", "--debug", "--project=there"]
    front = ["--json", "--project", "here", "--debug", "--project=there"]
    assert shared_options_first(given) == [*front, "ingest", "--date", "2026-06-30"]


def test_a_machine_that_nobody_set_up_is_told_how(tmp_path):
    refused = alone(tmp_path, "ingest", "--all")
    assert refused.returncode == DATA_FAULT
    assert "python -m pipelines init" in refused.stderr
    assert "python -m pipelines init" in alone(tmp_path, "bootstrap").stderr
    assert not (tmp_path / "postgres").exists()
    assert alone(tmp_path, "status").returncode == DONE


def test_a_demo_s_database_runs_only_as_long_as_a_command(tmp_path):
    assert alone(tmp_path, "init").returncode == DONE
    assert "VIGIL_ENVIRONMENT=demo" in (tmp_path / "vigil.env").read_text()
    shown = alone(tmp_path, "verify", "--all")
    assert shown.returncode == DATA_FAULT, shown.stderr
    assert (tmp_path / "postgres" / "data").exists()
    assert lease.cluster(tmp_path).pid() is None


def test_another_project_is_chosen_by_its_folder(tmp_path):
    checked = alone(tmp_path, "models", "check", "--project", str(REPOSITORY / "examples" / "uci_default"))
    assert checked.returncode == DONE, checked.stderr
    assert "uci_default: fits together" in checked.stdout


def test_a_trained_version_is_told_with_the_rows_it_was_judged_on():
    measured = {"rows": 21721.0, "events": 3305.0, "auc": 0.6951, "ks": 0.29, "mean_predicted": 0.13}
    version = TrainedVersion(
        model="loans",
        version=2,
        run_id="r",
        algorithm="catboost",
        artefact_digest="a",
        training_set_digest="t",
        metrics=measured,
        rows=42535,
    )
    assert sentence(version) == (
        "loans version 2: catboost, training set of 42,535 rows, 21,721 of them judged, with 3,305 events: auc 0.6951, ks 0.2900"
    )
