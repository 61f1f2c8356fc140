"""Bins, weights of evidence, and what an absent value counts as."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.spec import Feature
from pipelines.training.binning import FEWEST_ROWS, bin_categories, bin_numbers, stand_in

RISING, FALLING = Feature(monotone="increasing"), Feature(monotone="decreasing")


def risky(rows: int, seed: int, absent: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    values = np.round(random.normal(size=rows), random.integers(0, 4))
    label = (random.random(rows) < 1 / (1 + np.exp(2 - random.normal() * values))).astype(np.int8)
    label[:2] = 0, 1
    values[random.random(rows) < absent] = np.nan
    return values, label


@given(seed=st.integers(0, 5_000), rows=st.integers(10, 3_000), absent=st.sampled_from([0.0, 0.3, 1.0]))
@settings(max_examples=120, deadline=None)
def test_the_declared_direction_holds_in_every_bin(seed: int, rows: int, absent: float) -> None:
    values, label = risky(rows, seed, absent)
    for feature, sign in ((RISING, 1), (FALLING, -1)):
        bins = bin_numbers(values, label, feature)
        assert (np.diff(bins.woe) * sign > 0).all()
        assert len(bins.woe) == len(bins.typical) == len(bins.edges) + 1
        assert list(bins.edges) == sorted(set(bins.edges))
        present = values[~np.isnan(values)]
        counts = np.bincount(np.searchsorted(bins.edges, present, side="right"), minlength=len(bins.woe))
        assert counts.sum() == len(present)
        assert len(bins.woe) == 1 or counts.min() >= min(FEWEST_ROWS, len(present))


def test_weight_of_evidence_is_the_log_of_odds_over_odds() -> None:
    values = np.repeat([1.0, 2.0], 1000)
    label = np.zeros(2000, np.int8)
    label[:100], label[1000:1300] = 1, 1
    bins = bin_numbers(values, label, RISING)
    everywhere = 400 / 1600
    expected = [np.log(100.5 / 900.5 / everywhere), np.log(300.5 / 700.5 / everywhere)]
    assert bins.edges == (2.0,)
    assert bins.woe == pytest.approx(expected)
    assert bins.typical == (1.0, 2.0)


def test_absence_is_at_least_as_risky_as_average_unless_it_is_a_state_of_its_own() -> None:
    values, label = np.repeat([1.0, 2.0, np.nan], 1000), np.zeros(3000, np.int8)
    label[:200], label[1000:1400], label[2000:2020] = 1, 1, 1  # rows without a value are the safest
    assert bin_numbers(values, label, RISING).missing == 0
    assert bin_numbers(values, label, Feature(monotone="increasing", missing="allowed")).missing < -1
    label[2000:2700] = 1  # now the riskiest
    assert bin_numbers(values, label, RISING).missing > 1


@pytest.mark.parametrize("feature", [RISING, FALLING])
def test_the_stand_in_is_as_risky_as_absence(feature: Feature) -> None:
    values, label = risky(20_000, 5, absent=0.2)
    bins = bin_numbers(values, label, feature)
    value = stand_in(bins, feature)
    chosen = bins.woe[int(np.searchsorted(bins.edges, value, side="right"))]
    assert chosen >= bins.missing or chosen == max(bins.woe)
    assert all(w < bins.missing or w >= chosen for w in bins.woe)


def test_a_feature_without_any_value_and_a_constant_one_have_one_bin() -> None:
    label = np.array([0, 1] * 100, np.int8)
    assert bin_numbers(np.full(200, np.nan), label, RISING).woe == (0.0,)
    assert bin_numbers(np.full(200, 3.0), label, RISING).edges == ()


def test_rare_categories_share_one_weight_that_is_no_better_than_average() -> None:
    column = pa.chunked_array([["a"] * 500 + ["b"] * 400 + [f"rare {i}" for i in range(60)] + [None] * 60])
    label = np.zeros(1020, np.int8)
    label[:50], label[500:700] = 1, 1
    bins = bin_categories(column, label, Feature(categorical=True))
    assert set(bins.woe) == {"a", "b"}
    assert bins.woe["a"] < 0 < bins.woe["b"]
    assert (bins.other, bins.missing) == (0, 0)
