"""Feast over the lake: the same answers as our own join, and an online store that is complete or blocked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from itertools import islice

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from feast import Entity, FeatureView, Field, ValueType
from feast.types import Int64, String

from pipelines import database
from pipelines.completion import completed
from pipelines.contracts import Blocked
from pipelines.features import JoinedView, build, feast_store, point_in_time_join
from pipelines.features.feast_offline_store import DeltaSource
from pipelines.features.feast_online_rows import lines
from pipelines.lake import Lake

JANUARY, FEBRUARY = date(2024, 1, 31), date(2024, 2, 29)
STAMP = pa.timestamp("us", "UTC")


def token(number: int) -> str:
    return f"{number:032x}"


def at(day: float) -> datetime:
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day)


@pytest.fixture
def built(bank):
    """A model with two built dates; account 4 is closed in February and a customer's income is absent."""
    model = bank.model()
    bank.month(JANUARY, accounts=4, late=lambda n: n)
    build(bank.settings, model, JANUARY)
    bank.month(FEBRUARY, accounts=3, late=lambda n: 10 * n)
    build(bank.settings, model, FEBRUARY)
    return bank


def write_features(settings, rows: list[dict]) -> None:
    schema = pa.schema(
        [
            ("k1", pa.string()),
            ("k2", pa.string()),
            ("event_timestamp", STAMP),
            ("created_timestamp", STAMP),
            ("x", pa.int64()),
            ("business_date", pa.date32()),
        ]
    )
    full = [row | {"business_date": row["event_timestamp"].date()} for row in rows]
    for on in sorted({row["business_date"] for row in full}):
        part = [row for row in full if row["business_date"] == on]
        Lake(settings).replace_date("features/pairs", on, pa.Table.from_pylist(part, schema=schema))


def pairs_view(ttl: timedelta) -> list:
    keys = [Entity(name=k, join_keys=[k], value_type=ValueType.STRING) for k in ("k1", "k2")]
    source = DeltaSource(
        name="pairs",
        table="features/pairs",
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )
    fields = [Field(name="x", dtype=Int64), *(Field(name=k, dtype=String) for k in ("k1", "k2"))]
    return [*keys, FeatureView(name="pairs", entities=keys, ttl=ttl, schema=fields, source=source)]


def test_historical_features_are_those_of_the_point_in_time_join(settings):
    ttl = timedelta(days=5)
    rows = [
        {"k1": "1", "k2": "23", "event_timestamp": at(1), "created_timestamp": at(1), "x": 123},
        {"k1": "12", "k2": "3", "event_timestamp": at(1), "created_timestamp": at(1), "x": 7},
        {"k1": "a", "k2": "b", "event_timestamp": at(1), "created_timestamp": at(2), "x": 1},
        {"k1": "a", "k2": "b", "event_timestamp": at(1), "created_timestamp": at(3), "x": 2},
        {"k1": "a", "k2": "b", "event_timestamp": at(4), "created_timestamp": at(4), "x": None},
    ]
    write_features(settings, rows)
    entities = pd.DataFrame(
        [
            ("12", "3", at(2)),
            ("1", "23", at(2)),
            ("a", "b", at(1)),
            ("a", "b", at(6)),
            ("12", "3", at(6)),
            ("12", "3", at(6) + timedelta(microseconds=1)),
            ("12", "3", at(0)),
            ("nobody", "3", at(2)),
            ("12", "3", at(2)),
        ],
        columns=["k1", "k2", "event_timestamp"],
    )
    with feast_store.open_store(settings) as store:
        store.apply(pairs_view(ttl))
        found = store.get_historical_features(entities, features=["pairs:x"]).to_df()
    assert found["x"].astype("Int64").tolist() == [7, 123, 2, pd.NA, 7, pd.NA, pd.NA, pd.NA, 7]
    assert found[["k1", "k2"]].equals(entities[["k1", "k2"]])

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        Lake(settings).scan(connection, "pairs", "features/pairs")
        connection.register("entities", pa.Table.from_pandas(entities))
        view = JoinedView("pairs", {"k1": "k1", "k2": "k2"}, {"x": "x"}, ttl)
        ours = point_in_time_join(connection, "SELECT * FROM entities", [view]).to_arrow_table()
    assert ours["x"].to_pylist() == [None if pd.isna(x) else x for x in found["x"]]


