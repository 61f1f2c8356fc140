"""A delivered CSV or Parquet file as a DuckDB view `raw`: one row per record, with its line and every column of the
contract under its contract name. Nothing is parsed yet, so a bad value is a bad row and not a crash."""

from __future__ import annotations

import codecs
import csv
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import duckdb

from pipelines.ingest.deliveries import Delivery
from pipelines.ingest.faults import Unreadable
from pipelines.spec import Contract

LINE = "line"
REJECTED = "rejected_lines"
_BYTE_ORDER_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16", codecs.BOM_UTF8: "utf-8"}
ROW_REASONS = {
    "too_few_fields": "fewer fields than the header",
    "too_many_fields": "more fields than the header",
    "broken_quotes": "a quote that is not closed, or text after one",
    "too_long": "longer than two million characters",
    "encoding": "a character that is not in the declared encoding",
    "unreadable": "anything else that keeps the line from being split into fields",
}
_REJECTS = {
    "MISSING COLUMNS": "too_few_fields",
    "TOO MANY COLUMNS": "too_many_fields",
    "UNQUOTED VALUE": "broken_quotes",
    "LINE SIZE OVER MAXIMUM": "too_long",
    "INVALID ENCODING": "encoding",
}


@dataclass(frozen=True)
class Opened:
    """What is in the view `raw`.

    Attributes:
        types: DuckDB type of each contract column as delivered.
        extra: columns of the file that the contract does not name.
    """

    types: dict[str, str]
    extra: tuple[str, ...]


def open_delivery(connection: duckdb.DuckDBPyConnection, contract: Contract, delivery: Delivery) -> Opened:
    """Create the view `raw` over a delivery. Raises Unreadable when it is not what the contract says it is."""
    if delivery.local.stat().st_size == 0:
        raise Unreadable(f"{delivery.origin} is empty (0 bytes).")
    if delivery.layout.format == "csv":
        return _open_csv(connection, contract, delivery)
    return _open_parquet(connection, contract, delivery)


