"""A drafted contract says what a file shows of itself: which rows are whose, and which date is theirs."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import yaml

from pipelines.cli.draft import draft_contract
from pipelines.settings import Settings
from pipelines.spec import Contract


@pytest.fixture
def machine(tmp_path: Path) -> Settings:
    return Settings(sources=tmp_path)


def drafted(machine: Settings, name: str, header: str, *lines: str) -> Contract:
    file = machine.sources / name
    file.write_text("\n".join([header, *lines]) + "\n")
    return Contract.model_validate(yaml.safe_load(draft_contract(machine, file, None, "a@b.example")))


def test_the_line_is_the_id_where_nothing_tells_the_rows_apart(machine: Settings) -> None:
    found = drafted(machine, "cards.csv", "id,limit", ",100", ",100", ",200")
    assert (found.key, found.columns["line_id"].id_from) == (("line_id",), "line")
    assert found.columns["id"].token is None
    assert found.columns["id"].nullable
    assert found.business_date.cadence == "once"


@pytest.mark.parametrize(
    ("days", "cadence"), [(("2026-01-31", "2026-02-28"), "month"), (("2026-01-30", "2026-01-31"), "day")]
)
def test_a_date_that_repeats_is_the_business_date(machine: Settings, days: tuple[str, ...], cadence: str) -> None:
    lines = [f"{n},{days[n % 2]},2001-0{n}-01" for n in range(1, 7)]
    found = drafted(machine, "loans.csv", "loan_id,issued,born", *lines)
    assert (found.business_date.column, found.business_date.cadence) == ("issued", cadence)
    assert found.columns["loan_id"].token == "loan"


def test_a_date_in_the_name_of_the_file_is_where_each_date_comes(machine: Settings) -> None:
    found = drafted(machine, "loans_2026-01-31.csv", "loan_id,limit", "1,10", "2,20")
    assert (found.source, found.location.path) == ("loans", "loans_{business_date}.csv")
    assert found.business_date.cadence == "day"
    assert found.location.path.format(business_date=date(2026, 1, 31)) == "loans_2026-01-31.csv"


def test_the_delimiter_and_the_way_dates_are_written_are_seen(machine: Settings) -> None:
    found = drafted(machine, "loans.csv", "loan_id;issued", *(f"{n};{n + 12}/01/2026" for n in range(1, 9)))
    assert found.location.delimiter == ";"
    assert (found.columns["issued"].type, found.columns["issued"].format) == ("date", "%d/%m/%Y")
