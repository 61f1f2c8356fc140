"""Bytes of scored rows: what PostgreSQL reads back is what was sent, and the digest is the documented one."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pyarrow as pa
import pytest

from pipelines import database
from pipelines.contracts import DataFault
from pipelines.scoring.rows import COPY_COLUMNS, BatchDigest, ScoredRows, copy_stream, token_bytes
from pipelines.settings import Settings

TOKENS = ["00000000000000000000000000000001", "0000000000000000ffffffffffffffff", "f0000000000000000000000000000000"]
SCORES = [0.25, 1e-9, 1.0]


def rows(tokens: list[str], scores: list[float], reasons: list[str | None]) -> ScoredRows:
    return ScoredRows(token_bytes(pa.array(tokens)), np.array(scores), pa.array(reasons, pa.string()))


def test_postgres_reads_back_exactly_what_was_encoded(settings: Settings) -> None:
    chunks = [rows(TOKENS[:2], SCORES[:2], [None, "income missing; région"]), rows(TOKENS[2:], SCORES[2:], [None])]
    with database.transaction(settings) as connection:
        database.execute(
            connection,
            "CREATE TEMP TABLE t (batch_no bigint, probability float8, token uuid, model text, review_reason text)",
        )
        database.copy_in(connection, "t", COPY_COLUMNS, copy_stream(7, "credit_default", chunks), binary=True)
        found = database.execute(connection, "SELECT *, replace(token::text, '-', '') AS hex FROM t ORDER BY token")
    assert [(r["batch_no"], r["model"], r["hex"], r["probability"]) for r in found] == [
        (7, "credit_default", token, score) for token, score in zip(TOKENS, SCORES, strict=True)
    ]
    assert [r["review_reason"] for r in found] == [None, "income missing; région", None]


def test_the_digest_is_sha256_over_token_and_big_endian_score_however_the_rows_are_cut() -> None:
    expected = hashlib.sha256(
        b"".join(bytes.fromhex(t) + struct.pack(">d", s) for t, s in zip(TOKENS, SCORES, strict=True))
    ).hexdigest()
    for cut in (0, 1, 3):
        digest = BatchDigest()
        digest.add(rows(TOKENS[:cut], SCORES[:cut], [None] * cut))
        digest.add(rows(TOKENS[cut:], SCORES[cut:], [None] * (3 - cut)))
        assert (digest.hexdigest(), digest.rows) == (expected, 3)


@pytest.mark.parametrize("order", [[0, 0], [1, 0], [2, 1], [2, 0]])
@pytest.mark.parametrize("together", [True, False])
def test_a_token_that_comes_twice_or_out_of_order_is_refused(order: list[int], together: bool) -> None:
    digest = BatchDigest()
    first, last = (order, []) if together else (order[:1], order[1:])
    with pytest.raises(DataFault, match="occurs twice"):  # noqa: PT012 - either call may be the one that refuses
        digest.add(rows([TOKENS[i] for i in first], [0.5] * len(first), [None] * len(first)))
        digest.add(rows([TOKENS[i] for i in last], [0.5] * len(last), [None] * len(last)))


@pytest.mark.parametrize("bad", ["12345", "g" * 32, "0" * 33])
def test_what_is_not_a_token_is_refused_without_being_shown(bad: str) -> None:
    with pytest.raises(DataFault, match="not 32 hex digits") as refused:
        token_bytes(pa.array([TOKENS[0], bad]))
    assert bad not in str(refused.value)


def test_a_slice_of_tokens_gives_its_own_bytes() -> None:
    assert token_bytes(pa.array(TOKENS).slice(1, 1)).tobytes().hex() == TOKENS[1]
    assert len(token_bytes(pa.array([], pa.string()))) == 0
