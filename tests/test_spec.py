"""The files a person writes: what is refused, and that each refusal names file, key and remedy."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from account_source import CONTRACT

from pipelines.contracts import DataFault
from pipelines.settings import REPOSITORY
from pipelines.spec import (
    Contract,
    Model,
    Validation,
    load_contract,
    load_model,
    load_policy,
    load_typologies,
    model_names,
)

GOOD_MODEL = yaml.safe_load((REPOSITORY / "models" / "credit_default.yaml").read_text())
GOOD_POLICY = yaml.safe_load((REPOSITORY / "policies" / "internal.yaml").read_text())


def changed(good: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The file with the key at `a.b.c` set, or removed when the value is ..."""
    made = copy.deepcopy(dict(good))
    *parents, last = path.split(".")
    at = made
    for parent in parents:
        at = at[parent]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return made


def written(folder: Path, name: str, content: Any) -> Path:
    (folder / f"{name}.yaml").write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return folder


# ---------------------------------------------------------------------------------------------------------- contracts


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("owner", "nobody", "owner"),
        ("owner", ..., "owner: Field required"),
        ("max_quarantined_fraction", ..., "max_quarantined_fraction: Field required"),
        ("max_quarantined_fraction", 1.5, "max_quarantined_fraction"),
        ("max_quarantine_fraction", 0.1, "did you mean 'max_quarantined_fraction'?"),
        ("key", [], "key"),
        ("key", ["account"], "'account' is not among columns (did you mean 'account_id'?)"),
        ("key", ["income"], "neither nullable nor protected"),
        ("totals", ["balanc"], "did you mean 'balance'?"),
        ("business_date.column", "snapshot", "did you mean 'snapshot_date'?"),
        ("business_date.column", "product", "its type must be date or timestamp"),
        ("business_date.cadence", "year", "business_date.cadence"),
        ("business_date", {"cadence": "day", "columm": "x"}, "columm"),
        ("location.kind", "ftp", "location"),
        ("location.format", "excel", "location.files.format"),
        ("freshness", {"column": "balance", "max_age_days": 1, "severity": "critical"}, "must be date or timestamp"),
        (
            "references",
            [{"token": "loan", "source": "loans", "min_fraction": 1, "severity": "critical"}],
            "token 'loan'",
        ),
        ("volume", {"tolerance": 0.2}, "volume.severity: Field required"),
        ("expectations", [{"expect": "ExpectColumn", "severity": "warning"}], "expectations.0.expect"),
        ("columns.balance.type", "double", "columns.balance.type"),
        ("columns.balance.minimum", 0, "columns.balance.minimum"),
        ("columns.product.min", 0, "min and max need type integer or float"),
        ("columns.balance.allowed", ["a"], "allowed needs type string"),
        ("columns.balance.format", "%Y", "format needs type date or timestamp"),
        ("columns.balance.token", "account", "token needs type string or integer"),
        ("columns.account_id.protected", True, "a token is not a protected column"),
        ("columns.active.may_be_future", True, "may_be_future needs type timestamp"),
        (
            "columns.other_id",
            {"type": "string", "token": "account"},
            "more than one becomes 'account_token' in the lake: account_id, other_id; both are ids of 'account'",
        ),
        ("columns.other_id", {"type": "string", "token": "account"}, "say with `role` what one of them is"),
        ("columns.balance.role", "payer", "role needs a token"),
        ("columns.business_date", {"type": "date"}, "the lake's own name"),
        ("columns.balance.delay_days", 7, "delay_days needs known: later"),
        ("columns.account_id", {"type": "string", "token": "account", "known": "later", "delay_days": 7}, "no token"),
        (
            "columns.snapshot_date",
            {"type": "date", "known": "later", "delay_days": 7},
            "the business date is known from the start",
        ),
    ],
)
def test_a_contract_that_cannot_be_meant(tmp_path: Path, path: str, value: Any, said: str) -> None:
    folder = written(tmp_path, "accounts", changed(CONTRACT, path, value))
    with pytest.raises(DataFault) as raised:
        load_contract(folder, "accounts")
    message = str(raised.value)
    assert said in message
    assert f"{folder / 'accounts.yaml'}" in message
    assert "docs/contracts.md" in message


def test_dates_that_cannot_be_told_apart() -> None:
    undated = changed(changed(CONTRACT, "business_date", {"cadence": "day"}), "location.path", "accounts.parquet")
    with pytest.raises(ValueError, match="cannot be told apart"):
        Contract.model_validate(undated)
    assert Contract.model_validate(changed(undated, "business_date.cadence", "once"))


