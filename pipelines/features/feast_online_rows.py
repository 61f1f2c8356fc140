"""Feast's rows of the PostgreSQL online store, made column by column and put in place of the old ones in one step.

Feast's own writer makes each value a protobuf object in Python and sends it as a statement of its own. Here the same bytes
are made by NumPy and Arrow, copied into a table beside the one that is read, counted, and swapped with it: a reader sees the
old rows or the new ones, and a kill leaves the old ones.
"""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value as FeastValue

from pipelines import database
from pipelines.features.point_in_time import CREATED_TIMESTAMP, EVENT_TIMESTAMP

KEY_VERSION = 3
_COLUMNS = ("entity_key", "feature_name", "value", "event_ts", "created_ts")
_FIELD = {"BIGINT": "int64_val", "BOOLEAN": "bool_val", "VARCHAR": "string_val"}
_BYTEA = "\\\\x"  # the mark of a hex bytea, its backslash escaped for COPY


def lines(token: str, kinds: Mapping[str, str], rows: pa.RecordBatch) -> Iterator[bytes]:
    """COPY's text lines of one chunk, a part for each feature; columns are `entity_key` to `created_ts`.

    Args:
        token: name of the key column; its values are tokens, all of one length.
        kinds: DuckDB type by feature name: BIGINT, DOUBLE, BOOLEAN or VARCHAR.
        rows: the token, the features, and event and created timestamps.
    """
    if not rows.num_rows:
        return
    keys = _entity_keys(token, rows[token])
    times = [pc.cast(rows[stamp], pa.string()) for stamp in (EVENT_TIMESTAMP, CREATED_TIMESTAMP)]
    for name, kind in kinds.items():
        values = pc.binary_join_element_wise(_BYTEA, _values(rows[name], kind), "")
        fields = pc.binary_join_element_wise(keys, name, values, *times, "\t")
        yield _text(pc.binary_join_element_wise(fields, "\n", ""))


def replace(
    connection: database.Connection, table: str, incoming: Iterable[bytes], features: Sequence[str], start: datetime
) -> None:
    """Make the incoming rows the table's content, besides older rows (before `start`) of keys that are not among them.

    Nobody sees it before the caller's transaction commits.
    """
    schema, _, name = table.rpartition(".")
    ((oid,),) = (row.values() for row in database.execute(connection, "SELECT CAST(:t AS regclass)::oid", t=table))
    beside = f"{schema}.incoming_{oid}"
    database.execute(connection, f"CREATE TABLE {beside} (LIKE {table})")
    database.copy_in(connection, beside, _COLUMNS, incoming, binary=False)
    database.execute(
        connection,
        f"INSERT INTO {beside} SELECT o.* FROM {table} o WHERE o.event_ts < :start AND o.feature_name = ANY(:features) "
        f"AND NOT EXISTS (SELECT FROM {beside} n WHERE n.entity_key = o.entity_key)",
        start=start,
        features=list(features),
    )
    indexes = _indexes(connection, table)
    for index in indexes:
        unique = "UNIQUE " if index["is_unique"] else ""
        made = f'CREATE {unique}INDEX "incoming_{index["oid"]}" ON {beside} USING {index["definition"]}'
        database.execute(connection, made)
    database.execute(connection, f"DROP TABLE {table}")
    database.execute(connection, f"ALTER TABLE {beside} RENAME TO {name}")
    for index in indexes:
        database.execute(connection, f'ALTER INDEX {schema}."incoming_{index["oid"]}" RENAME TO "{index["name"]}"')
        if index["is_primary"]:
            database.execute(connection, f'ALTER TABLE {table} ADD PRIMARY KEY USING INDEX "{index["name"]}"')


def _indexes(connection: database.Connection, table: str) -> list[Mapping[str, Any]]:
    """The table's indexes; `definition` is what follows USING."""
    return database.execute(
        connection,
        "SELECT c.oid, c.relname AS name, i.indisprimary AS is_primary, i.indisunique AS is_unique, "
        "split_part(pg_get_indexdef(c.oid), ' USING ', 2) AS definition FROM pg_index i "
        "JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = CAST(:table AS regclass) ORDER BY c.relname",
        table=table,
    )


def _entity_keys(token: str, values: pa.Array) -> pa.StringArray:
    """Feast's serialised keys in hex: the same bytes before every token, then the token's own."""
    sample = values[0].as_py()
    key = EntityKey(join_keys=[token], entity_values=[FeastValue(string_val=sample)])
    whole = serialize_entity_key(key, entity_key_serialization_version=KEY_VERSION).hex()
    before = whole.removesuffix(sample.encode().hex())
    data, offsets = _text(values), np.arange(len(values) + 1, dtype=np.int32) * (2 * len(sample))
    return pc.binary_join_element_wise(_BYTEA, before, _strings(hexlify(data), offsets), "")


def _values(column: pa.Array, kind: str) -> pa.StringArray:
    """Feast's serialised values in hex, empty where absent; each distinct value is serialised once."""
    distinct = column.dictionary_encode()
    if kind == "DOUBLE":
        made = _doubles(distinct.dictionary.to_numpy())
    else:
        protos = (FeastValue(**{_FIELD[kind]: value}) for value in distinct.dictionary.to_pylist())
        made = pa.array([proto.SerializeToString().hex() for proto in protos], pa.string())
    return pc.fill_null(made.take(distinct.indices), "")


def _doubles(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> pa.StringArray:
    """Protobuf's form of `double_val`: the field's tag and eight bytes, little end first."""
    tag = FeastValue(double_val=1.0).SerializeToString()[:1]
    packed = np.empty((len(values), 9), np.uint8)
    packed[:, 0] = tag[0]
    packed[:, 1:] = np.ascontiguousarray(values, "<f8").view(np.uint8).reshape(-1, 8)
    return _strings(hexlify(packed.tobytes()), np.arange(len(values) + 1, dtype=np.int32) * 18)


def _strings(data: bytes, offsets: np.ndarray[tuple[int], np.dtype[np.int32]]) -> pa.StringArray:
    return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))


def _text(values: pa.Array) -> bytes:
    """All characters of a string array, one value after the other."""
    whole: bytes = pc.binary_join(pa.ListArray.from_arrays([0, len(values)], values), "")[0].as_buffer().to_pybytes()
    return whole
