"""Feature rows of a model on a business date."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from hashlib import sha256
from unittest.mock import Mock

import pytest

from pipelines import database
from pipelines.contracts import DataFault
from pipelines.features import build, build_history, snapshot, snapshots
from pipelines.lake import Lake

JANUARY, FEBRUARY = date(2024, 1, 31), date(2024, 2, 29)


CUSTOMER_VIEW_WITH_TURNOVER = """
from pipelines.features.definitions import feature_view

@feature_view(entity="customer", sources=("customers",), ttl_days=40, history_days=10)
def profile(customers, business_date):
    return customers.select("customer_token", "turnover")
"""


def token(number: int) -> str:
    return f"{number:032x}"


def test_one_row_per_account_of_the_population_in_token_order(bank):
    bank.month(JANUARY, accounts=4)
    bank.month(FEBRUARY, accounts=3, late=lambda n: 10 * n)
    model = bank.model()
    made = build(bank.settings, model, FEBRUARY)
    rows = bank.read("model_features/risk", FEBRUARY)
    assert made.rows == 3
    assert [r["account_token"] for r in rows] == [token(1), token(2), token(3)]
    assert list(rows[0]) == ["account_token", *model.feature_names, "business_date"]
    assert rows[0] == {
        "account_token": token(1),
        "balance": 102.0,
        "worst_late": 10,
        "mean_balance": 101.5,
        "product": "card",
        "is_late": True,
        "income": 1000.0,
        "business_date": FEBRUARY,
    }
    assert rows[1]["income"] == rows[2]["income"] == 2000.0


def test_a_view_sees_no_row_after_the_business_date(bank):
    bank.month(JANUARY)
    model = bank.model()
    before = build(bank.settings, model, JANUARY)
    bank.month(FEBRUARY, late=lambda n: 89)
    for table in ("vigil.feature_build", "vigil.feature_snapshot"):  # forget, so that it must build again
        with database.transaction(bank.settings) as connection:
            database.execute(connection, f"DELETE FROM {table}")
    after = build(bank.settings, model, JANUARY)
    assert after.lake_version > before.lake_version
    assert after.content_digest == before.content_digest


def test_a_view_sees_only_its_history(bank):
    bank.month(date(2023, 10, 31), late=lambda n: 80)
    bank.month(FEBRUARY)
    build(bank.settings, bank.model(), FEBRUARY)
    assert {r["worst_late"] for r in bank.read("model_features/risk", FEBRUARY)} == {0}


def test_building_again_changes_nothing(bank):
    bank.month(JANUARY)
    model = bank.model()
    first = build(bank.settings, model, JANUARY)
    assert build(bank.settings, model, JANUARY) == first
    assert snapshot(bank.settings, model, JANUARY) == first
    assert Lake(bank.settings).version("features/behaviour") == 0


def test_a_date_published_later_does_not_rebuild_an_earlier_one(bank):
    bank.month(JANUARY)
    model = bank.model()
    first = build(bank.settings, model, JANUARY)
    bank.month(FEBRUARY)
    assert build(bank.settings, model, JANUARY) == first


def test_a_corrected_source_is_built_again(bank):
    bank.month(JANUARY)
    model = bank.model()
    first = build(bank.settings, model, JANUARY)
    bank.month(JANUARY, late=lambda n: 30)
    second = build(bank.settings, model, JANUARY)
    assert second.content_digest != first.content_digest
    assert {r["worst_late"] for r in bank.read("model_features/risk", JANUARY)} == {30}
    assert snapshot(bank.settings, model, JANUARY) == second


def test_a_changed_definition_is_built_again(bank):
    bank.month(JANUARY)
    model = bank.model()
    first = build(bank.settings, model, JANUARY)
    path = bank.settings.feature_repo / "profile.py"
    path.write_text(path.read_text().replace('"income")', "income=today.income / 2)"))
    second = build(bank.settings, model, JANUARY)
    assert bank.read("model_features/risk", JANUARY)[0]["income"] == 500.0
    assert second.view_versions["behaviour"] == first.view_versions["behaviour"]
    assert second.view_versions["profile"] == first.view_versions["profile"] + 1


def test_two_models_share_a_view_built_once(bank):
    bank.month(JANUARY)
    build(bank.settings, bank.model(), JANUARY)
    other = bank.model("limits", features={"profile": {"income": {}}})
    made = build(bank.settings, other, JANUARY)
    assert made.view_versions == {"profile": 0}
    builds = database.rows(bank.settings, "SELECT view, count(*) AS n FROM vigil.feature_build GROUP BY view")
    assert {b["view"]: b["n"] for b in builds} == {"behaviour": 1, "profile": 1}


def test_a_customer_without_a_row_today_keeps_last_months_within_the_ttl(bank):
    bank.month(JANUARY, accounts=4)
    bank.month(FEBRUARY, accounts=4)
    bank.publish("customers", FEBRUARY, [{"customer_token": token(100), "income": 9.0}])
    model = bank.model()
    build(bank.settings, model, JANUARY)
    build(bank.settings, model, FEBRUARY)
    incomes = {r["account_token"]: r["income"] for r in bank.read("model_features/risk", FEBRUARY)}
    assert incomes == {token(1): 9.0, token(2): 2000.0, token(3): 2000.0, token(4): 3000.0}


def test_a_row_older_than_the_ttl_is_not_used(bank):
    bank.month(date(2023, 12, 31), accounts=4)
    bank.month(FEBRUARY, accounts=4)
    bank.publish("customers", FEBRUARY, [{"customer_token": token(100), "income": 9.0}])
    model = bank.model()
    build_history(bank.settings, model, [date(2023, 12, 31)])
    build(bank.settings, model, FEBRUARY)
    assert [r["income"] for r in bank.read("model_features/risk", FEBRUARY)] == [9.0, None, None, None]


def test_infinity_and_nan_become_absent(bank):
    bank.declare(
        "profile.py",
        """
        from pipelines.features.definitions import feature_view

        @feature_view(entity="customer", sources=("customers",), ttl_days=40, history_days=10)
        def profile(customers, business_date):
            ratio = customers.income / 0
            return customers.select(
                customer_token=customers.customer_token, income=ratio, other=ratio - ratio, plain=customers.income
            )
        """,
    )
    bank.month(JANUARY, accounts=1)
    features = {"profile": {"income": {}, "other": {}, "plain": {}}}
    build(bank.settings, bank.model(features=features), JANUARY)
    (row,) = bank.read("model_features/risk", JANUARY)
    assert (row["income"], row["other"], row["plain"]) == (None, None, 1000.0)


def test_created_timestamp_is_when_the_newest_source_file_was_written(bank):
    bank.month(JANUARY)
    build(bank.settings, bank.model(), JANUARY)
    written = Lake(bank.settings).slice("source/accounts", date(2024, 1, 1), JANUARY).written_at
    assert {r["created_timestamp"] for r in bank.read("features/behaviour")} == {written}


def test_build_history_builds_each_date_once(bank):
    dates = [JANUARY, FEBRUARY]
    for on in dates:
        bank.month(on)
    model = bank.model()
    made = build_history(bank.settings, model, [FEBRUARY, JANUARY, JANUARY])
    assert [(b.view, b.business_date) for b in made] == [
        ("behaviour", JANUARY),
        ("profile", JANUARY),
        ("behaviour", FEBRUARY),
        ("profile", FEBRUARY),
    ]
    assert build_history(bank.settings, model, dates) == made
    assert build_history(bank.settings, model, []) == ()


def test_content_digest_is_equal_for_equal_rows_in_two_lakes(bank, tmp_path):
    elsewhere = type(bank)(bank.settings.model_copy(update={"lake_url": str(tmp_path / "other")}))
    model = bank.model()
    digests = []
    for one in (bank, elsewhere):
        one.month(JANUARY, accounts=50)
        with database.transaction(one.settings) as connection:
            database.execute(connection, "DELETE FROM vigil.feature_build")
            database.execute(connection, "DELETE FROM vigil.feature_snapshot")
        digests.append(build(one.settings, model, JANUARY).content_digest)
    assert digests[0] == digests[1]


def test_a_large_population_is_joined_in_ranges_with_the_same_rows(bank, monkeypatch):
    bank.publish("accounts", JANUARY, _spread_out(40))
    bank.publish("customers", JANUARY, [{"customer_token": token(9), "income": 5.0}])
    model = bank.model()
    whole = build(bank.settings, model, JANUARY)
    monkeypatch.setattr(snapshots, "_RANGE_ROWS", 7)
    with database.transaction(bank.settings) as connection:
        database.execute(connection, "DELETE FROM vigil.feature_snapshot")
    parts = build(bank.settings, model, JANUARY)
    assert parts.lake_version > whole.lake_version
    assert (parts.rows, parts.content_digest) == (40, whole.content_digest)


def _spread_out(count: int) -> list[dict]:
    """Accounts with tokens all over the range, as real ones are."""
    return [
        {
            "account_token": sha256(str(n).encode()).hexdigest()[:32],
            "customer_token": token(9),
            "balance": float(n),
            "days_late": n,
            "product": "card",
        }
        for n in range(count)
    ]


def test_two_builds_at_once_build_a_view_once(bank):
    bank.month(JANUARY, accounts=50)
    model = bank.model()
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: build(bank.settings, model, JANUARY), range(4)))
    assert made == [made[0]] * 4
    assert len(database.rows(bank.settings, "SELECT * FROM vigil.feature_build")) == 2


def test_killed_between_the_lake_and_the_record_it_builds_the_same_again(bank, monkeypatch):
    bank.month(JANUARY, accounts=50)
    model = bank.model()
    for step in ("pipelines.features.views.record_build", "pipelines.features.snapshots.record_snapshot"):
        with monkeypatch.context() as killed:
            killed.setattr(step, Mock(side_effect=KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                build(bank.settings, model, JANUARY)
        assert snapshot(bank.settings, model, JANUARY) is None
    first = bank.read("model_features/risk", JANUARY)
    made = build(bank.settings, model, JANUARY)
    assert made.lake_version == 1
    assert bank.read("model_features/risk", JANUARY) == first


def test_no_population_says_what_to_run_and_builds_nothing(bank):
    bank.month(JANUARY)
    model = bank.model()
    with pytest.raises(DataFault, match=r"accounts has no row of that date.*ingest --model risk --date 2024-02-29"):
        build(bank.settings, model, FEBRUARY)
    assert Lake(bank.settings).version("features/behaviour") is None


def test_an_entity_twice_in_the_population_is_refused_by_count_not_by_id(bank):
    bank.month(JANUARY)
    model = bank.model(features={"profile": {"income": {}}})
    rows = bank.read("source/accounts", JANUARY)
    bank.publish("accounts", JANUARY, [*rows, rows[0]])
    with pytest.raises(DataFault, match="1 rows more than there are values of account_token") as caught:
        build(bank.settings, model, JANUARY)
    assert token(1) not in str(caught.value)
    assert Lake(bank.settings).version("model_features/risk") is None


def test_a_failed_build_leaves_the_last_one(bank):
    bank.month(JANUARY)
    model = bank.model()
    good = build(bank.settings, model, JANUARY)
    rows = bank.read("source/customers", JANUARY)
    bank.publish("customers", JANUARY, [*rows, rows[0]])
    with pytest.raises(DataFault, match="feature view profile on 2024-01-31: 1 rows more"):
        build(bank.settings, model, JANUARY)
    assert snapshot(bank.settings, model, JANUARY) == good
    assert len(bank.read("model_features/risk", JANUARY)) == good.rows


def test_a_column_the_lake_does_not_have_yet_is_named(bank):
    bank.month(JANUARY)
    columns = {"customer_id": {"type": "string", "token": "customer"}, "income": {"type": "float"}}
    bank.contract("customers", columns | {"turnover": {"type": "float"}})
    bank.declare("profile.py", CUSTOMER_VIEW_WITH_TURNOVER)
    with pytest.raises(DataFault, match=r"feature view profile on 2024-01-31.*turnover"):
        build(bank.settings, bank.model(features={"profile": {"turnover": {}}}), JANUARY)
