"""How unusual a row is among everyone: an isolation forest, kept as JSON and scored in NumPy.

scikit-learn's IsolationForest (Liu, Ting and Zhou, ICDM 2008) grows the trees: random cuts through a small sample, where an
unusual row is alone after few cuts. It needs no label, so it learns from the people nobody investigated too. The trees are
then kept as lists of numbers, and the scorer here gives the very bits of scikit-learn's score_samples (tested).

An absent value must never make a row look more normal than the same row with a value, whichever it is. At a cut through an
absent value a row therefore goes both ways, and the way that isolates it sooner counts, tree by tree. Where the model file
says `missing: allowed`, absence is a documented state: the value counts as the median and a column of its own tells that it
is absent. In growing the trees every absent value is the median, so that no cut is spent on holes.

Categories become one column per frequent category and one for all rarer ones; at a category never seen a row goes both ways.

What is kept of the raw score is its rank: the share of the background that is less anomalous, from stored quantiles.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contracts import Value
from pipelines.evaluation.metrics import Scores
from pipelines.spec import Feature
from pipelines.training.rows import Features, Mask, numbers

FILE = "isolation_forest.json"
MOST_CATEGORIES = 12
_LARGEST = float(np.finfo(np.float32).max)
_LEVELS = np.unique(np.concatenate([np.arange(0, 1000) / 1000, 1 - 0.001 * np.arange(1, 21) / 20, [1.0]]))
_CHUNK = 8_192  # rows whose columns stay in the processor's cache while they pass through all trees
_CHUNK_ABSENT = 16_384

Matrix = npt.NDArray[np.float32]
Index = npt.NDArray[np.intp]


class NumberColumns(Value):
    """A number as one column, and where absence is a state a second one that is 1 for an absent value.

    Attributes:
        median: of the present values; what an absent one counts as in growing the trees, and in scoring too where absence
            is a state.
    """

    feature: str
    median: float
    absence_is_a_state: bool

    @property
    def width(self) -> int:
        return 2 if self.absence_is_a_state else 1

    def fill(self, features: Features, into: Matrix, doubted: Mask) -> None:
        """Write the columns; NaN where the value is absent and absence is no state, or doubted to be one."""
        values = numbers(features, self.feature)
        np.clip(values, -_LARGEST, _LARGEST, out=into[0], casting="unsafe")
        if self.absence_is_a_state:
            absent = np.isnan(values)
            into[0][absent] = self.median
            into[1] = absent
            into[:, absent & doubted] = np.nan


class CategoryColumns(Value):
    """A category as one column per frequent category, one for the rarer ones, and one for absence where it is a state.

    Attributes:
        frequent, rare: all categories seen. Of any other nobody knows how usual it is.
    """

    feature: str
    frequent: tuple[str, ...]
    rare: tuple[str, ...]
    absence_is_a_state: bool

    @property
    def width(self) -> int:
        return len(self.frequent) + 1 + int(self.absence_is_a_state)

    def fill(self, features: Features, into: Matrix, doubted: Mask) -> None:
        """Write the columns; NaN in all of them for a category never seen, and for an absent one where absence is no state or
        doubted to be one."""
        column = features[self.feature]
        seen = pc.index_in(column, pa.array([*self.frequent, *self.rare], pa.string()))
        position = np.asarray(pc.fill_null(seen, -1))
        for number in range(len(self.frequent)):
            into[number] = position == number
        into[len(self.frequent)] = position >= len(self.frequent)
        unknown = position < 0
        if self.absence_is_a_state:
            absent = np.asarray(column.is_null()) & ~doubted
            into[-1] = absent
            unknown &= ~absent
        into[:, unknown] = np.nan


class Tree(Value):
    """One tree as lists over its nodes, the root first; a leaf has itself for both children.

    Attributes:
        column, threshold: a row goes left when column <= threshold. Thresholds are 32-bit, as the columns are.
        depth: of a leaf, how many cuts it took to get there and would take to isolate what is left; 0 of other nodes.
    """

    column: tuple[int, ...]
    threshold: tuple[float, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    depth: tuple[float, ...]


class IsolationForest(Value):
    """A grown forest and the distribution of its scores over the background.

    Attributes:
        longest: number of cuts to the deepest leaf of any tree.
        usual_depth: mean depth over a tree in a sample without structure; the score is 2^(-mean depth / usual_depth).
        levels, quantiles: quantiles[i] is the score that a share levels[i] of the background lies below.
    """

    format: str = "vigil-isolation-forest-1"
    numbers: tuple[NumberColumns, ...]
    categories: tuple[CategoryColumns, ...]
    trees: tuple[Tree, ...]
    longest: int
    usual_depth: float
    levels: tuple[float, ...] = ()
    quantiles: tuple[float, ...] = ()

    def part(self, features: Features, doubted: Mask | None = None) -> Scores:
        """Share of the background that is less anomalous than each row, in [0, 1].

        Args:
            doubted: rows whose absences are no states, whatever the features say: an input failed.
        """
        return np.interp(self.scores(features, doubted), self.quantiles, self.levels, left=0.0, right=1.0)

    def without_gaps(self, features: Features) -> pa.Table:
        """The rows with the median or the most frequent category in place of each absent value that is no state."""
        usual: dict[str, float | str] = {n.feature: n.median for n in self.numbers if not n.absence_is_a_state}
        usual |= {c.feature: c.frequent[0] for c in self.categories if c.frequent and not c.absence_is_a_state}
        names = features.schema.names
        return pa.table({n: pc.fill_null(features[n], usual[n]) if n in usual else features[n] for n in names})

    def scores(self, features: Features, doubted: Mask | None = None) -> Scores:
        """Anomaly score of each row in (0, 1]; scikit-learn's score_samples with the other sign."""
        depths = np.empty(features.num_rows)
        for start in range(0, features.num_rows, _CHUNK_ABSENT):
            end = start + _CHUNK_ABSENT
            columns = columns_of(
                self, features.slice(start, _CHUNK_ABSENT), doubted if doubted is None else doubted[start:end]
            )
            depths[start:end] = self._depths(columns)
        scores: Scores = 2.0 ** (-(depths / (len(self.trees) * self.usual_depth)))
        return scores

    def _depths(self, columns: Matrix) -> Scores:
        absent = np.isnan(columns).any(axis=0)
        depths = np.empty(columns.shape[1])
        if not absent.any():
            self._nodes.depths(columns, depths)
            return depths
        whole = np.empty(int((~absent).sum()))
        self._nodes.depths(columns[:, ~absent], whole)
        depths[~absent], depths[absent] = whole, self._nodes.least_depths(columns[:, absent])
        return depths

    @cached_property
    def _nodes(self) -> _Nodes:
        return _Nodes.of(self.trees, self.longest)

    def files(self) -> dict[str, bytes]:
        """The forest as its one file."""
        return {FILE: json.dumps(self.model_dump(mode="json"), separators=(",", ":")).encode()}


