"""The sample bank: ours against plain random numbers of the same shape, written to the same files. There is no usual way.

Rows are account-months: rows of account_snapshots over 35 month-ends and 5 nights. All sources and the tables of truth are
written, by both.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.harness import Measurement, timed
from pipelines.sample_bank import NAME, generate

ACCOUNT_MONTHS_PER_CUSTOMER = 35.8
CORES = 2
_TEMPLATE_CUSTOMERS = 2_000
_ID_BYTES = 12
_NAMES_AT_MOST = 32


def measure(rows: int) -> list[Measurement]:
    """A bank of about `rows` account-months, from nothing to closed files."""
    with tempfile.TemporaryDirectory(prefix="vigil-bank-") as folder:
        raw = timed(_random_numbers, Path(folder) / "raw", rows)
        ours = timed(_bank, Path(folder) / "ours", rows)
        file = next((Path(folder) / "ours" / NAME / "account_snapshots").iterdir())
        columns = len(pq.read_schema(file))
    return [Measurement("sample bank", rows, columns, raw.seconds, ours.seconds, None, ours.peak_mb)]


def _bank(folder: Path, rows: int) -> Callable[[], object]:
    customers = max(round(rows / ACCOUNT_MONTHS_PER_CUSTOMER), 1)
    return lambda: generate(folder, customers=customers, workers=CORES)


def _random_numbers(folder: Path, rows: int) -> Callable[[], object]:
    """Every file of a small bank again, grown to the size asked, with random values of the same types."""
    generate(folder / "template", customers=_TEMPLATE_CUSTOMERS)
    growth = rows / (_TEMPLATE_CUSTOMERS * ACCOUNT_MONTHS_PER_CUSTOMER)
    templates = [(path, pq.read_table(path)) for path in sorted((folder / "template").rglob("*.parquet"))]
    (folder / "grown").mkdir()

    def write(number: int) -> None:
        path, template = templates[number]
        table = _random_like(template, round(template.num_rows * growth), np.random.default_rng(number))
        repeated = [field.name for field in table.schema if pa.types.is_dictionary(field.type)]
        target = folder / "grown" / f"{path.parent.name}-{path.name}"
        pq.write_table(table, target, compression="lz4", use_dictionary=repeated, write_statistics=False)

    def work() -> None:
        with ThreadPoolExecutor(CORES) as pool:
            list(pool.map(write, range(len(templates))))

    return work


def _random_like(template: pa.Table, rows: int, rng: np.random.Generator) -> pa.Table:
    return pa.table({name: _random_column(template[name], rows, rng) for name in template.column_names})


def _random_column(column: pa.ChunkedArray, rows: int, rng: np.random.Generator) -> pa.Array:
    if pa.types.is_string(column.type):
        names = column.unique().drop_null()
        if len(names) <= _NAMES_AT_MOST:
            return pa.DictionaryArray.from_arrays(rng.integers(0, max(len(names), 1), rows, dtype=np.int8), names)
        return _ids(rows, rng)
    if pa.types.is_floating(column.type):
        return pa.array(np.round(5000 * rng.random(rows), 2))
    return (
        pa.array(rng.integers(0, 40, rows))
        .cast(pa.int32() if column.type.bit_width == 32 else pa.int64())
        .cast(column.type)
    )


def _ids(rows: int, rng: np.random.Generator) -> pa.Array:
    digits = rng.integers(ord("0"), ord("9") + 1, rows * _ID_BYTES, dtype=np.uint8)
    offsets = np.arange(0, (rows + 1) * _ID_BYTES, _ID_BYTES, dtype=np.int32)
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(digits))
