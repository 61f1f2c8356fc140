"""Bad input from sources. Whatever comes: a clear error or a quarantine with a reason, the last good rows still served,
nothing lost."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
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
    lake_version,
    night,
    rows,
    with_values,
)

from pipelines import ingest
from pipelines.contracts import Blocked, DataFault, VigilError
from pipelines.settings import Settings
from pipelines.spec import Contract

COMMAND = f"python -m pipelines ingest --source accounts --date {DAY}"


@pytest.fixture
def served(settings: Settings) -> Settings:
    """Good rows of today are published; yesterday's file is there."""
    deliver(settings, rows(100, DAY_BEFORE), DAY_BEFORE)
    deliver(settings, rows(101))
    night(settings, contract())
    return settings


def refused(settings: Settings, agreed: Contract, kind: type[VigilError], *said: str) -> None:
    """Landing raises this error with these words, what to run next, no id, and no change to what is served."""
    before, manifest = lake_rows(settings, "source/accounts"), ingest.manifest(settings, "accounts", DAY)
    version = lake_version(settings)

    with pytest.raises(kind) as raised:
        ingest.land(settings, agreed, DAY)

    message = str(raised.value)
    for words in ("accounts", str(DAY), "last good ones are still served", COMMAND, *said):
        assert words in message, message
    assert "A00000" not in message
    assert "C00000" not in message
    assert lake_version(settings) == version
    assert lake_rows(settings, "source/accounts") == before
    assert ingest.manifest(settings, "accounts", DAY) == manifest


def quarantined(settings: Settings) -> dict[str, int]:
    reasons = [row["reason"] for row in lake_rows(settings, "quarantine/accounts")]
    return {reason: reasons.count(reason) for reason in sorted(set(reasons))}


# ----------------------------------------------------------------------------------------------------- the whole file


def test_a_missing_file(served: Settings) -> None:
    (served.sources / "accounts" / f"{DAY}.parquet").unlink()
    refused(served, contract(), DataFault, "no file at", f"the newest there is {DAY_BEFORE}")


def test_an_empty_file(served: Settings) -> None:
    deliver_bytes(served, b"", "parquet")
    refused(served, contract(), DataFault, "is empty (0 bytes)")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_truncated_parquet_file(served: Settings, share: float) -> None:
    whole = deliver(served, rows(5000)).read_bytes()
    deliver_bytes(served, whole[: int(len(whole) * share)], "parquet")
    refused(served, contract(), DataFault, "not a complete Parquet file")


def test_a_parquet_file_damaged_in_the_middle(served: Settings) -> None:
    whole = bytearray(deliver(served, rows(5000)).read_bytes())
    whole[200:3000] = bytes(2800)
    deliver_bytes(served, bytes(whole), "parquet")
    refused(served, contract(), DataFault, "damaged")


def test_a_csv_where_parquet_is_agreed(served: Settings) -> None:
    deliver_bytes(served, csv_text(rows(100)).encode(), "parquet")
    refused(served, contract(), DataFault, "of another format")


def test_zero_rows(served: Settings) -> None:
    deliver(served, rows(0))
    refused(served, contract(), DataFault, "holds no row", "may_be_empty")


def test_zero_rows_where_that_is_good_news(served: Settings) -> None:
    deliver(served, rows(0))
    published = night(served, contract(may_be_empty=True))
    assert (published.rows_in, published.rows_published) == (0, 0)
    assert lake_rows(served, "source/accounts") == []


def test_empty_deliveries_of_two_dates_are_not_an_old_file(settings: Settings) -> None:
    for day in (DAY_BEFORE, DAY):
        deliver(settings, rows(0, day), day)
        assert night(settings, contract(may_be_empty=True), day).rows_in == 0


def test_a_header_and_nothing_else(served: Settings) -> None:
    deliver_bytes(served, csv_text(rows(0)).encode())
    refused(served, csv_contract(), DataFault, "holds no row")


def test_another_dates_file(served: Settings) -> None:
    deliver(served, rows(100, DAY_BEFORE, balance=[1.0] * 100))
    refused(served, contract(), DataFault, "another date's file", str(DAY_BEFORE))


