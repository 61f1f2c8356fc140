"""Splits by date: whole dates, the later ones judged, and both outcomes on each side."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from pipelines.contracts import Blocked
from pipelines.spec import Validation
from pipelines.training.rows import Rows
from pipelines.training.split import by_date, described, fold_masks, hold_out

FOLDS = Validation(kind="folds", folds=5, why_no_time="one snapshot")


def out_of_time(**how: object) -> Validation:
    return Validation(kind="out_of_time", **how)


def test_months_are_counted_back_from_the_latest_event(sample: Rows) -> None:
    parts = by_date(sample, out_of_time(out_of_time_months=2))
    assert set(parts.judged.event_date.tolist()) == {date(2024, 5, 31), date(2024, 6, 30)}
    assert parts.development.event_date.max() < parts.judged.event_date.min()
    assert len(parts.development) + len(parts.judged) == len(sample)
    assert described(sample, out_of_time(out_of_time_months=2)).startswith("event dates from 2024-05-01 to 2024-06-30")


def test_a_given_date_divides(sample: Rows) -> None:
    parts = by_date(sample, out_of_time(out_of_time_from=date(2024, 3, 1)))
    assert len(set(parts.development.event_date.tolist())) == 2
    assert len(set(parts.judged.event_date.tolist())) == 4


@pytest.mark.parametrize("start", [date(2020, 1, 1), date(2030, 1, 1)])
def test_a_date_that_leaves_nothing_on_a_side_is_blocked(sample: Rows, start: date) -> None:
    with pytest.raises(Blocked, match="of the 0 rows"):
        by_date(sample, out_of_time(out_of_time_from=start))


def test_the_held_out_rows_are_the_latest_whole_dates_and_about_a_fifth(sample: Rows) -> None:
    parts = hold_out(sample, out_of_time(out_of_time_months=1), seed=1)
    assert parts.development.event_date.max() < parts.judged.event_date.min()
    assert 0.2 <= len(parts.judged) / len(sample) < 0.4


def test_two_dates_hold_out_the_later_however_large() -> None:
    days = np.repeat(np.array(["2024-01-31", "2024-02-29"], "datetime64[D]"), [10, 990])
    label = np.tile([0, 1], 500).astype(np.int8)
    rows = Rows(pa.table({"x": np.arange(1000.0)}), label, days)
    assert len(hold_out(rows, out_of_time(out_of_time_months=1), seed=1).judged) == 990


def test_folds_judge_every_row_once_with_the_same_share_of_events(sample: Rows) -> None:
    masks = list(fold_masks(sample, 5, seed=1))
    assert (np.sum(masks, axis=0) == 1).all()
    rates = [sample.label[mask].mean() for mask in masks]
    assert max(rates) - min(rates) < 0.002
    assert all((a == b).all() for a, b in zip(masks, fold_masks(sample, 5, seed=1), strict=True))
    parts = hold_out(sample, FOLDS, seed=1)
    assert len(parts.judged) == pytest.approx(0.2 * len(sample), abs=2)
    assert "5 stratified random folds, because: one snapshot" in described(sample, FOLDS)


def test_too_few_events_for_the_folds_are_blocked(sample: Rows) -> None:
    few = Rows(sample.features.slice(0, 100), (np.arange(100) < 3).astype(np.int8), sample.event_date[:100])
    with pytest.raises(Blocked, match="3 events in 100 rows cannot be dealt to 5 folds"):
        next(fold_masks(few, 5, seed=1))


def test_rows_that_are_not_judged_are_learnt_from_and_not_measured_on(sample: Rows) -> None:
    asked = np.arange(len(sample)) % 3 > 0
    rows = Rows(sample.features, sample.label, sample.event_date, judged=asked)
    validation = out_of_time(out_of_time_from=date(2024, 3, 1))
    late = sample.event_date >= np.datetime64("2024-03-01")
    parts = by_date(rows, validation)
    assert len(parts.development) == (~late).sum()
    assert len(parts.judged) == (late & asked).sum()
    assert described(rows, validation).endswith(
        f"without {(late & ~asked).sum()} rows that the label view does not judge"
    )


def test_in_folds_every_row_is_judged_so_a_view_that_leaves_some_out_is_blocked(sample: Rows) -> None:
    rows = Rows(sample.features, sample.label, sample.event_date, judged=np.ones(len(sample), bool))
    with pytest.raises(Blocked, match="in folds every row is judged"):
        next(fold_masks(rows, 5, seed=1))
