"""Landing: every row of a delivery is either good and typed, or quarantined with its line and reason."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from account_source import (
    DAY,
    DAY_BEFORE,
    contract,
    csv_contract,
    csv_text,
    deliver,
    deliver_bytes,
    lake_rows,
    rows,
    with_values,
)

from pipelines import ingest
from pipelines.contracts import IngestState
from pipelines.settings import Settings


def test_good_rows_land_typed_and_without_ids(settings: Settings) -> None:
    deliver(settings, rows(100))

    landed = ingest.land(settings, contract(), DAY)

    assert (landed.rows_in, landed.rows_published, landed.rows_quarantined) == (100, 100, 0)
    assert landed.state is IngestState.PUBLISHED
    found = lake_rows(settings, "landing/accounts")
    assert len(found) == 100
    first = min(found, key=lambda row: row["balance"])
    assert set(first) == {
        "account_token", "customer_token", "snapshot_date", "product", "balance", "days_past_due", "income", "updated_at",
        "active", "business_date",
    }  # fmt: skip
    assert len(first["account_token"]) == 32
    assert (first["snapshot_date"], first["balance"], first["days_past_due"]) == (DAY, 0.25, 0)


def test_an_account_has_one_token_on_either_side_of_a_payment(settings: Settings) -> None:
    payee = {"type": "string", "token": "account", "role": "counterparty"}
    table = rows(100)
    ids = table["account_id"].to_pylist()
    deliver(settings, table.append_column("payee_id", pa.array([*ids[1:], "X1"])))

    ingest.land(settings, contract(columns={"payee_id": payee}), DAY)

    found = lake_rows(settings, "landing/accounts")
    payers, payees = {row["account_token"] for row in found}, {row["counterparty_token"] for row in found}
    assert len(payers) == len(payees) == 100
    assert len(payers & payees) == 99


@pytest.mark.parametrize(
    ("column", "bad", "rule"),
    [
        ("balance", -101.0, "below_min"),
        ("balance", 100_001.0, "above_max"),
        ("balance", float("nan"), "not_finite"),
        ("balance", float("inf"), "not_finite"),
        ("balance", None, "null"),
        ("product", "mortgage", "not_allowed"),
        ("account_id", None, "null"),
        ("account_id", " ", "null"),
        ("snapshot_date", date(2026, 7, 1), "future"),
        ("snapshot_date", date(2026, 6, 29), "wrong_date"),
        ("updated_at", datetime(2026, 7, 2, tzinfo=UTC), "future"),
    ],
)
def test_a_row_that_breaks_a_rule_is_quarantined_with_line_and_reason(
    settings: Settings, column: str, bad: object, rule: str
) -> None:
    deliver(settings, with_values(rows(100), column, {41: bad}))

    landed = ingest.land(settings, contract(), DAY)

    assert landed.quarantine_reasons == {f"{column}:{rule}": 1}
    assert (landed.rows_in, landed.rows_published) == (100, 99)
    [row] = lake_rows(settings, "quarantine/accounts")
    assert (row["source_line"], row["reason"]) == (42, f"{column}:{rule}")


def test_a_file_may_reach_back_as_far_as_agreed(settings: Settings) -> None:
    dates = {3: date(2026, 6, 25), 4: date(2026, 6, 24), 5: date(2026, 7, 1)}
    deliver(settings, with_values(rows(100), "snapshot_date", dates))
    rule = {"column": "snapshot_date", "cadence": "day", "reaches_back_days": 5}

    landed = ingest.land(settings, contract(business_date=rule), DAY)

    assert landed.quarantine_reasons == {"snapshot_date:wrong_date": 1, "snapshot_date:future": 1}
    assert {row["business_date"] for row in lake_rows(settings, "landing/accounts")} == {DAY}


def test_every_bad_value_of_a_csv_is_a_row_and_not_a_crash(settings: Settings) -> None:
    lines = csv_text(rows(100)).splitlines()
    lines[3] = lines[3].replace("2.25", "two")
    lines[5] = lines[5] + ",one field more"
    lines[7] = "A000006,C000003"
    lines[9] = lines[9].replace("2026-06-30", "2026-13-45")
    lines[11] = lines[11].replace(",0,", ",0.5,")
    deliver_bytes(settings, "\n".join(lines).encode())

    landed = ingest.land(settings, csv_contract(), DAY)

    found = {r["source_line"]: r["reason"] for r in lake_rows(settings, "quarantine/accounts")}
    assert found == {
        4: "balance:type",
        6: "row:too_many_fields",
        8: "row:too_few_fields",
        10: "snapshot_date:type",
        12: "days_past_due:type",
    }
    assert (landed.rows_in, landed.rows_published) == (100, 95)


def test_quarantined_rows_hold_no_id(settings: Settings) -> None:
    table = with_values(with_values(rows(100), "product", {5: "A000005"}), "balance", {9: 1e9})
    deliver(settings, table)

    ingest.land(settings, contract(), DAY)

    found = lake_rows(settings, "quarantine/accounts")
    assert len(found) == 2
    for row in found:
        content = json.loads(row["content"])
        assert "A000005" not in row["content"]
        assert len(content["account_token"]) == 32
    assert json.loads(found[0]["content"])["product"] == "A999999"
    assert json.loads(found[1]["content"])["balance"] == "1000000000.0"


def test_of_identical_rows_one_stays_and_of_colliding_rows_none(settings: Settings) -> None:
    table = pa.concat_tables(
        [rows(100), rows(100).slice(3, 1), with_values(rows(100), "balance", {7: 1.0}).slice(7, 1)]
    )
    deliver(settings, table)

    landed = ingest.land(settings, contract(), DAY)

    assert landed.quarantine_reasons == {"key:collision": 2, "key:duplicate": 1}
    assert {r["source_line"] for r in lake_rows(settings, "quarantine/accounts")} == {8, 101, 102}
    assert (landed.rows_in, landed.rows_published) == (102, 99)
    tokens = Counter(r["account_token"] for r in lake_rows(settings, "landing/accounts"))
    assert max(tokens.values()) == 1


def test_an_id_can_be_put_together_from_columns_whose_joined_text_is_the_same(settings: Settings) -> None:
    composed = {"account_id": {"type": "string", "token": "account", "id_from": ["branch", "number"]}}
    halves = {"branch": ["1", "12", "1"], "number": ["23", "3", "24"]}
    agreed = contract(columns=composed)
    deliver(settings, rows(3, **halves).drop_columns(["account_id"]))

    landed = ingest.land(settings, agreed, DAY)

    assert (landed.rows_published, landed.rows_quarantined) == (3, 0)
    parquet_ids = {row["account_token"] for row in lake_rows(settings, "landing/accounts")}
    assert len(parquet_ids) == 3
    csv_agreed = csv_contract().model_copy(update={"columns": agreed.columns})
    deliver_bytes(settings, csv_text(rows(3, **halves).drop_columns(["account_id"])).encode())
    ingest.land(settings, csv_agreed, DAY)
    assert {row["account_token"] for row in lake_rows(settings, "landing/accounts")} == parquet_ids


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_in_one_file_of_all_dates_the_line_can_be_the_id(settings: Settings, suffix: str) -> None:
    table = pa.concat_tables([rows(2, DAY_BEFORE), rows(2)]).drop_columns(["account_id", "customer_id"])
    deliver(settings, table)
    deliver_bytes(settings, csv_text(table).encode())
    columns = {"account_id": {"type": "string", "token": "account", "id_from": "line"}, "customer_id": None}
    agreed = contract(columns=columns, location={"path": f"accounts/{DAY}.{suffix}", "format": suffix})

    published = [ingest.land(settings, agreed, day).rows_published for day in (DAY_BEFORE, DAY)]

    assert published == [2, 2]
    found = [row["account_token"] for day in (DAY_BEFORE, DAY) for row in lake_rows(settings, "landing/accounts", day)]
    assert len(set(found)) == 4
