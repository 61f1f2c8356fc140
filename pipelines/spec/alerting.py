"""The `alerts:` section of a policy pack: how many alerts a night, which cases they form, and what must be measured.

Every key is a decision of the team that works the alerts and of the model's validator; none has a default in code.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from pipelines.spec.base import Fraction, Name, Strict

Count = Annotated[int, Field(ge=1)]
Days = Annotated[int, Field(ge=1, le=3650)]


class BelowTheLine(Strict):
    """What is looked at although it was not alerted, to know what the line misses.

    Attributes:
        seed: of the draw; equal seeds draw the same customers of a batch.
        band: this many customers next below the line may be drawn.
        sample: customers drawn a night from the band.
        sample_per_typology: customers drawn a night of those who meet a typology and were not alerted, per typology.
    """

    seed: int
    band: Count
    sample: Count
    sample_per_typology: Annotated[int, Field(ge=0)]


class CaseLimits(Strict):
    """Which alerts are one case, besides those of the same customer. A hub must not chain everybody into one.

    Attributes:
        link_days: schemes link when less than this lies between them.
        shared_accounts: two schemes link when they have this many accounts in common.
        max_schemes_of_an_account: an account in more schemes than this is a hub and links nothing.
        max_customers: a case does not grow beyond this by links; what was refused is reported.
    """

    link_days: Days
    shared_accounts: Count
    max_schemes_of_an_account: Count
    max_customers: Count


class EvidenceLimits(Strict):
    """What is kept with an alert for good. Totals are always exact; lists are cut at these lengths and say so.

    Attributes:
        source: source that holds the transactions.
        days: booked in so many days up to the business date.
        network: limits of the payment network, whose schemes are evidence too; without it there are none.
    """

    source: Name
    days: Days
    transactions: Count
    edges: Count
    network: Name | None = None


class SegmentColumn(Strict):
    """Source and column that say which segment a customer belongs to."""

    source: Name
    column: Name


class KnownOutcomes(Strict):
    """Outcomes that arrive from outside, for replays: an investigation opened within `days` of an alert is its outcome.

    Attributes:
        source: lake source with one row per investigation, keyed by customer.
        opened, outcome: its columns; `productive` is the value of `outcome` that makes an alert productive.
    """

    source: Name
    opened: Name
    outcome: Name
    productive: str
    days: Days


class AlertLimits(Strict):
    """What becomes an alert, and what must hold of the desk that works it.

    Attributes:
        budget: alerts a night that the team can work; the best ranked are raised.
        least_score: with a budget, nothing below this is raised however much room there is.
        threshold: instead of a budget, everything from this score on is raised.
        max_review_items: rows of a night that go to review because an input was missing; with more, an input is missing for
            everybody, nothing is raised, and the input is repaired.
        realert_after_days: no new alert of a customer so soon after the last one or its closing, unless something is new.
        score_rise: something is new when the odds of the score rose by this share, or a typology is met for the first time.
        suppression_max_days: longest suppression of a customer or of a typology for a customer.
        second_person_from_score: from this score on, a false positive is closed by two people.
        confidence: of the exact bounds on yields, two-sided.
        replay: number of the replay that showed what this section changes; not needed for a model's first section.
    """

    budget: Count | None = None
    least_score: Fraction | None = None
    threshold: Fraction | None = None
    max_review_items: Count
    realert_after_days: Days
    score_rise: Annotated[float, Field(gt=0)]
    suppression_max_days: Days
    second_person_from_score: Fraction
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    below_the_line: BelowTheLine
    cases: CaseLimits
    evidence: EvidenceLimits
    segments: SegmentColumn
    outcomes: KnownOutcomes | None = None
    replay: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _one_line(self) -> AlertLimits:
        if (self.budget is None) == (self.threshold is None):
            raise ValueError("alerts need exactly one of budget and threshold")
        if (self.budget is None) != (self.least_score is None):
            raise ValueError("budget and least_score go together; threshold stands alone")
        return self
