"""A PostgreSQL table as a source: the rows of a business date by COPY, streamed to a local CSV file."""

from __future__ import annotations

import csv
import io
import os
import shutil
from datetime import date
from pathlib import Path

from pipelines import database
from pipelines.contracts import DataFault
from pipelines.ingest.rules import period
from pipelines.spec import Contract, PostgresLocation


def copy_rows(contract: Contract, location: PostgresLocation, business_date: date, target: Path) -> Path:
    """Write the rows of a business date to `target` as CSV with a header, in key order, so that equal rows are equal bytes.

    Rows without a business date go with the newest date of the table: they are quarantined there and not lost.
    """
    columns = _columns(_url(contract, location), location)
    known = {found for name, c in contract.columns.items() for found in c.file_columns(name)}
    order = ", ".join(_quoted(c) for c in columns if c in known) or "1"
    query = f"SELECT * FROM {location.table}{_where(contract, location, business_date)} ORDER BY {order}"
    with database.copy_out(_url(contract, location), query) as stream, target.open("wb") as file:
        shutil.copyfileobj(stream, file, 1 << 20)
    return target


def available_dates(contract: Contract, location: PostgresLocation) -> list[date]:
    """Distinct business dates in the table, ascending."""
    day = _day(contract)
    if day is None:
        return []
    query = f"SELECT DISTINCT {day} FROM {location.table} WHERE {day} IS NOT NULL ORDER BY 1"
    with database.copy_out(_url(contract, location), query) as stream:
        lines = stream.read().decode().split()
    return [date.fromisoformat(line) for line in lines[1:]]


def _url(contract: Contract, location: PostgresLocation) -> str:
    """The database URL in the environment variable the contract names. Raises DataFault when it is not set."""
    url = os.environ.get(location.url_variable)
    if not url:
        raise DataFault(
            f"source {contract.source} reads its table through {location.url_variable}, which is not set. "
            f"Nothing was read. Set {location.url_variable} to the database's URL."
        )
    return url


def _columns(url: str, location: PostgresLocation) -> list[str]:
    with database.copy_out(url, f"SELECT * FROM {location.table} LIMIT 0") as stream:
        header = stream.read().decode()
    return next(csv.reader(io.StringIO(header)), [])


def _where(contract: Contract, location: PostgresLocation, business_date: date) -> str:
    day = _day(contract)
    if day is None or contract.business_date.cadence == "once":
        return ""
    first, last = period(contract, business_date)
    newest = f"(SELECT max({day}) FROM {location.table})"
    return f" WHERE {day} BETWEEN '{first}' AND '{last}' OR ({day} IS NULL AND {newest} BETWEEN '{first}' AND '{last}')"


def _day(contract: Contract) -> str | None:
    name = contract.business_date.column
    if name is None:
        return None
    column = contract.columns[name]
    if column.format:
        raise DataFault(
            f"source {contract.source}: {name} has a format, but a table's business-date column is a date or timestamp. "
            "Nothing was read. Remove `format`, or read a view that converts the column."
        )
    return f"CAST({_quoted(column.source_name or name)} AS date)"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
