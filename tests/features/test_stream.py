"""The content digest, and the check of keys on a stream."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pytest

from pipelines.contracts import DataFault
from pipelines.features.stream import ContentDigest, table_digest, write_keyed
from pipelines.lake import Lake

DAY = date(2024, 1, 31)


def table(keys: list[str | None], values: list[float | None] | None = None) -> pa.Table:
    count = len(keys)
    return pa.table(
        {
            "key": pa.array(keys, pa.string()),
            "value": pa.array(values or [1.0] * count, pa.float64()),
            "flag": pa.array([None, True, False, True][:count] + [None] * max(0, count - 4), pa.bool_()),
            "business_date": pa.array([DAY] * count, pa.date32()),
        }
    )


def digest(batches: list[pa.RecordBatch]) -> str:
    made = ContentDigest(batches[0].schema)
    for batch in batches:
        made.update(batch)
    return made.hexdigest()


def test_the_digest_does_not_see_how_rows_are_cut():
    rows = table(["a", "bc", "", None, "ü"], [1.0, None, 3.0, float("nan"), -0.0])
    whole = digest(rows.to_batches())
    assert digest(rows.to_batches(max_chunksize=2)) == whole
    assert digest([rows.slice(0, 1).to_batches()[0], rows.slice(1, 4).to_batches()[0]]) == whole
    assert table_digest(rows) == whole


def test_the_digest_does_not_see_what_lies_under_a_null():
    under = pa.array([1.0, 2.0], mask=None)
    hidden = pa.Array.from_buffers(pa.float64(), 2, [pa.py_buffer(b"\x01"), under.buffers()[1]])
    plain = pa.array([1.0, None])
    assert hidden.equals(plain)
    assert table_digest(pa.table({"x": hidden})) == table_digest(pa.table({"x": plain}))


@pytest.mark.parametrize(
    "other",
    [
        {"x": ["a", "bc"], "y": [1, None]},
        {"x": ["ab", "c"], "y": [1, 0]},
        {"x": ["ab", "c"], "y": [None, 1]},
        {"x": ["c", "ab"], "y": [1, None]},
        {"z": ["ab", "c"], "y": [1, None]},
        {"x": ["ab", "c"], "y": [1.0, None]},
        {"x": ["ab", None], "y": [1, None]},
        {"x": ["abc", ""], "y": [1, None]},
    ],
)
def test_the_digest_sees_every_difference(other):
    assert table_digest(pa.table(other)) != table_digest(pa.table({"x": ["ab", "c"], "y": [1, None]}))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["a", "b", "b"], "1 rows more than there are values of key"),
        (["a", "a", "a", "a"], "3 rows more"),
        (["b", "a"], "1 rows out of order"),
        (["a", None], "1 rows without key"),
        ([], "no row"),
        (["a", "b", "c"], "3 rows in place of 2"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_breach_writes_nothing(settings, keys, message, size):
    lake = Lake(settings)
    write_keyed(lake, "t", DAY, table(["x"]).to_reader(), key="key", subject="t")
    expected = 2 if "place of" in message else None
    with pytest.raises(DataFault, match=f"t on 2024-01-31: .*{message}.*Nothing was written"):
        write_keyed(lake, "t", DAY, table(keys).to_reader(size), key="key", subject="t", expected=expected)
    assert lake.version("t") == 0


def test_what_was_written_is_counted_and_digested(settings):
    rows = table(["a", "b", "c"])
    written = write_keyed(Lake(settings), "t", DAY, rows.to_reader(2), key="key", subject="t", expected=3)
    assert (written.version, written.rows, written.content_digest) == (0, 3, table_digest(rows))
