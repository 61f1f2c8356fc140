"""The leakage check on real columns, when the contract's author marked nothing: statistics and dates alone must do."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
import pytest
from lender import MODEL

from pipelines.evaluation.leakage import LeakageVerdict, judge
from pipelines.settings import REPOSITORY
from pipelines.spec import Contract, Feature, Model, load_policy

LIMITS = load_policy(REPOSITORY / "policies", "internal").training

HONEST = {
    *("loan_amnt", "funded_amnt", "funded_amnt_inv", "installment", "int_rate", "annual_inc", "dti", "delinq_2yrs"),
    *("inq_last_6mths", "mths_since_last_delinq", "mths_since_last_record", "open_acc", "pub_rec", "revol_bal"),
    *("revol_util", "total_acc", "pub_rec_bankruptcies", "tax_liens", "acc_now_delinq", "delinq_amnt"),
    *("term", "grade", "sub_grade", "emp_length", "home_ownership", "verification_status", "purpose"),
    *("zip_code", "addr_state", "title", "emp_title", "earliest_cr_line"),
}
LEAKS = [
    *("total_pymnt", "total_pymnt_inv", "total_rec_prncp", "recoveries", "collection_recovery_fee", "last_pymnt_amnt"),
    *("debt_settlement_flag", "debt_settlement_flag_date", "settlement_status", "settlement_date"),
    *("settlement_amount", "settlement_percentage", "settlement_term"),
]
CONSTANT = ["out_prncp", "out_prncp_inv", "pymnt_plan", "hardship_flag", "hardship_type", "policy_code", "next_pymnt_d"]
DATES = ["last_pymnt_d", "last_credit_pull_d"]


@pytest.fixture(scope="module")
def loans(data_folder: Path) -> pa.Table:
    return pyarrow.parquet.read_table(data_folder / "lendingclub_2007_2011" / "lendingclub_2007_2011.parquet")


@pytest.fixture(scope="module")
def charged_off(loans: pa.Table) -> np.ndarray:
    return pc.match_substring(loans["loan_status"], "Charged Off").to_numpy().astype(np.int8)


def as_feature(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A number where every value is one, else a category."""
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_null(column.type):
        return column.cast(pa.float64())
    try:
        return column.cast(pa.float64())
    except pa.ArrowInvalid:
        return column.cast(pa.string())


def check(columns: dict[str, pa.ChunkedArray], label: np.ndarray) -> LeakageVerdict:
    features = {n: Feature(categorical=c.type == pa.string()) for n, c in columns.items()}
    model = Model.model_validate(MODEL | {"features": {"view": {n: f.model_dump() for n, f in features.items()}}})
    return judge(model, date(2017, 12, 31), pa.table(columns), label, LIMITS, lineage={}, contracts={}, dated_later={})


def test_no_honest_column_of_lending_club_is_suspected(loans: pa.Table, charged_off: np.ndarray) -> None:
    assert check({name: as_feature(loans[name]) for name in sorted(HONEST)}, charged_off).findings == ()


@pytest.mark.parametrize("leak", LEAKS + CONSTANT)
def test_each_post_issue_column_is_refused_by_name_beside_honest_ones(
    leak: str, loans: pa.Table, charged_off: np.ndarray
) -> None:
    beside = ("loan_amnt", "funded_amnt_inv", "installment", "annual_inc", "purpose")
    verdict = check({name: as_feature(loans[name]) for name in (*beside, leak)}, charged_off)
    assert [f.feature for f in verdict.blocking] == [leak]


def test_all_of_them_at_once_are_all_named(loans: pa.Table, charged_off: np.ndarray) -> None:
    columns = {name: as_feature(loans[name]) for name in [*sorted(HONEST), *LEAKS, *CONSTANT]}
    assert {f.feature for f in check(columns, charged_off).blocking} == {*LEAKS, *CONSTANT}


@pytest.mark.parametrize("column", DATES)
def test_dates_filled_in_afterwards_are_refused_by_name(column: str, loans: pa.Table, charged_off: np.ndarray) -> None:
    contract = Contract.model_validate(
        {
            "source": "loans",
            "description": "d",
            "owner": "o@bank.example",
            "location": {"kind": "files", "path": "loans.parquet", "format": "parquet"},
            "business_date": {"column": "issue_d", "cadence": "month"},
            "key": ["issue_d"],
            "columns": {"issue_d": {"type": "date"}, column: {"type": "date", "nullable": True}},
            "max_quarantined_fraction": 0.1,
        }
    )
    later = pc.greater(loans[column].cast(pa.timestamp("us")), loans["issue_d"].cast(pa.timestamp("us")))
    features = {"months_since": Feature()}
    verdict = judge(
        Model.model_validate(MODEL | {"features": {"view": {n: f.model_dump() for n, f in features.items()}}}),
        date(2017, 12, 31),
        pa.table({"months_since": np.random.default_rng(0).normal(size=len(loans))}),
        charged_off,
        LIMITS,
        lineage={"months_since": frozenset({("loans", column)})},
        contracts={"loans": contract},
        dated_later={("loans", column): pc.sum(later).as_py()},
    )
    assert [f.reason.split(",")[0] for f in verdict.blocking] == [f"comes from loans.{column}"]


def test_no_column_of_the_card_clients_is_suspected(data_folder: Path) -> None:
    clients = pyarrow.csv.read_csv(data_folder / "uci_default" / "UCI_Credit_Card.csv")
    label = clients.column(clients.num_columns - 1).to_numpy().astype(np.int8)
    names = clients.column_names[1:-1]
    assert check({name.lower(): as_feature(clients[name]) for name in names}, label).findings == ()
