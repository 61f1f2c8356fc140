"""What every gate is given."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from pipelines.contracts import GateReport
from pipelines.evaluation.intervals import Interval, Statistic, bootstrap
from pipelines.settings import Settings
from pipelines.spec import Measuring, Model, Policy
from pipelines.validation.candidate import Candidate
from pipelines.validation.comparison import Comparison
from pipelines.validation.opponent import Opponent


@dataclass(frozen=True)
class Inputs:
    """A candidate under judgement, and by what it is judged.

    Attributes:
        model: the model file as it is now; the candidate carries it as it was at training.
        measuring: the policy's section, which the caller has made sure is there.
        opponent: what the candidate is compared with; None when there is nothing to compare with.
        comparison: of candidate and opponent; None without an opponent.
        judged_on: day whose rules apply.
        earlier: the newest stored report about these very files, if there is one.
    """

    settings: Settings
    model: Model
    policy: Policy
    measuring: Measuring
    candidate: Candidate
    opponent: Opponent | None
    comparison: Comparison | None
    judged_on: date
    earlier: GateReport | None = None

    def resampled(self, statistic: Statistic) -> Interval:
        """A statistic of the judged rows with its bootstrap interval. Raises EvidenceMissing where it is no number."""
        measuring = self.measuring
        return bootstrap(
            self.candidate.judged.label,
            statistic,
            confidence=measuring.confidence,
            resamples=measuring.resamples,
            seed=measuring.seed,
        )
