"""examples/lending_club on the real file, by the commands of its README: trained before 2011, judged and scored on 2011."""

from __future__ import annotations

import re
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from example_project import ExampleMachine, RunExample
from example_verdicts import require_page_says

from pipelines import database, registry
from pipelines.evaluation import metrics
from pipelines.features import source_columns
from pipelines.lake import Lake, connect
from pipelines.settings import REPOSITORY
from pipelines.spec import load_contract, load_model, load_policy

pytestmark = pytest.mark.timeout(1800)  # the first test waits for the whole example

SOURCE = "lending_club_loans"
AFTERWARDS = (
    *("total_pymnt", "total_pymnt_inv", "total_rec_prncp", "total_rec_int", "total_rec_late_fee", "out_prncp"),
    *(
        "out_prncp_inv",
        "recoveries",
        "collection_recovery_fee",
        "last_pymnt_d",
        "last_pymnt_amnt",
        "last_credit_pull_d",
    ),
    *("hardship_flag", "hardship_type", "hardship_amount", "hardship_start_date", "hardship_dpd"),
    *("debt_settlement_flag", "settlement_status", "settlement_date", "settlement_amount", "settlement_percentage"),
    *("settlement_term",),
)
FOUND_WITHOUT_MARKS = {
    *("total_pymnt", "total_rec_prncp", "recoveries", "collection_recovery_fee", "last_pymnt_d", "last_pymnt_amnt"),
    *("last_credit_pull_d", "out_prncp", "out_prncp_inv", "debt_settlement_flag", "settlement_status"),
    *("settlement_date", "settlement_amount", "settlement_percentage", "settlement_term"),
    *("hardship_flag", "hardship_type", "hardship_amount", "hardship_start_date", "hardship_dpd"),
}
LENDERS_OWN_JUDGEMENT = {
    "int_rate",
    "installment",
    "grade",
    "sub_grade",
    "verification_status",
    "funded_amnt",
    "funded_amnt_inv",
}
LEAKING_VIEW = """
from pipelines.features.definitions import feature_view

@feature_view(entity="loan", sources=("lending_club_loans",), ttl_days=31, history_days=31)
def afterwards(lending_club_loans, business_date):
    loans = lending_club_loans.filter(lending_club_loans.business_date == business_date)
    return loans.select(
        loan_token=loans.loan_token,
        {features},
    )
"""


@pytest.fixture(scope="module")
def leaking(lending_club: RunExample, tmp_path_factory: pytest.TempPathFactory) -> ExampleMachine:
    """The project copied by somebody who lists every column filled in after the loan was paid out."""
    copied = lending_club.machine.with_copied_project(tmp_path_factory.mktemp("leaking") / "project")
    columns = load_contract(copied.settings.expectations, SOURCE).columns
    dates = {name for name in AFTERWARDS if columns[name].type == "date"}
    features = [
        f'{n}=loans.{n}.delta(loans.business_date, unit="day")' if n in dates else f"{n}=loans.{n}" for n in AFTERWARDS
    ]
    view = LEAKING_VIEW.replace("{features}", ",\n        ".join(features))
    (copied.settings.feature_repo / "afterwards.py").write_text(view)
    path = copied.settings.models / "lending_club.yaml"
    model = yaml.safe_load(path.read_text())
    model["features"]["afterwards"] = {
        name: {"missing": "allowed", "categorical": columns[name].type == "string"} for name in AFTERWARDS
    }
    model["reasons"]["untold"] = dict.fromkeys(AFTERWARDS, "nobody knew it then")
    path.write_text(yaml.safe_dump(model))
    return copied


def test_trained_before_2011_it_ranks_the_loans_of_2011(lending_club: RunExample) -> None:
    catboost, scorecard = lending_club.records("train", "metrics")
    assert (catboost["algorithm"], scorecard["algorithm"]) == ("catboost", "scorecard")
    assert catboost["metrics"]["auc"] >= 0.690
    assert scorecard["metrics"]["auc"] >= 0.685
    for version in (catboost, scorecard):
        assert version["rows"] == 42_535
        assert version["metrics"]["rows"] == 21_721
        assert version["metrics"]["calibration_error"] < 0.03


