"""Rows on their way from DuckDB into the lake: counted, checked and digested as they pass, never held whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contracts import DataFault, fingerprint
from pipelines.lake import Lake


@dataclass(frozen=True)
class Written:
    """What was committed: the table's version, the number of rows and the digest of their content."""

    version: int
    rows: int
    content_digest: str


def write_keyed(
    lake: Lake,
    table: str,
    business_date: date,
    rows: pa.RecordBatchReader,
    *,
    key: str,
    subject: str,
    expected: int | None = None,
) -> Written:
    """Replace one date of a lake table by `rows`, which must ascend strictly by `key`: one row per key, no key absent.

    With `expected`, that many rows must come. The check runs on the stream; a breach aborts the write before its commit.

    Raises:
        DataFault: a key is absent or comes twice, there is no row, or not the expected number. Nothing was committed.
    """
    checked = _Checked(rows, key, f"{subject} on {business_date}", expected)
    try:
        version = lake.replace_date(
            table, business_date, pa.RecordBatchReader.from_batches(rows.schema, checked.batches())
        )
    except Exception:
        if checked.failure is not None:  # the writer wraps what the stream raised
            raise checked.failure from None
        raise
    return Written(version, checked.rows, checked.digest.hexdigest())


def table_digest(table: pa.Table) -> str:
    """The content digest of a table in memory, equal to that of the same rows streamed."""
    digest = ContentDigest(table.schema)
    for batch in table.to_batches():
        digest.update(batch)
    return digest.hexdigest()


class ContentDigest:
    """SHA-256 over names, types and values, in row order; how rows are cut into batches does not matter, nor what lies in
    memory under a null."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._columns = [_ColumnDigest() for _ in schema]

    def update(self, batch: pa.RecordBatch) -> None:
        for digest, column in zip(self._columns, batch.columns, strict=True):
            digest.update(column)

    def hexdigest(self) -> str:
        parts = [
            f"{field.name} {field.type} {digest.hexdigest()}"
            for field, digest in zip(self._schema, self._columns, strict=True)
        ]
        return fingerprint(*parts)


class _ColumnDigest:
    """Presence, lengths of strings and values each have a hash of their own: in one, batches would show."""

    def __init__(self) -> None:
        self._presence, self._lengths, self._values = sha256(), sha256(), sha256()

    def update(self, column: pa.Array) -> None:
        self._presence.update(_bytes(pc.is_valid(column).cast(pa.uint8())))
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            text = pc.fill_null(column, "")
            self._lengths.update(_bytes(pc.binary_length(text).cast(pa.int64())))
            self._values.update(_text(text))
        else:
            self._values.update(_bytes(_numbers(column)))

    def hexdigest(self) -> str:
        return " ".join(part.hexdigest() for part in (self._presence, self._lengths, self._values))


class _Checked:
    """Passes batches on, and raises at the end when the keys did not ascend strictly."""

    def __init__(self, rows: pa.RecordBatchReader, key: str, subject: str, expected: int | None) -> None:
        self._source = rows
        self._expected = expected
        self._key = key
        self._subject = subject
        self._last: pa.Scalar | None = None
        self._absent = self._repeated = self._disordered = 0
        self.rows = 0
        self.digest = ContentDigest(rows.schema)
        self.failure: Exception | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._source:
                self._check(batch.column(self._key))
                self.digest.update(batch)
                self.rows += len(batch)
                yield batch
            self._conclude()
        except Exception as error:
            self.failure = error
            raise

    def _check(self, keys: pa.Array) -> None:
        if not len(keys):
            return
        before = pa.concat_arrays([pa.array([self._last.as_py() if self._last else None], keys.type), keys[:-1]])
        self._absent += keys.null_count
        self._repeated += pc.sum(pc.equal(keys, before)).as_py() or 0
        self._disordered += pc.sum(pc.less(keys, before)).as_py() or 0
        self._last = keys[-1]

    def _conclude(self) -> None:
        found = {
            f"{self._absent} rows without {self._key}": self._absent,
            f"{self._repeated} rows more than there are values of {self._key}": self._repeated,
            f"{self._disordered} rows out of order": self._disordered,
            "no row": self.rows == 0,
            f"{self.rows} rows in place of {self._expected}": self._expected not in (None, self.rows),
        }
        problems = [text for text, broken in found.items() if broken]
        if problems:
            raise DataFault(
                f"{self._subject}: {', '.join(problems)}; exactly one row per {self._key} is needed. "
                "Nothing was written."
            )


def _numbers(column: pa.Array) -> pa.Array:
    """Fixed-width values with zero in place of null."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    elif pa.types.is_date32(column.type):
        column = column.cast(pa.int32())
    elif pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return pc.fill_null(column, 0)


def _bytes(column: pa.Array) -> memoryview:
    return memoryview(column.to_numpy(zero_copy_only=True)).cast("B")


def _text(column: pa.Array) -> memoryview:
    """The characters of all strings of a column without nulls, one after the other."""
    width = np.int64 if pa.types.is_large_string(column.type) else np.int32
    _, offsets, characters = column.buffers()
    if characters is None:
        return memoryview(b"")
    ends = np.frombuffer(offsets, width)[column.offset : column.offset + len(column) + 1]
    return memoryview(characters)[ends[0] : ends[-1]]
