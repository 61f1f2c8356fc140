"""What each feature adds to a row's log odds, against a stated baseline: the reasons of a score.

baseline + the sum of a row's values is that row's log odds, to 1e-6. What the baseline is, and how an algorithm shares its
log odds among the features, is told where the algorithm is (`contributions` of each fitted model). A component that is no
feature (the anomaly part of a combined score) is named `part ...`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.evaluation.metrics import Scores

Index = npt.NDArray[np.intp]
NONE = -1
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Contributions:
    """Contributions of `features` to rows.

    Attributes:
        baseline: log odds without any contribution, the same for all rows.
        values: (rows, features); above 0 where the feature makes the event likelier than the baseline does.
        calibrated: whether the sums are log odds of the calibrated probability. They are not under isotonic calibration,
            which is no straight line in the log odds: the sums are then log odds before calibration, in the same order.
    """

    baseline: float
    values: Scores
    features: tuple[str, ...]
    calibrated: bool = False

    def __len__(self) -> int:
        return len(self.values)

    @property
    def log_odds(self) -> Scores:
        """What baseline and contributions add up to, one per row."""
        total: Scores = self.baseline + self.values.sum(axis=1)
        return total

    def add_up_to(self, log_odds: Scores) -> bool:
        """Whether baseline and contributions give each row's log odds, to TOLERANCE."""
        return bool((np.abs(self.log_odds - log_odds) <= TOLERANCE).all())

    def scaled(self, slope: float, intercept: float) -> Contributions:
        """Contributions to slope * log odds + intercept: sigmoid calibration is such a line."""
        return Contributions(slope * self.baseline + intercept, slope * self.values, self.features, calibrated=True)

    def adverse(self, limit: int = 4) -> Index:
        """Per row the positions of the features that raise it most, the most adverse first.

        Features that do not raise the row are left out and `NONE` fills up. Equal contributions stay in the features' order.
        """
        order = np.argsort(-self.values, axis=1, kind="stable")[:, :limit]
        raises = np.take_along_axis(self.values, order, axis=1) > 0
        return np.where(raises, order, NONE)


def principal(contributions: Contributions, row: int, limit: int = 4) -> tuple[str, ...]:
    """Names of the features that raise the row's score most, the most adverse first; those that do not raise it are left out."""
    one = Contributions(contributions.baseline, contributions.values[row : row + 1], contributions.features)
    return tuple(one.features[position] for position in one.adverse(limit)[0] if position != NONE)
