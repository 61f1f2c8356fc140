"""Account and customer ids become keyed-HMAC tokens at ingest, and nothing behind ingest ever sees an id.

A token is HMAC-SHA256(key, entity name, NUL, id), cut to 128 bits, as 32 hex digits (RFC 2104; truncation RFC 4868). The
same id of the same entity gives the same token in every source, so tables join; without the key it cannot be turned back.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from pipelines.contracts import Blocked
from pipelines.settings import Settings

_BLOCK = 64  # of SHA-256, in bytes


def tokens(key: bytes, entity: str, ids: Iterable[str]) -> list[str]:
    """Token of each id, in order."""
    base = hmac.new(key, entity.encode() + b"\0", sha256)
    made = []
    for one in ids:
        mac = base.copy()
        mac.update(one.encode())
        made.append(mac.hexdigest()[:32])
    return made


def load_key(settings: Settings) -> bytes:
    """The HMAC key. In the demo environment a missing key file is created; elsewhere it is refused.

    Raises:
        Blocked: no key file outside demo, or one shorter than 32 bytes.
    """
    path = settings.token_key_file
    if not path.is_file():
        if settings.environment != "demo":
            raise Blocked(f"no token key at {path}: without it ids cannot become tokens. Set VIGIL_TOKEN_KEY_FILE.")
        _create(path)
    key = path.read_bytes()
    if len(key) < 32:
        raise Blocked(f"the token key at {path} has {len(key)} bytes; at least 32 are needed.")
    return key


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_suffix(f".{secrets.token_hex(4)}")
    fresh.touch(mode=0o600)
    fresh.write_bytes(secrets.token_bytes(32))
    with suppress(FileExistsError):  # the first of two racing processes wins; both then read the same key
        path.hardlink_to(fresh)
    fresh.unlink()


class SqlTokens:
    """The same tokens computed inside a DuckDB connection, where the ids are: no id passes through Python.

    The key goes in as connection variables, so it stands in no statement and no error message.
    """

    def __init__(self, connection: Any, key: bytes) -> None:
        block = (key if len(key) <= _BLOCK else sha256(key).digest()).ljust(_BLOCK, b"\0")
        self._connection = connection
        self._inner = bytes(b ^ 0x36 for b in block)
        connection.execute("SET VARIABLE token_outer = $1::BLOB", [bytes(b ^ 0x5C for b in block)])

    def expression(self, entity: str, ids: str) -> str:
        """SQL for the tokens of the text expression `ids`; null stays null."""
        variable = f"token_inner_{entity}"
        self._connection.execute(f"SET VARIABLE {variable} = $1::BLOB", [self._inner + entity.encode() + b"\0"])
        inner = f"unhex(sha256(getvariable('{variable}') || encode({ids})))"
        return f"sha256(getvariable('token_outer') || {inner})[:32]"


def key_id(key: bytes) -> str:
    """Names a key without giving anything of it away, to notice that it is another one."""
    return tokens(key, "key id", [""])[0]
