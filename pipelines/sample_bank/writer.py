"""One Parquet file per source and business date, filled block by block in the order of the blocks.

Blocks are made on several threads. A thread that comes early waits for its turn at that file, so the bytes of a file do
not depend on the number of threads. A row group is a block, or several where a block has few rows of a source, as each
costs memory until its file is closed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date
from pathlib import Path
from threading import Condition

import pyarrow as pa
import pyarrow.parquet as pq

_Key = tuple[str, date | str]
_VALUES_AT_A_TIME = 16_384
_ROWS_WORTH_A_GROUP = 4_096


class BankWriter:
    """The open files below one folder. Use as a context; files are complete only after it closes without an error."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[_Key, pq.ParquetWriter] = {}
        self._waiting: defaultdict[_Key, list[pa.Table]] = defaultdict(list)
        self._next_block: Counter[_Key] = Counter()
        self._turn = Condition()
        self._given_up = False

    def __enter__(self) -> BankWriter:
        return self

    def __exit__(self, *error: object) -> None:
        for key, file in self._files.items():
            self._write_waiting(key)
            file.close()

    def write(self, source: str, day: date | str, block: int, table: pa.Table) -> None:
        """Append a block's rows to `<source>/<day>.parquet`, after those of all earlier blocks. Every block writes every file
        once, empty or not."""
        key = (source, day)
        with self._turn:
            self._turn.wait_for(lambda: self._given_up or self._next_block[key] == block)
            if self._next_block[key] != block:
                raise RuntimeError("another block failed")
            self._open(key, table.schema)
            self._waiting[key].append(table)
        if sum(part.num_rows for part in self._waiting[key]) >= _ROWS_WORTH_A_GROUP:
            self._write_waiting(key)
        with self._turn:
            self._next_block[key] += 1
            self._turn.notify_all()

    def give_up(self) -> None:
        """Wake every waiting thread: a block failed, and its turn will never come."""
        with self._turn:
            self._given_up = True
            self._turn.notify_all()

    def _write_waiting(self, key: _Key) -> None:
        parts = [part for part in self._waiting.pop(key, []) if part.num_rows]
        if parts:
            self._files[key].write_table(pa.concat_tables(parts).combine_chunks())

    def _open(self, key: _Key, schema: pa.Schema) -> None:
        if key in self._files:
            return
        source, day = key
        path = self._folder / source / f"{day}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._files[key] = pq.ParquetWriter(
            path,
            schema,
            compression="lz4",
            use_dictionary=[field.name for field in schema if pa.types.is_dictionary(field.type)],
            write_statistics=False,
            write_batch_size=_VALUES_AT_A_TIME,
            store_schema=False,
        )
