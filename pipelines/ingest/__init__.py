"""Ingest: what a source delivered for a business date, taken in row by row, and published once it is checked."""

from pipelines.ingest.quarantine import BadRow, bad_rows
from pipelines.ingest.steps import available_dates, land, manifest, publish

__all__ = ["BadRow", "available_dates", "bad_rows", "land", "manifest", "publish"]
