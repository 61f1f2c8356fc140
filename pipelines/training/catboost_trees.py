"""The trees of a CatBoost model as numbers: which leaves a row could reach if some of its values were others.

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
class Tree:
    """One tree.

    Attributes:
        asks: per question the columns it depends on, one row per question.
        values: of the leaves.
    """

    asks: Mask
    values: Scores

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


def trees_of(booster: Any) -> Trees:
    """The trees of a fitted model, by way of CatBoost's own JSON."""
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
            values=np.array(tree["leaf_values"], np.float64),
        )
        for tree in said["oblivious_trees"]
    )
    return Trees(tuple(trees), float(scale), float(bias))


class _Columns:
    """Which columns a question of CatBoost's JSON depends on."""

    def __init__(self, features: Mapping[str, Any], count: int) -> None:
        self.count = count
        self._numbers = [one["flat_feature_index"] for one in features.get("float_features", ())]
        self._categories = [one["flat_feature_index"] for one in features.get("categorical_features", ())]

    def by(self, split: Mapping[str, Any]) -> Mask:
        """True for the columns; a statistic of categories may depend on each of them."""
        if "float_feature_index" in split:
            return self._mask([self._numbers[split["float_feature_index"]]])
        if "cat_feature_index" in split:
            return self._mask([self._categories[split["cat_feature_index"]]])
        return self._mask(self._categories)

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
