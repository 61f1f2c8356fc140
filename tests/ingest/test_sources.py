"""Where rows come from: a folder, s3://, a PostgreSQL table; one file per date, or one for all dates."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from account_source import (
    CONTRACT,
    DAY,
    DAY_BEFORE,
    contract,
    csv_text,
    deliver,
    deliver_bytes,
    lake_rows,
    lake_version,
    night,
    rows,
    with_values,
)

from pipelines import database, ingest
from pipelines.contracts import DataFault, IngestState
from pipelines.settings import Settings
from pipelines.spec import Contract
from pipelines.tokens import SqlTokens

Execute = Callable[[str], None]
IN_S3 = {"path": "s3://vigil/bank/accounts/{business_date:%Y}/{business_date:%Y%m%d}.parquet"}
TABLE = {"kind": "postgres", "url_variable": "TEST_CORE_BANKING_URL", "table": "core.accounts"}


# ------------------------------------------------------------------------------------------------------------------ S3


def put(table: pa.Table, day: date) -> None:
    body = io.BytesIO()
    pq.write_table(table, body)
    key = f"bank/accounts/{day:%Y}/{day:%Y%m%d}.parquet"
    boto3.client("s3").put_object(Bucket="vigil", Key=key, Body=body.getvalue())


def test_files_in_a_bucket(settings: Settings, s3_server: str) -> None:
    in_bucket = contract(location=IN_S3)
    for day in (DAY_BEFORE, DAY):
        put(rows(50, day), day)

    assert ingest.available_dates(settings, in_bucket) == [DAY_BEFORE, DAY]
    published = night(settings, in_bucket)

    assert published.rows_published == 50
    assert list(published.file_digests) == ["s3://vigil/bank/accounts/2026/20260630.parquet"]
    assert night(settings, in_bucket).state is IngestState.UNCHANGED


def test_a_lake_in_a_bucket(settings: Settings, s3_server: str) -> None:
    away = settings.model_copy(update={"lake_url": "s3://vigil/lake"})
    deliver(away, with_values(rows(50), "balance", {3: -1e6}))

    assert night(away, contract()).rows_published == 49

    assert len(lake_rows(away, "source/accounts")) == 49
    assert len(lake_rows(away, "quarantine/accounts")) == 1
    assert not (settings.home / "lake").exists()


# ------------------------------------------------------------------------------------------------------------ a table


@pytest.fixture
def core_banking(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Execute:
    """Runs SQL in the database that the contract of the table points to."""
    monkeypatch.setenv("TEST_CORE_BANKING_URL", settings.database_url)

    def execute(statement: str) -> None:
        with database.transaction(settings) as connection:
            database.execute(connection, statement)

    execute("CREATE SCHEMA core")
    execute(
        "CREATE TABLE core.accounts (active bool, account_id text, customer_id text, snapshot_date date, product text, "
        "balance numeric, days_past_due int, income float8, updated_at timestamptz)"
    )
    return execute


def fill(execute: Execute, count: int, day: date | None, first: int = 0) -> None:
    moment = "NULL" if day is None else f"DATE '{day}'"
    execute(
        f"INSERT INTO core.accounts SELECT true, 'A' || i, 'C' || i, {moment}, 'card', i + 0.25, i % 5, "
        f"CASE WHEN i % 10 = 0 THEN NULL ELSE i END, {moment} FROM generate_series({first}, {first + count - 1}) AS g(i)"
    )


def test_rows_of_a_table(settings: Settings, core_banking: Execute) -> None:
    from_table = contract(location=TABLE)
    fill(core_banking, 100, DAY)
    fill(core_banking, 70, DAY_BEFORE)

    assert ingest.available_dates(settings, from_table) == [DAY_BEFORE, DAY]
    published = night(settings, from_table)

    assert (published.rows_in, published.rows_published) == (100, 100)
    assert published.control_totals == {"balance": 99 * 50 + 25.0}
    assert sum(row["income"] is None for row in lake_rows(settings, "source/accounts")) == 10


def test_the_same_rows_in_another_order_are_the_same_delivery(settings: Settings, core_banking: Execute) -> None:
    from_table = contract(location=TABLE)
    fill(core_banking, 100, DAY)
    night(settings, from_table)
    core_banking("CREATE TABLE core.shuffled AS SELECT * FROM core.accounts ORDER BY random()")
    core_banking("DELETE FROM core.accounts")
    core_banking("INSERT INTO core.accounts SELECT * FROM core.shuffled")

    assert night(settings, from_table).state is IngestState.UNCHANGED

    core_banking("UPDATE core.accounts SET balance = 1 WHERE account_id = 'A7'")
    assert night(settings, from_table).state is IngestState.REPLACED


def test_rows_of_a_table_without_a_date_are_quarantined_with_the_newest(
    settings: Settings, core_banking: Execute
) -> None:
    from_table = contract(location=TABLE)
    fill(core_banking, 60, DAY_BEFORE)
    fill(core_banking, 100, DAY)
    fill(core_banking, 3, None, first=1000)

    assert night(settings, from_table, DAY_BEFORE).rows_in == 60
    assert night(settings, from_table).quarantine_reasons == {"snapshot_date:null": 3}


def test_empty_text_in_a_table_is_not_null(settings: Settings, core_banking: Execute) -> None:
    free = contract(location=TABLE, columns={"product": {"type": "string", "nullable": True}})
    fill(core_banking, 10, DAY)
    core_banking("UPDATE core.accounts SET product = CASE WHEN account_id = 'A1' THEN '' END WHERE account_id < 'A3'")

    night(settings, free)

    found = [row["product"] for row in lake_rows(settings, "source/accounts")]
    assert (found.count(""), found.count(None), found.count("card")) == (1, 2, 7)


def test_a_table_without_an_agreed_column_names_the_closest(settings: Settings, core_banking: Execute) -> None:
    fill(core_banking, 10, DAY)
    core_banking("ALTER TABLE core.accounts RENAME COLUMN balance TO balances")
    with pytest.raises(DataFault, match=r"'balance' \(did the sender mean 'balances'\?\)"):
        ingest.land(settings, contract(location=TABLE), DAY)


# ------------------------------------------------------------------------------------------------ one file, all dates


def one_file(**changed: Any) -> Contract:
    return contract(location={"path": "accounts/all.csv", "format": "csv"}, **changed)


def deliver_all(settings: Settings, *parts: pa.Table, extra_lines: tuple[str, ...] = ()) -> None:
    body = "".join(csv_text(part).split("\n", 1)[1] for part in parts) + "".join(f"{line}\n" for line in extra_lines)
    text = csv_text(rows(0)) + body
    deliver_bytes(settings, text.encode()).rename(settings.sources / "accounts" / "all.csv")


def test_each_date_is_cut_from_a_file_of_all_dates(settings: Settings) -> None:
    deliver_all(settings, rows(40, DAY_BEFORE), rows(60, DAY))

    assert ingest.available_dates(settings, one_file()) == [DAY_BEFORE, DAY]
    assert night(settings, one_file(), DAY_BEFORE).rows_in == 40
    assert night(settings, one_file(), DAY).rows_in == 60

    assert {row["snapshot_date"] for row in lake_rows(settings, "source/accounts")} == {DAY}


def test_rows_of_other_dates_cost_no_token(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def booked(day: date, name: str) -> pa.Table:
        at = pa.array([datetime(day.year, day.month, day.day, 12, tzinfo=UTC)] * 40, pa.timestamp("us", "UTC"))
        return rows(40, DAY, account_id=[f"{name}{i}" for i in range(40)], updated_at=at)

    all_dates = pa.concat_tables([booked(DAY_BEFORE, "OLD"), booked(DAY, "TODAY")])
    deliver(settings, all_dates).rename(settings.sources / "accounts" / "all.parquet")
    dated = {"column": "updated_at", "cadence": "day"}

    def refuses_others(self: SqlTokens, entity: str, ids: str) -> str:
        expression = made(self, entity, ids)
        return (
            expression if entity != "account" else f"CASE WHEN {ids} LIKE 'TODAY%' THEN {expression} ELSE error('') END"
        )

    made = SqlTokens.expression
    monkeypatch.setattr(SqlTokens, "expression", refuses_others)
    agreed = contract(location={"path": "accounts/all.parquet"}, business_date=dated)
    assert night(settings, agreed).rows_published == 40


def test_a_date_is_unchanged_when_the_file_only_grew(settings: Settings) -> None:
    deliver_all(settings, rows(40, DAY_BEFORE))
    night(settings, one_file(), DAY_BEFORE)
    version = lake_version(settings)
    deliver_all(settings, rows(60, DAY), rows(40, DAY_BEFORE))

    assert night(settings, one_file(), DAY_BEFORE).state is IngestState.UNCHANGED
    assert lake_version(settings) == version

    deliver_all(settings, with_values(rows(40, DAY_BEFORE), "balance", {1: 2.0}), rows(60, DAY))
    assert night(settings, one_file(), DAY_BEFORE).state is IngestState.REPLACED


def test_rows_of_a_file_without_a_readable_date_go_with_its_newest(settings: Settings) -> None:
    undated = with_values(rows(3, DAY, account_id=["X1", "X2", "X3"]), "snapshot_date", {0: None})
    deliver_all(settings, rows(40, DAY_BEFORE), rows(60, DAY), undated, extra_lines=("A9,too,few",))

    assert night(settings, one_file(), DAY_BEFORE).quarantine_reasons == {}
    newest = night(settings, one_file())

    assert newest.quarantine_reasons == {"row:too_few_fields": 1, "snapshot_date:null": 1}
    assert newest.rows_in == 64
    lines = {row["reason"]: row["source_line"] for row in lake_rows(settings, "quarantine/accounts")}
    assert lines == {"snapshot_date:null": 102, "row:too_few_fields": 105}


# --------------------------------------------------------------------------------------------------- months, and once


MONTHLY = {"column": "snapshot_date", "cadence": "month"}


def test_any_day_of_a_month_belongs_to_its_last_day(settings: Settings) -> None:
    monthly = one_file(business_date=MONTHLY)
    deliver_all(settings, rows(10, date(2026, 5, 1)), rows(20, date(2026, 5, 17)).slice(10), rows(30, date(2026, 6, 1)))

    assert ingest.available_dates(settings, monthly) == [date(2026, 5, 31), DAY]
    assert night(settings, monthly, date(2026, 5, 31)).rows_published == 20
    assert night(settings, monthly).rows_published == 30
    assert {row["snapshot_date"] for row in lake_rows(settings, "source/accounts")} == {date(2026, 6, 1)}


def test_monthly_files_are_found_by_their_month(settings: Settings) -> None:
    monthly = contract(location={"path": "accounts/{business_date:%Y-%m}.parquet"}, business_date=MONTHLY)
    deliver(settings, rows(10, date(2026, 6, 12))).rename(settings.sources / "accounts" / "2026-06.parquet")

    assert ingest.available_dates(settings, monthly) == [DAY]
    assert night(settings, monthly).rows_published == 10


def test_a_monthly_source_is_asked_for_by_the_last_day(settings: Settings) -> None:
    with pytest.raises(DataFault, match="Ask for 2026-06-30"):
        ingest.land(settings, one_file(business_date=MONTHLY), date(2026, 6, 12))


def test_a_file_that_comes_once_belongs_to_the_date_asked_for(settings: Settings) -> None:
    columns = {**CONTRACT["columns"], "snapshot_date": None}
    once = contract(location={"path": "accounts/all.parquet"}, business_date={"cadence": "once"}, columns=columns)
    deliver(settings, rows(10).drop_columns(["snapshot_date"])).rename(settings.sources / "accounts" / "all.parquet")

    assert ingest.available_dates(settings, once) == []
    for day in (DAY_BEFORE, DAY):
        assert night(settings, once, day).rows_published == 10
    assert ingest.available_dates(settings, once) == [DAY_BEFORE, DAY]
