"""What a model can learn from the bank, and what the downturn does to it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import duckdb
import numpy as np
import pytest
from catboost import CatBoostClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from pipelines.sample_bank import Planted, generate

INPUTS = (
    "days_past_due",
    "balance / credit_limit",
    "credit_limit",
    "interest_rate",
    "cash_advance",
    "on_date - opened_on",
    "(product = 'loan')::INT",
    "coalesce(income, 0)",
    "coalesce(employment_years, -1)",
    "coalesce(bureau_score, 0)",
    "bureau_enquiries_6m",
    "bureau_delinquencies_24m",
    "coalesce(bureau_utilisation, -1)",
)
Rows = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def planted_beyond(tmp_path_factory: pytest.TempPathFactory) -> tuple[Planted, str]:
    """A bank that goes on for ten months after the downturn, so that six-month windows close in it."""
    folder = tmp_path_factory.mktemp("beyond")
    return generate(folder, end=date(2026, 12, 31), months=30, nights=1), f"{folder}/sample_bank"


@pytest.fixture(scope="module")
def labelled(planted_beyond: tuple[Planted, str]) -> Iterator[duckdb.DuckDBPyConnection]:
    """`labelled`: clean snapshots of accounts not yet in default, with `defaulted` within 184 days."""
    folder = planted_beyond[1]
    with duckdb.connect() as connection:
        for source in ("account_snapshots", "customer_snapshots", "outcomes"):
            connection.execute(f"CREATE VIEW {source} AS SELECT * FROM read_parquet('{folder}/{source}/*.parquet')")
        connection.execute(
            f"""CREATE TABLE labelled AS SELECT a.snapshot_date AS on_date, {", ".join(INPUTS)},
            EXISTS (FROM outcomes o WHERE o.account_id = a.account_id AND o.outcome = 'default'
                    AND o.event_date > a.snapshot_date AND o.event_date <= a.snapshot_date + 184)::INT AS defaulted
            FROM account_snapshots a JOIN customer_snapshots c USING (customer_id, snapshot_date)
            WHERE days_past_due BETWEEN 0 AND 89 AND credit_limit > 0"""
        )
        yield connection


def rows(labelled: duckdb.DuckDBPyConnection, first: str, last: str) -> Rows:
    """Inputs and labels of the snapshots from one date to another."""
    found = labelled.sql(f"SELECT * EXCLUDE on_date FROM labelled WHERE on_date BETWEEN '{first}' AND '{last}'")
    table = np.column_stack(list(found.fetchnumpy().values())).astype(float)
    return table[:, :-1], table[:, -1]


@pytest.fixture(scope="module")
def model(labelled: duckdb.DuckDBPyConnection) -> CatBoostClassifier:
    """Gradient boosting on what was known by February 2025."""
    made = CatBoostClassifier(
        iterations=150, depth=5, learning_rate=0.1, random_seed=0, verbose=0, thread_count=2, allow_writing_files=False
    )
    return made.fit(*rows(labelled, "2024-07-01", "2025-02-28"))


def test_three_to_six_in_a_hundred_default_before_the_downturn_and_many_more_after(
    labelled: duckdb.DuckDBPyConnection,
) -> None:
    _, before = rows(labelled, "2024-07-01", "2025-08-28")
    _, after = rows(labelled, "2026-03-01", "2026-06-29")
    assert 0.03 < before.mean() < 0.06
    assert after.mean() > 1.8 * before.mean()


def test_a_good_model_finds_the_signal_and_no_more(
    labelled: duckdb.DuckDBPyConnection, model: CatBoostClassifier
) -> None:
    inputs, labels = rows(labelled, "2025-04-01", "2025-08-28")
    assert 0.79 < roc_auc_score(labels, model.predict_proba(inputs)[:, 1]) < 0.86


def test_the_downturn_moves_the_inputs(
    labelled: duckdb.DuckDBPyConnection, planted_beyond: tuple[Planted, str]
) -> None:
    effects = planted_beyond[0].truth["downturn"]
    means = (
        "SELECT avg(income) FILTER (income > 0), avg(bureau_score) FILTER (bureau_score <= 850), "
        "avg(bureau_enquiries_6m), avg(bureau_utilisation) FROM customer_snapshots WHERE snapshot_date = '{}'"
    )
    before, after = (labelled.sql(means.format(d)).fetchall()[0] for d in ("2026-02-28", "2026-12-31"))
    assert after[0] / before[0] == pytest.approx(effects["income_factor"] * np.exp(0.02 * 10 / 12), rel=0.01)
    assert after[1] - before[1] < effects["bureau_score_shift"]
    assert after[2] / before[2] == pytest.approx(effects["enquiry_rate_factor"], rel=0.1)
    assert after[3] - before[3] == pytest.approx(effects["utilisation_shift"], abs=0.02)


def test_the_downturn_moves_the_relation_of_inputs_to_default(
    labelled: duckdb.DuckDBPyConnection, model: CatBoostClassifier
) -> None:
    """A model of the time before expects too little for the very inputs it is shown afterwards."""

    def defaults_per_expected(first: str, last: str) -> float:
        inputs, labels = rows(labelled, first, last)
        return float(labels.mean() / model.predict_proba(inputs)[:, 1].mean())

    assert 0.85 < defaults_per_expected("2025-04-01", "2025-08-28") < 1.15
    assert defaults_per_expected("2026-03-01", "2026-06-29") > 1.3


def test_the_downturn_makes_utilisation_weigh_more(labelled: duckdb.DuckDBPyConnection) -> None:
    """Of cards that are not late: the planted coefficient itself grows."""

    def weight(first: str, last: str) -> float:
        inputs, labels = rows(labelled, first, last)
        cards = (inputs[:, 6] == 0) & (inputs[:, 0] == 0) & (inputs[:, 9] > 0) & (inputs[:, 7] > 0)
        chosen = np.column_stack(
            [inputs[cards, 1], np.log(inputs[cards, 7]), inputs[cards, 9] / 60, inputs[cards, 11], inputs[cards, 12]]
        )
        return float(LogisticRegression(C=100, max_iter=500).fit(chosen, labels[cards]).coef_[0, 0])

    assert weight("2026-03-01", "2026-06-29") > weight("2024-07-01", "2025-08-28") + 0.2


def test_risk_moves_with_every_input_as_the_domain_says(labelled: duckdb.DuckDBPyConnection) -> None:
    inputs, labels = rows(labelled, "2024-07-01", "2025-08-28")
    rising = {"days_past_due": 0, "utilisation": 1, "enquiries": 10, "delinquencies": 11}
    falling = {"income": 7, "bureau_score": 9}
    known = (inputs[:, 7] > 0) & (inputs[:, 9] > 0)
    for name, column in (rising | falling).items():
        area = roc_auc_score(labels[known], inputs[known, column])
        assert (area > 0.51) if name in rising else (area < 0.47), (name, area)
