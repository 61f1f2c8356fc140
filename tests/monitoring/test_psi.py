"""PSI against its textbook arithmetic, its sampling distribution, and the cases in which shortcuts go wrong."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pipelines.monitoring.psi import FLOOR, chance, column_psi, count_categories, count_numbers, psi


def test_the_index_is_the_sum_over_bins_of_the_formula() -> None:
    found = psi([200, 300, 500], [300, 300, 400])
    by_hand = (0.3 - 0.2) * np.log(0.3 / 0.2) + (0.4 - 0.5) * np.log(0.4 / 0.5)
    assert found.value == pytest.approx(by_hand, abs=1e-15)
    assert (found.bins, found.expected_rows, found.actual_rows) == (3, 1000, 1000)


def test_equal_shares_of_different_sizes_are_zero_and_direction_does_not_matter() -> None:
    assert psi([10, 20, 70], [1000, 2000, 7000]).value == pytest.approx(0, abs=1e-15)
    assert psi([10, 90], [40, 60]).value == pytest.approx(psi([40, 60], [10, 90]).value)


def test_disjoint_samples_are_above_ten_and_a_bin_empty_on_both_sides_adds_nothing() -> None:
    assert psi([50, 50, 0, 0], [0, 0, 50, 50]).value > 10
    assert psi([50, 50, 0], [40, 60, 0]) == psi([50, 50], [40, 60])
    one_side = psi([999, 1, 0], [999, 0, 1]).value
    assert one_side == pytest.approx(2 * (0.001 - FLOOR) * np.log(0.001 / FLOOR))


@pytest.mark.parametrize(("expected", "actual"), [([0, 0], [1, 2]), ([1, 2], [0, 0])])
def test_a_side_without_rows_cannot_be_assessed(expected: list[int], actual: list[int]) -> None:
    assert psi(expected, actual).value is None
    assert psi(expected, actual).chance_99 is None


@pytest.mark.parametrize(("expected", "actual"), [([1, 2], [1, 2, 3]), ([1, -1], [1, 1]), ([1, np.nan], [1, 1])])
def test_what_is_not_counts_over_the_same_bins_is_refused(expected: list[float], actual: list[float]) -> None:
    with pytest.raises(ValueError, match="same bins"):
        psi(expected, actual)


def test_without_change_one_sample_in_a_hundred_exceeds_the_chance_limit() -> None:
    rng = np.random.default_rng(7)
    reference = rng.multinomial(2000, [0.1] * 10, size=4000)
    sample = rng.multinomial(500, [0.1] * 10, size=4000)
    above = np.mean([psi(e, a).value > chance(2000, 500, 10) for e, a in zip(reference, sample, strict=True)])
    assert 0.005 < above < 0.02


def test_numbers_are_counted_like_numpy_and_missing_is_its_own_bin() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=100_003)
    values[::7] = np.nan
    values[:2] = [np.inf, -np.inf]
    edges = [-1.0, 0.0, 0.5, 2.0]
    reference = np.histogram(values[~np.isnan(values)], [-np.inf, *edges, np.inf])[0]
    found = count_numbers(values, edges)
    assert found.tolist() == [*reference.tolist(), np.isnan(values).sum()]
    assert found.sum() == len(values)
    assert count_numbers(np.array([0.5, 0.49]), [0.5]).tolist() == [1, 1, 0]
    assert count_numbers(np.array([]), [0.5]).tolist() == [0, 0, 0]


def test_new_categories_and_missing_ones_are_bins_of_their_own() -> None:
    values = pa.chunked_array([["card", "loan", None], ["lease", "card"]])
    assert count_categories(values, ["loan", "card"]).tolist() == [1, 2, 1, 1]


def test_every_column_is_compared_on_all_rows() -> None:
    rng = np.random.default_rng(3)
    base, moved = rng.normal(size=20_000), rng.normal(1.0, size=20_000)
    edges = {"same": [-1.0, 0.0, 1.0], "moved": [-1.0, 0.0, 1.0]}
    expected = {name: count_numbers(base, cuts) for name, cuts in edges.items()}
    found = column_psi(pa.table({"same": rng.permutation(base), "moved": moved}), edges, expected)
    assert found["same"].value == pytest.approx(0, abs=1e-15)
    assert found["moved"].value > 0.5


def test_nulls_of_any_numeric_type_are_missing() -> None:
    table = pa.table({"days": pa.array([1, None, 40, 90], pa.int64())})
    assert column_psi(table, {"days": [39.5]}, {"days": [1, 2, 1]})["days"].value == pytest.approx(0, abs=1e-15)
    whole = pa.table({"days": pa.array([1, 39, 40, 90], pa.int64())})
    assert column_psi(whole, {"days": [39.5]}, {"days": [1, 1, 0]})["days"].value == pytest.approx(0, abs=1e-15)
