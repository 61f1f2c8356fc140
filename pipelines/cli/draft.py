"""A first contract for a file: what its columns are, for a person to correct and tighten."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import yaml
from pydantic import ValidationError

from pipelines.contracts import DataFault
from pipelines.settings import Settings
from pipelines.spec import Contract

_MOST_CATEGORIES = 20
_TYPES = {"BOOLEAN": "boolean", "DATE": "date", "VARCHAR": "string"}
_HEAD = """\
# Drafted from {file}: {rows:,} rows. Before it is used, go through every column:
# - business_date: is it the date of the row, and how often does one come? `once` is for a file without any date
# - set `token: <entity>` on each id of a person or account; drafted for columns that look like one; where two are
#   ids of one entity, as payer and payee of a payment are accounts, give both its token and one of them a `role`
# - set `known: later` on what is known only after the event to be predicted
# - set `protected: true` on sex, age, origin and the like
# - widen or narrow min and max to what is possible, not to what this file happens to hold
# - add totals, volume, freshness, references and expectations: docs/contracts.md
"""
_LINE_ID = "line_id"
_DATE_IN_NAME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NO_KEY = """\
# - NO SINGLE COLUMN TELLS THE ROWS APART, so the line was taken for the id: it is that only while the file never changes. If
#   some columns together are an id, name them in place of `line`, like id_from: [branch, number]
"""


@dataclass(frozen=True)
class _Seen:
    """What the file holds in one column."""

    name: str
    sql_type: str
    nulls: int
    distinct: int
    rows: int

    @property
    def type(self) -> str:
        if self.sql_type.startswith("TIMESTAMP"):
            return "timestamp"
        if re.search(r"INT", self.sql_type):
            return "integer"
        return _TYPES.get(self.sql_type, "float")

    @property
    def key(self) -> str:
        """The column's name as a contract wants it."""
        return _key(self.name)


def draft_contract(settings: Settings, file: Path, source: str | None, owner: str) -> str:
    """The text of a contract for a CSV or Parquet file, complete enough to be loaded.

    Names and counts of the file are in it, and the values of columns with few categories; no value of any other column.

    Raises:
        DataFault: the file is not there, not readable, has no rows, or two of its columns differ in spelling only.
    """
    reader = _reader(file)
    with duckdb.connect() as connection:
        try:
            connection.execute(f"CREATE VIEW given AS SELECT * FROM {reader}")
            columns = _columns(connection)
            contract = _contract(
                connection,
                settings,
                file,
                source or re.sub(r"^[^a-z]+", "", _key(_DATE_IN_NAME.sub("", file.stem))) or "source",
                owner,
                columns,
            )
        except duckdb.Error as error:
            raise DataFault(
                f"{file}: not readable as {file.suffix[1:]} ({type(error).__name__}). Is it whole?"
            ) from error
    try:
        Contract.model_validate(contract)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise DataFault(
            f"{file.name}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}. Write it by hand."
        ) from None
    head = _HEAD.format(file=file.name, rows=columns[0].rows) + ("" if _unique(columns) else _NO_KEY)
    return head + yaml.safe_dump(contract, sort_keys=False, width=120)


def _reader(file: Path) -> str:
    if not file.is_file():
        raise DataFault(f"{file} is not there.")
    readers = {".csv": "read_csv", ".parquet": "read_parquet"}
    if file.suffix.lower() not in readers:
        raise DataFault(f"{file}: a source is a .csv or .parquet file.")
    quoted = str(file).replace("'", "''")
    return f"{readers[file.suffix.lower()]}('{quoted}')"


def _columns(connection: duckdb.DuckDBPyConnection) -> list[_Seen]:
    found = connection.execute("DESCRIBE given").fetchall()
    values = [f"nullif(\"{name}\", '')" if kind == "VARCHAR" else f'"{name}"' for name, kind, *_ in found]
    asked = ", ".join(f"count({value}), count(DISTINCT {value})" for value in values)
    rows, *counts = connection.execute(f"SELECT count(*), {asked} FROM given").fetchall()[0]
    if not rows:
        raise DataFault("the file has no rows; a contract is drafted from a file of a normal day.")
    names = Counter(_key(name) for name, *_ in found)
    if twice := [name for name, count in names.items() if count > 1]:
        raise DataFault(f"columns of the file differ in spelling only: {', '.join(twice)}. Write the contract by hand.")
    pairs = zip(counts[::2], counts[1::2], strict=True)
    return [
        _Seen(name, kind, rows - filled, distinct, rows)
        for (name, kind, *_), (filled, distinct) in zip(found, pairs, strict=True)
    ]


