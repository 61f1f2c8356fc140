"""The point-in-time join against a slow oracle, and at its edges."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.contracts import DataFault
from pipelines.features import JoinedView, point_in_time_join

START = datetime(2024, 1, 1, tzinfo=UTC)
STAMP = pa.timestamp("us", "UTC")
TTL = timedelta(days=5)
ENTITIES = pa.schema([("key", pa.string()), ("event_timestamp", STAMP), ("n", pa.int64())])
FEATURES = pa.schema(
    [("key", pa.string()), ("event_timestamp", STAMP), ("created_timestamp", STAMP), ("x", pa.int64())]
)


def at(day: float) -> datetime:
    return START + timedelta(days=day)


def joined(entities: list[dict], features: list[dict], ttl: timedelta | None = TTL, output: str = "x") -> list[dict]:
    view = JoinedView("features", {"key": "key"}, {output: "x"}, ttl)
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("entities", pa.Table.from_pylist(entities, schema=ENTITIES))
        connection.register("features", pa.Table.from_pylist(features, schema=FEATURES))
        return point_in_time_join(connection, "SELECT * FROM entities", [view]).to_arrow_table().to_pylist()


def entity(key: str | None, day: float, n: int = 0) -> dict:
    return {"key": key, "event_timestamp": at(day), "n": n}


def feature(key: str | None, day: float, x: int | None, created: float | None = 0) -> dict:
    stamp = None if created is None else at(created)
    return {"key": key, "event_timestamp": at(day), "created_timestamp": stamp, "x": x}


def oracle(row: dict, features: list[dict]) -> set[int | None]:
    """The values allowed for an entity row: of the newest row in time and TTL, those created last."""
    seen = [
        f
        for f in features
        if f["key"] == row["key"] and row["event_timestamp"] - TTL <= f["event_timestamp"] <= row["event_timestamp"]
    ]
    if not seen:
        return {None}
    order = [(f["event_timestamp"], f["created_timestamp"] or datetime.min.replace(tzinfo=UTC)) for f in seen]
    return {f["x"] for f, rank in zip(seen, order, strict=True) if rank == max(order)}


KEYS = st.sampled_from(["a", "b", "c"])
DAYS = st.integers(0, 12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.builds(entity, KEYS, DAYS, st.integers(0, 9)), min_size=1, max_size=12),
    st.lists(st.builds(feature, KEYS, DAYS, st.integers(0, 99), st.none() | st.integers(0, 3)), max_size=25),
)
def test_every_row_gets_what_was_known_then_and_nothing_later(entities, features):
    found = joined(entities, features)
    assert [{k: r[k] for k in ENTITIES.names} for r in found] == entities
    for row in found:
        assert row["x"] in oracle(row, features)
    assert found == joined(entities, features[::-1]), "the order of the feature rows must not matter"


def test_the_ttl_is_inclusive_to_the_microsecond():
    features = [feature("a", 0, 1)]
    assert joined([entity("a", 5)], features)[0]["x"] == 1
    late = entity("a", 5) | {"event_timestamp": at(5) + timedelta(microseconds=1)}
    assert joined([late], features)[0]["x"] is None
    assert joined([late], features, ttl=None)[0]["x"] == 1


def test_a_row_of_the_same_instant_is_known_and_one_a_microsecond_later_is_not():
    same = feature("a", 1, 7)
    assert joined([entity("a", 1)], [same])[0]["x"] == 7
    future = same | {"event_timestamp": at(1) + timedelta(microseconds=1)}
    assert joined([entity("a", 1)], [future])[0]["x"] is None


def test_an_expired_newest_row_is_not_replaced_by_an_older_one():
    assert joined([entity("a", 9)], [feature("a", 1, 1), feature("a", 3, 2)])[0]["x"] is None


def test_the_row_created_last_wins_even_with_an_absent_value():
    assert joined([entity("a", 1)], [feature("a", 1, 1, 5), feature("a", 1, None, 6)])[0]["x"] is None
    assert joined([entity("a", 1)], [feature("a", 1, 1, 5), feature("a", 1, 2, None)])[0]["x"] == 1


def test_exact_duplicates_do_not_multiply_rows():
    entities = [entity("a", 2, 1), entity("a", 2, 1), entity("b", 2, 2)]
    features = [feature("a", 1, 4)] * 3
    assert [r["x"] for r in joined(entities, features)] == [4, 4, None]


def test_rows_of_one_instant_and_creation_are_chosen_the_same_way_every_time():
    features = [feature("a", 1, x) for x in range(200)]
    chosen = {
        joined([entity("a", 2)], rows)[0]["x"] for rows in (features, features[::-1], features[50:] + features[:50])
    }
    assert len(chosen) == 1


def test_composite_keys_are_compared_column_by_column():
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        stamp = f"TIMESTAMPTZ '{START.isoformat()}' AS event_timestamp"
        connection.execute(
            f"CREATE TABLE f AS SELECT '12' AS k1, '3' AS k2, {stamp}, now() AS created_timestamp, 9 AS x"
        )
        view = JoinedView("f", {"k1": "k1", "k2": "k2"}, {"x": "x"}, None)
        pairs = "(VALUES ('1', '23'), ('12', '3'), ('3', '12')) v(k1, k2)"
        found = point_in_time_join(connection, f"SELECT *, {stamp} FROM {pairs}", [view])
        assert [r[-1] for r in found.fetchall()] == [None, 9, None]


def test_null_keys_match_nothing_and_stay():
    assert [r["x"] for r in joined([entity(None, 1)], [feature(None, 1, 3)])] == [None]


def test_order_is_kept_for_a_hundred_thousand_rows():
    count = 100_000
    entities = pa.table(
        {
            "key": [f"{(n * 7919) % 1000}" for n in range(count)],
            "event_timestamp": pa.array([at((n * 31) % 50) for n in range(count)], STAMP),
            "n": range(count),
        }
    )
    features = pa.table(
        {
            "key": [f"{n % 990}" for n in range(count)],
            "event_timestamp": pa.array([at(n % 47) for n in range(count)], STAMP),
            "created_timestamp": pa.array([at(n) for n in range(count)], STAMP),
            "x": range(count),
        }
    )
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("entities", entities)
        connection.register("features", features)
        view = JoinedView("features", {"key": "key"}, {"x": "x"}, TTL)
        found = point_in_time_join(connection, "SELECT * FROM entities", [view]).to_arrow_table()
    assert found["n"].to_pylist() == list(range(count))
    assert 0 < found["x"].null_count < count


def test_two_views_with_different_keys_and_an_entity_time_of_its_own_name():
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, key, value in (("f", "a", 1), ("g", "b", 2)):
            connection.execute(
                f"CREATE TABLE {name} AS SELECT '{key}' AS k, DATE '2024-01-01' AS event_timestamp, "
                f"NULL AS created_timestamp, {value} AS x"
            )
        views = [
            JoinedView("f", {"one": "k"}, {"fx": "x"}, TTL),
            JoinedView("g", {"two": "k"}, {"gx": "x"}, TTL, created=None),
        ]
        rows = "SELECT 'a' AS one, 'b' AS two, DATE '2024-01-02' AS day"
        assert point_in_time_join(connection, rows, views, at="day").fetchall()[0][-2:] == (1, 2)


def test_two_columns_of_one_name_are_refused():
    with pytest.raises(DataFault, match="n would appear twice"):
        joined([entity("a", 1)], [feature("a", 1, 1)], output="n")
