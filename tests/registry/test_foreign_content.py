"""Pickles found by their instructions, whatever the file is called; and rows as a foreign model takes them."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pyarrow as pa
import pytest

from pipelines.registry.foreign.content import holds_pickle
from pipelines.training.foreign_inputs import HIGHEST, ForeignFeature, ForeignInputs, Output


class Bad:
    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, ("somewhere",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_calls_is_found_whole_and_cut_off(protocol: int) -> None:
    pickled = pickle.dumps(Bad(), protocol)
    assert holds_pickle(pickled)
    assert holds_pickle(pickled[:-1])
    if protocol >= 2:
        assert holds_pickle(b"%PDF-1.7 " + pickled + b" the rest")


def test_text_numbers_and_random_bytes_are_no_pickle_and_endless_instructions_are() -> None:
    assert not holds_pickle(b"")
    assert not holds_pickle(b"month,auc\n2024-04,0.78\n")
    assert not holds_pickle(np.random.default_rng(1).bytes(1 << 20))
    assert not holds_pickle(pickle.dumps([1, 2, "three"]))
    assert holds_pickle(b"\x80\x02" * (2 << 20))


ROWS = pa.table({"income": [10.0, None, 30.0], "product": ["card", "boat", None]})


def between(**changed: object) -> ForeignInputs:
    income = ForeignFeature(name="income").model_copy(update=changed)
    product = ForeignFeature(name="product", categories=("loan", "card"), accepts_missing=True)
    return ForeignInputs(features=(income, product), output=Output(kind="probability"))


def unanswerable(inputs: ForeignInputs) -> np.ndarray:
    return inputs.unanswerable(inputs.matrix(ROWS))


def test_a_category_is_its_code_or_its_word_and_unknown_when_the_model_does_not_know_it() -> None:
    inputs = between(accepts_missing=True)
    np.testing.assert_equal(inputs.matrix(ROWS), [[10, 1], [np.nan, np.nan], [30, np.nan]])
    assert list(inputs.columns(inputs.matrix(ROWS))["product"]) == ["card", "", ""]


def test_an_absent_value_is_replaced_passed_on_or_makes_the_row_unanswerable() -> None:
    assert list(between(stand_in=5.0).matrix(ROWS)[:, 0]) == [10, 5, 30]
    assert list(unanswerable(between(stand_in=5.0))) == [False, False, False]
    assert list(unanswerable(between(accepts_missing=True))) == [False, False, False]
    assert list(unanswerable(between())) == [False, True, False]


def test_log_odds_are_finite_and_the_highest_where_there_is_no_answer() -> None:
    said = np.array([0.5, 0.0, 1.0, np.nan, 0.1])
    found = between().log_odds(said, np.array([False, False, False, False, True]))
    assert list(found) == [0, -HIGHEST, HIGHEST, HIGHEST, HIGHEST]
