"""Verdicts on record: a page for people, a row in Postgres for the steps that come after."""

from __future__ import annotations

from datetime import date

from pipelines import database
from pipelines.contracts import QualityVerdict
from pipelines.ingest import records
from pipelines.quality import pages
from pipelines.settings import Settings


def last_verdict(settings: Settings, subject: str, business_date: date) -> QualityVerdict | None:
    """The newest verdict on a lake table (`landing/<source>`, `model_features/<model>`) and date; None when never judged."""
    with database.transaction(settings) as connection:
        found = records.newest_verdict(connection, subject, business_date)
    return found.verdict if found else None


def record(settings: Settings, verdict: QualityVerdict, rules: str) -> QualityVerdict:
    """Write the page, then the verdict that points to it."""
    paged = verdict.model_copy(update={"data_docs": pages.write(settings, verdict)})
    records.record_verdict(settings, paged, rules)
    pages.write_index(settings)
    return paged
