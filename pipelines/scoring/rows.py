"""Scored rows as bytes: the digest that says two batches are the same, and PostgreSQL's binary COPY format.

A token of 32 hex digits is 16 bytes here and a uuid in Postgres. Format of COPY: PostgreSQL manual, COPY, "Binary Format":
a header, then per row the number of fields and each field as length and value, big-endian; length -1 is NULL.
"""

from __future__ import annotations

import hashlib
from binascii import Error as NotHex
from binascii import unhexlify
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.contracts import DataFault

COPY_COLUMNS = ("batch_no", "probability", "token", "model", "review_reason")
_COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_COPY_TRAILER = b"\xff\xff"
_NULL = (-1).to_bytes(4, "big", signed=True)
_DIGEST_ROW = np.dtype([("token", "V16"), ("probability", ">f8")])
PACKED_BYTES = _DIGEST_ROW.itemsize

Bytes16 = npt.NDArray[np.void]


@dataclass(frozen=True)
class ScoredRows:
    """Some rows of a batch, in token order. `review_reason` is null where nobody must look."""

    tokens: Bytes16
    probability: npt.NDArray[np.float64]
    review_reason: pa.StringArray


def token_bytes(tokens: pa.Array) -> Bytes16:
    """Tokens of 32 hex digits as 16 bytes each. Raises DataFault for anything else."""
    try:
        fixed = tokens.cast(pa.binary()).cast(pa.binary(32))
        text = fixed.buffers()[1].slice(fixed.offset * 32, len(fixed) * 32) if len(fixed) else b""
        return np.frombuffer(unhexlify(text), "V16")
    except (pa.ArrowInvalid, NotHex):
        raise DataFault("a token is not 32 hex digits: these rows did not come from ingest.") from None


class BatchDigest:
    """SHA-256 over (token, probability) of all rows of a batch, which must come in token order, each token once."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()
        self._last = b""
        self.rows = 0

    def add(self, rows: ScoredRows) -> None:
        """Take in the next rows. Raises DataFault when a token comes twice or out of order."""
        if len(rows.tokens):
            self._require_order(rows.tokens)
            packed = np.empty(len(rows.tokens), _DIGEST_ROW)
            packed["token"], packed["probability"] = rows.tokens, rows.probability
            self._sha.update(packed.tobytes())
            self.rows += len(packed)

    def hexdigest(self) -> str:
        return self._sha.hexdigest()

    def _require_order(self, tokens: Bytes16) -> None:
        halves = tokens.view([("high", ">u8"), ("low", ">u8")])
        high, low = halves["high"], halves["low"]
        rising = (high[1:] > high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] > low[:-1]))
        if not rising.all() or bytes(tokens[0]) <= self._last:
            raise DataFault("a token occurs twice in the batch, or its rows are not in token order.")
        self._last = bytes(tokens[-1])


def digest_of(chunks: Iterable[ScoredRows]) -> BatchDigest:
    """The digest of all rows. Raises DataFault when a token comes twice or out of order."""
    digest = BatchDigest()
    for rows in chunks:
        digest.add(rows)
    return digest


def copy_stream(batch_no: int, model: str, chunks: Iterable[ScoredRows]) -> Iterator[bytes]:
    """The rows as PostgreSQL's binary COPY wants them, in COPY_COLUMNS order."""
    yield _COPY_HEADER
    for rows in chunks:
        yield _encoded(batch_no, model, rows)
    yield _COPY_TRAILER


def _encoded(batch_no: int, model: str, rows: ScoredRows) -> bytes:
    """All rows at once as one array of equal rows without a reason; reasons, which are few, are then put in."""
    name = model.encode()
    row = np.dtype(
        [("fields", ">i2"), ("batch_length", ">i4"), ("batch_no", ">i8"), ("probability_length", ">i4"),
         ("probability", ">f8"), ("token_length", ">i4"), ("token", "V16"), ("model_length", ">i4"),
         ("model", f"V{len(name)}"), ("reason_length", ">i4")]
    )  # fmt: skip
    same = (len(COPY_COLUMNS), 8, batch_no, 8, 0.0, 16, bytes(16), len(name), name, -1)
    packed = np.full(len(rows.tokens), np.array(same, row))
    packed["probability"], packed["token"] = rows.probability, rows.tokens
    return b"".join(_with_reasons(memoryview(packed.tobytes()), row.itemsize, rows.review_reason))


def _with_reasons(packed: memoryview, width: int, reasons: pa.StringArray) -> Iterator[bytes | memoryview]:
    done = 0
    marked = np.flatnonzero(reasons.is_valid().to_numpy(zero_copy_only=False))
    for index, reason in zip(marked.tolist(), reasons.drop_null().to_pylist(), strict=True):
        text = reason.encode()
        end = (index + 1) * width
        yield packed[done : end - len(_NULL)]
        yield len(text).to_bytes(4, "big")
        yield text
        done = end
    yield packed[done:]
