"""Protected attributes: in their own Postgres schema, keyed by token, and never in the lake."""

from __future__ import annotations

from typing import Any

import pytest
from account_source import DAY, DAY_BEFORE, contract, deliver, lake_rows, night, rows, with_values

from pipelines import database, ingest, quality
from pipelines.contracts import Blocked
from pipelines.settings import Settings

AGREED = contract(
    columns={
        "product": {"type": "string", "allowed": ["card", "loan"], "protected": True},
        "income": {"type": "float", "nullable": True, "protected": True, "max_null_fraction": 0.5},
        "updated_at": {"type": "timestamp", "nullable": True, "protected": True},
    }
)


def protected_rows(settings: Settings) -> list[Any]:
    return [dict(r) for r in database.rows(settings, "SELECT * FROM protected.accounts ORDER BY account_token")]


def test_protected_columns_go_to_postgres_and_nowhere_else(settings: Settings) -> None:
    deliver(settings, with_values(rows(100), "balance", {7: -1e6}))
    night(settings, AGREED)

    for table in ("landing/accounts", "source/accounts"):
        assert {"product", "income", "updated_at"}.isdisjoint(lake_rows(settings, table)[0])
    assert "card" not in str(lake_rows(settings, "quarantine/accounts"))
    found = protected_rows(settings)
    assert len(found) == 99
    assert set(found[0]) == {"business_date", "account_token", "customer_token", "product", "income", "updated_at"}
    in_lake = {row["account_token"]: row["customer_token"] for row in lake_rows(settings, "source/accounts")}
    assert {row["account_token"]: row["customer_token"] for row in found} == in_lake
    assert sum(row["income"] is None for row in found) == 10


def test_awkward_text_arrives_as_it_was_sent(settings: Settings) -> None:
    awkward = ["a\tb", "c\\d", "e\nf", 'g"h', "\\N", ""]
    free = contract(columns={"product": {"type": "string", "protected": True, "nullable": True}})
    deliver(settings, rows(6, product=awkward))
    night(settings, free)
    found = {row["product"] for row in protected_rows(settings)}
    assert found == {*awkward[:-1], None}


def test_a_corrected_delivery_replaces_the_date_and_leaves_the_others(settings: Settings) -> None:
    for day in (DAY_BEFORE, DAY):
        deliver(settings, rows(50, day), day)
        night(settings, AGREED, day)
    deliver(settings, rows(40))
    night(settings, AGREED)
    dates = [row["business_date"] for row in protected_rows(settings)]
    assert (dates.count(DAY), dates.count(DAY_BEFORE)) == (40, 50)


def test_protected_columns_are_checked_too_and_seen_only_once_published(settings: Settings) -> None:
    deliver(settings, rows(100, income=[None] * 60 + [1.0] * 40))
    strict = contract(columns={"income": AGREED.columns["income"].model_copy(update={"severity": "critical"})})
    ingest.land(settings, strict, DAY)

    verdict = quality.check_source(settings, strict, DAY)

    assert [check.name for check in verdict.blocking] == ["income: complete enough"]
    assert verdict.blocking[0].observed == "60 of 100 break it"
    with pytest.raises(Blocked):
        ingest.publish(settings, strict, DAY)
    assert protected_rows(settings) == []


def test_a_new_protected_column_widens_the_table(settings: Settings) -> None:
    deliver(settings, rows(50, DAY_BEFORE), DAY_BEFORE)
    night(settings, contract(columns={"income": {"type": "float", "nullable": True, "protected": True}}), DAY_BEFORE)
    deliver(settings, rows(50))
    night(settings, AGREED)
    assert {row["product"] for row in protected_rows(settings)} == {"card", "loan", None}
