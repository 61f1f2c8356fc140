"""Bins of one feature with their weight of evidence: what the scorecard is made of and what stands in for absent values.

Weight of evidence of a bin = ln(odds of the event in the bin / odds in all rows), so positive is riskier than average;
half a row is added to each count (Haldane 1956), so an empty cell is finite. Siddiqi, Credit Risk Scorecards (2006). Where
the model file declares a direction, neighbouring bins that break it are pooled (pool adjacent violators, Barlow 1972).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.evaluation.metrics import Labels, Scores
from pipelines.spec import Feature

Direction = Literal["increasing", "decreasing", "none"]
Counts = npt.NDArray[np.float64]

MOST_BINS = 20
MOST_BINS_WITHOUT_DIRECTION = 8
FEWEST_ROWS = 50


@dataclass(frozen=True)
class NumberBins:
    """Bins of a number, lower edge included: bin i holds edges[i - 1] <= value < edges[i].

    Attributes:
        edges: ascending inner edges, k of them.
        woe: weight of evidence of the k + 1 bins.
        typical: median of the values in each bin.
        missing: weight of evidence of an absent value.
    """

    edges: tuple[float, ...]
    woe: tuple[float, ...]
    typical: tuple[float, ...]
    missing: float


@dataclass(frozen=True)
class CategoryBins:
    """Weight of evidence of each category, of an absent value, and of one too rare or never seen."""

    woe: dict[str, float]
    missing: float
    other: float


def bin_numbers(values: Scores, label: Labels, feature: Feature) -> NumberBins:
    """Bins of a numeric feature; NaN is absent. A feature without any value has one bin of weight 0."""
    absent = np.isnan(values)
    present, hits = values[~absent], label[~absent]
    missing = _missing_woe(label[absent], label, feature)
    if not len(present):
        return NumberBins((), (0.0,), (0.0,), missing)
    edges = _even_edges(present, MOST_BINS if feature.monotone != "none" else MOST_BINS_WITHOUT_DIRECTION)
    index = np.searchsorted(edges, present, side="right")
    events, rows = _counted(index, hits, len(edges) + 1)
    kept = _pooled(events, rows, feature.monotone)
    edges, events, rows = edges[kept[1:] - 1], np.add.reduceat(events, kept), np.add.reduceat(rows, kept)
    index = np.searchsorted(edges, present, side="right")
    return NumberBins(
        edges=tuple(edges.tolist()),
        woe=tuple(_woe(events, rows, label).tolist()),
        typical=tuple(float(np.median(present[index == i])) for i in range(len(edges) + 1)),
        missing=missing,
    )


def bin_categories(column: pa.ChunkedArray, label: Labels, feature: Feature) -> CategoryBins:
    """Weight of evidence per category with enough rows; null is absent. Rare and unseen ones count as at least average."""
    absent = column.is_null().to_numpy()
    present, hits = column.drop_null().combine_chunks().dictionary_encode(), label[~absent]
    index, names = present.indices.to_numpy(), present.dictionary.to_pylist()
    events, rows = _counted(index, hits, len(names))
    frequent = rows >= FEWEST_ROWS
    woe = dict(zip(names, _woe(events, rows, label).tolist(), strict=True))
    return CategoryBins(
        woe={name: woe[name] for name, often in sorted(zip(names, frequent, strict=True)) if often},
        missing=_missing_woe(label[absent], label, feature),
        other=max(0.0, _group_woe(hits[~frequent[index]], label)),
    )


def stand_in(bins: NumberBins, feature: Feature) -> float:
    """The present value an absent one counts as, where the model cannot learn absence on its own.

    The typical value of the least risky bin that is as risky as `bins.missing`: for `missing: review` never less risky than
    average, so that leaving a field empty does not make an account look better than the rest.
    """
    woe = np.array(bins.woe)
    risky_enough = np.flatnonzero(woe >= bins.missing)
    chosen = risky_enough[np.argmin(woe[risky_enough])] if len(risky_enough) else int(np.argmax(woe))
    return bins.typical[int(chosen)]


def _counted(index: npt.NDArray[np.intp], label: Labels, bins: int) -> tuple[Counts, Counts]:
    """Events and rows per bin."""
    rows = np.bincount(index, minlength=bins).astype(np.float64)
    return np.bincount(index, label, bins).astype(np.float64), rows


def _missing_woe(absent: Labels, label: Labels, feature: Feature) -> float:
    learnt = _group_woe(absent, label)
    return learnt if feature.missing == "allowed" else max(0.0, learnt)


def _group_woe(group: Labels, label: Labels) -> float:
    if len(group) < FEWEST_ROWS:
        return 0.0
    return float(_woe(np.array([float(group.sum())]), np.array([float(len(group))]), label)[0])


def _woe(events: Counts, rows: Counts, label: Labels) -> Counts:
    everywhere = np.log(label.sum() / (len(label) - label.sum()))
    odds: Counts = np.log((events + 0.5) / (rows - events + 0.5)) - everywhere
    return odds


def _even_edges(present: Scores, most: int) -> Scores:
    """Edges that leave about equally many rows in each bin; a value that fills a bin alone gets one."""
    ranks = np.arange(1, most) / most
    candidates = np.unique(np.quantile(present, ranks, method="inverted_cdf"))
    edges: Scores = candidates[candidates > present.min()]
    return edges


def _pooled(events: Counts, rows: Counts, direction: Direction) -> npt.NDArray[np.intp]:
    """First old bin of each new one, after pooling bins that are too small or break the direction."""
    pools: list[_Pool] = []
    for i, (e, n) in enumerate(zip(events, rows, strict=True)):
        pools.append(_Pool(i, float(e), float(n)))
        while len(pools) > 1 and _belong_together(direction, *pools[-2:]):
            pools[-2:] = [pools[-2].with_next(pools[-1])]
    while len(pools) > 1 and (pools[-1].rows < FEWEST_ROWS or _belong_together(direction, *pools[-2:])):
        pools[-2:] = [pools[-2].with_next(pools[-1])]
    return np.array([pool.first for pool in pools])


@dataclass(frozen=True)
class _Pool:
    first: int
    events: float
    rows: float

    @property
    def odds(self) -> float:
        return (self.events + 0.5) / (self.rows - self.events + 0.5)

    def with_next(self, right: _Pool) -> _Pool:
        return _Pool(self.first, self.events + right.events, self.rows + right.rows)


def _belong_together(direction: Direction, left: _Pool, right: _Pool) -> bool:
    if left.rows < FEWEST_ROWS:
        return True
    against = {"increasing": right.odds <= left.odds, "decreasing": right.odds >= left.odds, "none": False}
    return against[direction]
