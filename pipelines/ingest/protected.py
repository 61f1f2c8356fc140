"""Protected attributes: a table per source in the Postgres schema `protected`, never the lake. Rows wait in the source's
staging table until their landing is published."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import duckdb

from pipelines import database
from pipelines.database import Connection
from pipelines.ingest.staging import Staged
from pipelines.lake import PARTITION, local_folder
from pipelines.settings import Settings
from pipelines.spec import Contract

READER = "vigil_fairness"  # the role that reads what is published; nobody but the owner sees what is staged

_SQL_TYPES = {
    "string": "text",
    "integer": "bigint",
    "float": "double precision",
    "boolean": "boolean",
    "date": "date",
    "timestamp": "timestamptz",
}
_DUCKDB_TYPES = {name: kind.replace("text", "varchar").upper() for name, kind in _SQL_TYPES.items()}
_DUCKDB_TYPES["float"] = "DOUBLE"


def columns(contract: Contract) -> list[str]:
    """Contract names of what the protected table holds: the tokens that lead to a person, the key, and what is protected.
    Empty when the source has no protected column."""
    if not any(column.protected for column in contract.columns.values()):
        return []
    return [
        name for name, column in contract.columns.items() if column.protected or column.token or name in contract.key
    ]


def stage(
    connection: Connection, duck: duckdb.DuckDBPyConnection, contract: Contract, business_date: date, staged: Staged
) -> None:
    """Put the good rows of a landing into the staging table, in place of the date's earlier ones."""
    names = columns(contract)
    if not names:
        return
    _create(connection, contract)
    staging = table(contract, "_staging")
    database.execute(connection, f"DELETE FROM {staging} WHERE {PARTITION} = :day", day=business_date)
    into = [*(contract.lake_name(name) for name in names), PARTITION]
    database.copy_in(connection, staging, into, _copy_lines(duck, staged.good(names), into), binary=False)


def publish(connection: Connection, contract: Contract, business_date: date) -> None:
    """Make the staged rows of a date the visible ones, inside the caller's transaction."""
    names = columns(contract)
    if not names:
        return
    listed = ", ".join(f'"{name}"' for name in [*(contract.lake_name(n) for n in names), PARTITION])
    database.execute(connection, f"DELETE FROM {table(contract)} WHERE {PARTITION} = :day", day=business_date)
    database.execute(
        connection,
        f"INSERT INTO {table(contract)} ({listed}) SELECT {listed} FROM {table(contract, '_staging')} "
        f"WHERE {PARTITION} = :day",
        day=business_date,
    )


def _create(connection: Connection, contract: Contract) -> None:
    for suffix in ("", "_staging"):
        into = table(contract, suffix)
        database.execute(connection, f"CREATE TABLE IF NOT EXISTS {into} ({PARTITION} date NOT NULL)")
        for name in columns(contract):
            column = contract.columns[name]
            kind = "text" if column.token else _SQL_TYPES[column.type]
            database.execute(
                connection, f'ALTER TABLE {into} ADD COLUMN IF NOT EXISTS "{contract.lake_name(name)}" {kind}'
            )
        database.execute(
            connection, f"CREATE INDEX IF NOT EXISTS {contract.source}{suffix}_day ON {into} ({PARTITION})"
        )
    may = "SELECT has_table_privilege(CAST(:role AS name), :table, 'SELECT') AS read"
    if not database.execute(connection, may, role=READER, table=table(contract))[0]["read"]:
        database.execute(connection, f"GRANT SELECT ON {table(contract)} TO {READER}")


def table(contract: Contract, suffix: str = "") -> str:
    """The table of a source in Postgres, quoted."""
    return f'protected."{contract.source}{suffix}"'


def _copy_lines(duck: duckdb.DuckDBPyConnection, query: str, names: list[str]) -> Iterator[bytes]:
    """The rows of a query in COPY's text format, escaped inside DuckDB."""
    fields = ", ".join(f"coalesce({_escaped(name)}, '\\N')" for name in names)
    for batch in duck.sql(f"SELECT concat_ws(chr(9), {fields}) FROM ({query})").to_arrow_reader(1 << 17):
        yield "".join(f"{line}\n" for line in batch.column(0).to_pylist()).encode()


def _escaped(name: str) -> str:
    text = f'CAST("{name}" AS VARCHAR)'
    for character, escape in (("'\\'", "'\\\\'"), ("chr(9)", "'\\t'"), ("chr(10)", "'\\n'"), ("chr(13)", "'\\r'")):
        text = f"replace({text}, {character}, {escape})"
    return text


def load_staged(
    settings: Settings, duck: duckdb.DuckDBPyConnection, contract: Contract, business_date: date, into: str
) -> None:
    """The staged rows of a date as a table of the DuckDB connection, typed by the contract."""
    listed = ", ".join(f'"{contract.lake_name(name)}"' for name in columns(contract))
    query = f"SELECT {listed} FROM {table(contract, '_staging')} WHERE {PARTITION} = '{business_date}'"
    kinds = {
        contract.lake_name(name): "VARCHAR" if column.token else _DUCKDB_TYPES[column.type]
        for name, column in ((name, contract.columns[name]) for name in columns(contract))
    }
    typed = ", ".join(f"'{name}': '{kind}'" for name, kind in kinds.items())
    with tempfile.TemporaryDirectory(dir=local_folder(settings.home / "scratch")) as folder:
        copied = Path(folder) / "rows.csv"
        with database.copy_out(settings.database_url, query) as stream, copied.open("wb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)
        duck.execute(
            f"CREATE OR REPLACE TEMP TABLE {into} AS SELECT * FROM read_csv('{copied}', auto_detect = false, "
            f"header = true, columns = {{{typed}}}, quote = '\"', escape = '\"', allow_quoted_nulls = false)"
        )
