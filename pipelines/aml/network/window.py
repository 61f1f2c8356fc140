"""Moments of a business date as SQL. A business date ends at midnight UTC; a window of n days is the last n whole days."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta


def end_of(on: date) -> str:
    """The first moment that is no longer known on the business date."""
    return _moment(on + timedelta(days=1))


def start_of(on: date, days: int) -> str:
    """The first moment of the last `days` days up to and with the business date."""
    return _moment(on + timedelta(days=1 - days))


def day_of(column: str) -> str:
    """Whole days since 1970-01-01, UTC."""
    return f"CAST(epoch_us({column}) // 86400000000 AS INTEGER)"


def _moment(day: date) -> str:
    return f"TIMESTAMPTZ '{datetime.combine(day, time.min, UTC).isoformat()}'"