def _contract(
    connection: duckdb.DuckDBPyConnection, settings: Settings, file: Path, source: str, owner: str, columns: list[_Seen]
) -> dict[str, Any]:
    key = _unique(columns)
    line_id = {} if key else {_LINE_ID: {"type": "string", "token": "line", "id_from": "line"}}
    inside = file.resolve().is_relative_to(settings.sources)
    path = file.resolve().relative_to(settings.sources) if inside else file.resolve()
    named = str(path.with_name(_DATE_IN_NAME.sub("{business_date}", path.name))) if key else str(path)
    delimiter, formats = _text_formats(connection, file)
    drafted = {c.key: _column(connection, c, is_key=c is key) for c in columns}
    for column in drafted.values():
        column |= {"format": formats[column["type"]]} if column["type"] in formats else {}
    location = {"kind": "files", "path": named, "format": file.suffix[1:].lower()}
    return {
        "source": source,
        "description": f"Drafted from {file.name}.",
        "owner": owner,
        "location": location | ({"delimiter": delimiter} if delimiter != "," else {}),
        "business_date": _business_date(connection, columns, per_date="{business_date}" in named),
        "key": [key.key if key else _LINE_ID],
        "columns": line_id | drafted,
        "max_quarantined_fraction": 0.01,
    }


def _business_date(connection: duckdb.DuckDBPyConnection, columns: list[_Seen], *, per_date: bool) -> dict[str, str]:
    """The first complete date column whose values repeat, and how often they come; `once` without such a column."""
    dated = next((c for c in columns if c.type in ("date", "timestamp") and not c.nulls and c.distinct < c.rows), None)
    if dated is None:
        return {"cadence": "day" if per_date else "once"}
    ((months,),) = connection.execute(
        f"SELECT count(DISTINCT date_trunc('month', \"{dated.name}\")) FROM given"
    ).fetchall()
    monthly = dated.distinct > 1 and months == dated.distinct
    return {"column": dated.key, "cadence": "month" if monthly else "day"}


def _text_formats(connection: duckdb.DuckDBPyConnection, file: Path) -> tuple[str, dict[str, str]]:
    """The delimiter of a CSV file, and how it writes dates and timestamps where that is not ISO, by contract type."""
    if file.suffix.lower() != ".csv":
        return ",", {}
    quoted = str(file).replace("'", "''")
    sniffed = f"SELECT Delimiter, DateFormat, TimestampFormat FROM sniff_csv('{quoted}')"
    ((delimiter, *formats),) = connection.execute(sniffed).fetchall()
    written = dict(zip(("date", "timestamp"), formats, strict=True))
    return delimiter, {kind: text for kind, text in written.items() if text and not text.startswith("%Y-%m-%d")}


def _unique(columns: list[_Seen]) -> _Seen | None:
    """The first column that tells the rows apart."""
    return next((c for c in columns if c.distinct == c.rows and c.type in ("string", "integer")), None)


def _column(connection: duckdb.DuckDBPyConnection, seen: _Seen, *, is_key: bool) -> dict[str, Any]:
    column: dict[str, Any] = {"type": seen.type}
    if seen.key != seen.name:
        column["source_name"] = seen.name
    looks_like_id = seen.distinct > 1 and re.search(r"(^|_)id$", seen.key) and seen.type in ("string", "integer")
    if is_key or looks_like_id:
        column["token"] = re.sub(r"_?id$", "", seen.key) or "row"
    elif seen.type == "string" and 0 < seen.distinct <= min(_MOST_CATEGORIES, seen.rows // 10):
        values = connection.execute(f'SELECT DISTINCT "{seen.name}" FROM given WHERE "{seen.name}" <> \'\' ORDER BY 1')
        column["allowed"] = [value for (value,) in values.fetchall()]
    elif seen.type in ("integer", "float"):
        low, high = connection.execute(f'SELECT min("{seen.name}"), max("{seen.name}") FROM given').fetchall()[0]
        column |= {"min": float(low) + 0.0, "max": float(high) + 0.0} if low is not None else {}
    if seen.nulls:
        column |= {"nullable": True, "max_null_fraction": round(min(1.0, 1.5 * seen.nulls / seen.rows + 0.01), 3)}
    return column


def _key(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_").lower()
