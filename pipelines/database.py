"""Postgres: transactions, COPY in and out, migrations. The only module that imports psycopg2 and SQLAlchemy.

Statements are plain SQL with named parameters. A connection that cannot be made or breaks raises ConnectionBroken, which
the scheduler retries; everything else is a fault and is not retried.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import psycopg2
from psycopg2.extensions import encrypt_password
from sqlalchemy import Connection as Connection
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InterfaceError, OperationalError

from pipelines.contracts import Blocked, ConnectionBroken, DataFault
from pipelines.settings import Settings

MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK = 7_314_001
_COPY_BYTES = 1 << 20
_COPY_ROWS = 5_000


@lru_cache(maxsize=8)
def engine(url: str) -> Engine:
    """The engine of this process for a URL. Raises DataFault when no URL is set or no driver is named."""
    if not url:
        raise DataFault("no database: set VIGIL_DATABASE_URL, or run `make up` for the embedded PostgreSQL.")
    if make_url(url).drivername != "postgresql+psycopg2":
        raise DataFault(
            "the database URL must begin with postgresql+psycopg2:// (a bare postgresql:// means another driver)."
        )
    return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 10, "application_name": "vigil"})


def require_answer(url: str) -> None:
    """Raise ConnectionBroken at once when the server does not answer; libraries with own engines retry for minutes."""
    try:
        with engine(url).connect():
            pass
    except (OperationalError, InterfaceError) as error:
        raise _broken(url) from error


@contextmanager
def transaction(settings: Settings) -> Iterator[Connection]:
    """One transaction: committed at the end, rolled back on any exception."""
    try:
        with engine(settings.database_url).begin() as connection:
            yield connection
    except (OperationalError, InterfaceError, psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        raise _broken(settings.database_url) from error


def rows(settings: Settings, statement: str, **parameters: Any) -> list[Mapping[str, Any]]:
    """All rows of a query, as mappings, in a transaction of its own."""
    with transaction(settings) as connection:
        return [dict(r) for r in connection.execute(text(statement), parameters).mappings()]


def execute(connection: Connection, statement: str, **parameters: Any) -> list[Mapping[str, Any]]:
    """Run one statement inside the caller's transaction; its rows as mappings, empty when it returns none."""
    result = connection.execute(text(statement), parameters)
    return [dict(r) for r in result.mappings()] if result.returns_rows else []


def execute_many(connection: Connection, statement: str, parameters: Sequence[Mapping[str, Any]]) -> None:
    """Run one statement for each set of parameters inside the caller's transaction."""
    if parameters:
        connection.execute(text(statement), [dict(p) for p in parameters])


@contextmanager
def outside_transactions(url: str) -> Iterator[Connection]:
    """A connection whose statements commit one by one, for what PostgreSQL refuses in a transaction (CREATE DATABASE)."""
    try:
        with engine(url).connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield connection
    except (OperationalError, InterfaceError) as error:
        raise _broken(url) from error


def password_verifier(connection: Connection, login: str, password: str) -> str:
    """What PostgreSQL keeps of a password; given this instead, it never reads the password, nor does its log."""
    return str(encrypt_password(password, login, scope=_raw(connection), algorithm="scram-sha-256"))


def copy_rows(origin: Settings, connection: Connection, table: str, where: str = "true", **parameters: Any) -> int:
    """Copy rows of a table of another database of Vigil into the same table here, with the numbers they have there.

    Both tables have the same columns, by migration; the rows are added inside the caller's transaction. Returns how many.
    """
    query = f"SELECT row_to_json(t)::text AS row FROM {table} t WHERE {where}"
    found = [row["row"] for row in rows(origin, query, **parameters)]
    for start in range(0, len(found), _COPY_ROWS):
        execute(
            connection,
            f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM json_populate_recordset(NULL::{table}, :rows)",
            rows=f"[{','.join(found[start : start + _COPY_ROWS])}]",
        )
    return len(found)


def lock(connection: Connection, name: str) -> None:
    """Wait for the lock `name` and hold it until the caller's transaction ends; a killed holder lets go of it."""
    execute(connection, "SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))", name=name)


