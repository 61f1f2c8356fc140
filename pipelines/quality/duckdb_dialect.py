"""DuckDB behind SQLAlchemy, as far as Great Expectations needs it: PostgreSQL's SQL on one kept DuckDB connection.

Great Expectations fetches rows after it has closed the connection it asked for; here rows are fetched at once, and closing
keeps the DuckDB connection, which its owner closes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb
from sqlalchemy import Engine, create_engine, types
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.dialects.postgresql.base import PGCompiler, PGDialect, PGIdentifierPreparer
from sqlalchemy.engine import Connection
from sqlalchemy.pool import StaticPool

_TYPES: dict[str, type[types.TypeEngine[Any]]] = {
    "BIGINT": types.BIGINT,
    "INTEGER": types.INTEGER,
    "SMALLINT": types.SMALLINT,
    "TINYINT": types.SMALLINT,
    "DOUBLE": types.DOUBLE_PRECISION,
    "FLOAT": types.FLOAT,
    "VARCHAR": types.VARCHAR,
    "BOOLEAN": types.BOOLEAN,
    "DATE": types.DATE,
}


def engine_on(connection: duckdb.DuckDBPyConnection) -> Engine:
    """A SQLAlchemy engine whose every connection is this DuckDB connection."""
    registry.register("duckdb", __name__, "DuckDBDialect")
    return create_engine("duckdb://", creator=lambda: _Connection(connection), poolclass=StaticPool)


class _Cursor:
    """DBAPI cursor that holds all rows of its statement."""

    rowcount = -1
    arraysize = 1

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._rows: list[tuple[Any, ...]] = []
        self.description: Sequence[Any] | None = None

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        result = self._connection.execute(statement, list(parameters))
        self.description = result.description
        self._rows = result.fetchall()

    def fetchone(self) -> tuple[Any, ...] | None:
        return self._rows.pop(0) if self._rows else None

    def fetchmany(self, size: int = 1) -> list[tuple[Any, ...]]:
        taken, self._rows = self._rows[:size], self._rows[size:]
        return taken

    def fetchall(self) -> list[tuple[Any, ...]]:
        taken, self._rows = self._rows, []
        return taken

    def close(self) -> None:
        self._rows = []


class _Connection:
    """DBAPI connection that leaves transactions and closing to the owner of the DuckDB connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def cursor(self) -> _Cursor:
        return _Cursor(self._connection)

    def commit(self) -> None: ...

    def rollback(self) -> None: ...

    def close(self) -> None: ...


class _Compiler(PGCompiler):
    def visit_custom_op_binary(self, element: Any, operator: Any, **kwargs: Any) -> str:
        """PostgreSQL's `~` searches; DuckDB's matches the whole text."""
        if operator.opstring in ("~", "!~"):
            found = f"regexp_matches({self.process(element.left, **kwargs)}, {self.process(element.right, **kwargs)})"
            return found if operator.opstring == "~" else f"NOT {found}"
        return str(super().visit_custom_op_binary(element, operator, **kwargs))  # type: ignore[no-untyped-call]


class _Names(PGIdentifierPreparer):
    def _requires_quotes(self, value: str) -> bool:
        """Always: DuckDB reserves words that PostgreSQL does not."""
        return True


class DuckDBDialect(PGDialect):
    """SQL as PostgreSQL writes it, `?` for parameters, columns by DESCRIBE."""

    name = "duckdb"
    driver = "duckdb"
    default_paramstyle = "qmark"
    supports_statement_cache = True
    statement_compiler = _Compiler
    preparer = _Names

    @classmethod
    def import_dbapi(cls) -> Any:
        return duckdb

    def initialize(self, connection: Connection) -> None:
        self.server_version_info = (16, 0)
        self.default_schema_name = "main"

    def do_ping(self, dbapi_connection: Any) -> bool:
        return True

    def get_columns(self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any) -> list[Any]:
        """Name, type and nullability of each column of a table or view."""
        found = connection.exec_driver_sql(f'DESCRIBE SELECT * FROM "{table_name}"').fetchall()
        return [{"name": row[0], "type": _type(row[1]), "nullable": True, "default": None} for row in found]

    def has_table(self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any) -> bool:
        found = connection.exec_driver_sql(
            "SELECT 1 FROM information_schema.tables WHERE table_name = ?", (table_name,)
        )
        return found.first() is not None

    def get_table_names(self, connection: Connection, schema: str | None = None, **kw: Any) -> list[str]:
        return [row[0] for row in connection.exec_driver_sql("SELECT table_name FROM information_schema.tables")]

    def get_pk_constraint(self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any) -> Any:
        return {"constrained_columns": [], "name": None}

    def get_view_names(self, connection: Connection, schema: str | None = None, **kw: Any) -> list[str]:
        return []

    def get_schema_names(self, connection: Connection, **kw: Any) -> list[str]:
        return ["main"]


def _type(name: str) -> types.TypeEngine[Any]:
    if name.startswith("TIMESTAMP"):
        return TIMESTAMP(timezone=name.endswith("TIME ZONE"))
    return _TYPES.get(name, types.NullType)()
