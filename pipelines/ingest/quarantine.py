"""The rows that broke a contract, as they wait in the lake for somebody to look at them."""

from __future__ import annotations

from contextlib import closing
from datetime import date

from pipelines import lake
from pipelines.contracts import Value
from pipelines.ingest.steps import QUARANTINE
from pipelines.settings import Settings
from pipelines.spec import Contract


class BadRow(Value):
    """A quarantined row. `content` is the row as JSON: tokens for ids, no protected value, digits of free text as 9."""

    source: str
    business_date: date
    source_line: int
    reason: str
    content: str


def bad_rows(
    settings: Settings, contract: Contract, business_date: date, reason: str | None, most: int
) -> tuple[BadRow, ...]:
    """The first `most` quarantined rows of the newest landing of a date, by line of the file; of one reason if given."""
    house, table = lake.Lake(settings), f"{QUARANTINE}/{contract.source}"
    if business_date not in house.dates(table):
        return ()
    with closing(lake.connect(settings)) as duck:
        house.scan(duck, "bad", table, dates=[business_date])
        found = duck.execute(
            "SELECT source_line, reason, content FROM bad WHERE ? IS NULL OR reason = ? "
            "ORDER BY source_line, reason LIMIT ?",
            [reason, reason, most],
        ).fetchall()
    return tuple(
        BadRow(source=contract.source, business_date=business_date, source_line=line, reason=why, content=content)
        for line, why, content in found
    )