def keep_rejects(connection: duckdb.DuckDBPyConnection, delivery: Delivery) -> None:
    """Set the lines DuckDB could not split aside in a table (line, reason), once the file has been read."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {REJECTED} (line BIGINT, reason VARCHAR)")
    if delivery.layout.format == "parquet":
        return
    reasons = " ".join(f"WHEN '{kind}' THEN 'row:{reason}'" for kind, reason in _REJECTS.items())
    connection.execute(
        f"INSERT INTO {REJECTED} SELECT line, min(CASE CAST(error_type AS VARCHAR) {reasons} ELSE 'row:unreadable' END) "
        "FROM reject_errors GROUP BY line ORDER BY line"
    )


def guarded(connection: duckdb.DuckDBPyConnection, delivery: Delivery, statement: str) -> None:
    """Run a statement that reads the file. DuckDB's own message may quote the file's content, so it goes no further."""
    try:
        connection.execute(statement)
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        raise Unreadable(
            f"{delivery.origin} breaks off or is damaged while being read ({type(error).__name__})."
        ) from None


def _open_csv(connection: duckdb.DuckDBPyConnection, contract: Contract, delivery: Delivery) -> Opened:
    layout = delivery.layout
    _check_encoding(delivery)
    header = _header(delivery)
    positions = _positions(contract, header, delivery)
    columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(header)))
    nulls = ", ".join(_literal(n) for n in layout.null_values)
    row = "row_number() OVER ()"
    chosen = ", ".join(f"{_as_one([f'c{i}' for i in at], row)} AS {_quoted(name)}" for name, at in positions.items())
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW raw AS SELECT {row} + 1 AS {LINE}, {chosen} FROM read_csv("
        f"{_literal(str(delivery.local))}, auto_detect = false, header = true, columns = {{{columns}}}, "
        f"delim = {_literal(layout.delimiter)}, quote = '\"', escape = '\"', encoding = '{layout.encoding}', "
        f"nullstr = [{nulls}], allow_quoted_nulls = {str(not delivery.from_table).lower()}, store_rejects = true)"
    )
    return Opened(dict.fromkeys(positions, "VARCHAR"), _extra(contract, header, delivery))


def _open_parquet(connection: duckdb.DuckDBPyConnection, contract: Contract, delivery: Delivery) -> Opened:
    file = f"read_parquet({_literal(str(delivery.local))}, file_row_number = true)"
    try:
        described = connection.execute(f"DESCRIBE SELECT * EXCLUDE (file_row_number) FROM {file}").fetchall()
    except duckdb.Error:
        raise Unreadable(
            f"{delivery.origin} is not a complete Parquet file: it is truncated, damaged or of another format."
        ) from None
    types = {name: kind for name, kind, *_ in described}
    positions = _positions(contract, list(types), delivery)
    names = list(types)
    kinds = {column: types[names[at[0]]] if len(at) == 1 else "VARCHAR" for column, at in positions.items()}
    nulls = ", ".join(_literal(n) for n in delivery.layout.null_values)
    values = {column: _as_one([_quoted(names[i]) for i in at], "file_row_number") for column, at in positions.items()}
    chosen = ", ".join(f"{_nulled(sql, kinds[column], nulls)} AS {_quoted(column)}" for column, sql in values.items())
    connection.execute(f"CREATE OR REPLACE TEMP VIEW raw AS SELECT file_row_number + 1 AS {LINE}, {chosen} FROM {file}")
    return Opened(kinds, _extra(contract, names, delivery))


def _positions(contract: Contract, header: list[str], delivery: Delivery) -> dict[str, list[int]]:
    """Positions in the file of what each contract column is read from, by name: the order of a file's columns means
    nothing."""
    wanted = {name: column.file_columns(name) for name, column in contract.columns.items()}
    named = _file_columns(contract)
    missing = [f"{name!r}{_closest(name, header)}" for name in named if name not in header]
    if missing:
        hint = ""
        if len(header) == 1 and delivery.layout.format == "csv":
            hint = f" The header is one field: is {delivery.layout.delimiter!r} the delimiter?"
        raise Unreadable(
            f"{delivery.origin} has no column {', '.join(missing)}.{hint}",
            "Ask the sender for the agreed columns, or give the new name as source_name in the contract.",
        )
    twice = sorted(name for name in named if header.count(name) > 1)
    if twice:
        raise Unreadable(f"{delivery.origin} names column {', '.join(twice)} more than once.")
    return {name: [header.index(one) for one in found] for name, found in wanted.items()}


def _file_columns(contract: Contract) -> list[str]:
    """Every column of the file that the contract reads, once."""
    return list(dict.fromkeys(one for name, column in contract.columns.items() for one in column.file_columns(name)))


def _as_one(columns: list[str], row: str) -> str:
    """SQL for one value of several columns, as JSON, so that ('1', '23') and ('12', '3') stay two ids; of none, the row's
    number."""
    if not columns:
        return f"CAST({row} AS VARCHAR)"
    texts = ", ".join(f"CAST({column} AS VARCHAR)" for column in columns)
    return columns[0] if len(columns) == 1 else f"CAST(json_array({texts}) AS VARCHAR)"


def _extra(contract: Contract, header: list[str], delivery: Delivery) -> tuple[str, ...]:
    known = _file_columns(contract)
    extra = tuple(name for name in header if name not in known)
    if extra and contract.extra_columns == "block":
        raise Unreadable(
            f"{delivery.origin} has columns the contract does not name: {', '.join(extra)}.",
            "Add them to the contract, or set `extra_columns: ignore`.",
        )
    return extra


def _check_encoding(delivery: Delivery) -> None:
    declared = delivery.layout.encoding
    with delivery.local.open("rb") as file:
        start = file.read(4)
    marked = next((name for mark, name in _BYTE_ORDER_MARKS.items() if start.startswith(mark)), None)
    found = marked if marked != declared else None
    if found is None and declared == "latin-1" and _is_multibyte_utf8(delivery.local):
        found = "utf-8"
    if found:
        raise Unreadable(
            f"{delivery.origin} is {found}, and the contract says {declared}.",
            f"Set `encoding: {found}` in the contract if the sender changed it for good, or ask for {declared} again.",
        )


def _is_multibyte_utf8(path: Path) -> bool:
    """Whether the bytes hold characters beyond ASCII and all of them are valid UTF-8: no accident in a longer text."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    beyond_ascii = False
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                beyond_ascii = beyond_ascii or not chunk.isascii()
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return beyond_ascii


def _header(delivery: Delivery) -> list[str]:
    """Names in the first record. A broken character further down is a broken row, not a broken file."""
    encoding = "utf-8-sig" if delivery.layout.encoding == "utf-8" else delivery.layout.encoding
    try:
        with delivery.local.open(encoding=encoding, errors="replace", newline="") as file:
            header = next(csv.reader(file, delimiter=delivery.layout.delimiter), [])
    except (UnicodeError, csv.Error):
        header = ["\N{REPLACEMENT CHARACTER}"]
    if any("\N{REPLACEMENT CHARACTER}" in name for name in header):
        raise Unreadable(
            f"the header of {delivery.origin} is not {delivery.layout.encoding}.",
            "Correct `encoding` in the contract, or ask the sender for the agreed one.",
        )
    return [name.strip() for name in header]


def _nulled(value: str, kind: str, nulls: str) -> str:
    return f"CASE WHEN {value} NOT IN ({nulls}) THEN {value} END" if kind == "VARCHAR" and nulls else value


def _closest(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did the sender mean {near[0]!r}?)" if near else ""


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
