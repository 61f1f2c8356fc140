"""Policy packs: policies/<policy>.yaml. Limits are data, so that changing one is a review in version control."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipelines.spec.alerting import AlertLimits
from pipelines.spec.base import DatedPack, Fraction, Strict


class TrainingLimits(Strict):
    """What a training set and a fresh model must hold before a version is registered.

    A feature stronger than any honest one is taken for a leak.

    Attributes:
        max_auc_of_one_feature: of one feature alone, or of the ratio of two.
        pure_group_min_rows: smallest group of rows (a category, a value, a range, absence) that is looked at.
        pure_group_confidence: of the exact binomial bound on a group's event rate.
        pure_group_min_rate: a group is pure when the bound on its event rate is above this, or on its rate of non-events.
        pure_group_odds: and its odds differ from those of all rows by this factor as observed,
        pure_group_odds_at_bound: and by this factor even at the bound.
    """

    min_rows: Annotated[int, Field(ge=1)]
    min_events: Annotated[int, Field(ge=1)]
    min_auc: Fraction
    max_auc_of_one_feature: Fraction
    pure_group_min_rows: Annotated[int, Field(ge=10)]
    pure_group_confidence: Fraction
    pure_group_min_rate: Fraction
    pure_group_odds: Annotated[float, Field(gt=1)]
    pure_group_odds_at_bound: Annotated[float, Field(gt=1)]


class ScoringLimits(Strict):
    """What a batch must hold before it is published."""

    max_rejected_fraction: Fraction
    psi_warning: Annotated[float, Field(gt=0)]
    psi_block: Annotated[float, Field(gt=0)]


class Policy(DatedPack):
    """A dated rule pack. Limits are data; who may change them is a review in version control.

    `alerts` is needed by models whose scores become alerts.
    """

    training: TrainingLimits
    scoring: ScoringLimits
    alerts: AlertLimits | None = None
