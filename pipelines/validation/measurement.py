"""What a gate measures, before any rule is applied to it."""

from __future__ import annotations

from pipelines.contracts import Value


class Measurement(Value):
    """One number with its interval, for everyone or for one segment.

    Attributes:
        metric: name of the measure, as rules name it.
        segment: empty for everyone.
        value: None (or not finite) where it could not be assessed; `evidence` then says why.
        low, high: ends of its confidence interval, where it has one.
        evidence: what was measured on what; counts and names only.
    """

    metric: str
    value: float | None
    evidence: str
    segment: str = ""
    low: float | None = None
    high: float | None = None