def test_the_training_features_of_a_model_through_its_service(built):
    model = built.model()
    feast_store.apply(built.settings, [model])
    rows = built.read("model_features/risk", FEBRUARY)
    entities = pd.DataFrame(
        {
            "account_token": [r["account_token"] for r in rows],
            "customer_token": [token(100 + (n + 1) // 2) for n in range(3)],
            "event_timestamp": [datetime(2024, 2, 29, tzinfo=UTC)] * 3,
        }
    )
    with feast_store.open_store(built.settings) as store:
        found = store.get_historical_features(entities, store.get_feature_service("risk")).to_df()
        full = store.get_historical_features(entities, ["profile:income"], full_feature_names=True).to_df()
    for name in model.feature_names:
        assert found[name].tolist() == [r[name] for r in rows], name
    assert full["profile__income"].tolist() == [r["income"] for r in rows]


def test_apply_describes_the_model(built):
    model = built.model()
    names = feast_store.apply(built.settings, [model])
    assert sorted(names) == ["account", "behaviour", "customer", "profile", "risk"]
    with feast_store.open_store(built.settings) as store:
        view = store.get_feature_view("behaviour")
        service = store.get_feature_service("risk")
    assert {f.name: str(f.dtype) for f in view.features} == {
        "balance": "Float64",
        "worst_late": "Int64",
        "mean_balance": "Float64",
        "product": "String",
        "is_late": "Bool",
    }
    assert view.ttl == timedelta(days=40)
    assert service.tags["tier"] == "1"


def test_a_second_model_leaves_the_first(built):
    feast_store.apply(built.settings, [built.model()])
    feast_store.apply(built.settings, [built.model("limits", features={"profile": {"income": {}}})])
    with feast_store.open_store(built.settings) as store:
        services = store.list_feature_services()
    assert sorted(s.name for s in services) == ["limits", "risk"]


def test_materialise_serves_the_newest_rows_online(built):
    model = built.model()
    made = feast_store.materialise(built.settings, model, JANUARY, FEBRUARY)
    assert made.rows == {"behaviour": 4, "profile": 3}
    assert list(completed(built.settings, model.name, "materialise")) == [JANUARY]
    asked = [
        {"account_token": token(1), "customer_token": token(100)},
        {"account_token": token(4), "customer_token": token(102)},
        {"account_token": token(9), "customer_token": token(109)},
    ]
    first, closed, unknown = feast_store.online_features(built.settings, model, asked)
    assert (first["worst_late"], first["product"], first["income"]) == (10, "card", 1000.0)
    assert closed["worst_late"] == 4
    assert unknown["worst_late"] is unknown["income"] is None


def test_materialising_again_changes_nothing(built):
    model = built.model()
    feast_store.materialise(built.settings, model, FEBRUARY, FEBRUARY)
    before = database.rows(built.settings, "SELECT * FROM feast.vigil_behaviour ORDER BY entity_key, feature_name")
    assert feast_store.materialise(built.settings, model, FEBRUARY, FEBRUARY).rows == {"behaviour": 3, "profile": 2}
    after = database.rows(built.settings, "SELECT * FROM feast.vigil_behaviour ORDER BY entity_key, feature_name")
    assert [{**r, "created_ts": None} for r in after] == [{**r, "created_ts": None} for r in before]


def test_online_times_are_utc_whatever_the_server_thinks(built):
    with database.transaction(built.settings) as connection:
        database.execute(
            connection,
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = ''Asia/Tokyo''', current_database()); END $$",
        )
    database.engine(built.settings.database_url).dispose()
    feast_store.materialise(built.settings, built.model(), FEBRUARY, FEBRUARY)
    (row,) = database.rows(built.settings, "SELECT DISTINCT event_ts FROM feast.vigil_behaviour")
    assert row["event_ts"] == datetime(2024, 2, 29, tzinfo=UTC)


def test_an_entity_removed_by_a_correction_leaves_the_online_store(built):
    model = built.model()
    feast_store.materialise(built.settings, model, FEBRUARY, FEBRUARY)
    built.month(FEBRUARY, accounts=2)
    build(built.settings, model, FEBRUARY)
    assert feast_store.materialise(built.settings, model, FEBRUARY, FEBRUARY).rows["behaviour"] == 2
    (gone,) = feast_store.online_features(
        built.settings, model, [{"account_token": token(3), "customer_token": token(100)}]
    )
    assert gone["balance"] is None


def test_a_feature_dropped_from_a_view_leaves_the_online_store(built):
    feast_store.materialise(built.settings, built.model(), FEBRUARY, FEBRUARY)
    path = built.settings.feature_repo / "behaviour.py"
    path.write_text(path.read_text().replace("        is_late=joined.days_late > 0,\n", ""))
    model = built.model(features={"behaviour": {"balance": {}}})
    build(built.settings, model, FEBRUARY)
    feast_store.materialise(built.settings, model, FEBRUARY, FEBRUARY)
    found = database.rows(built.settings, "SELECT DISTINCT feature_name FROM feast.vigil_behaviour ORDER BY 1")
    assert [row["feature_name"] for row in found] == ["balance", "mean_balance", "product", "worst_late"]


def test_one_apply_waits_for_the_other(built):
    model = built.model()
    with ThreadPoolExecutor(1) as pool:
        with database.transaction(built.settings) as other:
            database.lock(other, "feast registry")
            waiting = pool.submit(feast_store.apply, built.settings, [model])
            with pytest.raises(TimeoutError):
                waiting.result(timeout=2)
        assert "risk" in waiting.result(timeout=60)


def test_an_older_date_does_not_replace_a_newer_one(built):
    model = built.model()
    feast_store.materialise(built.settings, model, FEBRUARY, FEBRUARY)
    with pytest.raises(Blocked, match=r"serves behaviour as of 2024-02-29, later than 2024-01-31. Nothing was written"):
        feast_store.materialise(built.settings, model, JANUARY, JANUARY)


def test_a_repaired_date_is_materialised_up_to_the_newest_one_online(built):
    model = built.model()
    assert feast_store.newest_online(built.settings, model) is None
    feast_store.materialise(built.settings, model, FEBRUARY, FEBRUARY)
    assert feast_store.newest_online(built.settings, model) == FEBRUARY
    made = feast_store.materialise(built.settings, model, JANUARY, feast_store.newest_online(built.settings, model))
    assert made.rows == {"behaviour": 4, "profile": 3}


def test_values_that_did_not_arrive_block(built, monkeypatch):
    """All but the first feature is lost on the way: counted, blocked, and the rows of the date before still served."""
    feast_store.materialise(built.settings, built.model(), JANUARY, JANUARY)
    before = database.rows(built.settings, "SELECT * FROM feast.vigil_behaviour ORDER BY entity_key, feature_name")
    monkeypatch.setattr(feast_store, "lines", lambda *chunk: islice(lines(*chunk), 1))
    with pytest.raises(
        Blocked, match=r"behaviour for 2024-02-29 to 2024-02-29: 0 values in place of 12 of is_late, mean"
    ):
        feast_store.materialise(built.settings, built.model(), FEBRUARY, FEBRUARY)
    after = database.rows(built.settings, "SELECT * FROM feast.vigil_behaviour ORDER BY entity_key, feature_name")
    assert after == before


def test_our_rows_are_those_of_feasts_own_writer(built):
    """Byte for byte, keys and values of every kind, absent ones too; `value_text` serves full-text search only."""
    model = built.model()
    columns = "entity_key, feature_name, value, event_ts, created_ts"
    order = "FROM {} ORDER BY entity_key, feature_name"
    feast_store.materialise(built.settings, model, FEBRUARY, FEBRUARY)
    ours = {view: database.rows(built.settings, f"SELECT {columns} {ordered}") for view, ordered in _tables(order)}
    with feast_store.open_store(built.settings) as store:
        store.materialize(at(59), at(60), feature_views=["behaviour", "profile"])
    for view, ordered in _tables(order):
        assert [*map(_plain, database.rows(built.settings, f"SELECT {columns} {ordered}"))] == [
            *map(_plain, ours[view])
        ]


def _tables(order: str) -> list[tuple[str, str]]:
    return [(view, order.format(f"feast.vigil_{view}")) for view in ("behaviour", "profile")]


def _plain(row) -> dict:
    return {name: bytes(value) if isinstance(value, memoryview) else value for name, value in row.items()}


def test_the_indexes_of_the_online_store_outlive_the_swap(built):
    model = built.model()
    feast_store.apply(built.settings, [model])
    asked = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'feast' AND tablename = 'vigil_behaviour' ORDER BY 1"
    before = database.rows(built.settings, asked)
    assert any("UNIQUE" in row["indexdef"] for row in before)
    for month in (JANUARY, FEBRUARY):
        feast_store.materialise(built.settings, model, month, month)
        assert database.rows(built.settings, asked) == before
