"""Delta tables: replace one business date in one atomic commit, read any version, pin a set of versions.

The only module that imports deltalake. A table is named `<area>/<name>` (`source/accounts`, `features/account_behaviour`)
and partitioned by `business_date`. Reading goes through DuckDB: on a folder by Delta's own file list and read_parquet,
on S3 through an Arrow dataset, because DuckDB's `delta` and `httpfs` extensions are fetched from a network at run time.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Schema, write_deltalake
from deltalake.exceptions import CommitFailedError, TableNotFoundError

from pipelines.contracts import Blocked, ConnectionBroken, DataFault
from pipelines.settings import Settings

PARTITION = "business_date"
INGESTED = ("landing", "quarantine", "source")
SANDBOXES = "sandbox"

_SANDBOX = re.compile(r"[a-z][a-z0-9_]*")

# A task that waits longer for a bucket is better tried again by the scheduler, which says so.
_S3_PATIENCE = {"connect_timeout": "10s", "timeout": "60s", "max_retries": "3", "retry_timeout": "60s"}


def connect(settings: Settings) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection in memory with the worker's limits, UTC, and no extension fetched from a network."""
    connection = duckdb.connect(
        config={
            "memory_limit": settings.duckdb_memory,
            "threads": settings.duckdb_threads,
            "autoinstall_known_extensions": False,
            "preserve_insertion_order": True,
            "temp_directory": _spill_folder(settings),
        }
    )
    connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
    return connection


@dataclass(frozen=True)
class Part:
    """One Parquet file of a table: its business date, its path inside the table and when it was written."""

    business_date: date
    path: str
    written_at: datetime


@dataclass(frozen=True)
class Slice:
    """What a table holds for a range of business dates at one version. A file is never changed, so equal parts are equal
    rows, whatever happened to other dates."""

    table: str
    version: int
    parts: tuple[Part, ...]

    @property
    def dates(self) -> tuple[date, ...]:
        return tuple(sorted({part.business_date for part in self.parts}))

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(sorted(part.path for part in self.parts))

    @property
    def written_at(self) -> datetime | None:
        """When the newest file was written; None without files."""
        return max((part.written_at for part in self.parts), default=None)

    def narrow(self, after: date, up_to: date) -> Slice:
        """The part of this slice with business dates in (after, up_to]."""
        return replace(self, parts=tuple(p for p in self.parts if after < p.business_date <= up_to))


