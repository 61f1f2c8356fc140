"""Database: transactions, locks, COPY in and out, and what a broken connection is called."""

from __future__ import annotations

import threading
import time

import pytest

from pipelines import database
from pipelines.contracts import ConnectionBroken, DataFault
from pipelines.settings import Settings

NO_DATABASE = "postgresql+psycopg2://vigil:secret-word@127.0.0.1:9/core"


@pytest.fixture
def table(settings: Settings) -> str:
    with database.transaction(settings) as connection:
        database.execute(connection, "CREATE TABLE vigil.sample (number bigint, word text, at timestamptz)")
    return "vigil.sample"


def test_a_transaction_is_all_or_nothing(settings: Settings, table: str) -> None:
    def half() -> None:
        with database.transaction(settings) as connection:
            database.execute(connection, f"INSERT INTO {table} (number) VALUES (1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert database.rows(settings, f"SELECT * FROM {table}") == []


def test_copy_in_and_out_is_the_same(settings: Settings, table: str) -> None:
    lines = "".join(f"{i}\tword {i}\t2026-06-30 22:30:00+02\n" for i in range(50_000)).encode()
    with database.transaction(settings) as connection:
        database.copy_in(connection, table, ["number", "word", "at"], [lines[:70_001], lines[70_001:]], binary=False)

    with database.copy_out(settings.database_url, f"SELECT * FROM {table} ORDER BY number") as stream:
        found = stream.read().decode().splitlines()

    assert found[0] == "number,word,at"
    assert found[-1] == "49999,word 49999,2026-06-30 20:30:00+00"
    assert len(found) == 50_001


def test_copy_out_can_be_left_early(settings: Settings) -> None:
    query = "SELECT * FROM generate_series(1, 10000000)"
    with database.copy_out(settings.database_url, query) as stream:
        assert stream.readline() == b"generate_series\n"


def test_a_refused_query_is_a_fault_and_an_absent_server_is_not(settings: Settings) -> None:
    with (
        pytest.raises(DataFault, match="refused the query"),
        database.copy_out(settings.database_url, "SELECT * FROM nowhere") as stream,
    ):
        stream.read()
    with pytest.raises(ConnectionBroken) as raised, database.copy_out(NO_DATABASE, "SELECT 1") as stream:
        stream.read()
    assert "secret-word" not in str(raised.value)


def test_a_value_that_does_not_fit_is_not_quoted(settings: Settings) -> None:
    query = "SELECT CAST(word AS date) FROM (VALUES ('C000123')) AS v(word)"
    with pytest.raises(DataFault) as raised, database.copy_out(settings.database_url, query) as stream:
        stream.read()
    assert "C000123" not in str(raised.value)


def test_an_absent_server_is_named_without_its_password(settings: Settings) -> None:
    away = settings.model_copy(update={"database_url": NO_DATABASE})
    with pytest.raises(ConnectionBroken, match=r"127\.0\.0\.1:9/core did not answer") as raised:
        database.rows(away, "SELECT 1")
    assert "secret-word" not in str(raised.value)


def test_a_url_without_driver_is_refused() -> None:
    with pytest.raises(DataFault, match=r"postgresql\+psycopg2"):
        database.engine("postgresql://vigil@127.0.0.1/core")
    with pytest.raises(DataFault, match="VIGIL_DATABASE_URL"):
        database.engine("")


def test_a_lock_waits_for_its_holder(settings: Settings) -> None:
    order: list[str] = []

    def second() -> None:
        with database.transaction(settings) as connection:
            database.lock(connection, "one at a time")
            order.append("second")

    with database.transaction(settings) as connection:
        database.lock(connection, "one at a time")
        waiting = threading.Thread(target=second)
        waiting.start()
        _until_somebody_waits(settings)
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]


def test_migrating_again_changes_nothing(settings: Settings) -> None:
    tables = "SELECT table_schema, table_name FROM information_schema.tables ORDER BY 1, 2"
    before = database.rows(settings, tables)
    database.migrate(settings)
    assert database.rows(settings, tables) == before


def test_a_sibling_is_another_database_of_the_same_server() -> None:
    assert database.sibling_url(NO_DATABASE, "mlflow") == NO_DATABASE.replace("/core", "/mlflow")


def _until_somebody_waits(settings: Settings) -> None:
    deadline = time.monotonic() + 10
    waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()"
    while not database.rows(settings, waits):
        assert time.monotonic() < deadline, "nobody waits for the lock"
        time.sleep(0.01)
