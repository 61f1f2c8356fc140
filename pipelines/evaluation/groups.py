"""Groups of rows that one feature puts together: its categories, its absence, its common values, its ranges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.evaluation.metrics import Labels, Scores

RANGES = 20
_TAIL = 0.01


@dataclass(frozen=True)
class Group:
    """Rows of a feature's group and the events among them."""

    description: str
    rows: int
    events: int


def number_groups(values: Scores, label: Labels, least: int) -> Iterator[Group]:
    """Of a number: absent, present, each common value, twenty even ranges, and its two tails; each of at least `least` rows."""
    absent = np.isnan(values)
    yield from _large("absent", label[absent], least)
    if absent.any():
        yield from _large("present", label[~absent], least)
    present = values[~absent]
    order = np.argsort(present, kind="stable")
    ranked, hits = present[order], np.append(0, np.cumsum(label[~absent][order], dtype=np.int64))
    ends = np.append(np.flatnonzero(np.diff(ranked)) + 1, len(ranked))  # where each distinct value stops
    yield from _common_values(ranked, hits, ends, least)
    for start, stop in _spans(len(ranked), ends, least):
        rows = stop - start
        if rows >= least:
            name = f"from {ranked[start]:.6g} to {ranked[stop - 1]:.6g}"
            yield Group(name, int(rows), int(hits[stop] - hits[start]))


def category_groups(column: pa.ChunkedArray, label: Labels, least: int) -> Iterator[Group]:
    """Of a category: absent, each category of at least `least` rows, and the rarer ones together."""
    _, names, rows, events = _counted(column, label)
    for name, n, e in zip(names, rows, events, strict=True):
        if n >= least:
            yield Group("absent" if name is None else f"category {name}", int(n), int(e))
    rare = rows < least
    if rows[rare].sum() >= least:
        yield Group("rare categories together", int(rows[rare].sum()), int(events[rare].sum()))


def category_rates(column: pa.ChunkedArray, label: Labels, least: int) -> Scores:
    """Event rate of each row's category, rare ones together: the score the feature alone would give."""
    codes, _, rows, events = _counted(column, label)
    rare = rows < least
    rates = np.divide(events, rows)
    if rare.any():
        rates[rare] = events[rare].sum() / rows[rare].sum()
    scores: Scores = rates[codes]
    return scores


def _counted(
    column: pa.ChunkedArray, label: Labels
) -> tuple[npt.NDArray[np.intp], list[str | None], npt.NDArray[np.intp], Scores]:
    encoded = column.combine_chunks().dictionary_encode("encode")
    codes = encoded.indices.to_numpy()
    names = encoded.dictionary.to_pylist()
    events = np.bincount(codes, label, len(names)).astype(np.float64)
    return codes, names, np.bincount(codes, minlength=len(names)), events


def _common_values(
    ranked: Scores, hits: npt.NDArray[np.int64], ends: npt.NDArray[np.intp], least: int
) -> Iterator[Group]:
    starts = np.append(0, ends[:-1])
    common = ends - starts >= least
    for start, stop in zip(starts[common], ends[common], strict=True):
        yield Group(f"value {ranked[start]:.6g}", int(stop - start), int(hits[stop] - hits[start]))


def _spans(rows: int, ends: npt.NDArray[np.intp], least: int) -> Iterator[tuple[int, int]]:
    """Even ranges and tails as positions, cut only between distinct values."""
    cuts = np.unique(np.append(0, _snapped(np.arange(1, RANGES + 1) / RANGES * rows, ends)))
    yield from pairwise(cuts.tolist())
    for tail in sorted({least, max(least, round(_TAIL * rows))}):
        yield 0, int(_snapped(np.array([tail]), ends)[0])
        begins = np.append(0, ends[:-1])
        yield int(begins[np.searchsorted(begins, max(rows - tail, 0), side="right") - 1]), rows


def _snapped(positions: npt.NDArray[np.floating], ends: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """The first end of a distinct value at or after each position."""
    found: npt.NDArray[np.intp] = ends[np.minimum(np.searchsorted(ends, positions, side="left"), len(ends) - 1)]
    return found


def _large(description: str, label: Labels, least: int) -> Iterator[Group]:
    if len(label) >= least:
        yield Group(description, len(label), int(label.sum()))
