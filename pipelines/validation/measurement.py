"""What a gate measures, before any rule is applied to it."""

from __future__ import annotations

from collections.abc import Callable

from pipelines.contracts import Blocked, DataFault, Value


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


def assessed(metric: str, measure: Callable[[], Measurement], segment: str = "") -> Measurement:
    """What `measure` gives; a measurement without a value, with the reason, where it finds that nothing can be measured."""
    try:
        return measure()
    except (Blocked, DataFault) as reason:
        return Measurement(metric=metric, segment=segment, value=None, evidence=str(reason))
