"""From NumPy to Arrow without a Python object per value: fixed-width ids, choices from a short list, days, nulls.

Arrays are made from buffers: pa.array would import pandas, which takes longer than a small bank.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

Numbers = np.ndarray[Any, np.dtype[Any]]

_GROUP = 4
_GROUPS = np.frombuffer(b"".join(b"%04d" % number for number in range(10**_GROUP)), dtype=np.uint32)
"""The four ASCII digits of every number below 10,000, read as one word."""


def numbered(prefix: str, numbers: Numbers, length: int) -> Numbers:
    """`prefix`, zeros and the digits of each number, `length` bytes of ASCII in all, a multiple of 4; shape (n,)."""
    words = np.empty((len(numbers), length // _GROUP), dtype=np.uint32)
    for place in reversed(range(words.shape[1])):
        higher = numbers // 10**_GROUP
        words[:, place] = _GROUPS[numbers - higher * 10**_GROUP]
        numbers = higher
    made = words.view(np.uint8)
    for place, letter in enumerate(prefix.encode("ascii")):
        made[:, place] = letter
    return words.view(f"S{length}").ravel()


def account_ids(numbers: Numbers, outside: int) -> Numbers:
    """Ids of accounts: of this bank below `outside`, as everywhere, and of other banks from there on; shape (n,)."""
    made = numbered("X", numbers, 12)
    made.view(np.uint8).reshape(-1, 12)[numbers < outside, 0] = ord("A")
    return made


def text(values: Numbers, nulls: Numbers | None = None) -> pa.Array:
    """ASCII bytes in which every value has the full width, as strings; null where `nulls` is true."""
    width = values.dtype.itemsize
    offsets = np.arange(0, (len(values) + 1) * width, width, dtype=np.int32)
    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), data, _valid(nulls))


def choice(codes: Numbers, names: tuple[str, ...]) -> pa.Array:
    """Index codes as names. A dictionary here, plain strings for whoever reads the file."""
    return pa.DictionaryArray.from_arrays(_array(pa.int8(), codes), _words(names))


def days(numbers: Numbers, nulls: Numbers | None = None) -> pa.Array:
    """Day numbers as dates, null where `nulls` is true."""
    return _array(pa.date32(), numbers, nulls)


def moments(microseconds: Numbers) -> pa.Array:
    """Microseconds since 1970 as UTC timestamps."""
    return _array(pa.timestamp("us", tz="UTC"), microseconds)


def whole(numbers: Numbers, nulls: Numbers | None = None) -> pa.Array:
    """As 64-bit integers, null where `nulls` is true."""
    return _array(pa.int64(), numbers, nulls)


def real(numbers: Numbers, nulls: Numbers | None = None, *, digits: int = 2) -> pa.Array:
    """Rounded to `digits`, as doubles, null where `nulls` is true."""
    return _array(pa.float64(), np.round(numbers, digits), nulls)


def _array(kind: pa.DataType, values: Numbers, nulls: Numbers | None = None) -> pa.Array:
    width = np.dtype(f"i{kind.bit_width // 8}") if not pa.types.is_floating(kind) else np.dtype(np.float64)
    data = pa.py_buffer(np.ascontiguousarray(values, dtype=width))
    return pa.Array.from_buffers(kind, len(values), [_valid(nulls), data])


@cache
def _words(words: tuple[str, ...]) -> pa.Array:
    offsets = np.cumsum([0, *map(len, words)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(words), pa.py_buffer(offsets), pa.py_buffer("".join(words).encode("ascii")))


def _valid(nulls: Numbers | None) -> pa.Buffer | None:
    return None if nulls is None else pa.py_buffer(np.packbits(~nulls, bitorder="little"))
