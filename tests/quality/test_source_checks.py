"""The checks of a source: each rule of a contract can fail, says what it saw, and does what its severity says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from account_source import DAY, DAY_BEFORE, contract, deliver, night, rows

from pipelines import ingest, quality
from pipelines.contracts import Blocked, Check, DataFault, QualityVerdict
from pipelines.settings import Settings


def judged(settings: Settings, agreed: Any, day: date = DAY) -> QualityVerdict:
    ingest.land(settings, agreed, day)
    return quality.check_source(settings, agreed, day)


def named(verdict: QualityVerdict, part: str) -> Check:
    [found] = [check for check in verdict.checks if part in check.name]
    return found


def test_a_good_source_passes_and_every_column_is_looked_at(settings: Settings) -> None:
    deliver(settings, rows(100))
    verdict = judged(settings, contract())

    assert verdict.passed
    assert all(check.passed for check in verdict.checks)
    for column in ("account_token", "balance", "updated_at", "active"):
        assert {"type", "complete"} <= {c.name.split(": ")[1] for c in verdict.checks if c.name.startswith(column)} | {
            "complete"
        }
    assert verdict.subject == "landing/accounts"
    assert quality.last_verdict(settings, "landing/accounts", DAY) == verdict


def test_nothing_landed_is_blocked(settings: Settings) -> None:
    with pytest.raises(Blocked, match="nothing has landed"):
        quality.check_source(settings, contract(), DAY)


@pytest.mark.parametrize(("severity", "passes"), [("critical", False), ("warning", True)])
def test_severity_decides_what_a_failure_does(settings: Settings, severity: str, passes: bool) -> None:
    income = {"type": "float", "nullable": True, "max_null_fraction": 0.05, "severity": severity}
    deliver(settings, rows(100))
    verdict = judged(settings, contract(columns={"income": income}))
    assert named(verdict, "income: complete enough").passed is False
    assert verdict.passed is passes


@pytest.mark.parametrize(("repeated", "passes"), [("critical", False), ("warning", True)])
def test_the_rows_of_the_date_before_under_a_new_date_are_found(
    settings: Settings, repeated: str, passes: bool
) -> None:
    agreed = contract(repeated=repeated)
    same = rows(100)["balance"].to_pylist()
    deliver(settings, rows(100, DAY_BEFORE, balance=same), DAY_BEFORE)
    night(settings, agreed, DAY_BEFORE)
    deliver(settings, rows(100))
    verdict = judged(settings, agreed)
    found = named(verdict, "of the date before")
    assert (found.passed, found.observed) == (False, "100 rows, 0 of 1 totals changed")
    assert str(DAY_BEFORE) in found.expected
    assert verdict.passed is passes

    deliver(settings, rows(100, balance=[*same[:-1], same[-1] + 0.01]))
    assert named(judged(settings, agreed), "of the date before").passed


def test_volume_is_judged_against_the_median_of_earlier_dates(settings: Settings) -> None:
    agreed = contract(volume={"dates": 20, "tolerance": 0.2, "severity": "critical"})
    for back in (3, 2, 1):
        day = DAY - timedelta(days=back)
        deliver(settings, rows(100 + back, day), day)
        ingest.land(settings, agreed, day)
        verdict = quality.check_source(settings, agreed, day)
        assert "recorded: only" in named(verdict, "volume").name
        ingest.publish(settings, agreed, day)

    deliver(settings, rows(82))
    assert named(judged(settings, agreed), "volume").passed
    deliver(settings, rows(80))
    low = judged(settings, agreed)
    assert named(low, "volume against 3 earlier dates").passed is False
    assert "min_value 81, max_value 123" in named(low, "volume").expected
    deliver(settings, rows(124))
    assert not judged(settings, agreed).passed


@pytest.mark.parametrize(("age", "passes"), [(2, True), (1, False)])
def test_freshness_is_the_age_of_the_newest_value(settings: Settings, age: int, passes: bool) -> None:
    agreed = contract(
        columns={"opened_on": {"type": "date"}},
        freshness={"column": "opened_on", "max_age_days": age, "severity": "critical"},
    )
    deliver(settings, rows(10, opened_on=[DAY - timedelta(days=2 + i) for i in range(10)]))
    verdict = judged(settings, agreed)
    assert named(verdict, "opened_on: fresh").passed is passes
    assert verdict.passed is passes


def customers(settings: Settings, count: int, day: date, take_in: Callable[..., object] = night) -> None:
    agreed = contract(source="customers", location={"path": "customers/{business_date}.parquet"}, key=["customer_id"])
    path = deliver(settings, rows(count, day, customer_id=[f"C{i:06d}" for i in range(count)]), day)
    target = settings.sources / "customers" / path.name
    target.parent.mkdir(exist_ok=True)
    path.rename(target)
    take_in(settings, agreed, day)


REFERRING = contract(
    references=[{"token": "customer", "source": "customers", "min_fraction": 0.9, "severity": "critical"}]
)


def test_ids_must_be_known_to_the_source_they_refer_to(settings: Settings) -> None:
    customers(settings, 46, DAY)
    deliver(settings, rows(100))
    reference = named(judged(settings, REFERRING), "known in customers")
    assert (reference.passed, reference.observed) == (True, "92 of 100 rows")
    deliver(settings, rows(110))
    verdict = judged(settings, REFERRING)
    assert named(verdict, "known in customers").observed == "92 of 110 rows"
    assert not verdict.passed


def test_an_id_known_earlier_is_known_and_one_known_later_is_not(settings: Settings) -> None:
    customers(settings, 50, DAY_BEFORE)
    customers(settings, 10, DAY)
    customers(settings, 60, DAY + timedelta(days=1))
    deliver(settings, rows(110))
    assert named(judged(settings, REFERRING), "known in customers").observed == "100 of 110 rows"


def test_what_the_other_source_landed_for_the_same_night_is_known(settings: Settings) -> None:
    customers(settings, 20, DAY_BEFORE)
    customers(settings, 50, DAY, take_in=ingest.land)
    deliver(settings, rows(110))
    assert named(judged(settings, REFERRING), "known in customers").observed == "100 of 110 rows"


def test_a_reference_to_nothing_is_not_assessable_and_blocks(settings: Settings) -> None:
    deliver(settings, rows(100))
    verdict = judged(settings, REFERRING)
    assert named(verdict, "known in customers").passed is None
    assert not verdict.passed
    customers(settings, 50, DAY)
    assert quality.check_source(settings, REFERRING, DAY).passed


def test_an_expectation_of_the_contract_names_columns_as_the_contract_does(settings: Settings) -> None:
    asked = [
        ("expect_column_values_to_be_unique", {"column": "account_id"}),
        ("expect_column_values_to_match_regex", {"column": "customer_token", "regex": "^[0-9a-f]{32}$"}),
        ("expect_compound_columns_to_be_unique", {"column_list": ["account_id", "customer_id"]}),
        ("expect_table_columns_to_match_set", {"column_set": ["account_id", "balance"], "exact_match": False}),
    ]
    agreed = contract(
        expectations=[{"expect": kind, "severity": "critical", "arguments": arguments} for kind, arguments in asked]
    )
    deliver(settings, rows(100))
    assert judged(settings, agreed).passed


def test_an_expectation_that_does_not_exist_names_the_contract_to_correct(settings: Settings) -> None:
    agreed = contract(expectations=[{"expect": "expect_columns_to_be_good", "severity": "warning"}])
    deliver(settings, rows(100))
    ingest.land(settings, agreed, DAY)
    with pytest.raises(DataFault, match=r"expectations/accounts\.yaml.*expect_columns_to_be_good"):
        quality.check_source(settings, agreed, DAY)


def test_a_published_landing_keeps_its_verdict_until_the_contract_changes(settings: Settings) -> None:
    deliver(settings, rows(100))
    night(settings, contract())
    first = quality.check_source(settings, contract(), DAY)
    assert quality.check_source(settings, contract(), DAY) == first
    stricter = contract(max_quarantined_fraction=0.05)
    assert quality.check_source(settings, stricter, DAY).data_docs != first.data_docs


def test_each_run_has_its_page_and_the_index_lists_it(settings: Settings) -> None:
    deliver(settings, rows(100, product=["loan"] * 100))
    strict = contract(
        expectations=[
            {
                "expect": "expect_column_mean_to_be_between",
                "severity": "critical",
                "arguments": {"column": "balance", "max_value": 1},
            }
        ]
    )
    good, bad = judged(settings, contract()), judged(settings, strict)

    pages = [Path(verdict.data_docs).read_text() for verdict in (good, bad)]
    assert "Passed" in pages[0]
    assert "Blocked by 1" in pages[1]
    assert "max_value 1" in pages[1]
    index = (settings.data_docs / "index.html").read_text()
    for verdict in (good, bad):
        assert Path(verdict.data_docs).relative_to(settings.data_docs).as_posix() in index
    for page in [*pages, index]:
        assert "http" not in page
        assert "A000" not in page
