"""Who is approved: both models at the same approval rate, and the rows that only one of them approves.

Each model approves the same number of rows, those with its own lowest scores: so neither looks better only because it says
yes less often. Rows of equal score at the cut are taken in the order they come in, that of the token, which says nothing
about them. The swap set is what a change of model changes: customers who gain or lose an approval (Siddiqi, Credit Risk
Scorecards (2006), chapter 6).

Expected loss is the sum over a model's approved rows of its own probability, times the exposure where the rows have a feature
`exposure`; otherwise every row counts 1, a loss per account.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pipelines.contracts import Value
from pipelines.evaluation import weighted
from pipelines.evaluation.intervals import Interval, Statistic, rate_difference
from pipelines.evaluation.metrics import Labels, Scores
from pipelines.spec import Measuring
from pipelines.training.rows import Mask

EXPOSURE = "exposure"


class Group(Value):
    """Rows approved by both, by one or by neither. `bad_rate` is None without rows."""

    rows: int
    events: int
    bad_rate: float | None


class SwapSet(Value):
    """What became of whom.

    Attributes:
        difference: bad rate of those only the candidate approves, minus of those only the opponent does; None when one of
            both groups is empty.
    """

    both: Group
    only_candidate: Group
    only_opponent: Group
    neither: Group
    difference: Interval | None


@dataclass(frozen=True)
class Approvals:
    """The compared rows and what each model approves of them; rows come in the order of the token."""

    label: Labels
    candidate: Scores
    opponent: Scores
    share: float

    @cached_property
    def count(self) -> int:
        """Rows each model approves."""
        return int(np.floor(self.share * len(self.label) + 1e-9))

    @cached_property
    def by_candidate(self) -> Mask:
        return _lowest(self.candidate, self.count)

    @cached_property
    def by_opponent(self) -> Mask:
        return _lowest(self.opponent, self.count)

    @property
    def exact_share(self) -> float:
        """The share that the counted rows are."""
        return self.count / len(self.label)

    @cached_property
    def opponents_cut(self) -> float:
        """The highest score that the opponent approves."""
        return float(self.opponent[self.by_opponent].max()) if self.count else -np.inf

    def statistics(self, score: Scores, exposure: Scores | None) -> dict[str, Statistic]:
        """Of one model at the same approval rate, by name of the measure."""
        order = np.argsort(score, kind="stable")
        loss = score if exposure is None else score * exposure
        per_row = weighted.mean_of_first(loss, order, self.exact_share)
        return {
            "bad_rate": weighted.event_rate_of_lowest(self.label, score, self.exact_share),
            "expected_loss": lambda weights: per_row(weights) * self.count,
            "approval_rate_at_opponents_cut": weighted.mean((score <= self.opponents_cut).astype(np.float64)),
        }


def swap_set(approvals: Approvals, measuring: Measuring) -> SwapSet:
    """The rows by who approves them. The two groups of the swap set are different people: Newcombe's interval."""
    ours, theirs = approvals.by_candidate, approvals.by_opponent
    gained, lost = _group(approvals.label, ours & ~theirs), _group(approvals.label, theirs & ~ours)
    difference = None
    if gained.rows and lost.rows:
        difference = rate_difference((gained.events, lost.events), (gained.rows, lost.rows), measuring.confidence)
    return SwapSet(
        both=_group(approvals.label, ours & theirs),
        only_candidate=gained,
        only_opponent=lost,
        neither=_group(approvals.label, ~ours & ~theirs),
        difference=difference,
    )


def _lowest(score: Scores, count: int) -> Mask:
    approved: npt.NDArray[np.bool_] = np.zeros(len(score), bool)
    approved[np.argsort(score, kind="stable")[:count]] = True
    return approved


def _group(label: Labels, chosen: Mask) -> Group:
    rows, events = int(chosen.sum()), int(label[chosen].sum())
    return Group(rows=rows, events=events, bad_rate=events / rows if rows else None)
