"""The contracts of the bank's sources: they fit its files, and ingest quarantines what was planted, for the reason given."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from pipelines import ingest, quality
from pipelines.contracts import Severity
from pipelines.sample_bank import NAME, Planted
from pipelines.sample_bank.truth import VALID_ODDITIES
from pipelines.settings import REPOSITORY, Settings
from pipelines.spec import Contract, load_contract

SOURCES = (
    "account_snapshots",
    "customer_snapshots",
    "outcomes",
    "investigations",
    "applications",
    "transactions",
    "protected_attributes",
)
NIGHT = date(2026, 6, 30)


def contract_of(source: str) -> Contract:
    return load_contract(REPOSITORY / "expectations", source)


@pytest.mark.parametrize("source", SOURCES)
def test_a_contract_names_exactly_the_columns_of_its_files(source: str, planted: Planted, bank_folder: Path) -> None:
    names = pq.read_schema(bank_folder / NAME / source / f"{NIGHT}.parquet").names
    assert list(contract_of(source).columns) == names


@pytest.mark.parametrize("source", SOURCES)
def test_a_contract_finds_every_business_date(
    source: str, planted: Planted, bank_folder: Path, settings: Settings
) -> None:
    found = ingest.available_dates(settings.model_copy(update={"sources": bank_folder}), contract_of(source))
    month_ends = [day for day in planted.business_dates if (day + timedelta(days=1)).day == 1]
    assert found == (month_ends if source == "applications" else list(planted.business_dates))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("day", [date(2023, 7, 31), NIGHT])
def test_ingest_quarantines_what_was_planted(
    source: str, day: date, planted: Planted, bank_folder: Path, settings: Settings
) -> None:
    landed = ingest.land(settings.model_copy(update={"sources": bank_folder}), contract_of(source), day)
    reasons = planted.truth["quarantine_reasons"][source]
    expected: Counter[str] = Counter()
    for kind, count in planted.dirty[source][day].items():
        if kind not in VALID_ODDITIES.get(source, ()):
            expected[reasons[kind]] += count
    assert landed.quarantine_reasons == +expected
    assert landed.rows_in == planted.rows[source][day]


def test_only_what_arrives_as_it_happens_may_be_empty() -> None:
    assert {s for s in SOURCES if contract_of(s).may_be_empty} == {"outcomes", "investigations", "protected_attributes"}


def test_about_sixty_checks_stand_between_the_snapshots_and_the_model() -> None:
    contracts = [contract_of(source) for source in ("account_snapshots", "customer_snapshots")]
    checks = sum(
        len(c.expectations)
        + len(c.references)
        + len(c.totals)
        + (c.volume is not None)
        + (c.freshness is not None)
        + sum(column.max_null_fraction is not None for column in c.columns.values())
        for c in contracts
    )
    assert 55 <= checks <= 75


def test_protected_attributes_never_reach_the_lake() -> None:
    protected = {name for name, c in contract_of("protected_attributes").columns.items() if c.protected}
    assert protected == {"birth_year", "sex", "citizenship"}
    for source in SOURCES[:-1]:
        assert not protected & set(contract_of(source).columns)


def test_what_became_of_an_account_is_known_later() -> None:
    later = {name for name, c in contract_of("outcomes").columns.items() if c.known == "later"}
    assert later == {"event_date", "outcome", "reported_on"}


def test_limits_hold_on_every_clean_row(bank: duckdb.DuckDBPyConnection) -> None:
    """Whatever breaks a row rule was planted: no honest row is quarantined."""
    for source in ("account_snapshots", "customer_snapshots"):
        for name, column in contract_of(source).columns.items():
            if column.max is not None:
                (worst,) = bank.sql(f"SELECT max({name}) FROM {source} WHERE {name} < 9999").fetchall()[0] or (0,)
                assert worst <= column.max, (source, name)


def test_a_normal_night_passes_and_the_downturn_only_warns(
    planted: Planted, bank_folder: Path, settings: Settings
) -> None:
    """One machine, two nights: through ingest and Great Expectations as the DAG does it."""
    here = settings.model_copy(update={"sources": bank_folder})
    normal, downturn = (_failed_checks(here, day) for day in (date(2025, 12, 31), NIGHT))
    assert normal == {}
    assert set(downturn) == {"account_snapshots", "customer_snapshots"}
    assert {severity for failed in downturn.values() for severity in failed.values()} == {Severity.WARNING}
    assert any("bureau_score" in name for name in downturn["customer_snapshots"])
    assert any("days_past_due" in name for name in downturn["account_snapshots"])


def _failed_checks(settings: Settings, day: date) -> dict[str, dict[str, Severity]]:
    """Checks that did not pass, with their severity, by source. Everything is published on the way."""
    failed = {}
    for source in ("customer_snapshots", *(s for s in SOURCES if s != "customer_snapshots")):
        contract = contract_of(source)
        ingest.land(settings, contract, day)
        verdict = quality.check_source(settings, contract, day)
        ingest.publish(settings, contract, day)
        if found := {check.name: check.severity for check in verdict.checks if check.passed is not True}:
            failed[source] = found
    return failed