def test_yesterdays_file_again(settings: Settings) -> None:
    undated = contract(business_date={"cadence": "day"}, columns={"snapshot_date": None})
    for day in (DAY_BEFORE, DAY):
        deliver(settings, rows(100).drop_columns(["snapshot_date"]), day)
    night(settings, undated, DAY_BEFORE)
    refused(settings, undated, DataFault, "byte for byte", str(DAY_BEFORE))


def test_yesterdays_rows_under_todays_date(settings: Settings) -> None:
    for day in (DAY_BEFORE, DAY):
        deliver(settings, rows(100, day, balance=[i + 0.25 for i in range(100)]), day)
    night(settings, contract(), DAY_BEFORE)
    before = lake_rows(settings, "source/accounts")
    with pytest.raises(Blocked, match=f"of the date before .*than on {DAY_BEFORE}"):
        night(settings, contract())
    assert lake_rows(settings, "source/accounts") == before


def test_a_file_once_delivered_for_the_wrong_date_is_taken_for_its_own(settings: Settings) -> None:
    undated = contract(business_date={"cadence": "day"}, columns={"snapshot_date": None})
    todays = rows(100).drop_columns(["snapshot_date"])
    deliver(settings, todays, DAY_BEFORE)
    night(settings, undated, DAY_BEFORE)
    deliver(settings, todays.slice(0, 90), DAY_BEFORE)
    night(settings, undated, DAY_BEFORE)
    deliver(settings, todays)
    assert night(settings, undated).rows_published == 100


# -------------------------------------------------------------------------------------------------------- its columns


def test_a_renamed_column_names_the_closest(served: Settings) -> None:
    deliver(served, rows(100).rename_columns({"balance": "balances"}))
    refused(served, contract(), DataFault, "no column 'balance'", "'balances'", "source_name")


def test_reordered_columns_are_the_same_columns(served: Settings) -> None:
    before = lake_rows(served, "source/accounts")
    deliver(served, rows(101).select(rows(0).column_names[::-1]))
    night(served, contract())
    assert lake_rows(served, "source/accounts") == before


def test_reordered_columns_of_a_csv_are_the_same_columns(served: Settings) -> None:
    before = lake_rows(served, "source/accounts")
    deliver_bytes(served, csv_text(rows(101).select(rows(0).column_names[::-1])).encode())
    night(served, csv_contract())
    assert lake_rows(served, "source/accounts") == before


def test_an_added_column_is_left_out_with_a_note(served: Settings) -> None:
    deliver(served, rows(100, note=["x"] * 100))
    published = night(served, contract())
    assert any("1 columns" in note for note in published.notes)
    assert "note" not in lake_rows(served, "source/accounts")[0]


def test_an_added_column_blocks_where_the_contract_says_so(served: Settings) -> None:
    deliver(served, rows(100, note=["x"] * 100))
    refused(served, contract(extra_columns="block"), DataFault, "note", "extra_columns: ignore")


def test_a_column_named_twice_in_a_csv(served: Settings) -> None:
    text = csv_text(rows(100)).replace("income", "balance", 1)
    optional = csv_contract().model_copy(
        update={"columns": {n: c for n, c in contract().columns.items() if n != "income"}}
    )
    deliver_bytes(served, text.encode())
    refused(served, optional, DataFault, "names column balance more than once")


def test_a_retyped_column(served: Settings) -> None:
    deliver(served, rows(100, balance=[f"EUR {i}" for i in range(100)]))
    refused(served, contract(), DataFault, "balance (delivered as VARCHAR, agreed as float)", "retyped")


def test_an_id_delivered_as_a_number_has_lost_its_zeros(served: Settings) -> None:
    deliver(served, rows(100, account_id=pa.array(range(100), pa.int64())))
    refused(served, contract(), DataFault, "account_id (delivered as BIGINT, agreed as string)")


def test_a_retyped_column_whose_values_all_fit_is_taken(served: Settings) -> None:
    before = lake_rows(served, "source/accounts")
    as_text = rows(101, balance=[str(i + 0.25) for i in range(101)], days_past_due=[float(i % 5) for i in range(101)])
    deliver(served, as_text)
    night(served, contract())
    assert lake_rows(served, "source/accounts") == before