def take_role(connection: Connection, role: str) -> None:
    """Be `role` until the caller's transaction ends: even a login that could see more then sees what the role may.

    Raises Blocked when the login is no member of it.
    """
    may = execute(
        connection,
        "SELECT session_user AS login, pg_has_role(session_user, CAST(:role AS name), 'SET') AS ok",
        role=role,
    )[0]
    if not may["ok"]:
        raise Blocked(
            f"the database login {may['login']} is no member of the role {role}, so nothing was read or changed. Use a "
            f"login that is, or let an administrator run: GRANT {role} TO {may['login']}"
        )
    execute(connection, f"SET LOCAL ROLE {role}")


def copy_text(connection: Connection, query: str) -> bytes:
    """The result of a query as CSV with a header, inside the caller's transaction and in memory only."""
    result = BytesIO()
    with closing(_raw(connection).cursor()) as cursor:
        cursor.copy_expert(f"COPY ({query}) TO STDOUT WITH (FORMAT csv, HEADER true)", result)
    return result.getvalue()


def copy_in(
    connection: Connection, table: str, columns: Sequence[str], chunks: Iterable[bytes], *, binary: bool
) -> None:
    """COPY `chunks` into a table inside the caller's transaction; text format unless `binary`."""
    cursor = _raw(connection).cursor()
    listed = ", ".join(f'"{c}"' for c in columns)
    cursor.copy_expert(
        f"COPY {table} ({listed}) FROM STDIN WITH (FORMAT {'binary' if binary else 'text'})",
        _Stream(iter(chunks)),
        size=_COPY_BYTES,
    )
    cursor.close()


@contextmanager
def copy_out(url: str, query: str) -> Iterator[BinaryIO]:
    """Stream `COPY (query) TO STDOUT` as CSV with a header through a pipe; raises ConnectionBroken when it breaks."""
    import os
    import threading

    read_end, write_end = os.pipe()
    failure: list[BaseException] = []

    def pump() -> None:
        try:
            with (
                os.fdopen(write_end, "wb") as sink,
                closing(_reader(url)) as connection,
                connection.cursor() as cursor,
            ):
                cursor.copy_expert(f"COPY ({query}) TO STDOUT WITH (FORMAT csv, HEADER true)", sink)
        except BrokenPipeError:
            pass  # the reader has seen enough
        except BaseException as error:  # noqa: BLE001 - handed to the reader below
            failure.append(error)

    worker = threading.Thread(target=pump, daemon=True)
    worker.start()
    source = os.fdopen(read_end, "rb")
    try:
        yield source
    finally:
        source.close()
        worker.join()
    if failure:
        error = failure[0]
        if isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
            raise ConnectionBroken("the source database did not answer, or broke off while being read.") from error
        if isinstance(error, psycopg2.DataError):  # its message quotes the value
            raise DataFault(f"a value in the source database does not fit ({type(error).__name__}).") from None
        raise DataFault(f"the source database refused the query: {str(error).splitlines()[0]}") from error


def _reader(url: str) -> Any:
    """A read-only connection whose dates and times mean the same whatever the server's settings."""
    connection = psycopg2.connect(_plain(url), connect_timeout=10, options="-c TimeZone=UTC -c DateStyle=ISO")
    connection.set_session(readonly=True, isolation_level="REPEATABLE READ")
    return connection


def migrate(settings: Settings) -> None:
    """Bring the schema to the newest migration, one process at a time."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with transaction(settings) as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:k)"), {"k": _MIGRATION_LOCK})
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS vigil"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def sibling_url(url: str, name: str) -> str:
    """The URL of another database on the same server, for the same user."""
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def login_url(url: str, login: str, password: str, name: str) -> str:
    """The URL of a database on the same server, for another login."""
    other = make_url(url).set(username=login, password=password, database=name)
    return other.render_as_string(hide_password=False)


class _Stream:
    """File-like view of an iterator of bytes, as COPY wants it: at most `size` bytes at a time, b"" at the end."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        while not self._rest:
            try:
                self._rest = memoryview(next(self._chunks))
            except StopIteration:
                return b""
        part, self._rest = self._rest[:size], self._rest[size:]
        return bytes(part)


def _raw(connection: Connection) -> Any:
    return connection.connection.dbapi_connection


def _plain(url: str) -> str:
    """A libpq URL; the +driver part is SQLAlchemy's own."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def _broken(url: str) -> ConnectionBroken:
    where = make_url(url)
    return ConnectionBroken(
        f"PostgreSQL at {where.host}:{where.port}/{where.database} did not answer. Nothing was written. "
        "Check the server (`make status`), then run the same command again."
    )
