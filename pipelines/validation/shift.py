"""How scores move when one model takes the place of another: by band of the present score, by segment, and for which reasons."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from pipelines.contracts import EvidenceMissing, Value
from pipelines.evaluation.intervals import Interval, auc_difference
from pipelines.evaluation.metrics import Labels, Scores
from pipelines.training.contributions import NONE, Contributions
from pipelines.training.rows import Features, Mask

BANDS = 10
MOST_CATEGORIES = 20
FEWEST_ROWS = 10  # the mean of fewer would be close to somebody's own score
REASONS = 4
_ABSENT = "(absent)"

Bands = npt.NDArray[np.intp]


class BandShift(Value):
    """Rows of one tenth of the opponent's scores.

    Attributes:
        moved: mean of the candidate's score less the opponent's.
        up, down: share of rows that the candidate puts into a higher or lower tenth of its own.
    """

    band: int
    rows: int
    events: int
    opponent: float
    candidate: float
    moved: float
    up: float
    down: float


class SegmentShift(Value):
    """Rows of one category of a feature.

    Attributes:
        moved: mean of the candidate's score less the opponent's.
        auc_difference: candidate less opponent, by DeLong; None with fewer than two events or non-events.
    """

    segment: str
    rows: int
    events: int
    opponent: float
    candidate: float
    moved: float
    auc_difference: Interval | None


class ReasonAgreement(Value):
    """Whether both models give the same reasons for a refusal.

    Attributes:
        rows: rows both refuse, or an even choice among them; reasons of these are compared.
        same_first: share of them with the same first reason.
        overlap: mean share of the at most four reasons that both name.
        first_reasons: per feature the rows that have it first, by candidate and by opponent; the most frequent ones.
    """

    rows: int
    same_first: float
    overlap: float
    first_reasons: dict[str, tuple[int, int]]


def bands_of(score: Scores) -> Bands:
    """Tenth of each row by its score, 0 the lowest; equal scores are taken in the order of the rows."""
    bands = np.empty(len(score), np.intp)
    for number, rows in enumerate(np.array_split(np.argsort(score, kind="stable"), BANDS)):
        bands[rows] = number
    return bands


def by_band(label: Labels, candidate: Scores, opponent: Scores) -> tuple[BandShift, ...]:
    """The shift in each tenth of the opponent's score that has a row, from the lowest."""
    old, new = bands_of(opponent), bands_of(candidate)
    return tuple(
        BandShift(
            band=band + 1,
            rows=int(chosen.sum()),
            events=int(label[chosen].sum()),
            opponent=float(opponent[chosen].mean()),
            candidate=float(candidate[chosen].mean()),
            moved=float((candidate - opponent)[chosen].mean()),
            up=float((new[chosen] > band).mean()),
            down=float((new[chosen] < band).mean()),
        )
        for band in range(BANDS)
        for chosen in [old == band]
        if chosen.any()
    )


def by_segment(
    features: Features, names: tuple[str, ...], label: Labels, candidate: Scores, opponent: Scores, confidence: float
) -> tuple[SegmentShift, ...]:
    """The shift in each of the most frequent categories of the named features, the absent one among them, that has rows enough
    to say nothing of a single customer."""
    return tuple(
        _segment(f"{name}={category}", chosen, label, candidate, opponent, confidence)
        for name in names
        for category, chosen in _categories(features, name)
    )


def agreement(candidate: Contributions, opponent: Contributions) -> ReasonAgreement:
    """How often the reasons agree. Raises EvidenceMissing without rows."""
    if not len(candidate):
        raise EvidenceMissing("there is no row that both refuse, so no reasons to compare.")
    ours, theirs = _names(candidate), _names(opponent)
    common = (ours[:, :, None] == theirs[:, None, :]) & (ours != "")[:, :, None]
    most = np.maximum((ours != "").sum(axis=1), (theirs != "").sum(axis=1))
    shared = np.divide(common.sum(axis=(1, 2)), most, out=np.ones(len(most)), where=most > 0)
    return ReasonAgreement(
        rows=len(ours),
        same_first=float((ours[:, 0] == theirs[:, 0]).mean()),
        overlap=float(shared.mean()),
        first_reasons=_counted(ours[:, 0], theirs[:, 0]),
    )


def _categories(features: Features, name: str) -> Iterator[tuple[str, Mask]]:
    column = pc.fill_null(features[name], _ABSENT)
    counted = sorted(pc.value_counts(column).to_pylist(), key=lambda c: (-c["counts"], c["values"]))
    for one in counted[:MOST_CATEGORIES]:
        if one["counts"] < FEWEST_ROWS:
            return
        yield one["values"], np.asarray(pc.equal(column, one["values"]))


def _segment(
    segment: str, chosen: Mask, label: Labels, candidate: Scores, opponent: Scores, confidence: float
) -> SegmentShift:
    hits, ours, theirs = label[chosen], candidate[chosen], opponent[chosen]
    try:
        difference = auc_difference(hits, ours, theirs, confidence)
    except EvidenceMissing:
        difference = None
    return SegmentShift(
        segment=segment,
        rows=len(hits),
        events=int(hits.sum()),
        opponent=float(theirs.mean()),
        candidate=float(ours.mean()),
        moved=float((ours - theirs).mean()),
        auc_difference=difference,
    )


def _names(contributions: Contributions) -> npt.NDArray[np.str_]:
    """(rows, reasons) names of the principal reasons, empty where there are fewer."""
    names = np.array([*contributions.features, ""])
    found = contributions.adverse(REASONS)
    wide = np.full((len(found), REASONS), NONE)
    wide[:, : found.shape[1]] = found
    chosen: npt.NDArray[np.str_] = names[wide]
    return chosen


def _counted(ours: npt.NDArray[np.str_], theirs: npt.NDArray[np.str_]) -> dict[str, tuple[int, int]]:
    counts = {
        str(name): (int((ours == name).sum()), int((theirs == name).sum())) for name in np.union1d(ours, theirs) if name
    }
    return dict(sorted(counts.items(), key=lambda item: (-sum(item[1]), item[0]))[:BANDS])
