"""examples/uci_default on the real file, by the commands of its README: five folds, and one night."""

from __future__ import annotations

import re

import pytest
from example_project import RunExample

from pipelines import database
from pipelines.features import source_columns
from pipelines.lake import Lake
from pipelines.settings import REPOSITORY
from pipelines.spec import Fairness, ProtectedAttribute, load_contract, load_model, load_policy
from pipelines.validation import fairness
from pipelines.validation.candidate import load_candidate

pytestmark = pytest.mark.timeout(1800)  # the first test waits for the whole example

PROTECTED = {"sex", "education", "marriage", "age"}
FAIRNESS = Fairness(
    source="uci_clients",
    attributes={name: ProtectedAttribute() for name in ("sex", "education", "marriage")}
    | {"age": ProtectedAttribute(bands=(25, 35, 45, 55, 65))},
    intersections=(("sex", "age"),),
    min_group=100,
    min_known_share=0.8,
    significance=0.05,
    prohibited_inputs=("sex", "education", "marriage", "age"),
)


def test_it_ranks_clients_it_has_not_seen_in_five_folds(uci_default: RunExample) -> None:
    catboost, scorecard = uci_default.records("train", "metrics")
    assert catboost["metrics"]["auc"] >= 0.783
    assert scorecard["metrics"]["auc"] >= 0.770
    assert catboost["rows"] == catboost["metrics"]["rows"] == 30_000
    assert catboost["metrics"]["calibration_error"] < 0.02


def test_protected_attributes_are_beside_the_lake_and_in_no_feature(uci_default: RunExample) -> None:
    settings = uci_default.machine.settings
    contract = load_contract(settings.expectations, "uci_clients")
    assert {name for name, column in contract.columns.items() if column.protected} == PROTECTED
    in_lake = {field.name for field in Lake(settings).open("source/uci_clients").schema().fields}
    assert "client_token" in in_lake
    assert not in_lake & {*PROTECTED, "client_id"}
    used = source_columns(settings, load_model(settings.models, "uci_default"))
    assert not {column for columns in used.values() for _, column in columns} & {*PROTECTED, "defaulted"}
    [kept] = database.rows(settings, "SELECT count(*) AS rows, count(DISTINCT sex) AS sexes FROM protected.uci_clients")
    assert (kept["rows"], kept["sexes"]) == (30_000, 2)


def test_its_night_is_published_and_no_client_is_lost(uci_default: RunExample) -> None:
    [batch] = [record for record in uci_default.records("night", "rows_in") if "psi" in record]
    assert batch["rows_in"] == 30_000 == batch["rows_scored"] + batch["rows_rejected"] + batch["rows_quarantined"]
    [published] = uci_default.records("night", "published_at")
    assert published["batch_id"] == batch["batch_id"]
    [seen] = database.rows(uci_default.machine.settings, "SELECT count(*) AS rows FROM vigil.published_score")
    assert seen["rows"] == batch["rows_scored"]


def test_the_figures_of_the_page_are_those_of_this_run(uci_default: RunExample) -> None:
    page = (REPOSITORY / "docs" / "examples.md").read_text()
    found = [version["metrics"]["auc"] for version in uci_default.records("train", "metrics")]
    [stated] = re.findall(r"^\| UCI, mean of 5 folds \| ([\d.]+) \| ([\d.]+) \|", page, re.M)
    assert [float(figure) for figure in stated] == pytest.approx(found, abs=0.0006)  # three digits are stated


def test_groups_stand_where_the_page_on_fairness_says(uci_default: RunExample) -> None:
    """Nobody falls below four fifths, and the risk of those with an undocumented education is overstated twofold."""
    settings = uci_default.machine.settings
    scorecard = uci_default.records("train", "metrics")[1]
    judged = load_candidate(settings, load_model(settings.models, "uci_default"), scorecard["version"])
    measuring = load_policy(REPOSITORY / "policies", "internal").measuring
    table = fairness.assess(settings, judged, measuring.model_copy(update={"fairness": FAIRNESS}))
    assert table.prohibited == ()
    assert {name for grouping in table.groupings for name in grouping.small} >= {"education=0", "marriage=0"}
    found = {group.name: group for grouping in table.groupings for group in grouping.groups}
    assert min(group.impact.value for group in found.values()) > 0.8
    assert found["education=5"].calibration.high < 0.75
    page = (REPOSITORY / "docs" / "fairness.md").read_text()
    stated = re.findall(r"^\| `(.+?)` \| ([\d.]+) \| ([\d.]+) to ([\d.]+) \| ([\d.]+) \|$", page, re.M)
    assert len(stated) == 5
    for name, *figures in stated:
        group = found[name]
        expected = (group.impact.value, group.impact.low, group.impact.high, group.calibration.value)
        assert [float(figure) for figure in figures] == pytest.approx(expected, abs=0.0006)
