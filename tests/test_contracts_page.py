"""docs/contracts.md names every key of a contract, and no key that does not exist."""

from __future__ import annotations

import re

import pytest
from pydantic import BaseModel

from pipelines.ingest import reading, rules
from pipelines.settings import REPOSITORY
from pipelines.spec import source

PAGE = (REPOSITORY / "docs" / "contracts.md").read_text(encoding="utf-8")
PARTS: dict[str, list[type[BaseModel]]] = {
    "The file": [source.Contract],
    "`location`": [source.FilesLocation, source.PostgresLocation],
    "`business_date`": [source.BusinessDateRule],
    "`columns`": [source.Column],
}
BLOCKS = {
    "volume": source.Volume,
    "freshness": source.Freshness,
    "references": source.Reference,
    "expectations": source.Expectation,
}


def names(cell: str) -> set[str]:
    return set(re.findall(r"`([a-z_]+)`", cell))


def rows(heading: str) -> list[list[str]]:
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    table = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return table[2:]


@pytest.mark.parametrize("heading", PARTS)
def test_a_section_lists_exactly_the_keys_that_exist(heading: str) -> None:
    documented = set().union(*(names(row[0]) for row in rows(heading)))
    assert documented == {field for part in PARTS[heading] for field in part.model_fields}


def test_the_blocks_of_table_checks_list_exactly_their_keys() -> None:
    documented = {min(names(row[0])): names(row[1]) for row in rows("Checks of the whole table")}
    assert documented == {block: set(part.model_fields) for block, part in BLOCKS.items()}


def test_every_reason_for_quarantine_is_explained() -> None:
    known = {
        **{f"<column>:{rule}": meaning for rule, meaning in rules.COLUMN_REASONS.items()},
        **{f"key:{rule}": meaning for rule, meaning in rules.KEY_REASONS.items()},
        **{f"row:{rule}": meaning for rule, meaning in reading.ROW_REASONS.items()},
    }
    table = PAGE.split("| reason | the row |\n| --- | --- |\n")[1].split("\n\n")[0]
    documented = [line.strip("| ").split(" | ") for line in table.splitlines()]
    assert {reason.strip("`"): meaning for reason, meaning in documented} == known