class Lake:
    """The Delta tables under one folder or s3:// prefix. In a sandbox `source/` is production's, to be read only.

    Raises Blocked when a sandbox is pointed at anything but a prefix of its own below production's lake.
    """

    def __init__(self, settings: Settings) -> None:
        self._root = settings.lake_url.rstrip("/")
        self._read_root = settings.lake_read_url.rstrip("/")
        if settings.environment == "sandbox":
            _require_own_prefix(self._root, self._read_root)
        self._options = _s3_options() if self.on_s3 else None

    @property
    def on_s3(self) -> bool:
        return self._root.startswith("s3://")

    def uri(self, table: str) -> str:
        """Where a table is."""
        return f"{self._read_root if self._is_borrowed(table) else self._root}/{table}"

    def open(self, table: str, version: int | None = None) -> DeltaTable:
        """The table at a version, the newest by default. Raises DataFault when it does not exist."""
        try:
            return DeltaTable(self.uri(table), version=version, storage_options=self._options)
        except TableNotFoundError:
            raise DataFault(f"lake table {table} does not exist yet: ingest or build it first.") from None
        except OSError as error:
            raise ConnectionBroken(f"the lake at {self._root} did not answer: {_safe(error)}") from error

    def version(self, table: str) -> int | None:
        """Newest version, or None when the table does not exist."""
        try:
            exists = DeltaTable.is_deltatable(self.uri(table), self._options)
        except OSError as error:
            raise ConnectionBroken(f"the lake at {self._root} did not answer: {_safe(error)}") from error
        return self.open(table).version() if exists else None

    def dates(self, table: str, version: int | None = None) -> list[date]:
        """Business dates present, ascending; empty when the table does not exist."""
        if self.version(table) is None:
            return []
        found = {p[PARTITION] for p in self.open(table, version).partitions()}
        return sorted(date.fromisoformat(str(d)) for d in found)

    def slice(self, table: str, after: date, up_to: date, version: int | None = None) -> Slice:
        """What the table holds for business dates in (after, up_to], at a version. Reads the log only, no data file."""
        delta = self.open(table, version)
        actions = pa.table(delta.get_add_actions(flatten=True)).select(
            [f"partition.{PARTITION}", "path", "modification_time"]
        )
        parts = [
            Part(on, path, datetime.fromtimestamp(milliseconds / 1000, UTC))
            for on, path, milliseconds in zip(*(column.to_pylist() for column in actions.columns), strict=True)
        ]
        return Slice(table, delta.version(), tuple(parts)).narrow(after, up_to)

    def replace_date(
        self,
        table: str,
        business_date: date,
        rows: pa.Table | pa.RecordBatchReader,
        *,
        notes: dict[str, str] | None = None,
    ) -> int:
        """Make `rows` the whole content of one business date in one commit; other dates are untouched.

        `rows` carries a `business_date` column (date32) equal to `business_date` in every row; Delta refuses others.
        A reader sees the old rows or the new ones. Zero rows empty the date. Returns the version of the commit. The table's
        schema grows by new columns; a changed type raises DataFault, for Delta would cast 1.5 to the integer 1.
        """
        self._require_writable(table)
        exists = self.version(table) is not None
        if exists:
            _require_same_types(table, self.open(table), rows.schema)
        try:
            write_deltalake(
                self.uri(table),
                rows,
                partition_by=[PARTITION],
                mode="overwrite",
                predicate=f"{PARTITION} = '{business_date.isoformat()}'" if exists else None,
                schema_mode="merge" if exists else None,
                storage_options=self._options,
                commit_properties=CommitProperties(custom_metadata=notes or {}),
            )
        except CommitFailedError as error:
            raise ConnectionBroken(
                f"lake table {table} was changed by another process while business date {business_date} was written. "
                "Nothing of this date was changed; run the same command again."
            ) from error
        except OSError as error:
            raise ConnectionBroken(
                f"the lake at {self._root} did not answer while {table}, business date {business_date}, was written: "
                f"{_safe(error)}. Run the same command again."
            ) from error
        return self.open(table).version()

    def scan(
        self,
        connection: duckdb.DuckDBPyConnection,
        name: str,
        table: str,
        *,
        version: int | None = None,
        dates: Iterable[date] | None = None,
    ) -> None:
        """Create a view `name` over the table in `connection`, at a version, for the given business dates only.

        No file is read yet. With dates that hold no file the view is empty and has the table's columns.
        """
        delta = self.open(table, version)
        wanted = None if dates is None else sorted({d.isoformat() for d in dates})
        if self.on_s3:
            self._scan_dataset(connection, name, delta, wanted)
        else:
            _scan_files(connection, name, delta, wanted)

    def _is_borrowed(self, table: str) -> bool:
        return bool(self._read_root) and table.startswith("source/")

    def _require_writable(self, table: str) -> None:
        area, *below = table.split("/")
        if self._read_root and (area in INGESTED or not below or {"", ".", ".."} & {area, *below}):
            raise Blocked(
                f"lake table {table} is not a sandbox's to write: what sources deliver is taken in by production alone, and "
                f"everything else stays below {self._root}. Nothing was written."
            )

    def _scan_dataset(
        self, connection: duckdb.DuckDBPyConnection, name: str, delta: DeltaTable, wanted: list[str] | None
    ) -> None:
        if wanted == []:
            connection.register(name, pa.schema(delta.schema().to_arrow()).empty_table())
            return
        only = None if wanted is None else [(PARTITION, "in", wanted)]
        connection.register(name, delta.to_pyarrow_dataset(file_pruning_predicate=only))

    def batches(
        self, table: str, business_date: date, columns: list[str], *, version: int, batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        """Columns of one business date at a version, at most `batch_rows` rows at a time, in no promised order.

        A third of the processor time of `scan` for whole columns that are only passed on; one batch in memory at a time.
        """
        delta = self.open(table, version)
        only = [(PARTITION, "=", business_date.isoformat())]
        if self.on_s3:
            dataset = delta.to_pyarrow_dataset(file_pruning_predicate=only)
            yield from dataset.to_batches(
                columns=columns, batch_size=batch_rows, batch_readahead=1, fragment_readahead=1
            )
            return
        for file in _local_files(delta, only):
            with pq.ParquetFile(file, memory_map=True) as parquet:
                yield from parquet.iter_batches(batch_rows, columns=columns, use_threads=False)

    def files(self, table: str, version: int | None = None) -> list[str]:
        """The Parquet files of a version."""
        return self.open(table, version).file_uris()


def sandbox_prefix(lake_url: str, name: str) -> str:
    """Where the tables of a sandbox are: below production's lake, so that one rule of a bucket's policy covers them."""
    return f"{lake_url.rstrip('/')}/{SANDBOXES}/{name}"


def _require_own_prefix(root: str, read_root: str) -> None:
    name = root.rsplit("/", 1)[-1]
    if not read_root or not _SANDBOX.fullmatch(name) or root != sandbox_prefix(read_root, name):
        raise Blocked(
            f"this is a sandbox, but its lake {root} is no sandbox prefix of production's lake {read_root or '(not set)'}. "
            "Nothing was read or written. Let a platform engineer run: python -m pipelines sandbox refresh"
        )


def _spill_folder(settings: Settings) -> str:
    """A folder of this connection alone: DuckDB names its spill files the same in every process, and creates and removes
    the folder itself."""
    return str(local_folder(settings.home / "scratch") / secrets.token_hex(8))


def _scan_files(
    connection: duckdb.DuckDBPyConnection, name: str, delta: DeltaTable, wanted: Sequence[str] | None
) -> None:
    schema = pa.schema(delta.schema().to_arrow())
    files = [f for f in _local_files(delta) if wanted is None or any(f"{PARTITION}={d}/" in f for d in wanted)]
    columns = ", ".join(f'"{c}"' for c in schema.names)
    connection.register(f"{name} columns", schema.empty_table())
    if not files:
        connection.execute(f'CREATE OR REPLACE VIEW "{name}" AS SELECT {columns} FROM "{name} columns"')
        return
    listed = ", ".join("'" + f.replace("'", "''") + "'" for f in files)
    connection.execute(
        f'CREATE OR REPLACE VIEW "{name}" AS SELECT {columns} FROM (FROM "{name} columns" UNION ALL BY NAME '
        f"FROM read_parquet([{listed}], hive_partitioning = true, hive_types = {{'{PARTITION}': DATE}}, "
        "union_by_name = true))"
    )


def _local_files(delta: DeltaTable, only: list[tuple[str, str, str]] | None = None) -> list[str]:
    """Paths of the table's files; Delta gives them as URLs, where a space is %20."""
    return [unquote(uri) for uri in delta.file_uris(file_pruning_predicate=only)]


def _require_same_types(table: str, delta: DeltaTable, rows: pa.Schema) -> None:
    there = {field.name: field.type for field in delta.schema().fields}
    changed = [
        f"{field.name} ({there[field.name]} there, {field.type} in the new rows)"
        for field in Schema.from_arrow(rows).fields
        if field.name in there and field.type != there[field.name]
    ]
    if changed:
        raise DataFault(
            f"lake table {table}: the type of {', '.join(changed)} has changed. Nothing was written. Give the column another "
            "name, or move the table away and build all its dates again."
        )


def _s3_options() -> dict[str, str]:
    """Object-store options from the AWS_* variables; plain HTTP only where the endpoint says so."""
    options = {k: v for k, v in os.environ.items() if k.startswith("AWS_")} | _S3_PATIENCE
    if options.get("AWS_ENDPOINT_URL", "").startswith("http://"):
        options["AWS_ALLOW_HTTP"] = "true"
    return options


def _safe(error: Exception) -> str:
    return type(error).__name__


def local_folder(path: Path) -> Path:
    """The folder, created with access for its owner only."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path
