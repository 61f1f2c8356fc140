"""Shapley values of symmetric trees by table: what each feature adds to a row depends only on the leaf the row reaches.

A tree of depth d has 2^d leaves, so its Shapley values are a table of leaves by features, made once and added up for every row.
The values are those of the path-dependent tree game (Lundberg et al., Nature Machine Intelligence 2, 2020, algorithm 2), in which
a feature that is left out is averaged over both answers by the weights of the rows the tree was fitted on; they are the ones that
CatBoost's ShapValues gives. CatBoost drops a branch that no such row reached; where that would lose part of the value of a leaf,
both answers count alike instead, so that baseline and contributions always add up to the score.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import factorial
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.evaluation.metrics import Scores
from pipelines.training.catboost_trees import Question, Tree, Trees

DEEPEST = 8  # a deeper tree has more coalitions of features and leaves than tables are good for
_BLOCK = 65_536  # rows at once: fewer, and two threads wait for each other more than they work (measured)
Column = npt.NDArray[Any]


@dataclass(frozen=True)
class _Table:
    """One tree: its questions, first the one that is the leaf's lowest bit, and per column what each leaf adds to it."""

    questions: tuple[Question, ...]
    columns: tuple[int, ...]
    adds: tuple[Scores, ...]


@dataclass(frozen=True)
class TreeShapley:
    """The tables of all trees.

    Attributes:
        baseline: mean log odds over the rows the trees were fitted on.
        columns: how many columns the trees were fitted on.
    """

    baseline: float
    columns: int
    tables: tuple[_Table, ...]

    def of(self, columns: Sequence[Column], threads: int) -> Scores:
        """(rows, columns) contributions. The same bytes for any number of threads.

        Args:
            columns: the trees' columns in their order: numbers as float32, NaN where absent; categories as their positions.
        """
        rows = len(columns[0])
        found = np.empty((rows, self.columns))

        def work(start: int) -> None:
            block = slice(start, start + _BLOCK)
            found[block] = self._block([column[block] for column in columns]).T

        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(work, range(0, rows, _BLOCK)):
                pass
        return found

    def _block(self, columns: Sequence[Column]) -> Scores:
        rows = len(columns[0])
        total, added = np.zeros((self.columns, rows)), np.empty(rows)
        leaf, answer, index = np.empty(rows, np.uint8), np.empty(rows, np.uint8), np.empty(rows, np.intp)
        for table in self.tables:
            leaf[:] = 0
            for bit, question in enumerate(table.questions):
                question.answer(columns[question.column], out=answer.view(bool))
                np.left_shift(answer, bit, out=answer)
                np.bitwise_or(leaf, answer, out=leaf)
            np.copyto(index, leaf)
            for column, adds in zip(table.columns, table.adds, strict=True):
                np.take(adds, index, out=added, mode="clip")
                total[column] += added
        return total


def shapley_of(trees: Trees, columns: int) -> TreeShapley | None:
    """The tables of a model's trees; None when they cannot be made: a tree deeper than DEEPEST, without leaf weights, or with a
    question about more than one column."""
    if not all(_allows(tree) for tree in trees.trees):
        return None
    alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, tree in enumerate(trees.trees):
        alike[_pattern(tree)].append(number)
    tables: dict[int, _Table] = {}
    baseline = trees.bias
    for pattern, numbers in alike.items():
        chosen = [trees.trees[number] for number in numbers]
        means, added = _shapley(pattern, np.stack([t.values for t in chosen]), np.stack([t.weights for t in chosen]))
        baseline += trees.scale * means.sum()
        for number, tree, adds in zip(numbers, chosen, added, strict=True):
            columns_asked = _distinct(question.column for question in tree.questions)
            tables[number] = _Table(tree.questions, columns_asked, tuple(np.ascontiguousarray(trees.scale * adds)))
    return TreeShapley(float(baseline), columns, tuple(tables[number] for number in range(len(trees.trees))))


def _allows(tree: Tree) -> bool:
    return len(tree.asks) <= DEEPEST and len(tree.questions) == len(tree.asks) and bool(tree.weights.any())


def _pattern(tree: Tree) -> tuple[int, ...]:
    """Which of its distinct columns each question asks about: trees of one pattern are worked out together."""
    place = {column: n for n, column in enumerate(_distinct(question.column for question in tree.questions))}
    return tuple(place[question.column] for question in tree.questions)


def _distinct(columns: Iterable[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(columns))


def _shapley(pattern: tuple[int, ...], values: Scores, weights: Scores) -> tuple[Scores, Scores]:
    """Per tree its mean, and (players, leaves) what each distinct column adds at each leaf.

    Args:
        values, weights: (trees, leaves).
    """
    trees, depth = len(values), len(pattern)
    shape = (trees, *(2,) * depth)
    value, weight = values.reshape(shape), weights.reshape(shape)
    mean, adds = _game(pattern, value, weight, dropping=True)
    lost = (weights == 0) & (values != 0)
    if lost.any():
        _, whole = _game(pattern, value, weight, dropping=False)
        adds = np.where(lost[:, None, :], whole, adds)
    return mean, adds


def _game(pattern: tuple[int, ...], value: Scores, weight: Scores, *, dropping: bool) -> tuple[Scores, Scores]:
    players = max(pattern, default=-1) + 1
    worth = [_worth(pattern, value, weight, coalition, dropping=dropping) for coalition in range(1 << players)]
    adds = np.zeros((len(value), players, value[0].size))
    for player in range(players):
        for coalition in range(1 << players):
            if not coalition >> player & 1:
                members = coalition.bit_count()
                share = factorial(members) * factorial(players - members - 1) / factorial(players)
                adds[:, player] += share * (worth[coalition | 1 << player] - worth[coalition])
    return worth[0][:, 0], adds


def _worth(pattern: tuple[int, ...], value: Scores, weight: Scores, coalition: int, *, dropping: bool) -> Scores:
    """(trees, leaves) what the tree is expected to give at each leaf when only the coalition's columns are known.

    The question of the lowest bit is the deepest, so answers are averaged from the last axis to the first.
    """
    depth = len(pattern)
    for bit, player in enumerate(pattern):
        axis = depth - bit
        below = weight.sum(axis=tuple(range(axis + 1, depth + 1)), keepdims=True)
        if coalition >> player & 1:
            value = np.where(below > 0, value, 0.0) if dropping else value
        else:
            both = below.sum(axis=axis, keepdims=True)
            unknown = np.full_like(below, 0.0 if dropping else 0.5)
            share = np.divide(below, both, out=unknown, where=both > 0)
            value = np.broadcast_to((share * value).sum(axis=axis, keepdims=True), value.shape)
    return np.broadcast_to(value, weight.shape).reshape(len(weight), -1)
