"""Exact counts of what was written, summed over blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date

import numpy as np

from pipelines.sample_bank.columns import Numbers


class Tally:
    """Rows by source and date, dirty rows by source, date and kind, events by name and month (YYYY-MM), and whatever else is
    planted by name and kind."""

    def __init__(self) -> None:
        self._rows: Counter[tuple[str, date]] = Counter()
        self._dirty: Counter[tuple[str, date, str]] = Counter()
        self._events: Counter[tuple[str, str]] = Counter()
        self._planted: Counter[tuple[str, str]] = Counter()

    def wrote(self, source: str, day: date, rows: int, dirty: dict[str, int]) -> None:
        """Count one table."""
        self._rows[source, day] += rows
        for kind, count in dirty.items():
            self._dirty[source, day, kind] += count

    def happened(self, name: str, on_days: Numbers) -> None:
        """Count events by the month of their day number."""
        months, counts = np.unique(on_days.astype("datetime64[D]").astype("datetime64[M]"), return_counts=True)
        self._events.update({(name, str(month)): int(count) for month, count in zip(months, counts, strict=True)})

    def planted(self, name: str, kinds: Mapping[str, int]) -> None:
        """Count something by kind."""
        self._planted.update({(name, kind): count for kind, count in kinds.items()})

    def add(self, other: Tally) -> None:
        """Take in the counts of another block."""
        self._rows.update(other._rows)
        self._dirty.update(other._dirty)
        self._events.update(other._events)
        self._planted.update(other._planted)

    @property
    def rows(self) -> dict[str, dict[date, int]]:
        sources = _first_parts(self._rows)
        return {source: {d: n for (s, d), n in self._rows.items() if s == source} for source in sources}

    @property
    def dirty(self) -> dict[str, dict[date, dict[str, int]]]:
        made: dict[str, dict[date, dict[str, int]]] = {}
        for (source, day, kind), count in self._dirty.items():
            made.setdefault(source, {}).setdefault(day, {})[kind] = count
        return made

    @property
    def events(self) -> dict[str, dict[str, int]]:
        return _by_first_part(self._events)

    @property
    def laundering(self) -> dict[str, dict[str, int]]:
        return _by_first_part(self._planted)


def _by_first_part(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    ordered = sorted(counts.items())
    return {name: {second: n for (first, second), n in ordered if first == name} for name in _first_parts(counts)}


def _first_parts(keys: Iterable[tuple[str, object]]) -> list[str]:
    return sorted({first for first, _ in keys})