def test_every_loan_of_the_file_is_taken_in(lending_club: RunExample) -> None:
    manifests = lending_club.records("ingest", "rows_quarantined")
    assert len(manifests) == 55
    assert sum(manifest["rows_in"] for manifest in manifests) == 42_535
    assert {manifest["rows_quarantined"] for manifest in manifests} == {0}


def test_no_feature_leans_on_the_lenders_judgement_on_where_people_live_or_on_what_came_later(
    lending_club: RunExample,
) -> None:
    settings = lending_club.machine.settings
    model = load_model(settings.models, "lending_club")
    contract = load_contract(settings.expectations, SOURCE)
    assert not {"zip_code", "addr_state", "title", "desc", "emp_title"} & set(contract.columns)
    used = {column for columns in source_columns(settings, model).values() for _, column in columns}
    assert not used & LENDERS_OWN_JUDGEMENT
    assert not used & {name for name, column in contract.columns.items() if column.known == "later"}


def test_every_month_of_2011_is_published_and_no_loan_is_lost(lending_club: RunExample, data_folder: Path) -> None:
    batches = lending_club.records("night", "rows_scored")
    scored = [batch for batch in batches if "rows_in" in batch]
    in_file = _loans_by_month(data_folder)
    assert {batch["business_date"]: batch["rows_in"] for batch in scored} == in_file
    for batch in scored:
        assert batch["rows_in"] == batch["rows_scored"] + batch["rows_rejected"] + batch["rows_quarantined"]
        assert batch["model_version"] == 1
        assert batch["challenger_versions"] == [2]
        assert batch["psi"] < 0.1
    assert [b["business_date"] for b in batches if "published_at" in b] == sorted(in_file)


def test_what_readers_see_of_2011_ranks_exactly_as_training_said(lending_club: RunExample) -> None:
    settings = lending_club.machine.settings
    published = database.rows(
        settings,
        "SELECT replace(token::text, '-', '') AS token, probability FROM vigil.published_score WHERE model = 'lending_club'",
    )
    probability = {row["token"]: row["probability"] for row in published}
    outcomes = _outcomes_of_2011(lending_club.machine)
    assert len(published) == len(probability) == len(outcomes) == 21_721
    tokens = sorted(outcomes)
    area = metrics.auc(
        _array([outcomes[t] for t in tokens], "int8"), _array([probability[t] for t in tokens], "float64")
    )
    (catboost, _) = lending_club.records("train", "metrics")
    assert area == pytest.approx(catboost["metrics"]["auc"], abs=1e-9)


def test_columns_filled_in_later_are_refused_by_name(leaking: ExampleMachine) -> None:
    done = leaking.command("train", "--as-of", "2017-12-31")
    assert done.returncode == 3
    refused = re.findall(rf"^  (\w+): comes from {SOURCE}\.(\w+), known only after the event", done.stderr, re.M)
    assert set(refused) == {(name, name) for name in AFTERWARDS}


def test_when_nobody_marked_them_dates_and_statistics_find_them(leaking: ExampleMachine, tmp_path: Path) -> None:
    unmarked = leaking.with_copied_project(tmp_path / "project")
    path = unmarked.settings.expectations / f"{SOURCE}.yaml"
    contract = yaml.safe_load(path.read_text())
    for column in contract["columns"].values():
        column.pop("known", None)
    path.write_text(yaml.safe_dump(contract))

    done = unmarked.command("train", "--as-of", "2017-12-31")

    assert done.returncode == 3
    refused = set(re.findall(r"^  (\w+): ", done.stderr, re.M))
    assert refused == FOUND_WITHOUT_MARKS
    assert (
        "last_pymnt_d: comes from lending_club_loans.last_pymnt_d, which in 42452 rows holds a date after"
        in done.stderr
    )


