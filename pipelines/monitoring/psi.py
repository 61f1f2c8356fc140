"""Population stability index (PSI), exact, over everyone: how far a distribution moved from its reference.

    PSI = sum over bins of (a - e) * ln(a / e)        a, e: share of the actual and of the expected rows in the bin

Formula: Lewis, An Introduction to Credit Scoring (1994), with its convention of 0.10 and 0.25; Siddiqi, Credit Risk
Scorecards (2006). It is the Jeffreys divergence of the two binned distributions. Without any change it is distributed
about as (1/n + 1/m) * chi-squared with bins - 1 degrees of freedom (Yurdakul, Statistical Properties of Population
Stability Index, Western Michigan University, 2018), so a small sample exceeds 0.10 by chance; `chance_99` says how far.

A share below FLOOR counts as FLOOR, so a bin that is empty on one side weighs heavily and does not vanish; a bin empty on
both sides adds nothing. Missing values and categories not seen before are bins of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contracts import Value

FLOOR = 1e-4
_BLOCK = 32_768  # 256 KB of doubles: stays in the processor's cache while every edge passes over it

Counts = npt.NDArray[np.int64]


class Psi(Value):
    """One index with what is needed to judge it.

    Attributes:
        value: the index, 0 for equal distributions; None when either side has no rows.
        bins: bins that hold a row on either side.
        expected_rows, actual_rows: sample sizes.
        chance_99: value that 99 of 100 samples of these sizes stay below when nothing changed; None with `value`.
    """

    value: float | None
    bins: int
    expected_rows: int
    actual_rows: int
    chance_99: float | None


def psi(expected: npt.ArrayLike, actual: npt.ArrayLike) -> Psi:
    """The index of two histograms over the same bins, as row counts. Raises ValueError when the bins cannot be the same."""
    expected, actual = np.asarray(expected, np.float64), np.asarray(actual, np.float64)
    if expected.shape != actual.shape or expected.ndim != 1 or not _are_counts(expected, actual):
        raise ValueError(f"two lists of counts over the same bins are needed, not {expected.shape} and {actual.shape}")
    n, m = expected.sum(), actual.sum()
    used = (expected > 0) | (actual > 0)
    bins = int(used.sum())
    if n == 0 or m == 0:
        return Psi(value=None, bins=bins, expected_rows=int(n), actual_rows=int(m), chance_99=None)
    e = np.maximum(expected[used] / n, FLOOR)
    a = np.maximum(actual[used] / m, FLOOR)
    value = float(np.sum((a - e) * np.log(a / e)))
    return Psi(value=value, bins=bins, expected_rows=int(n), actual_rows=int(m), chance_99=chance(int(n), int(m), bins))


def chance(expected_rows: int, actual_rows: int, bins: int, quantile: float = 0.99) -> float:
    """PSI that `quantile` of samples of these sizes stay below when nothing changed (Yurdakul 2018)."""
    from scipy.special import chdtri

    if bins < 2:
        return 0.0
    return float((1 / expected_rows + 1 / actual_rows) * chdtri(bins - 1, 1 - quantile))


def count_numbers(values: npt.NDArray[np.floating], edges: Sequence[float]) -> Counts:
    """Rows per bin: below the first edge, between edges (lower edge included), from the last edge on, and missing.

    Args:
        values: any length; NaN is missing, infinities fall into the outer bins.
        edges: ascending inner edges, k of them.

    Returns:
        k + 2 counts that add up to `len(values)`; the last is the missing ones.
    """
    cuts = np.asarray(edges, np.float64)
    below = np.zeros(len(cuts) + 1, np.int64)
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        for i, cut in enumerate(cuts):
            below[i] += np.count_nonzero(block < cut)
        below[-1] += np.count_nonzero(block == block)  # NaN differs from itself
    return np.diff(below, prepend=0, append=len(values))


def count_categories(values: pa.Array | pa.ChunkedArray, categories: Sequence[str]) -> Counts:
    """Rows per category in the given order, then of categories not among them, then missing."""
    position = pc.fill_null(pc.index_in(values, pa.array(categories, pa.string())), len(categories))
    counts = np.bincount(position.to_numpy(zero_copy_only=False), minlength=len(categories) + 1)
    return np.append(counts[:-1], [counts[-1] - values.null_count, values.null_count])


def column_psi(
    table: pa.Table, edges: Mapping[str, Sequence[float]], expected: Mapping[str, npt.ArrayLike]
) -> dict[str, Psi]:
    """PSI of every numeric column of `edges`, over all rows, against the reference counts in `count_numbers` order."""
    return {name: psi(expected[name], count_numbers(_numbers(table[name]), cuts)) for name, cuts in edges.items()}


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[np.floating]:
    """The column as floating point, missing values as NaN; without a copy where it is that already."""
    floating: pa.ChunkedArray = column if pa.types.is_floating(column.type) else pc.cast(column, pa.float64())
    numbers: npt.NDArray[np.floating] = floating.to_numpy()
    return numbers


def _are_counts(*histograms: npt.NDArray[np.float64]) -> bool:
    return all(np.isfinite(h).all() and (h >= 0).all() for h in histograms)