def test_the_wrong_delimiter(served: Settings) -> None:
    deliver_bytes(served, csv_text(rows(100), ";").encode())
    refused(served, csv_contract(), DataFault, "is ',' the delimiter?")


# ------------------------------------------------------------------------------------------------------- its encoding


def named(count: int) -> pa.Table:
    return rows(count, product=["café"] * count)


NAMES = {"columns": {"product": {"type": "string"}}}


def named_csv(**location: str) -> Contract:
    return csv_contract(**location).model_copy(update={"columns": contract(**NAMES).columns})


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
def test_a_declared_encoding_is_read(settings: Settings, encoding: str) -> None:
    deliver_bytes(settings, csv_text(named(100)).encode(encoding))
    night(settings, named_csv(encoding=encoding))
    assert {row["product"] for row in lake_rows(settings, "source/accounts")} == {"café"}


def test_a_byte_order_mark_is_no_part_of_a_name(settings: Settings) -> None:
    deliver_bytes(settings, csv_text(named(100)).encode("utf-8-sig"))
    assert night(settings, named_csv()).rows_published == 100


@pytest.mark.parametrize(
    ("sent", "agreed", "kind", "said"),
    [
        ("utf-16", "utf-8", DataFault, "is utf-16, and the contract says utf-8"),
        ("utf-8", "latin-1", DataFault, "is utf-8, and the contract says latin-1"),
        ("utf-8-sig", "latin-1", DataFault, "is utf-8, and the contract says latin-1"),
        ("latin-1", "utf-16", DataFault, "is not utf-16"),
        ("latin-1", "utf-8", Blocked, "another encoding"),
    ],
)
def test_the_wrong_encoding(served: Settings, sent: str, agreed: str, kind: type[VigilError], said: str) -> None:
    deliver_bytes(served, csv_text(named(101)).encode(sent))
    refused(served, named_csv(encoding=agreed), kind, said)


def test_a_few_broken_characters_are_broken_rows(served: Settings) -> None:
    lines = csv_text(rows(100)).encode().splitlines()
    lines[50] = lines[50].replace(b"card", b"c\xe9rd")
    deliver_bytes(served, b"\n".join(lines))
    assert night(served, csv_contract()).quarantine_reasons == {"row:encoding": 1}
    assert lake_rows(served, "quarantine/accounts")[0]["source_line"] == 51


# ----------------------------------------------------------------------------------------------------------- its rows


def test_a_new_category_is_quarantined(served: Settings) -> None:
    deliver(served, with_values(rows(100), "product", {5: "overdraft"}))
    night(served, contract())
    assert quarantined(served) == {"product:not_allowed": 1}
    assert '"product":"overdraft"' in lake_rows(served, "quarantine/accounts")[0]["content"]


def test_a_new_category_everywhere_blocks(served: Settings) -> None:
    deliver(served, rows(100, product=["overdraft"] * 100))
    refused(served, contract(), Blocked, "product:not_allowed 100", "pipelines quarantine --source accounts")
    assert quarantined(served) == {"product:not_allowed": 100}


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), float("-inf")])
def test_a_flood_of_nan_or_infinity_blocks_and_is_kept(served: Settings, poison: float) -> None:
    deliver(served, rows(100, balance=[poison if i % 2 else 1.0 for i in range(100)]))
    refused(served, contract(), Blocked, "50 of 100 rows", "balance:not_finite 50")
    assert quarantined(served) == {"balance:not_finite": 50}


def test_units_off_by_a_hundred_break_the_range(served: Settings) -> None:
    table = rows(100, balance=[5_000.0 + i for i in range(100)])
    deliver(served, table.set_column(4, "balance", pc.multiply(table["balance"], 100)))
    refused(served, contract(), Blocked, "balance:above_max 100")


def test_units_off_by_a_hundred_within_the_range_break_the_mean(served: Settings) -> None:
    mean = {
        "expect": "expect_column_mean_to_be_between",
        "severity": "critical",
        "arguments": {"column": "balance", "min_value": 10, "max_value": 500},
    }
    agreed = contract(expectations=[mean])
    table = rows(100)
    deliver(served, table.set_column(4, "balance", pc.multiply(table["balance"], 100)))
    before = lake_rows(served, "source/accounts")
    with pytest.raises(Blocked, match="balance: expect_column_mean_to_be_between"):
        night(served, agreed)
    assert lake_rows(served, "source/accounts") == before


