"""Computed views: built like any other view, identified by their code, and counted as made from every column."""

from __future__ import annotations

from datetime import date

import pytest

from pipelines.contracts import DataFault
from pipelines.features import build, load_definitions
from pipelines.features.definitions import ComputedViewDefinition
from pipelines.features.lineage import view_columns
from pipelines.features.views import compile_view

JANUARY, FEBRUARY = date(2024, 1, 31), date(2024, 2, 29)
FEATURES = {"behaviour": {"balance": {}}, "together": {"accounts_together": {}, "share": {}}}
VIEW = """
from pathlib import Path
from pipelines.features.definitions import computed_view

@computed_view(
    entity="customer", sources=("accounts", "customers"), ttl_days=40, history_days=40,
    features={"accounts_together": "integer", "share": "float"}, code=(Path(__file__).with_name("limit.txt"),),
)
def together(connection, business_date):
    \"\"\"Accounts of a customer on the business date.\"\"\"
    connection.execute(
        "CREATE TEMP TABLE counted AS SELECT customer_token, count(*) AS accounts_together FROM accounts "
        f"WHERE business_date = DATE '{business_date}' GROUP BY ALL"
    )
    return "SELECT customer_token, accounts_together, 1 / 0.0 AS share FROM counted"
"""


@pytest.fixture
def model(bank):
    bank.declare("together.py", VIEW)
    (bank.settings.feature_repo / "limit.txt").write_text("1")
    bank.month(JANUARY)
    return bank.model(features=FEATURES)


def definition(bank) -> ComputedViewDefinition:
    found = load_definitions(bank.settings).feature_view("together")
    assert isinstance(found, ComputedViewDefinition)
    return found


def test_its_rows_are_joined_like_those_of_any_view(bank, model):
    build(bank.settings, model, JANUARY)
    rows = bank.read("model_features/risk", JANUARY)
    assert [r["accounts_together"] for r in rows] == [1, 2, 2, 1]
    assert {r["share"] for r in rows} == {None}, "infinity is absent, as in every view"


def test_it_sees_only_its_history(bank, model):
    bank.month(FEBRUARY, accounts=2)
    view = bank.settings.feature_repo / "together.py"
    view.write_text(view.read_text().replace("WHERE business_date = DATE '{business_date}' ", ""))
    build(bank.settings, model, FEBRUARY)
    seen = {r["customer_token"]: r["accounts_together"] for r in bank.read("features/together", FEBRUARY)}
    assert sorted(seen.values()) == [1, 2, 3], "January is 29 days old and in the window of 40"
    view.write_text(view.read_text().replace("history_days=40", "history_days=20"))
    build(bank.settings, model, FEBRUARY)
    seen = {r["customer_token"]: r["accounts_together"] for r in bank.read("features/together", FEBRUARY)}
    assert sorted(seen.values()) == [1, 1]


def test_it_is_made_again_when_a_file_it_names_changes_and_not_before(bank, model):
    first = build(bank.settings, model, JANUARY)
    assert build(bank.settings, model, JANUARY) == first
    (bank.settings.feature_repo / "limit.txt").write_text("2")
    again = build(bank.settings, model, JANUARY)
    assert again.view_versions["together"] == first.view_versions["together"] + 1
    assert again.content_digest == first.content_digest


def test_every_feature_comes_from_every_column_that_is_not_protected(bank, model):
    traced = view_columns(bank.settings, definition(bank))
    assert traced["share"] == traced["accounts_together"]
    assert ("accounts", "recovered") in traced["share"], "known later: so the leakage check refuses it"
    assert ("customers", "citizenship") not in traced["share"]


def test_a_package_counts_with_all_its_files(bank, model):
    package = bank.settings.feature_repo.parent / "helping"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "inner" / "part.py").write_text("A = 1")
    view = VIEW.replace("code=(", f"code=(Path({str(package / '__init__.py')!r}), ")
    bank.declare("together.py", view)
    before = compile_view(bank.settings, definition(bank)).digest
    (package / "inner" / "part.py").write_text("A = 2")
    assert compile_view(bank.settings, definition(bank)).digest != before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("accounts_together, 1 / 0.0 AS share FROM", "1 / 0.0 AS share FROM", "gives accounts_together without"),
        ("1 / 0.0 AS share FROM", "1 AS share, 2 AS extra FROM", "gives extra without"),
        ("FROM counted", "FROM unheard_of", r"together on 2024-01-31: .*unheard_of"),
        ('return "SELECT', 'int("x")\n    return "SELECT', "failed with ValueError.*line 15"),
    ],
)
def test_a_function_that_is_wrong_says_where(bank, model, old, new, message):
    assert old in VIEW
    bank.declare("together.py", VIEW.replace(old, new))
    with pytest.raises(DataFault, match=message):
        build(bank.settings, model, JANUARY)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"share": "float"', '"share": "money"', "features are money; each is one of boolean, float, integer, string"),
        ('features={"accounts_together": "integer", "share": "float"}', "features={}", "features are none"),
        ("connection, business_date)", "accounts, business_date)", r"takes \(accounts, business_date\)"),
        ("ttl_days=40", "ttl_days=0", "ttl_days is 0"),
        ('with_name("limit.txt")', 'with_name("limits.txt")', "limits.txt: `code` of a computed view names"),
    ],
)
def test_a_declaration_that_is_wrong_is_refused(bank, model, old, new, message):
    assert old in VIEW
    bank.declare("together.py", VIEW.replace(old, new))
    with pytest.raises(DataFault, match=message):
        load_definitions(bank.settings)


def test_a_name_that_cannot_be_a_feature(bank, model):
    bank.declare("together.py", VIEW.replace("accounts_together", "label"))
    with pytest.raises(DataFault, match="'label' cannot be the name of a feature"):
        compile_view(bank.settings, definition(bank))
