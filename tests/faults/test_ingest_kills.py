"""An ingest killed at any point and run again gives what one undisturbed gives; a reader never sees a half."""

from __future__ import annotations

from typing import Any

import pytest
from account_source import DAY, contract, deliver, lake_rows, night, rows, with_values
from ingest_points import PLANTS, agreed, killed

from pipelines import database, ingest
from pipelines.settings import Settings

BEFORE, GOOD = 6000, 7999


def everything(settings: Settings) -> dict[str, Any]:
    """All that a night leaves, apart from lake versions."""
    manifest = ingest.manifest(settings, "accounts", DAY)
    return {
        "manifest": manifest.model_dump(exclude={"lake_version"}) if manifest else None,
        **{area: lake_rows(settings, f"{area}/accounts") for area in ("landing", "source", "quarantine")},
        "protected": database.rows(settings, "SELECT * FROM protected.accounts ORDER BY account_token"),
    }


@pytest.fixture
def served(settings: Settings) -> Settings:
    """An earlier delivery of the day is published; a corrected one with a bad row has come. Both come in several chunks."""
    small = settings.model_copy(update={"chunk_rows": 2048})
    deliver(small, rows(BEFORE))
    night(small, agreed())
    deliver(small, with_values(rows(GOOD + 1), "balance", {7: -1e6}))
    return small


@pytest.mark.parametrize("point", PLANTS)
def test_killed_and_run_again(served: Settings, point: str) -> None:
    assert killed(served, point) == -9

    assert len(lake_rows(served, "source/accounts")) in (BEFORE, GOOD)
    night(served, agreed())
    after_kill = everything(served)

    assert after_kill["manifest"]["rows_published"] == GOOD
    assert len(after_kill["source"]) == len(after_kill["protected"]) == GOOD
    assert after_kill["source"] == after_kill["landing"]
    assert [row["reason"] for row in after_kill["quarantine"]] == ["balance:below_min"]
    assert after_kill["manifest"]["state"] == "replaced"


def test_an_undisturbed_night_leaves_the_same(served: Settings) -> None:
    assert killed(served, "after it is published") == -9
    night(served, agreed())
    after_kill = everything(served)
    deliver(served, rows(BEFORE))
    night(served, agreed())
    deliver(served, with_values(rows(GOOD + 1), "balance", {7: -1e6}))

    night(served, agreed())

    assert everything(served) == after_kill


def test_a_contract_changed_after_the_kill_is_the_one_in_force(served: Settings) -> None:
    assert killed(served, "before it is published") == -9
    free = contract()

    assert night(served, free).rows_published == GOOD
    assert "product" in lake_rows(served, "source/accounts")[0]
