"""Limits of the features of customer activity: policies/aml_activity.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipelines.spec.base import Country, DatedPack, Fraction


class ActivityLimits(DatedPack):
    """A dated pack of limits; a change makes the features anew.

    Attributes:
        reporting_threshold: amount from which cash must be reported, in the currency of the source.
        just_under_fraction: an amount from this fraction of the threshold up to the threshold counts as just under it.
        round_to: an amount that is a multiple of this counts as round.
        dormant_days: an account silent for this long had gone to sleep.
        max_days_without_bookings: with more days of the last 90 on which the whole bank booked nothing, nobody has features.
        max_missing_deliveries: nor with more business dates of them for which no file of transactions came.
    """

    reporting_threshold: Annotated[float, Field(gt=0)]
    just_under_fraction: Fraction
    cash_channels: tuple[str, ...] = Field(min_length=1)
    home_country: Country
    high_risk_countries: tuple[Country, ...]
    round_to: Annotated[int, Field(gt=0)]
    dormant_days: Annotated[int, Field(ge=1, le=365)]
    max_days_without_bookings: Annotated[int, Field(ge=0, le=90)]
    max_missing_deliveries: Annotated[int, Field(ge=0, le=90)]
