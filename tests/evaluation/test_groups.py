"""Groups of a feature: every row counted where it belongs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evaluation.groups import Group, category_groups, category_rates, number_groups


@given(
    seed=st.integers(0, 5_000), rows=st.integers(0, 800), digits=st.integers(0, 3), absent=st.sampled_from([0, 0.2, 1])
)
@settings(max_examples=150, deadline=None)
def test_ranges_and_values_hold_what_they_say(seed: int, rows: int, digits: int, absent: float) -> None:
    random = np.random.default_rng(seed)
    values = np.round(random.normal(size=rows), digits)
    values[random.random(rows) < absent] = np.nan
    label = (random.random(rows) < 0.3).astype(np.int8)
    for group in number_groups(values, label, 10):
        words = group.description.split()
        if words[0] == "value":
            mask = values == float(words[1])
        elif words[0] == "from":
            mask = (values >= float(words[1]) - 1e-9) & (values <= float(words[3]) + 1e-9)
        else:
            mask = np.isnan(values) == (words[0] == "absent")
        assert group == Group(group.description, int(mask.sum()), int(label[mask].sum()))
        assert group.rows >= 10


def test_the_smallest_tail_is_a_group_of_its_own() -> None:
    values, label = np.arange(1000.0), (np.arange(1000) < 20).astype(np.int8)
    found = list(number_groups(values, label, 20))
    assert Group("from 0 to 19", 20, 20) in found
    assert Group("from 980 to 999", 20, 0) in found
    assert Group("from 0 to 49", 50, 20) in found


def test_categories_and_the_rare_ones_together() -> None:
    column = pa.chunked_array([["a"] * 30 + ["b"] * 20 + ["c", "d"] * 6 + [None] * 15])
    label = np.zeros(77, np.int8)
    label[50:62] = 1
    assert set(category_groups(column, label, 10)) == {
        Group("category a", 30, 0),
        Group("category b", 20, 0),
        Group("absent", 15, 0),
        Group("rare categories together", 12, 12),
    }
    assert category_rates(column, label, 10)[[0, 30, 55, 70]].tolist() == [0, 0, 1, 0]