def load(files: Mapping[str, bytes]) -> IsolationForest:
    """The forest from its file."""
    return IsolationForest.model_validate_json(files[FILE])


def columns_of(forest: IsolationForest, features: Features, doubted: Mask | None = None) -> Matrix:
    """The forest's columns of the rows, one row of the result per column; NaN is absent, also where absence would be a state
    but the row is doubted."""
    doubted = np.zeros(features.num_rows, bool) if doubted is None else doubted
    parts: tuple[NumberColumns | CategoryColumns, ...] = (*forest.numbers, *forest.categories)
    made = np.empty((sum(part.width for part in parts), features.num_rows), np.float32)
    first = 0
    for part in parts:
        part.fill(features, made[first : first + part.width], doubted)
        first += part.width
    return made


def grow(
    features: Mapping[str, Feature],
    everyone: pa.Table,
    background: pa.Table,
    *,
    seed: int,
    trees: int,
    max_samples: int,
) -> IsolationForest:
    """Grow the trees on everyone, and rank by the background.

    Args:
        everyone: features of all rows, labelled or not.
        background: of those nobody investigated; everyone where there are none.
        max_samples: rows each tree is grown on, at most as many as there are.
    """
    from sklearn.ensemble import IsolationForest as Grower

    bare = IsolationForest(
        numbers=tuple(_number(name, f, everyone) for name, f in features.items() if not f.categorical),
        categories=tuple(_category(name, f, everyone) for name, f in features.items() if f.categorical),
        trees=(),
        longest=0,
        usual_depth=1.0,
    )
    sample = min(max_samples, everyone.num_rows)
    # One job: the seed of each tree is drawn beforehand, so more would give the same trees, but not sooner at this size.
    grown = Grower(n_estimators=trees, max_samples=sample, random_state=seed, n_jobs=1)
    grown.fit(_without_holes(bare, everyone))
    forest = bare.model_copy(
        update={
            "trees": tuple(_tree(grown, number) for number in range(trees)),
            "longest": max(int(tree.tree_.max_depth) for tree in grown.estimators_),
            "usual_depth": _usual_depth(sample),
        }
    )
    return _ranked(forest, forest.scores(background if background.num_rows else everyone))