def test_a_source_that_is_an_answer_by_its_rows_delays_no_column() -> None:
    fraud = {"type": "integer", "known": "later", "delay_days": 7}
    payment = {"type": "string", "token": "payment"}
    reports = CONTRACT | {
        "key": ["payment_id"],
        "business_date": {"cadence": "day"},
        "location": {"kind": "files", "path": "{business_date}.csv", "format": "csv"},
        "columns": {"payment_id": payment, "fraud": fraud},
        "totals": [],
    }
    optional = dict.fromkeys(("volume", "freshness")) | {"references": [], "expectations": []}
    with pytest.raises(ValueError, match="that a row exists is an answer already"):
        Contract.model_validate(reports | optional)
    payments = reports | optional | {"columns": {"payment_id": payment, "amount": {"type": "float"}, "fraud": fraud}}
    assert Contract.model_validate(payments).delays == {"fraud": 7}


def test_keys_that_came_later_change_no_version_that_does_not_use_them() -> None:
    before = '{"kind":"out_of_time","out_of_time_from":"2026-02-01","out_of_time_months":null,"folds":null,"why_no_time":null}'
    validation = Validation(kind="out_of_time", out_of_time_from=date(2026, 2, 1))
    assert validation.fingerprint() == before
    assert validation.model_copy(update={"out_of_time_to": date(2026, 3, 1)}).fingerprint() != before


def test_only_a_file_of_its_own_reaches_back() -> None:
    reaching = changed(CONTRACT, "business_date.reaches_back_days", 31)
    assert Contract.model_validate(reaching).business_date.reaches_back_days == 31
    with pytest.raises(ValueError, match="would belong to several"):
        Contract.model_validate(changed(reaching, "location.path", "accounts.parquet"))
    with pytest.raises(ValueError, match="needs a column"):
        Contract.model_validate(changed(reaching, "business_date", {"cadence": "day", "reaches_back_days": 1}))


def test_ids_have_another_name_in_the_lake() -> None:
    agreed = Contract.model_validate(CONTRACT)
    assert [agreed.lake_name(name) for name in ("account_id", "balance")] == ["account_token", "balance"]


def test_a_second_id_of_an_entity_is_named_by_its_role() -> None:
    other = {"type": "string", "token": "account", "role": "counterparty"}
    assert (
        Contract.model_validate(changed(CONTRACT, "columns.other_id", other)).lake_name("other_id")
        == "counterparty_token"
    )


def test_a_reference_is_of_the_id_without_a_role() -> None:
    only = changed(CONTRACT, "columns.account_id.role", "payer")
    reference = [{"token": "account", "source": "accounts", "min_fraction": 1, "severity": "critical"}]
    with pytest.raises(ValueError, match="no column has token 'account' and no role"):
        Contract.model_validate(changed(only, "references", reference))


# ------------------------------------------------------------------------------------------------- models and policies


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("validator", GOOD_MODEL["owner"], "four eyes need two"),
        ("population", "accounts", "population 'accounts' is not among sources"),
        ("tier", 4, "tier"),
        ("titel", "x", "did you mean 'title'?"),
        ("features.customer_profile", {"utilisation": {}}, "features named twice: utilisation"),
        ("features.account_behaviour.product", {"categorical": True, "monotone": "increasing"}, "cannot be monotone"),
        ("training.algorithms", ["xgboost"], "training.algorithms"),
        ("training.validation", {"kind": "out_of_time"}, "out_of_time needs exactly one of"),
        ("training.validation", {"kind": "folds", "folds": 5}, "validation by date is the rule"),
        (
            "training.validation",
            {"kind": "out_of_time", "out_of_time_months": 2, "out_of_time_to": "2026-01-31"},
            "need out_of_time_from",
        ),
        (
            "training.validation",
            {"kind": "out_of_time", "out_of_time_from": "2026-02-01", "out_of_time_to": "2026-01-31"},
            "out_of_time_to lies before out_of_time_from",
        ),
        (
            "training.validation",
            {"kind": "out_of_time", "out_of_time_from": "2026-02-01", "development_to": "2026-02-01"},
            "development_to must lie before out_of_time_from",
        ),
        ("schedule.timeout_minutes", 0, "schedule.timeout_minutes"),
        ("schedule.timezone", "Europe/Atlantis", "Europe/Atlantis"),
        ("label.maturity_days", -1, "label.maturity_days"),
    ],
)
def test_a_model_file_that_cannot_be_meant(tmp_path: Path, path: str, value: Any, said: str) -> None:
    folder = written(tmp_path, "credit_default", changed(GOOD_MODEL, path, value))
    with pytest.raises(DataFault) as raised:
        load_model(folder, "credit_default")
    assert said in str(raised.value)
    assert "credit_default.yaml" in str(raised.value)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("training.min_auc", ..., "training.min_auc: Field required"),
        ("training.min_auc", 2, "training.min_auc"),
        ("scoring.psi_block", 0, "scoring.psi_block"),
        ("scoring.psi_blocks", 0.2, "psi_blocks"),
        ("in_force_from", "soon", "in_force_from"),
    ],
)
def test_a_policy_that_cannot_be_meant(tmp_path: Path, path: str, value: Any, said: str) -> None:
    folder = written(tmp_path, "internal", changed(GOOD_POLICY, path, value))
    with pytest.raises(DataFault) as raised:
        load_policy(folder, "internal")
    assert said in str(raised.value)


