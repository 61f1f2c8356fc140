"""examples/amlsim on the real files, by the commands of its README: what the network adds to counts and sums."""

from __future__ import annotations

import re
from datetime import date, timedelta

import duckdb
import pytest
from example_project import RunExample

from pipelines.features import source_columns, training_dates
from pipelines.features.definitions import ComputedViewDefinition, load_definitions
from pipelines.settings import REPOSITORY, Settings
from pipelines.spec import load_contract, load_model

pytestmark = pytest.mark.timeout(1800)  # the first test waits for the whole example

PROJECT = REPOSITORY / "examples" / "amlsim"
PLAIN, GRAPH = "amlsim_plain", "amlsim_graph"
AS_OF = date(2025, 6, 1)
JUDGED = [date(2025, 4, 27), date(2025, 5, 4)]

Figures = dict[str, list[float]]


@pytest.fixture(scope="module")
def compared(amlsim: RunExample) -> str:
    done = amlsim.machine.python("examples/amlsim/compare.py")
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def figures(page: str) -> Figures:
    """By measure, the numbers of a line of the first table: value and interval of each model and of the difference."""
    rows = re.findall(r"^\| ([\w %]+?) \| (\d.*) \|$", page, re.M)
    found: Figures = {}
    for name, cells in rows:
        found.setdefault(name, [float(number) for number in re.findall(r"-?\d+\.\d+", cells)])
    return found


def test_the_network_earns_its_place_beside_counts_and_sums(compared: str) -> None:
    measured = figures(compared)
    for name in ("average precision", "precision in the top 1%", "recall in the top 1%", "recall in the top 5%"):
        *_, difference, low, high = measured[name]
        assert 0 < low < difference < high, name
    assert measured["average precision"][0] >= 0.12, "the plain model is no straw man"
    assert measured["average precision"][3] >= 0.19
    assert measured["ROC AUC"][3] >= 0.84


def test_what_is_compared_ranks_as_training_said(amlsim: RunExample, compared: str) -> None:
    plain, graph = amlsim.records("train", "metrics")
    assert (plain["model"], graph["model"]) == (PLAIN, GRAPH)
    measured = figures(compared)
    for name, metric in (("ROC AUC", "auc"), ("average precision", "average_precision")):
        assert measured[name][0] == pytest.approx(plain["metrics"][metric], abs=0.0006)
        assert measured[name][3] == pytest.approx(graph["metrics"][metric], abs=0.0006)
    for trained in (plain, graph):
        assert (trained["rows"], trained["metrics"]["rows"], trained["metrics"]["events"]) == (218_719, 39_401, 287)


def test_every_payment_is_taken_in(amlsim: RunExample) -> None:
    rows: dict[str, int] = {}
    for manifest in amlsim.records("ingest", "rows_quarantined"):
        assert manifest["rows_quarantined"] == 0
        rows[manifest["source"]] = rows.get(manifest["source"], 0) + manifest["rows_in"]
    assert (rows["payments_made"], rows["turned"]) == (117_805, 945)


def test_no_feature_knows_who_turned(amlsim: RunExample) -> None:
    settings = amlsim.machine.settings
    contract = load_contract(settings.expectations, "turned")
    assert {name for name, column in contract.columns.items() if column.known != "later"} == {"account_id"}
    for model in (PLAIN, GRAPH):
        used = source_columns(settings, load_model(settings.models, model))
        assert {source for columns in used.values() for source, _ in columns} <= {"accounts", "payments_made"}


def test_no_week_learnt_from_reaches_into_the_judged_weeks(amlsim: RunExample) -> None:
    settings = amlsim.machine.settings
    for name in (PLAIN, GRAPH):
        model = load_model(settings.models, name)
        dates = training_dates(settings, model, AS_OF)
        developed = [on for on in dates if on < JUDGED[0]]
        assert [on for on in dates if on not in developed] == JUDGED
        assert len(developed) == 9
        assert max(developed) + timedelta(days=model.label.maturity_days) <= JUDGED[0]


def test_both_models_publish_the_same_accounts(amlsim: RunExample) -> None:
    batches = [record for record in amlsim.records("night", "rows_in") if "psi" in record]
    scored = {(batch["model"], batch["business_date"]): batch["rows_scored"] for batch in batches}
    assert scored == {(m, str(on)): n for m in (PLAIN, GRAPH) for on, n in zip(JUDGED, (19_722, 19_679), strict=True)}


def test_the_figures_of_the_page_are_those_of_this_run(compared: str) -> None:
    page = (REPOSITORY / "docs" / "examples.md").read_text().split("\n## AMLSim")[1].split("\n## ")[0]
    stated, found = figures(page), figures(compared)
    assert stated.keys() == found.keys()
    for name, numbers in found.items():
        assert stated[name] == pytest.approx(numbers, abs=0.002), name
    for text in re.findall(r"^Top 1% of .*$", compared, re.M):
        assert text in page


def test_the_neighbourhood_of_a_repeated_payment_by_hand() -> None:
    """a pays b twice on one day; b pays c; c and d pay each other; e has paid nobody."""
    settings = Settings(project=PROJECT)
    view = load_definitions(settings).feature_view("neighbourhood")
    assert isinstance(view, ComputedViewDefinition)
    with duckdb.connect() as connection:
        connection.execute("""
            CREATE TABLE accounts AS
            SELECT unnest(['a', 'b', 'c', 'd', 'e']) AS account_token, DATE '2025-04-27' AS business_date;
            CREATE TABLE payments_made AS SELECT * FROM (VALUES
                ('a', 'b', 10.0, DATE '2025-04-20'), ('a', 'b', 10.0, DATE '2025-04-20'),
                ('b', 'c', 200.0, DATE '2025-04-21'), ('c', 'd', 300.0, DATE '2025-04-22'), ('d', 'c', 300.0, DATE '2025-04-23'),
            ) AS t(account_token, counterparty_token, amount, booked_on)
        """)
        found = connection.sql(view.sql(connection, date(2025, 4, 27))).to_arrow_table().to_pylist()
    rows = {row["account_token"]: row for row in found}
    assert (rows["b"]["repeating_payers"], rows["b"]["days_since_repeated"]) == (1, 7)
    assert (rows["a"]["payees_repeated_to"], rows["b"]["payers_that_repeat"], rows["c"]["payers_repeated_to"]) == (
        1,
        1,
        1,
    )
    assert rows["c"]["repeaters_share"] == pytest.approx(1 / 3)  # b, of b and twice d
    assert rows["c"]["repeaters_near"] == pytest.approx(1 / 2)  # b has two relations
    assert rows["d"]["repeaters_near"] == 0
    assert rows["d"]["repeaters_two_steps"] == pytest.approx(2 * (1 / 2) / 3)  # c both ways; it has three relations
    assert (rows["c"]["pays_back"], rows["a"]["pays_back"]) == (1, 0)
    assert rows["e"] == {"account_token": "e"} | {
        name: None if name in ("payees_of_payers", "payers_of_payees", "days_since_repeated") else 0
        for name in view.features
    }