def _ranked(forest: IsolationForest, scores: Scores) -> IsolationForest:
    """The forest with the distribution of the scores: at each quantile the share that lies strictly below it."""
    quantiles = np.unique(np.quantile(scores, _LEVELS, method="inverted_cdf"))
    below = np.searchsorted(np.sort(scores), quantiles, side="left") / len(scores)
    return forest.model_copy(
        update={
            "levels": tuple(below.tolist()),
            "quantiles": tuple(quantiles.tolist()),
        }
    )


def _number(name: str, feature: Feature, everyone: pa.Table) -> NumberColumns:
    values = numbers(everyone, name)
    present = values[~np.isnan(values)]
    median = float(np.float32(np.median(present))) if len(present) else 0.0
    return NumberColumns(feature=name, median=median, absence_is_a_state=feature.missing == "allowed")


def _category(name: str, feature: Feature, everyone: pa.Table) -> CategoryColumns:
    counted = pc.value_counts(everyone[name].drop_null()).to_pylist()
    by_rows = [c["values"] for c in sorted(counted, key=lambda c: (-c["counts"], c["values"]))]
    return CategoryColumns(
        feature=name,
        frequent=tuple(by_rows[:MOST_CATEGORIES]),
        rare=tuple(sorted(by_rows[MOST_CATEGORIES:])),
        absence_is_a_state=feature.missing == "allowed",
    )


def _without_holes(forest: IsolationForest, everyone: pa.Table) -> Matrix:
    """What the trees are grown on, a row per row: absent numbers are the median, absent categories none of the columns."""
    columns = columns_of(forest, everyone)
    first = 0
    for number in forest.numbers:
        np.nan_to_num(columns[first], copy=False, nan=number.median)
        first += number.width
    np.nan_to_num(columns[first:], copy=False, nan=0.0)
    return np.ascontiguousarray(columns.T)


def _tree(grown: Any, number: int) -> Tree:
    tree = grown.estimators_[number].tree_
    leaf = tree.children_left < 0
    itself = np.arange(tree.node_count)
    depth = grown._decision_path_lengths[number] + grown._average_path_length_per_tree[number] - 1.0
    return Tree(
        column=tuple(np.where(leaf, 0, tree.feature).tolist()),
        threshold=tuple(_not_above(np.where(leaf, _LARGEST, tree.threshold)).tolist()),
        left=tuple(np.where(leaf, itself, tree.children_left).tolist()),
        right=tuple(np.where(leaf, itself, tree.children_right).tolist()),
        depth=tuple(np.where(leaf, depth, 0.0).tolist()),
    )


