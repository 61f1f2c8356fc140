"""The trees of a CatBoost model as numbers: their questions, leaves, and which leaves a row could reach with other values.

CatBoost's trees are symmetric: all nodes of one level ask the same question, and bit i of a leaf's number is the answer to
question i (Prokhorenkova et al., NeurIPS 2018).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.evaluation.metrics import Scores
from pipelines.training.rows import Mask

_DEEPEST = 8  # of a deeper tree the highest leaf counts; a table of its ways would have more than 65,536 entries
Leaves = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Question:
    """A question about one column.

    Attributes:
        border: a number's answer is yes above it; CatBoost compares in single precision.
        absent: the answer of an absent number.
        yes: the positions of the categories that answer yes; None for a number.
    """

    column: int
    border: np.floating[Any] | float = 0.0
    absent: bool = False
    yes: Mask | None = None

    def answer(self, values: npt.NDArray[Any], out: Mask) -> None:
        """Whether each value answers yes. Numbers are float32, NaN where absent; categories are positions."""
        if self.yes is not None:
            np.take(self.yes, values, out=out, mode="clip")
        elif self.absent:
            np.logical_not(np.less_equal(values, self.border, out=out), out=out)
        else:
            np.greater(values, self.border, out=out)


@dataclass(frozen=True)
class Tree:
    """One tree.

    Attributes:
        asks: per question the columns it depends on, one row per question.
        questions: fewer than `asks` has when some are about more than one column.
        values: of the leaves.
        weights: of the rows it was fitted on, by leaf; zero everywhere where the file does not say.
    """

    asks: Mask
    questions: tuple[Question, ...]
    values: Scores
    weights: Scores

    def highest(self, leaf: Leaves, absent: Mask) -> Scores:
        """Value of the highest leaf that each row can reach: answers that depend on an absent column may be either."""
        open_bits = (absent @ self.asks.T) @ (1 << np.arange(len(self.asks)))
        if len(self.asks) > _DEEPEST:
            return np.where(open_bits > 0, self.values.max(), self.values[leaf])
        reachable: Scores = _highest_reachable(self.values)[open_bits, leaf]
        return reachable


@dataclass(frozen=True)
class Trees:
    """All trees, and how their sum becomes log odds."""

    trees: tuple[Tree, ...]
    scale: float
    bias: float

    def highest(self, leaves: npt.NDArray[Any], absent: Mask) -> Scores:
        """Highest log odds of each row.

        Args:
            leaves: (rows, trees) leaf that the row reaches now.
            absent: (rows, columns) true where the value could be another.
        """
        total = np.zeros(len(leaves))
        for number, tree in enumerate(self.trees):
            total += tree.highest(leaves[:, number].astype(np.int64), absent)
        return self.scale * total + self.bias


def trees_of(booster: Any, probe: npt.NDArray[Any] | None = None) -> Trees:
    """The trees of a fitted model, by way of CatBoost's own JSON.

    Args:
        probe: (positions, trees) leaves of rows whose categories are all at that position, which say how each category
            answers: the file has only hashes. None where there are no categories, or nobody needs to know.
    """
    with TemporaryDirectory(prefix="vigil-trees-") as folder:
        path = Path(folder, "model.json")
        booster.save_model(str(path), format="json")
        said = json.loads(path.read_text(encoding="utf-8"))
    asked = _Columns(said["features_info"], len(booster.feature_names_))
    scale, (bias,) = said["scale_and_bias"]
    trees = (
        Tree(
            asks=np.array([asked.by(split) for split in tree["splits"]], bool).reshape(
                len(tree["splits"]), asked.count
            ),
            questions=_questions(asked, tree["splits"], None if probe is None else probe[:, number]),
            values=np.array(tree["leaf_values"], np.float64),
            weights=np.array(tree.get("leaf_weights") or [0.0] * len(tree["leaf_values"]), np.float64),
        )
        for number, tree in enumerate(said["oblivious_trees"])
    )
    return Trees(tuple(trees), float(scale), float(bias))


def _questions(
    asked: _Columns, splits: Sequence[Mapping[str, Any]], probed: npt.NDArray[Any] | None
) -> tuple[Question, ...]:
    found = (asked.question(split, None if probed is None else probed >> bit & 1) for bit, split in enumerate(splits))
    return tuple(question for question in found if question is not None)


class _Columns:
    """Which columns a question of CatBoost's JSON depends on."""

    def __init__(self, features: Mapping[str, Any], count: int) -> None:
        self.count = count
        floats = features.get("float_features", ())
        self._numbers = [one["flat_feature_index"] for one in floats]
        self._absent = [one.get("nan_value_treatment") == "AsTrue" for one in floats]
        self._categories = [one["flat_feature_index"] for one in features.get("categorical_features", ())]

    def by(self, split: Mapping[str, Any]) -> Mask:
        """True for the columns; a statistic of categories may depend on each of them."""
        if "float_feature_index" in split:
            return self._mask([self._numbers[split["float_feature_index"]]])
        if "cat_feature_index" in split:
            return self._mask([self._categories[split["cat_feature_index"]]])
        return self._mask(self._categories)

    def question(self, split: Mapping[str, Any], answers: npt.NDArray[Any] | None) -> Question | None:
        """The question as one about a single column; None where it is not."""
        if "float_feature_index" in split:
            number = split["float_feature_index"]
            return Question(self._numbers[number], np.float32(split["border"]), self._absent[number])
        if "cat_feature_index" in split and answers is not None:
            return Question(self._categories[split["cat_feature_index"]], yes=answers.astype(bool))
        return None

    def _mask(self, columns: Sequence[int]) -> Mask:
        mask: Mask = np.zeros(self.count, bool)
        mask[list(columns)] = True
        return mask


def _highest_reachable(values: Scores) -> Scores:
    """For each set of open answers (as bits) and each leaf, the highest value among the leaves that differ in those only."""
    leaves = np.arange(len(values))
    highest = np.empty((len(values), len(values)))
    highest[0] = values
    for open_bits in range(1, len(values)):
        bit = open_bits & -open_bits
        without = highest[open_bits ^ bit]
        highest[open_bits] = np.maximum(without, without[leaves ^ bit])
    return highest
