"""Who is learnt from and who is only judged: by date, whole dates at a time, so that no model sees its own future.

Random folds exist for data without time, where the model file says why.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from pipelines.contracts import Blocked
from pipelines.spec import Validation
from pipelines.training.rows import Mask, Rows

HELD_OUT_SHARE = 0.2


@dataclass(frozen=True)
class Split:
    """Rows to develop on and rows the result is judged on."""

    development: Rows
    judged: Rows


def by_date(rows: Rows, validation: Validation) -> Split:
    """Development before the out-of-time date, judgement from it on. Raises Blocked when either side has one class only."""
    start = out_of_time_start(rows, validation)
    judged = rows.where(judged_by_date(rows, validation))
    judged = replace(judged, background=rows.since(start).background)
    return Split(_both_classes(rows.before(start), f"before {start}"), _both_classes(judged, f"from {start} on"))


def judged_by_date(rows: Rows, validation: Validation) -> Mask:
    """Which labelled rows lie out of time and are judged."""
    late: Mask = rows.event_date >= out_of_time_start(rows, validation)
    return late if rows.judged is None else late & rows.judged


def fold_masks(rows: Rows, folds: int, seed: int) -> Iterator[Mask]:
    """Which rows each of the stratified random folds judges; every row once. Only for data without time."""
    from sklearn.model_selection import StratifiedKFold

    if rows.judged is not None:
        raise Blocked(
            "the label view leaves rows out of judgement (`judged`), and in folds every row is judged. Nothing was registered. "
            "Validate out of time, or take the column out of the label view."
        )
    if min(rows.events, len(rows) - rows.events) < folds:
        raise Blocked(
            f"{rows.events} events in {len(rows)} rows cannot be dealt to {folds} folds. Nothing was registered."
        )
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for _, judged in splitter.split(np.zeros(len(rows)), rows.label):
        mask = np.zeros(len(rows), bool)
        mask[judged] = True
        yield mask


def hold_out(rows: Rows, validation: Validation, seed: int) -> Split:
    """About a fifth of the development rows, the latest ones, to decide when to stop and to calibrate on.

    Without time it is a stratified random fifth. Raises Blocked when there is only one date or one class.
    """
    if validation.kind == "folds":
        judged = next(fold_masks(rows, round(1 / HELD_OUT_SHARE), seed))
        return Split(rows.where(~judged), rows.where(judged))
    start = _latest(rows)
    return Split(
        _both_classes(rows.before(start), "of the earlier development dates"),
        _both_classes(rows.since(start), "of the latest development dates"),
    )


def described(rows: Rows, validation: Validation) -> str:
    """In words, what the measures are taken on."""
    if validation.kind == "folds":
        return f"{validation.folds} stratified random folds, because: {validation.why_no_time}"
    start = out_of_time_start(rows, validation)
    left_out = 0 if rows.judged is None else int((~rows.judged & (rows.event_date >= start)).sum())
    but = f", without {left_out} rows that the label view does not judge" if left_out else ""
    return f"event dates from {start} to {rows.event_date.max()}, not learnt from{but}"


def _latest(rows: Rows) -> np.datetime64:
    """First of the latest dates: whole dates from the end, the fewest that hold the share; never all dates."""
    dates, counts = np.unique(rows.event_date, return_counts=True)
    if len(dates) < 2:
        raise Blocked(
            f"all development rows have the event date {dates[0]}: the latest cannot be held out. Set history_from or "
            "out_of_time_from so that several dates remain, or, for data without time, validation.kind: folds."
        )
    from_the_end = np.cumsum(counts[::-1])
    wanted = int(np.searchsorted(from_the_end, HELD_OUT_SHARE * len(rows))) + 1
    start: np.datetime64 = dates[-min(wanted, len(dates) - 1)]
    return start


def out_of_time_start(rows: Rows, validation: Validation) -> np.datetime64:
    """First event date that is judged and not learnt from."""
    if validation.out_of_time_from is not None:
        return np.datetime64(validation.out_of_time_from)
    last_month = rows.event_date.max().astype("datetime64[M]")
    months = np.timedelta64(int(validation.out_of_time_months or 1) - 1, "M")
    start: np.datetime64 = (last_month - months).astype("datetime64[D]")
    return start


def _both_classes(rows: Rows, which: str) -> Rows:
    if rows.events in (0, len(rows)):
        raise Blocked(
            f"of the {len(rows)} rows {which}, {rows.events} are events: both outcomes are needed on each side of the time "
            "split. Nothing was registered. Change validation in the model file, or wait until more labels are final."
        )
    return rows