def test_a_flood_of_duplicates_blocks(served: Settings) -> None:
    deliver(served, pa.concat_tables([rows(100), rows(100).slice(0, 50)]))
    refused(served, contract(), Blocked, "key:duplicate 50")


def test_colliding_keys_are_all_kept_out(served: Settings) -> None:
    table = pa.concat_tables([rows(100), with_values(rows(100), "balance", {0: 9.0}).slice(0, 1)])
    deliver(served, table)
    assert night(served, contract()).quarantine_reasons == {"key:collision": 2}


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("updated_at", datetime(2026, 7, 2, tzinfo=UTC), "updated_at:future"),
        ("snapshot_date", DAY + timedelta(days=1), "snapshot_date:future"),
        ("snapshot_date", date(9999, 12, 31), "snapshot_date:type"),
        ("snapshot_date", DAY_BEFORE, "snapshot_date:wrong_date"),
    ],
)
def test_a_row_of_another_time(served: Settings, column: str, value: object, reason: str) -> None:
    deliver(served, with_values(rows(100), column, {7: value}))
    assert night(served, contract()).quarantine_reasons == {reason: 1}
    assert quarantined(served) == {reason: 1}


def test_a_planned_time_may_lie_ahead(served: Settings) -> None:
    planned = contract(columns={"updated_at": {"type": "timestamp", "nullable": True, "may_be_future": True}})
    deliver(served, with_values(rows(100), "updated_at", {7: datetime(2026, 8, 1, tzinfo=UTC)}))
    assert night(served, planned).rows_quarantined == 0


def test_a_blocked_file_again_blocks_again_and_writes_nothing(served: Settings) -> None:
    deliver(served, rows(100, product=["overdraft"] * 100))
    refused(served, contract(), Blocked, "not_allowed")
    versions = [lake_version(served, f"{area}/accounts") for area in ("landing", "quarantine")]
    refused(served, contract(), Blocked, "not_allowed")
    assert versions == [lake_version(served, f"{area}/accounts") for area in ("landing", "quarantine")]


def test_a_blocked_file_passes_when_the_contract_allows_it(served: Settings) -> None:
    deliver(served, with_values(rows(100), "product", dict.fromkeys(range(20), "overdraft")))
    refused(served, contract(), Blocked, "20 of 100 rows")
    assert night(served, contract(max_quarantined_fraction=0.2)).rows_published == 80


# ----------------------------------------------------------------------------------------------- what the sender says


def control_contract() -> Contract:
    return contract(location={"control": "accounts/{business_date}.json"})


@pytest.mark.parametrize(
    ("control", "said"),
    [
        ('{"rows": 99, "totals": {"balance": 4975.00}}', "the sender counts 99, the delivery has 100"),
        ('{"rows": 100, "totals": {"balance": 4975.01}}', "the sender has 4975.01, the delivery 4975.000000"),
        ('{"rows": 100}', "total of balance: not in the control file"),
    ],
)
def test_a_delivery_that_is_not_what_the_sender_counted(served: Settings, control: str, said: str) -> None:
    deliver(served, rows(100))
    deliver_bytes(served, control.encode(), "json")
    refused(served, control_contract(), Blocked, said)


def test_a_control_file_that_is_missing_or_unreadable(served: Settings) -> None:
    deliver(served, rows(100))
    refused(served, control_contract(), DataFault, "no control file at")
    deliver_bytes(served, b"rows: 100", "json")
    refused(served, control_contract(), DataFault, "control file is not JSON")


def test_a_delivery_that_agrees_with_its_control_file_to_the_digits_given(served: Settings) -> None:
    table = with_values(rows(100), "product", {3: "overdraft"})
    deliver(served, table.set_column(4, "balance", pa.array([i + 0.1 for i in range(100)])))
    deliver_bytes(served, b'{"rows": 100, "totals": {"balance": 4960.0}}', "json")
    published = night(served, control_contract())
    assert published.rows_published == 99
    assert len(published.file_digests) == 2
