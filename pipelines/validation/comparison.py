"""A candidate against its opponent on the same rows: measures with intervals, approvals, shifts, reasons, stored nights.

Differences are always candidate less opponent. Areas under the curve have DeLong's intervals, everything else percentile
intervals of a bootstrap over the same samples for both (pipelines.evaluation.intervals). Nothing here depends on the clock,
so a comparison made again is the same; how fast both are is measured beside it (pipelines.validation.speed).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contracts import EvidenceMissing, Value
from pipelines.evaluation import intervals, weighted
from pipelines.evaluation.intervals import Interval, Statistic
from pipelines.evaluation.metrics import Decile, Labels, Scores, calibration_by_decile, usable
from pipelines.settings import Settings
from pipelines.spec import Measuring, Model
from pipelines.training.rows import Mask, numbers
from pipelines.validation.candidate import Candidate
from pipelines.validation.nights import Night, on_stored_nights
from pipelines.validation.opponent import Opponent
from pipelines.validation.shift import BandShift, ReasonAgreement, SegmentShift, agreement, by_band, by_segment
from pipelines.validation.swap_set import EXPOSURE, Approvals, SwapSet, swap_set

_TOP = 0.1
_MOST_REASONS = 20_000  # rows whose reasons are compared; more would not change a share by a hundredth


class Side(Value):
    """One of the two versions."""

    version: int
    algorithm: str
    artefact_digest: str
    role: Literal["candidate", "champion", "benchmark"]


class Compared(Value):
    """One measure of both, and their difference.

    Attributes:
        method: how the intervals were made.
    """

    measure: str
    candidate: Interval
    opponent: Interval
    difference: Interval
    method: Literal["DeLong", "bootstrap"]


class EqualApproval(Value):
    """Both models approving the same number of rows, each by its own lowest scores.

    Attributes:
        share: share of rows approved.
        measures: bad_rate, expected_loss, and approval_rate_at_opponents_cut, which is of both at the opponent's cut-off.
        loss_of: what the expected loss is counted in.
    """

    share: float
    approved: int
    measures: tuple[Compared, ...]
    loss_of: Literal["exposure", "accounts"]
    swap_set: SwapSet


class Comparison(Value):
    """Everything that was found.

    Attributes:
        rows: judged rows that both could score; `unmatched` could not be given the opponent's features and are left out.
        learnt_from: compared rows that the opponent was fitted on, which flatters it; None when nobody can say.
        calibration: deciles of both.
        segments: categories of the model's categorical features.
        reasons: None when reasons cannot be compared; `why_no_reasons` says why.
        nights: newest first; empty when nothing was published yet.
    """

    model: str
    candidate: Side
    opponent: Side
    judged: str
    confidence: float
    resamples: int
    rows: int
    events: int
    unmatched: int
    learnt_from: int | None
    measures: tuple[Compared, ...]
    equal_approval: EqualApproval
    calibration: tuple[tuple[Decile, ...], tuple[Decile, ...]]
    bands: tuple[BandShift, ...]
    segments: tuple[SegmentShift, ...]
    reasons: ReasonAgreement | None
    why_no_reasons: str
    nights: tuple[Night, ...]

    def measure(self, name: str) -> Compared:
        """A measure by its name. Raises EvidenceMissing when it was not compared."""
        for one in (*self.measures, *self.equal_approval.measures):
            if one.measure == name:
                return one
        raise EvidenceMissing(f"{name} was not compared; compare version {self.candidate.version} again.")


class Paired:
    """Labels and both scores of the rows compared, in the order of the token."""

    def __init__(self, candidate: Candidate, opponent: Opponent) -> None:
        matched = opponent.matched
        tokens = candidate.tokens.filter(pa.array(matched))
        order = pc.sort_indices(tokens).to_numpy()
        judged = candidate.judged.where(matched)
        self.label: Labels = judged.label[order]
        self.candidate: Scores = candidate.probability[matched][order]
        self.opponent: Scores = opponent.probability[order]
        self.features = judged.features.take(pa.array(order))
        self.opponents_features = opponent.features.take(pa.array(order))

    def __len__(self) -> int:
        return len(self.label)


def compare(
    settings: Settings, model: Model, candidate: Candidate, opponent: Opponent, measuring: Measuring
) -> Comparison:
    """Compare on the candidate's judged rows that the opponent can score, and on the last published nights.

    Raises:
        EvidenceMissing: there are no such rows, or one class only among them, or a score is not a number.
        ConnectionBroken: the database or the lake did not answer.
    """
    rows = Paired(candidate, opponent)
    _require_comparable(rows, candidate, opponent)
    approvals = Approvals(rows.label, rows.candidate, rows.opponent, measuring.approved_share)
    reasons, why = _reasons(rows, approvals, candidate, opponent)
    categorical = tuple(n for n, f in candidate.predictor.schema.features.items() if f.categorical)
    return Comparison(
        model=model.name,
        candidate=_side(candidate, candidate.provenance.algorithm, "candidate"),
        opponent=_side(opponent, opponent.provenance.algorithm, "benchmark" if opponent.benchmark else "champion"),
        judged=candidate.provenance.judged,
        confidence=measuring.confidence,
        resamples=measuring.resamples,
        rows=len(rows),
        events=int(rows.label.sum()),
        unmatched=int((~opponent.matched).sum()),
        learnt_from=opponent.learnt_from,
        measures=_measures(rows, measuring),
        equal_approval=_equal_approval(rows, approvals, measuring),
        calibration=(
            calibration_by_decile(rows.label, rows.candidate),
            calibration_by_decile(rows.label, rows.opponent),
        ),
        bands=by_band(rows.label, rows.candidate, rows.opponent),
        segments=by_segment(
            rows.features, categorical, rows.label, rows.candidate, rows.opponent, measuring.confidence
        ),
        reasons=reasons,
        why_no_reasons=why,
        nights=on_stored_nights(settings, candidate, opponent, measuring),
    )


def _require_comparable(rows: Paired, candidate: Candidate, opponent: Opponent) -> None:
    for score in (rows.candidate, rows.opponent):
        try:
            usable(rows.label, score)
        except EvidenceMissing as why:
            raise EvidenceMissing(
                f"model {candidate.model.name}: version {candidate.version} cannot be compared with version "
                f"{opponent.version} on {len(rows)} of {len(opponent.matched)} judged rows: {why}"
            ) from why


def _side(side: Candidate | Opponent, algorithm: str, role: Literal["candidate", "champion", "benchmark"]) -> Side:
    return Side(version=side.version, algorithm=algorithm, artefact_digest=side.artefact_digest, role=role)


def _measures(rows: Paired, measuring: Measuring) -> tuple[Compared, ...]:
    area = Compared(
        measure="auc",
        candidate=intervals.auc_interval(rows.label, rows.candidate, measuring.confidence),
        opponent=intervals.auc_interval(rows.label, rows.opponent, measuring.confidence),
        difference=intervals.auc_difference(rows.label, rows.candidate, rows.opponent, measuring.confidence),
        method="DeLong",
    )
    gini = Compared(
        measure="gini",
        candidate=area.candidate.times(2.0, -1.0),
        opponent=area.opponent.times(2.0, -1.0),
        difference=area.difference.times(2.0),
        method="DeLong",
    )
    ours, theirs = (_statistics(rows.label, score) for score in (rows.candidate, rows.opponent))
    return (area, gini, *_bootstrapped(rows.label, ours, theirs, measuring))


def _statistics(label: Labels, score: Scores) -> dict[str, Statistic]:
    return {
        "ks": weighted.ks(label, score),
        "average_precision": weighted.average_precision(label, score),
        "brier": weighted.brier(label, score),
        "calibration_error": weighted.calibration_error(label, score),
        "lift_top_decile": weighted.lift(label, score, _TOP),
    }


def _bootstrapped(
    label: Labels, ours: Mapping[str, Statistic], theirs: Mapping[str, Statistic], measuring: Measuring
) -> tuple[Compared, ...]:
    """Each measure of both on the same samples."""
    drawn = intervals.bootstrap_all(
        label,
        {(name, side): statistic for name in ours for side, statistic in ((0, ours[name]), (1, theirs[name]))},
        resamples=measuring.resamples,
        seed=measuring.seed,
    )
    return tuple(
        Compared(
            measure=name,
            candidate=drawn[name, 0].interval(measuring.confidence),
            opponent=drawn[name, 1].interval(measuring.confidence),
            difference=(drawn[name, 0] - drawn[name, 1]).interval(measuring.confidence),
            method="bootstrap",
        )
        for name in ours
    )


def _equal_approval(rows: Paired, approvals: Approvals, measuring: Measuring) -> EqualApproval:
    exposure = numbers(rows.features, EXPOSURE) if EXPOSURE in rows.features.schema.names else None
    usable_exposure = exposure if exposure is not None and np.isfinite(exposure).all() else None
    ours, theirs = (approvals.statistics(score, usable_exposure) for score in (rows.candidate, rows.opponent))
    return EqualApproval(
        share=approvals.exact_share,
        approved=approvals.count,
        measures=_bootstrapped(rows.label, ours, theirs, measuring),
        loss_of="accounts" if usable_exposure is None else "exposure",
        swap_set=swap_set(approvals, measuring),
    )


def _reasons(
    rows: Paired, approvals: Approvals, candidate: Candidate, opponent: Opponent
) -> tuple[ReasonAgreement | None, str]:
    """The reasons of rows that both refuse, or why they cannot be compared."""
    chosen = _spread(~approvals.by_candidate & ~approvals.by_opponent)
    try:
        return agreement(
            candidate.predictor.contributions(rows.features.filter(pa.array(chosen))),
            opponent.predictor.contributions(rows.opponents_features.filter(pa.array(chosen))),
        ), ""
    except EvidenceMissing as why:
        return None, str(why)


def _spread(chosen: Mask) -> Mask:
    """At most `_MOST_REASONS` of the chosen rows, evenly spread over them."""
    rows = np.flatnonzero(chosen)
    step = max(1, -(-len(rows) // _MOST_REASONS))
    kept = np.zeros(len(chosen), bool)
    kept[rows[::step]] = True
    return kept