def _not_above(thresholds: Scores) -> Matrix:
    """The largest 32-bit numbers not above the thresholds: the same 32-bit values lie below either."""
    near = thresholds.astype(np.float32)
    return np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near)


def _usual_depth(sample: int) -> float:
    """Mean depth of an unsuccessful search in a binary search tree of so many rows (Liu et al. 2008, equation 1)."""
    if sample <= 2:
        return float(max(sample - 1, 0)) or 1.0
    return float(2.0 * (np.log(sample - 1.0) + np.euler_gamma) - 2.0 * (sample - 1.0) / sample)


@dataclass(frozen=True)
class _Nodes:
    """The nodes of all trees behind each other, as arrays."""

    roots: tuple[int, ...]
    longest: int
    column: Index
    threshold: Matrix
    child: Index
    depth: Scores

    @classmethod
    def of(cls, trees: tuple[Tree, ...], longest: int) -> _Nodes:
        sizes = [len(tree.column) for tree in trees]
        first = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.intp)
        children = [
            np.column_stack([tree.left, tree.right]).ravel() + at for tree, at in zip(trees, first, strict=True)
        ]
        return cls(
            roots=tuple(first.tolist()),
            longest=longest,
            column=np.concatenate([tree.column for tree in trees]).astype(np.intp),
            threshold=np.concatenate([tree.threshold for tree in trees]).astype(np.float32),
            child=np.concatenate(children).astype(np.intp),
            depth=np.concatenate([tree.depth for tree in trees]),
        )

    def depths(self, columns: Matrix, into: Scores) -> None:
        """Sum over the trees of each row's depth; no value may be absent."""
        for start in range(0, columns.shape[1], _CHUNK):
            chunk = np.ascontiguousarray(columns[:, start : start + _CHUNK])
            into[start : start + _CHUNK] = self._chunk_depths(chunk)

    def _chunk_depths(self, columns: Matrix) -> Scores:
        """All rows go down one level at a time. Sums are taken tree by tree, in scikit-learn's order."""
        rows, values = columns.shape[1], columns.ravel()
        at_column, row = self.column * rows, np.arange(rows)
        node, at = np.empty(rows, np.intp), np.empty(rows, np.intp)
        value, threshold = np.empty(rows, np.float32), np.empty(rows, np.float32)
        total = np.zeros(rows)
        for root in self.roots:
            node[:] = root
            for _ in range(self.longest):
                at_column.take(node, out=at, mode="clip")
                at += row
                values.take(at, out=value, mode="clip")
                self.threshold.take(node, out=threshold, mode="clip")
                node *= 2
                node += value > threshold
                self.child.take(node, out=at, mode="clip")
                node, at = at, node
            total += self.depth[node]
        return total

    def least_depths(self, columns: Matrix) -> Scores:
        """Sum over the trees of the least depth a row can have, whatever its absent values are taken to be."""
        total = np.zeros(columns.shape[1])
        least = np.empty(columns.shape[1])
        holed = np.asarray(np.isnan(columns).any(axis=1))
        for root in self.roots:
            least.fill(np.inf)
            for leaf, rows in self._ways(columns, holed, root):
                least[rows] = np.minimum(least[rows], self.depth[leaf])
            total += least
        return total

    def _ways(self, columns: Matrix, holed: Mask, root: int) -> Iterator[tuple[int, Index]]:
        """Each leaf with the rows that reach it; a row with an absent value goes both ways at a cut through it."""
        waiting = [(root, np.arange(columns.shape[1]))]
        while waiting:
            node, rows = waiting.pop()
            left, right = self.child[2 * node], self.child[2 * node + 1]
            if left == node:
                yield node, rows
                continue
            column = self.column[node]
            value = columns[column].take(rows, mode="clip")
            not_left = value > self.threshold[node]
            to_right = ~(value <= self.threshold[node]) if holed[column] else not_left
            waiting += [
                (int(child), chosen)
                for child, chosen in ((left, rows[~not_left]), (right, rows[to_right]))
                if len(chosen)
            ]
