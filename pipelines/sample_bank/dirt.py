"""Which rows are spoiled, and how many: drawn by rate, counted exactly."""

from __future__ import annotations

import numpy as np

from pipelines.sample_bank.columns import Numbers
from pipelines.sample_bank.draws import Stream, generator
from pipelines.sample_bank.truth import DIRTY_RATES

_ROWS_PER_SPOILED = 100
"""A kind spoils one row in a hundred at most, and none of fewer: a small bank's night is not blocked by its dirt."""


class Dirt:
    """Positions of the rows to spoil in one slice of a source, each row by one kind at most."""

    def __init__(self, source: str, seed: int, block: int, day: int, rows: int) -> None:
        rates = DIRTY_RATES[source]
        most = rows // _ROWS_PER_SPOILED
        if most:
            draw = generator(seed, Stream[f"DIRT_{source.upper()}"], block, day)
            counts = [min(int(draw.binomial(rows, rate)), most) for rate in rates.values()]
            spoiled = draw.choice(rows, size=sum(counts), replace=False)
            self._at = dict(zip(rates, np.split(spoiled, np.cumsum(counts)[:-1]), strict=True))
        else:
            self._at = dict.fromkeys(rates, np.zeros(0, dtype=np.int64))

    @property
    def counts(self) -> dict[str, int]:
        """Rows spoiled, by kind."""
        return {kind: len(at) for kind, at in self._at.items()}

    def at(self, kind: str) -> Numbers:
        """Row positions spoiled by a kind."""
        return self._at[kind]

    def with_repeats(self, rows: Numbers) -> Numbers:
        """The row numbers, and those of `duplicate_key` once more at the end."""
        repeats = self._at.get("duplicate_key")
        return rows if repeats is None or not len(repeats) else np.concatenate([rows, rows[repeats]])

    def is_null_key(self, rows: int) -> Numbers | None:
        """True where the key is to be null, for a slice that has `rows` rows with its repeats; None when nowhere."""
        at = self._at["null_key"]
        if not len(at):
            return None
        nulls = np.zeros(rows, dtype=bool)
        nulls[at] = True
        return nulls
