"""What is wrong in a feature_repo is said with file, line and remedy."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date

import pytest

from pipelines.contracts import DataFault
from pipelines.features import build, load_definitions
from pipelines.features.snapshots import model_views
from pipelines.settings import REPOSITORY, Settings
from pipelines.spec import load_model, model_names

HEAD = "import ibis\nfrom pipelines.features.definitions import feature_view, label_view\n"
VIEW = '@feature_view(entity="account", sources=("accounts",), ttl_days=1, history_days=1)\n'


def declare(bank, body: str, head: str = VIEW, parameters: str = "accounts, business_date") -> None:
    bank.declare("behaviour.py", f"{HEAD}{head}def behaviour({parameters}):\n    {body}\n")


def views(bank, **features):
    return model_views(bank.settings, bank.model(features={"behaviour": features or {"balance": {}}}))


def test_the_loader_finds_views_and_labels(bank):
    found = load_definitions(bank.settings)
    assert sorted(found.feature_views) == ["behaviour", "profile"]
    assert list(found.label_views) == ["went_bad"]
    assert found.feature_view("profile").entity == "customer"


def test_two_feature_repos_with_files_of_one_name_do_not_meet(bank, tmp_path):
    other = type(bank)(bank.settings.model_copy(update={"project": tmp_path / "other"}))
    other.declare("profile.py", f"{HEAD}{VIEW}def elsewhere(accounts, business_date):\n    return accounts\n")
    assert list(load_definitions(other.settings).feature_views) == ["elsewhere"]
    assert "elsewhere" not in load_definitions(bank.settings).feature_views


def test_a_syntax_error_is_given_with_file_and_line(bank):
    bank.declare("broken.py", "x = 1\ndef f(:\n")
    with pytest.raises(DataFault, match=r"broken\.py, line 2: .*Correct the file"):
        load_definitions(bank.settings)


def test_a_file_that_fails_to_import(bank):
    bank.declare("broken.py", "import nothing_of_that_name\n")
    with pytest.raises(DataFault, match=r"broken\.py: importing it failed with ModuleNotFoundError"):
        load_definitions(bank.settings)


def test_one_name_declared_in_two_files(bank):
    bank.declare("second.py", (bank.settings.feature_repo / "profile.py").read_text())
    with pytest.raises(DataFault, match="'profile' is declared twice"):
        load_definitions(bank.settings)


def test_an_empty_feature_repo(bank, tmp_path):
    with pytest.raises(DataFault, match="declares no feature view"):
        load_definitions(bank.settings.model_copy(update={"project": tmp_path / "empty"}))


def test_an_unknown_view_gives_the_closest(bank):
    with pytest.raises(DataFault, match=r"no feature view 'behavior'.*did you mean 'behaviour'"):
        model_views(bank.settings, bank.model(features={"behavior": {"balance": {}}}))
    with pytest.raises(DataFault, match=r"no label view 'went_badd'.*did you mean 'went_bad'"):
        load_definitions(bank.settings).label_view("went_badd")


def test_an_unknown_feature_gives_the_closest(bank):
    with pytest.raises(DataFault, match=r"no feature 'balence' \(did you mean 'balance'\?\)"):
        views(bank, balence={})


def test_parameters_that_are_not_the_sources(bank):
    declare(bank, "return account", parameters="account, business_date")
    with pytest.raises(DataFault, match=r"behaviour\.py: behaviour takes \(account, business_date\)"):
        load_definitions(bank.settings)


@pytest.mark.parametrize("limit", ["ttl_days", "history_days"])
def test_a_limit_below_a_day(bank, limit):
    declare(bank, "return accounts", head=VIEW.replace(f"{limit}=1", f"{limit}=0"))
    with pytest.raises(DataFault, match=f"{limit} is 0"):
        load_definitions(bank.settings)


def test_a_source_without_contract(bank):
    declare(bank, "return account", VIEW.replace("accounts", "account"), "account, business_date")
    with pytest.raises(DataFault, match=r"no contract file .*did you mean 'accounts'"):
        views(bank)


def test_a_column_the_source_does_not_have(bank):
    declare(bank, "return accounts.select('account_token', x=accounts.balanse)")
    with pytest.raises(DataFault, match=r"failed with AttributeError.*balanse.*behaviour\.py, line 5"):
        views(bank)


def test_a_protected_column_is_not_there_to_be_used(bank):
    declare(
        bank,
        "return customers.select('customer_token', x=customers.citizenship)",
        VIEW.replace("accounts", "customers"),
        "customers, business_date",
    )
    with pytest.raises(DataFault, match="citizenship"):
        views(bank)


def test_the_wrong_token(bank):
    declare(bank, "return accounts.select('customer_token', 'balance')")
    with pytest.raises(DataFault, match=r"does not return 'account_token'.*it returns customer_token, balance"):
        views(bank)


def test_a_view_of_an_entity_the_population_does_not_carry(bank):
    bank.model()
    declare(
        bank,
        "return accounts.select(branch_token='customer_token', balance='balance')",
        VIEW.replace('"account"', '"branch"'),
    )
    with pytest.raises(DataFault, match=r"keyed by branch_token, but its population accounts has no such column"):
        views(bank)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("x=ibis.date('2024-01-01')", "x has type date.*a feature is a number, a boolean or a string"),
        ("business_date='business_date'", "'business_date' cannot be the name of a feature"),
        ("Balance='balance'", "'Balance' cannot be the name of a feature"),
    ],
)
def test_what_cannot_be_a_feature(bank, column, message):
    declare(bank, f"return accounts.select('account_token', {column})")
    with pytest.raises(DataFault, match=message):
        views(bank)


def test_no_feature_at_all(bank):
    declare(bank, "return accounts.select('account_token')")
    with pytest.raises(DataFault, match="returns no feature"):
        views(bank)


def test_something_else_than_a_table(bank):
    declare(bank, "return 3")
    with pytest.raises(DataFault, match="returned int, not an Ibis table"):
        views(bank)


def test_a_category_declared_as_number(bank):
    with pytest.raises(DataFault, match=r"feature product is VARCHAR .*categorical is false"):
        views(bank, product={})


def test_two_rows_of_one_token(bank):
    bank.month(date(2024, 1, 31), accounts=3)
    declare(bank, "return accounts.union(accounts).select('account_token', 'balance')")
    with pytest.raises(
        DataFault, match=r"feature view behaviour on 2024-01-31: 3 rows more than .* Nothing was written"
    ):
        build(bank.settings, bank.model(features={"behaviour": {"balance": {}}}), date(2024, 1, 31))


def test_a_row_without_token(bank):
    bank.month(date(2024, 1, 31), accounts=3)
    declare(
        bank,
        "return accounts.select(account_token=accounts.account_token.nullif('f' * 32).nullif('"
        + f"{1:032x}"
        + "'), balance='balance')",
    )
    with pytest.raises(DataFault, match="1 rows without account_token"):
        build(bank.settings, bank.model(features={"behaviour": {"balance": {}}}), date(2024, 1, 31))


def test_a_view_without_any_row(bank):
    bank.month(date(2024, 1, 31), accounts=3)
    declare(bank, "return accounts.filter(accounts.balance < 0).select('account_token', 'balance')")
    with pytest.raises(DataFault, match="no row"):
        build(bank.settings, bank.model(features={"behaviour": {"balance": {}}}), date(2024, 1, 31))


@pytest.mark.parametrize("name", model_names(REPOSITORY / "models"))
def test_the_models_of_the_repository_compile(name):
    settings = Settings(project=REPOSITORY)
    model = load_model(settings.models, name)
    compiled = model_views(settings, model).compiled
    assert set(model.feature_names) <= {feature for view in compiled.values() for feature in view.features}
    load_definitions(settings).label_view(model.label.view)


DIGESTS = """
from pathlib import Path
from pipelines.features import load_definitions
from pipelines.features.views import compile_view
from pipelines.settings import Settings

for project in ("examples/fraud_handbook", "."):
    settings = Settings(home=Path("{home}"), project=Path(project))
    for name, view in sorted(load_definitions(settings).feature_views.items()):
        print(name, compile_view(settings, view).digest)
"""


def test_a_definition_is_the_same_in_every_process(tmp_path):
    """What one process builds and pins another one must know again, although each has its own order of sets."""
    script, told = DIGESTS.replace("{home}", str(tmp_path)), []
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
        )
        told.append(done.stdout.splitlines())
    assert len(told[0]) > 3
    assert told[0] == told[1]
