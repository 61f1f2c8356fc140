"""The lake, on a folder and on S3: one date at a time, every version, and writers that meet."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.contracts import Blocked, ConnectionBroken, DataFault
from pipelines.lake import Lake, connect
from pipelines.settings import Settings

FIRST, SECOND, THIRD = (date(2026, 6, day) for day in (28, 29, 30))
TABLE = "source/accounts"


@pytest.fixture(params=["folder", "s3"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    if request.param == "s3":
        request.getfixturevalue("s3_server")
        return Settings(home=tmp_path, lake_url="s3://vigil/lake")
    return Settings(home=tmp_path, lake_url=str(tmp_path / "lake"))


@pytest.fixture
def lake(machine: Settings) -> Lake:
    return Lake(machine)


def rows(day: date, *numbers: int, **columns: Any) -> pa.Table:
    dates = pa.array([day] * len(numbers), pa.date32())
    return pa.table({"number": pa.array(numbers, pa.int64()), **columns, "business_date": dates})


def test_a_sandbox_reads_what_production_took_in_and_writes_below_its_own_prefix(machine: Settings, lake: Lake) -> None:
    lake.replace_date(TABLE, FIRST, rows(FIRST, 1, 2))
    inside = machine.model_copy(
        update={
            "environment": "sandbox",
            "lake_url": f"{machine.lake_url}/sandbox/anna",
            "lake_read_url": machine.lake_url,
        }
    )
    sandbox = Lake(inside)
    assert read(inside, sandbox) == [(FIRST, 1), (FIRST, 2)]
    batches = sandbox.batches(TABLE, FIRST, ["number"], version=0, batch_rows=10)
    assert sum(batch.num_rows for batch in batches) == 2
    with pytest.raises(Blocked, match="not a sandbox's to write"):
        sandbox.replace_date(TABLE, SECOND, rows(SECOND, 3))
    assert lake.dates(TABLE) == [FIRST]
    sandbox.replace_date("features/accounts", FIRST, rows(FIRST, 7))
    assert lake.version("features/accounts") is None
    assert lake.version("sandbox/anna/features/accounts") == 0


def read(machine: Settings, lake: Lake, columns: str = "business_date, number", **scan: Any) -> list[tuple[Any, ...]]:
    with connect(machine) as connection:
        lake.scan(connection, "wanted", TABLE, **scan)
        return connection.sql(f"SELECT {columns} FROM wanted ORDER BY ALL").fetchall()


def test_a_date_is_replaced_and_the_others_stay(machine: Settings, lake: Lake) -> None:
    assert lake.version(TABLE) is None
    assert lake.dates(TABLE) == []
    assert lake.replace_date(TABLE, FIRST, rows(FIRST, 1, 2)) == 0
    assert lake.replace_date(TABLE, SECOND, rows(SECOND, 3)) == 1
    assert lake.replace_date(TABLE, FIRST, rows(FIRST, 9)) == 2

    assert lake.dates(TABLE) == [FIRST, SECOND]
    assert read(machine, lake) == [(FIRST, 9), (SECOND, 3)]
    assert read(machine, lake, version=1) == [(FIRST, 1), (FIRST, 2), (SECOND, 3)]
    assert read(machine, lake, version=1, dates=[SECOND, THIRD]) == [(SECOND, 3)]
    assert read(machine, lake, dates=[THIRD]) == []
    assert read(machine, lake, dates=[]) == []


def test_rows_of_another_date_are_refused(machine: Settings, lake: Lake) -> None:
    lake.replace_date(TABLE, FIRST, rows(FIRST, 1))
    with pytest.raises(Exception, match="business_date"):
        lake.replace_date(TABLE, SECOND, rows(THIRD, 2))
    assert read(machine, lake) == [(FIRST, 1)]


def test_zero_rows_empty_a_date(machine: Settings, lake: Lake) -> None:
    lake.replace_date(TABLE, FIRST, rows(FIRST, 1))
    lake.replace_date(TABLE, SECOND, rows(SECOND, 2))
    lake.replace_date(TABLE, FIRST, rows(FIRST))
    assert lake.dates(TABLE) == [SECOND]
    assert read(machine, lake, dates=[FIRST]) == []


def test_a_table_may_begin_with_zero_rows(machine: Settings, lake: Lake) -> None:
    lake.replace_date(TABLE, FIRST, rows(FIRST))
    assert read(machine, lake) == []
    lake.replace_date(TABLE, SECOND, rows(SECOND, 2))
    assert read(machine, lake) == [(SECOND, 2)]


def test_a_table_grows_by_a_column(machine: Settings, lake: Lake) -> None:
    lake.replace_date(TABLE, FIRST, rows(FIRST, 1))
    lake.replace_date(TABLE, SECOND, rows(SECOND, 2, word=["new"]))
    assert read(machine, lake, "number, word") == [(1, None), (2, "new")]
    assert read(machine, lake, "word", dates=[FIRST]) == [(None,)]
    assert read(machine, lake, "word", dates=[THIRD]) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (pa.array([1], pa.int64()), pa.array([1.5])),
        (pa.array([1.5]), pa.array([1], pa.int64())),
        (pa.array(["a"]), pa.array([1], pa.int64())),
        (pa.array([FIRST]), pa.array([datetime(2026, 6, 28, 10)], pa.timestamp("us", "UTC"))),
    ],
)
def test_a_changed_type_is_refused_and_nothing_cast(
    machine: Settings, lake: Lake, before: pa.Array, after: pa.Array
) -> None:
    lake.replace_date(TABLE, FIRST, rows(FIRST, 1, word=before))
    with pytest.raises(DataFault, match=r"lake table source/accounts: the type of word"):
        lake.replace_date(TABLE, FIRST, rows(FIRST, 2, word=after))
    assert read(machine, lake, "number") == [(1,)]


def test_a_stream_that_breaks_off_leaves_the_date_as_it_was(machine: Settings, lake: Lake) -> None:
    lake.replace_date(TABLE, FIRST, rows(FIRST, 1))
    schema = rows(FIRST).schema

    def broken() -> Any:
        yield from rows(FIRST, 7, 8).to_batches()
        raise RuntimeError("the reader broke")

    with pytest.raises(Exception, match="the reader broke"):
        lake.replace_date(TABLE, FIRST, pa.RecordBatchReader.from_batches(schema, broken()))
    assert read(machine, lake) == [(FIRST, 1)]
    assert lake.version(TABLE) == 0


def test_an_absent_table_says_what_to_do(lake: Lake) -> None:
    with pytest.raises(DataFault, match="ingest or build it first"):
        lake.open("source/nothing")


def test_a_slice_knows_its_files_and_an_unchanged_date_keeps_them(lake: Lake) -> None:
    for day in (FIRST, SECOND, THIRD):
        lake.replace_date(TABLE, day, rows(day, 1))
    before = lake.slice(TABLE, FIRST, THIRD)
    assert before.dates == (SECOND, THIRD)
    assert before.version == 2
    lake.replace_date(TABLE, FIRST, rows(FIRST, 5))
    after = lake.slice(TABLE, FIRST, THIRD)
    assert (after.files, after.version) == (before.files, 3)
    lake.replace_date(TABLE, SECOND, rows(SECOND, 5))
    assert lake.slice(TABLE, FIRST, THIRD).files != before.files
    assert lake.slice(TABLE, THIRD, THIRD + timedelta(days=9)).written_at is None


def test_batches_are_the_columns_of_one_date(lake: Lake) -> None:
    lake.replace_date(TABLE, FIRST, rows(FIRST, 1))
    version = lake.replace_date(TABLE, SECOND, rows(SECOND, *range(5000)))
    lake.replace_date(TABLE, SECOND, rows(SECOND, 0))
    batches = list(lake.batches(TABLE, SECOND, ["number"], version=version, batch_rows=2000))
    assert max(batch.num_rows for batch in batches) <= 2000
    assert sorted(n for batch in batches for n in batch["number"].to_pylist()) == list(range(5000))


def test_writers_of_different_dates_all_commit_or_say_so(machine: Settings, lake: Lake) -> None:
    days = [FIRST + timedelta(days=i) for i in range(6)]
    lake.replace_date(TABLE, THIRD + timedelta(days=30), rows(THIRD + timedelta(days=30), 0))

    def write(day: date) -> bool:
        for _ in range(20):
            with suppress(ConnectionBroken):
                Lake(machine).replace_date(TABLE, day, rows(day, day.day))
                return True
        return False

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(write, days))
    assert read(machine, lake, dates=days) == [(day, day.day) for day in days]


def test_names_with_quotes_are_read(tmp_path: Path) -> None:
    machine = Settings(home=tmp_path, lake_url=str(tmp_path / "the bank's 100% lake"))
    lake = Lake(machine)
    lake.replace_date(TABLE, FIRST, rows(FIRST, 1))
    assert read(machine, lake) == [(FIRST, 1)]
