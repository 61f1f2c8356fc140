"""Baseline Shapley values: what each feature adds to a row's log odds, of any model that can be asked about made-up rows.

Sundararajan and Najmi, The Many Shapley Values for Model Explanation, ICML (2020). A game for each row: the worth of a
coalition of features is the log odds of a row with these features' own values and, for all others, those of one reference
row. A feature's share is its Shapley value: what it adds, averaged over all orders in which features may come in.

Up to `EXACT` features the worth of every coalition is asked for and the shares are exact. With more the average is over
`PAIRS` fixed orders and their reverses (Mitchell et al., Sampling Permutations for Shapley Value Estimation, JMLR 23, 2022,
antithetic sampling). Each order alone goes from the reference to the row, so the shares always add up. What features do alone
or two by two is exact too, since in an order and its reverse each of two comes in last once; the error is in what three or
more do together (docs/reasons.md says how much, as measured).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from math import factorial

import numpy as np

from pipelines.evaluation.metrics import Scores
from pipelines.training.contributions import Contributions
from pipelines.training.rows import Mask

EXACT = 8
PAIRS = 16
_BLOCK = 4_096  # rows the model is asked about at once
_CELLS = 2**21  # of rows made up at once: 16 MB
_GRID = 2.0**32


@dataclass(frozen=True)
class _Game:
    """The coalitions to ask about, and how their worths make shares: share = worths @ weights / total.

    Attributes:
        coalitions: (coalitions, features); true where a feature has the row's own value. Neighbours differ little.
        weights: (coalitions, features), whole numbers.
    """

    coalitions: Mask
    weights: Scores
    total: int


def baseline_shapley(
    log_odds: Callable[[Scores], Scores], rows: Scores, reference: Scores, features: tuple[str, ...]
) -> Contributions:
    """Contributions to each row's log odds against those of the reference row.

    A row's values are the same bytes whatever its neighbours are, as long as the model computes the rows of a block of
    constant size alike. Memory is bounded.

    Args:
        log_odds: of rows in the form of `rows`; finite.
        rows: (rows, features); NaN is a value like any other.
        reference: (features,).
    """
    game = _game(len(features))
    step = max(1, _CELLS // game.coalitions.size)
    parts = [_shares(log_odds, rows[start : start + step], reference, game) for start in range(0, len(rows), step)]
    values = np.concatenate(parts) if parts else np.empty((0, len(features)))
    [baseline] = _worths(log_odds, reference[None], reference)
    return Contributions(float(baseline), values, features)


def _shares(log_odds: Callable[[Scores], Scores], rows: Scores, reference: Scores, game: _Game) -> Scores:
    made_up = np.where(game.coalitions, rows[:, None], reference).reshape(-1, rows.shape[1])
    new = np.ones(len(made_up), bool)
    new[1:] = (made_up[1:] != made_up[:-1]).any(axis=1)  # a row's value may be the reference's
    asked = _worths(log_odds, made_up[new], reference)
    worths = asked[np.cumsum(new) - 1].reshape(len(rows), -1)
    shares = np.zeros(rows.shape)
    for worth, weight in zip(
        worths.T, game.weights, strict=True
    ):  # in one order of adding, whatever the number of rows
        shares += worth[:, None] * weight
    return shares / game.total


def _worths(log_odds: Callable[[Scores], Scores], made_up: Scores, reference: Scores) -> Scores:
    """Log odds, asked in blocks of constant size, since libraries add in another order for another number of rows.

    They are rounded to 2**-32, which makes the sums of them exact: features that do the same have the same share.
    """
    filling = np.broadcast_to(reference, (-len(made_up) % _BLOCK, len(reference)))
    filled = np.concatenate([made_up, filling])
    said = [log_odds(filled[start : start + _BLOCK]) for start in range(0, len(filled), _BLOCK)]
    rounded: Scores = np.round(np.concatenate(said)[: len(made_up)] * _GRID) / _GRID
    return rounded


@lru_cache(maxsize=8)
def _game(features: int) -> _Game:
    return _every_coalition(features) if features <= EXACT else _along_orders(features)


def _every_coalition(features: int) -> _Game:
    """All of them, each differing from the next in one feature (Gray code). Weights by Shapley's formula, times n!."""
    number = np.arange(2**features)
    coalitions = ((number ^ number >> 1)[:, None] >> np.arange(features) & 1).astype(bool)
    joins = np.array([factorial(size) * factorial(features - size - 1) for size in range(features)] + [0], float)
    sizes = coalitions.sum(axis=1, keepdims=True)
    return _Game(coalitions, np.where(coalitions, joins[sizes - 1], -joins[sizes]), factorial(features))


def _along_orders(features: int) -> _Game:
    """Those met along the orders, from nobody to all; each once."""
    weights: dict[bytes, Scores] = {}
    orders = [*_orders(features)]
    for order in orders:
        inside = np.zeros(features, bool)
        for feature in order:
            weights.setdefault(inside.tobytes(), np.zeros(features))[feature] -= 1
            inside[feature] = True
            weights.setdefault(inside.tobytes(), np.zeros(features))[feature] += 1
    coalitions = np.frombuffer(b"".join(weights), bool).reshape(-1, features)
    return _Game(coalitions, np.array([*weights.values()]), len(orders))


def _orders(features: int) -> Iterator[list[int]]:
    """PAIRS orders, each followed by its reverse: by digests, which no version of a library changes."""
    for pair in range(PAIRS):
        order = sorted(range(features), key=lambda feature: sha256(f"{pair} {feature}".encode()).digest())
        yield order
        yield order[::-1]
