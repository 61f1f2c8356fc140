"""Exact binomial bounds on a yield."""

from __future__ import annotations

from scipy.special import betaincinv

from pipelines.contracts import Value


class Yield(Value):
    """`productive` of `known` outcomes, with the two-sided exact bounds of Clopper and Pearson (Biometrika 26, 1934).

    Attributes:
        rate: None when no outcome is known; the bounds are then 0 and 1, for nothing was learned.
    """

    known: int
    productive: int
    rate: float | None
    at_least: float
    at_most: float


def yield_of(known: int, productive: int, confidence: float) -> Yield:
    """The yield of so many known outcomes. Raises ValueError when more are productive than known."""
    if not 0 <= productive <= known:
        raise ValueError(f"{productive} productive of {known} known")
    tail = (1 - confidence) / 2
    missed = known - productive
    return Yield(
        known=known,
        productive=productive,
        rate=productive / known if known else None,
        at_least=float(betaincinv(productive, missed + 1, tail)) if productive else 0.0,
        at_most=float(betaincinv(productive + 1, missed, 1 - tail)) if missed else 1.0,
    )