def test_a_policy_is_in_force_or_not(tmp_path: Path) -> None:
    dated = {**GOOD_POLICY, "in_force_from": date(2026, 1, 1), "in_force_to": date(2026, 6, 30)}
    policy = load_policy(written(tmp_path, "internal", dated), "internal")
    assert policy.require_in_force(date(2026, 6, 30)) is policy
    for day in (date(2025, 12, 31), date(2026, 7, 1)):
        with pytest.raises(DataFault, match=f"not on {day}"):
            policy.require_in_force(day)


@pytest.mark.parametrize(("own", "covered"), [(("training", "scoring"), True), (("training",), False), ((), False)])
def test_limits_of_its_own_hold_on_days_before_an_inherited_pack_begins(
    tmp_path: Path, own: tuple[str, ...], covered: bool
) -> None:
    """Data may be older than the rules its models are judged by; the rules themselves never apply before they begin."""
    pack = {"policy": "old_data", "version": "1", "description": "For old data.", "inherits": ["internal"]}
    dated = {**pack, "in_force_from": date(2005, 1, 1), **{section: GOOD_POLICY[section] for section in own}}
    policy = load_policy(written(tmp_path, "old_data", dated), "old_data")
    day, too_early = date(2005, 10, 31), date(2004, 12, 31)
    if covered:
        assert policy.require_in_force(day, "scoring") is policy
    else:
        with pytest.raises(DataFault, match=r"policy internal .* not on 2005-10-31"):
            policy.require_in_force(day, "scoring")
    for section in (None, "approvals"):
        with pytest.raises(DataFault, match=r"policy internal .* not on 2005-10-31"):
            policy.require_in_force(day, section)
    with pytest.raises(DataFault, match="not on 2004-12-31"):
        policy.require_in_force(too_early, "scoring")
    assert policy.require_in_force(date(2026, 6, 30)) is policy


# ---------------------------------------------------------------------------------------------------------- all files


def test_a_file_that_is_not_there_names_the_closest(tmp_path: Path) -> None:
    written(tmp_path, "accounts", CONTRACT)
    with pytest.raises(DataFault, match=r"did you mean 'accounts'\?\)\. Have: accounts"):
        load_contract(tmp_path, "account")


@pytest.mark.parametrize("content", ["a: [", "", "- a list", "\t"])
def test_a_file_that_is_no_mapping(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataFault, match=r"accounts\.yaml: (not readable as YAML|holds no keys)"):
        load_contract(written(tmp_path, "accounts", content), "accounts")


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "accounts.yaml").write_bytes(b"source: caf\xe9")
    with pytest.raises(DataFault, match="not readable as YAML"):
        load_contract(tmp_path, "accounts")


def test_a_file_and_what_it_calls_itself_agree(tmp_path: Path) -> None:
    with pytest.raises(DataFault, match="it calls itself 'accounts'"):
        load_contract(written(tmp_path, "loans", CONTRACT), "loans")


@pytest.mark.parametrize("folder", [REPOSITORY, *sorted(REPOSITORY.glob("examples/*"))], ids=lambda f: f.name)
def test_every_file_of_the_repository_loads_and_refers_to_what_exists(folder: Path) -> None:
    sources = {name: load_contract(folder / "expectations", name) for name in model_names(folder / "expectations")}
    policies = folder / "policies" if (folder / "policies").is_dir() else REPOSITORY / "policies"
    names = model_names(folder / "models")
    assert names
    for name in names:
        model: Model = load_model(folder / "models", name)
        assert set(model.sources) <= set(sources), name
        load_policy(policies, model.policy)
        if model.typologies is not None:
            load_typologies([folder / "policies", REPOSITORY / "policies"], model.typologies).require_fits(
                name, model.feature
            )
    for contract in sources.values():
        assert {reference.source for reference in contract.references} <= set(sources), contract.source