def test_the_figures_of_the_page_are_those_of_this_run(lending_club: RunExample) -> None:
    page = (REPOSITORY / "docs" / "examples.md").read_text()
    catboost, scorecard = (version["metrics"]["auc"] for version in lending_club.records("train", "metrics"))
    [stated] = re.findall(r"^\| Lending Club, 2011 \| ([\d.]+) \| ([\d.]+) \|", page, re.M)
    assert [float(figure) for figure in stated] == pytest.approx([catboost, scorecard], abs=0.001)
    months = dict(re.findall(r"^\| (2011-\d\d-\d\d) \| ([\d,]+) \|", page, re.M))
    nights = {b["business_date"]: f"{b['rows_in']:,}" for b in lending_club.records("night", "rows_in") if "psi" in b}
    assert months == nights


def _loans_by_month(data_folder: Path) -> dict[str, int]:
    issued = pq.read_table(data_folder / "lendingclub_2007_2011" / "lendingclub_2007_2011.parquet", columns=["issue_d"])
    days = [value.date() for value in issued["issue_d"].to_pylist() if value.year == 2011]
    ends = {1: 31, 2: 28, 3: 31, 4: 30, 5: 31, 6: 30, 7: 31, 8: 31, 9: 30, 10: 31, 11: 30, 12: 31}
    return {str(date(2011, month, ends[month])): n for month, n in Counter(day.month for day in days).items()}


def _outcomes_of_2011(machine: ExampleMachine) -> dict[str, int]:
    lake = Lake(machine.settings)
    with connect(machine.settings) as connection:
        dates = [on for on in lake.dates(f"source/{SOURCE}") if on.year == 2011]
        lake.scan(connection, "loans", f"source/{SOURCE}", dates=dates)
        found = connection.execute("SELECT loan_token, (loan_status LIKE '%Charged Off')::INT FROM loans").fetchall()
    return dict(found)


def _array(values: list[Any], kind: str) -> Any:
    return pa.array(values).to_numpy().astype(kind)


def test_the_gates_say_what_the_page_says(lending_club: RunExample) -> None:
    for version in (1, 2):
        report = lending_club.judged(version)
        require_page_says(report)
        assert all(v.effect == "record" for v in report.verdicts if v.gate == "fairness")


def test_the_champion_passed_its_gates_and_a_validator_agreed(lending_club: RunExample) -> None:
    assert lending_club.judged(1).passed
    settings = lending_club.machine.settings
    model = load_model(settings.models, "lending_club")
    chosen = registry.champion(settings, model)
    assert (chosen.version, chosen.permit.kind) == (1, "approval")


def test_its_policy_asks_what_the_banks_own_asks_but_for_groups(lending_club: RunExample) -> None:
    """A pack that inherits cannot ask for less, so this one is a copy, and a copy must not drift from what it copies."""
    ours = load_policy(lending_club.machine.settings.policies, "public_data")
    banks = load_policy(REPOSITORY / "policies", "internal")
    for section in ("training", "scoring", "approvals", "review"):
        assert getattr(ours, section) == getattr(banks, section)
    where = {"pack", "pack_version"}
    asked, copied = (
        [rule.model_dump(exclude=where) for rule in policy.rules_for("credit", 2, date(2026, 11, 25))]
        for policy in (banks, ours)
    )
    about_groups = [rule for rule in copied if rule["gate"] == "fairness"]
    assert [r for r in asked if r["gate"] != "fairness"] == [r for r in copied if r["gate"] != "fairness"]
    assert {rule["effect"] for rule in about_groups} == {"record"}
    limits = ("metric", "at_least", "at_most", "bound")
    assert [[r[key] for key in limits] for r in about_groups] == [
        [r[key] for key in limits] for r in asked if r["gate"] == "fairness"
    ]
