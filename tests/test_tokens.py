"""Tokens: RFC 2104 HMAC by entity, the same in Python and inside DuckDB, and the key they need."""

from __future__ import annotations

import hmac
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import duckdb
import pytest

from pipelines.contracts import Blocked
from pipelines.settings import Settings
from pipelines.tokens import SqlTokens, key_id, load_key, tokens

KEY = bytes(range(32))


def in_duckdb(key: bytes, entity: str, ids: list[str | None]) -> list[str | None]:
    connection = duckdb.connect()
    connection.execute("CREATE TABLE given AS SELECT unnest($1::VARCHAR[]) AS id", [ids])
    expression = SqlTokens(connection, key).expression(entity, "id")
    return [row[0] for row in connection.execute(f"SELECT {expression} FROM given").fetchall()]


def test_a_token_is_the_first_half_of_an_hmac() -> None:
    expected = hmac.new(KEY, b"account\0A1", sha256).hexdigest()[:32]
    assert tokens(KEY, "account", ["A1"]) == [expected]


@pytest.mark.parametrize("key", [KEY, bytes(64), b"k" * 65, b"k" * 200], ids=len)
def test_duckdb_makes_the_same_tokens(key: bytes) -> None:
    ids = ["A1", "", "ümlaut", "x" * 300, "a'b\"c\\d", "A1"]
    assert in_duckdb(key, "account", [*ids, None]) == [*tokens(key, "account", ids), None]


def test_entities_and_keys_do_not_share_tokens() -> None:
    made = {
        tokens(KEY, "account", ["1"])[0],
        tokens(KEY, "customer", ["1"])[0],
        tokens(KEY, "accoun", ["t\x001"])[0],
        tokens(KEY[::-1], "account", ["1"])[0],
    }
    assert len(made) == 4


def test_two_entities_in_one_connection_keep_their_own_key_block() -> None:
    connection = duckdb.connect()
    made = SqlTokens(connection, KEY)
    both = f"SELECT {made.expression('account', chr(39) + '1' + chr(39))}, {made.expression('customer', chr(39) + '1' + chr(39))}"
    assert connection.execute(both).fetchall() == [
        (tokens(KEY, "account", ["1"])[0], tokens(KEY, "customer", ["1"])[0])
    ]


def test_the_key_stands_in_no_statement() -> None:
    connection = duckdb.connect()
    expression = SqlTokens(connection, b"K" * 40).expression("account", "'1'")
    with pytest.raises(duckdb.Error) as raised:
        connection.execute(f"SELECT {expression} FROM nowhere")
    assert "KKK" not in expression + str(raised.value)


def test_another_key_has_another_name() -> None:
    assert key_id(KEY) == key_id(bytes(range(32))) != key_id(KEY[::-1])


def test_the_demo_makes_its_own_key_once_for_its_owner_only(settings: Settings) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: load_key(settings), range(8)))
    assert len(keys) == 1
    assert stat.S_IMODE(settings.token_key_file.stat().st_mode) == 0o600
    assert os.listdir(settings.token_key_file.parent).count(settings.token_key_file.name) == 1


def test_production_wants_a_key_of_its_own(settings: Settings) -> None:
    production = settings.model_copy(update={"environment": "production"})
    with pytest.raises(Blocked, match="VIGIL_TOKEN_KEY_FILE"):
        load_key(production)
    settings.token_key_file.parent.mkdir(parents=True, exist_ok=True)
    settings.token_key_file.write_bytes(b"short")
    with pytest.raises(Blocked, match="5 bytes"):
        load_key(production)
