"""Publishing: what was landed and checked becomes visible in one step, and the same delivery again changes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest
from account_source import (
    DAY,
    DAY_BEFORE,
    contract,
    deliver,
    lake_rows,
    lake_version,
    night,
    rows,
    with_values,
)

from pipelines import ingest, quality
from pipelines.contracts import Blocked, IngestState, Value
from pipelines.settings import Settings


def test_a_night_publishes_what_landed(settings: Settings) -> None:
    deliver(settings, with_values(rows(100), "balance", {3: -1e6}))

    published = night(settings, contract())

    assert published.state is IngestState.PUBLISHED
    assert published.control_totals == {"balance": sum(i + 0.25 for i in range(100) if i != 3)}
    assert lake_rows(settings, "source/accounts") == lake_rows(settings, "landing/accounts")
    assert ingest.manifest(settings, "accounts", DAY) == published
    assert published.lake_version == lake_version(settings)


def test_nothing_is_published_without_a_passed_check_of_these_very_rows(settings: Settings) -> None:
    deliver(settings, rows(100))
    ingest.land(settings, contract(), DAY)
    with pytest.raises(Blocked, match="no check has judged"):
        ingest.publish(settings, contract(), DAY)
    quality.check_source(settings, contract(), DAY)
    deliver(settings, rows(90))
    ingest.land(settings, contract(), DAY)

    with pytest.raises(Blocked, match="no check has judged"):
        ingest.publish(settings, contract(), DAY)

    assert lake_version(settings) is None


def test_a_failed_check_blocks_and_names_itself(settings: Settings) -> None:
    strict = contract(
        expectations=[
            {
                "expect": "expect_column_mean_to_be_between",
                "severity": "critical",
                "arguments": {"column": "balance", "max_value": 1},
            }
        ]
    )
    deliver(settings, rows(100))
    ingest.land(settings, strict, DAY)
    assert not quality.check_source(settings, strict, DAY).passed

    with pytest.raises(Blocked, match="balance: expect_column_mean_to_be_between"):
        ingest.publish(settings, strict, DAY)

    assert lake_version(settings) is None


def test_the_same_delivery_again_changes_nothing(settings: Settings) -> None:
    deliver(settings, with_values(rows(100), "balance", {3: -1e6}))
    first = night(settings, contract())
    versions = {t: lake_version(settings, f"{t}/accounts") for t in ("landing", "source", "quarantine")}

    again = night(settings, contract())

    assert again.state is IngestState.UNCHANGED
    assert again == first.model_copy(update={"state": IngestState.UNCHANGED})
    assert versions == {t: lake_version(settings, f"{t}/accounts") for t in versions}


def test_a_corrected_delivery_replaces_its_date_and_says_so(settings: Settings) -> None:
    deliver(settings, rows(50, DAY_BEFORE), DAY_BEFORE)
    night(settings, contract(), DAY_BEFORE)
    deliver(settings, with_values(rows(100), "balance", {3: -1e6}))
    night(settings, contract())
    deliver(settings, rows(100))

    replaced = night(settings, contract())

    assert replaced.state is IngestState.REPLACED
    assert any("corrected" in note for note in replaced.notes)
    assert len(lake_rows(settings, "source/accounts")) == 100
    assert len(lake_rows(settings, "source/accounts", DAY_BEFORE)) == 50
    assert lake_rows(settings, "quarantine/accounts") == []


def test_a_late_delivery_is_taken_in_and_marked(settings: Settings) -> None:
    deliver(settings, rows(100))
    assert not night(settings, contract()).late
    deliver(settings, rows(80, DAY_BEFORE), DAY_BEFORE)

    late = night(settings, contract(), DAY_BEFORE)

    assert late.late
    assert late.state is IngestState.PUBLISHED
    assert ingest.manifest(settings, "accounts", DAY_BEFORE) == late


def test_available_dates_come_from_the_names_of_files(settings: Settings) -> None:
    for day in (DAY, DAY_BEFORE, date(2026, 5, 31)):
        deliver(settings, rows(3, day), day)
    (settings.sources / "accounts" / "notes.parquet").touch()

    assert ingest.available_dates(settings, contract()) == [date(2026, 5, 31), DAY_BEFORE, DAY]


def test_two_models_that_share_a_source_ingest_it_once(settings: Settings) -> None:
    deliver(settings, rows(5000))

    def together(step: Callable[..., Value]) -> list[Value]:
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda _: step(settings, contract(), DAY), range(4)))

    landed = together(ingest.land)
    quality.check_source(settings, contract(), DAY)
    published = together(ingest.publish)

    assert all(one == landed[0] for one in landed)
    assert sorted(one.state for one in published) == ["published", "unchanged", "unchanged", "unchanged"]
    assert lake_version(settings, "landing/accounts") == 0
    assert lake_version(settings, "source/accounts") == 0


def test_a_lake_that_was_moved_away_is_filled_again(settings: Settings) -> None:
    deliver(settings, rows(100))
    night(settings, contract())
    shutil.rmtree(settings.lake_url)

    night(settings, contract())

    assert len(lake_rows(settings, "source/accounts")) == 100
