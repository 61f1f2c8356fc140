"""Typologies on rows: what is met, what nobody can say, and what they add up to."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.spec import Typology, TypologyPack
from pipelines.training.rules import judge

COUNT = {"feature": "count", "at_least": 3}
SMALL = {"feature": "share", "at_most": 0.5}
FAR = {"feature": "country", "equals": "far"}


def pack(*typologies: dict[str, Any]) -> TypologyPack:
    why = "Found in no report: a typology of the tests."
    made = [
        Typology.model_validate({"name": f"t{n}", "title": "A typology", "why": why, "points": 0.5} | keys)
        for n, keys in enumerate(typologies)
    ]
    return TypologyPack(
        pack="typologies", version="1", description="Tests.", in_force_from="2020-01-01", typologies=tuple(made)
    )


def rows(**columns: list[Any]) -> pa.Table:
    given = {"count": pa.float64(), "share": pa.float64(), "country": pa.string()}
    length = len(next(iter(columns.values())))
    return pa.table({n: pa.array(columns.get(n, [None] * length), kind) for n, kind in given.items()})


@pytest.mark.parametrize(
    ("condition", "values", "met"),
    [
        ({"feature": "count", "at_least": 3}, [2.9, 3, 4, None], [0, 1, 1, 0]),
        ({"feature": "count", "at_most": 3}, [2.9, 3, 4, None], [1, 1, 0, 0]),
        ({"feature": "count", "at_least": 1, "at_most": 3}, [0, 1, 3, 4], [0, 1, 1, 0]),
        ({"feature": "count", "equals": 3}, [3, 3.5, None, -3], [1, 0, 0, 0]),
        ({"feature": "count", "equals": True}, [1, 0, None, 2], [1, 0, 0, 0]),
        ({"feature": "country", "equals": "far"}, ["far", "near", None, ""], [1, 0, 0, 0]),
    ],
)
def test_conditions(condition: dict[str, Any], values: list[Any], met: list[int]) -> None:
    found = judge(pack({"all_of": [condition]}), (), rows(**{condition["feature"]: values}))
    assert [bool(name) for name in found.met.to_pylist()] == [bool(m) for m in met]
    unknown = found.unknown.get("t0", np.zeros(len(values), bool))
    assert unknown.tolist() == [value is None for value in values]


def test_several_typologies_add_up_without_order_and_are_named_in_the_packs_order() -> None:
    both = {"points": 0.4, "all_of": [COUNT]}, {"points": 0.5, "all_of": [SMALL]}
    table = rows(count=[5, 5, 0], share=[0.1, 0.9, 0.9])
    found = judge(pack(*both), (), table)
    np.testing.assert_allclose(found.part, [1 - 0.6 * 0.5, 0.4, 0.0], rtol=1e-15)
    assert found.met.to_pylist() == ["t0; t1", "t0", ""]
    np.testing.assert_allclose(judge(pack(*both[::-1]), (), table).part, found.part, rtol=1e-15)
    assert found.unknown == {}


def test_nothing_is_said_of_no_rows() -> None:
    found = judge(pack({"all_of": [COUNT, FAR]}), (), rows(count=[]))
    assert (len(found.part), len(found.met), found.unknown) == (0, 0, {})


def test_absence_that_the_model_file_allows_is_a_state_and_not_unknown() -> None:
    table = rows(count=[None, 4])
    assert judge(pack({"all_of": [COUNT]}), (), table).unknown["t0"].tolist() == [True, False]
    allowed = judge(pack({"all_of": [COUNT]}), ("count",), table)
    assert allowed.unknown == {}
    assert allowed.part.tolist() == [0.0, 0.5]


VALUES = st.tuples(
    st.sampled_from([None, 0.0, 3.0]), st.sampled_from([None, 0.2, 0.8]), st.sampled_from([None, "far", "near"])
)
CONDITIONS = st.lists(st.sampled_from([COUNT, SMALL, FAR]), max_size=3)


@given(all_of=CONDITIONS, any_of=CONDITIONS.filter(lambda c: len(c) != 1), values=st.lists(VALUES, min_size=1))
def test_unknown_is_exactly_what_the_absent_values_could_still_decide(
    all_of: list[Any], any_of: list[Any], values: list[Any]
) -> None:
    """Every way to fill the holes in: met in all of them, in none, or unknown."""
    if not all_of and not any_of:
        return
    found = judge(
        pack({"all_of": all_of, "any_of": any_of}),
        (),
        rows(count=[v[0] for v in values], share=[v[1] for v in values], country=[v[2] for v in values]),
    )
    unknown = found.unknown.get("t0", np.zeros(len(values), bool))
    for row, (count, share, country) in enumerate(values):
        outcomes = {
            all(_held(c, filled) for c in all_of) and (not any_of or any(_held(c, filled) for c in any_of))
            for filled in (
                {"count": a, "share": b, "country": c}
                for a in ([0.0, 3.0] if count is None else [count])
                for b in ([0.2, 0.8] if share is None else [share])
                for c in (["far", "near"] if country is None else [country])
            )
        }
        assert bool(unknown[row]) == (len(outcomes) == 2)
        assert bool(found.met[row].as_py()) == (outcomes == {True})


def _held(condition: dict[str, Any], row: dict[str, Any]) -> bool:
    value = row[condition["feature"]]
    if "equals" in condition:
        return bool(value == condition["equals"])
    return bool(condition.get("at_least", -math.inf) <= value <= condition.get("at_most", math.inf))
