"""What a candidate must hold before a person is asked: rules of gates, how it is measured, who approves, when it is reviewed."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from pipelines.spec.base import Email, Name, Strict

Domain = Literal["credit", "aml", "fraud"]
Tier = Literal[1, 2, 3]
Opposing = Literal["champion", "benchmark"]
Gate = Literal[
    "discrimination",
    "calibration",
    "stability",
    "champion",
    "leakage",
    "data_quality",
    "monotonicity",
    "robustness",
    "stress",
    "fairness",
    "explainability",
    "latency",
    "artefact",
]
GATES: tuple[Gate, ...] = get_args(Gate)


class Rule(Strict):
    """One limit of one gate, for a use and a tier, in force for a time.

    Attributes:
        metric: what the gate measures, by its name in docs/gates.md.
        at_least, at_most: exactly one is given; the limit itself passes.
        bound: which number must hold: the value as observed, or an end of its confidence interval.
        effect: a rule that does not hold blocks, or is only recorded.
        uses, tiers: models the rule is for.
        against: of the gate `champion`, whether the opponent is a champion, or a sibling because the model never had one.
        source: law, standard or decision it comes from, as an auditor would look it up.
        in_force_from, in_force_to: first and last day; the pack's own dates hold beside them.
    """

    gate: Gate
    metric: Name
    at_least: float | None = None
    at_most: float | None = None
    bound: Literal["value", "low", "high"] = "value"
    effect: Literal["block", "record"] = "block"
    uses: tuple[Domain, ...] = Field(get_args(Domain), min_length=1)
    tiers: tuple[Tier, ...] = Field(get_args(Tier), min_length=1)
    against: tuple[Opposing, ...] = Field(get_args(Opposing), min_length=1)
    source: str
    in_force_from: date | None = None
    in_force_to: date | None = None

    @model_validator(mode="after")
    def _one_limit(self) -> Rule:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(f"{self.gate}.{self.metric} needs exactly one of at_least and at_most")
        if self.gate != "champion" and self.against != get_args(Opposing):
            raise ValueError(f"{self.gate}.{self.metric}: only rules of the gate champion are against an opponent")
        if self.in_force_from and self.in_force_to and self.in_force_to < self.in_force_from:
            raise ValueError(f"{self.gate}.{self.metric}: in_force_to lies before in_force_from")
        return self

    def applies(self, domain: Domain, tier: Tier, on: date) -> bool:
        """Whether the rule is for such a model on that day."""
        begun = self.in_force_from is None or self.in_force_from <= on
        ended = self.in_force_to is not None and self.in_force_to < on
        return domain in self.uses and tier in self.tiers and begun and not ended

    @property
    def limit(self) -> str:
        """The limit in words."""
        return f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"

    def holds(self, number: float) -> bool:
        """Whether a finite number is within the limit."""
        return number >= self.at_least if self.at_least is not None else number <= (self.at_most or 0.0)


class StampedRule(Rule):
    """A rule with the pack it stands in. Its pack must be in force too."""

    pack: str
    pack_version: str

    @property
    def name(self) -> str:
        return f"{self.pack}/{self.gate}.{self.metric}"


class Fairness(Strict):
    """How groups are compared.

    Attributes:
        source: contract whose protected columns are joined by the customer's token, only here.
        attributes: protected columns; a number is cut into bands that begin at the given ages or values.
        intersections: sets of attributes whose combinations are groups too.
        min_group: fewest rows of a group that is assessed; a smaller one is named and not judged.
        min_known_share: smallest share of rows whose attribute is known; below it nothing is said about the attribute.
        significance: of the two-sided test of a difference.
        prohibited_inputs: words that no feature and no column it is made of may have in its name.
    """

    source: Name
    attributes: dict[Name, ProtectedAttribute] = Field(min_length=1)
    intersections: tuple[tuple[Name, ...], ...] = ()
    min_group: Annotated[int, Field(ge=5)]
    min_known_share: Annotated[float, Field(gt=0, le=1)]
    significance: Annotated[float, Field(gt=0, lt=0.5)]
    prohibited_inputs: tuple[Name, ...] = ()

    @model_validator(mode="after")
    def _intersections_of_attributes(self) -> Fairness:
        for name in (name for names in self.intersections for name in names):
            if name not in self.attributes:
                raise ValueError(f"intersections: {name!r} is not among attributes {list(self.attributes)}")
        return self


class ProtectedAttribute(Strict):
    """One protected column. With `bands` its values are numbers: years of birth when `is_birth_year`, then bands are of age."""

    bands: tuple[float, ...] = ()
    is_birth_year: bool = False


class Shift(Strict):
    """What a scenario does to one feature: multiply, then add, then keep within the bounds. Absent values stay absent."""

    multiply: float = 1.0
    add: float = 0.0
    at_least: float | None = None
    at_most: float | None = None


class Scenario(Strict):
    """A named shift of inputs. Features the model does not have are passed over; one that shifts none is not assessable."""

    title: str
    source: str
    features: dict[Name, Shift] = Field(min_length=1)


class Measuring(Strict):
    """How a candidate is measured: numbers that belong to no single limit.

    Attributes:
        confidence: of every interval.
        resamples, seed: of the bootstrap.
        approved_share: share of rows, from the lowest score, taken as the favourable outcome (approved, no alert).
        nights: stored nights on which champion and candidate are compared.
        noise: standard deviations of each number that the robustness gate adds as noise.
        latency_rows, latency_repeats: rows in a call, and calls, that latency is measured on.
        scenarios: by name.
        fairness: None only where no attribute may be held; the fairness gate is then not assessable.
    """

    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    resamples: Annotated[int, Field(ge=100, le=10_000)]
    seed: int
    approved_share: Annotated[float, Field(gt=0, lt=1)]
    nights: Annotated[int, Field(ge=1, le=60)]
    noise: Annotated[float, Field(gt=0, le=1)]
    latency_rows: Annotated[int, Field(ge=1)]
    latency_repeats: Annotated[int, Field(ge=20)]
    scenarios: dict[Name, Scenario] = Field(default_factory=dict)
    fairness: Fairness | None = None


class Approvers(Strict):
    """Who answers for models of a tier: how many different persons must agree, and who they may be."""

    needed: Annotated[int, Field(ge=1, le=5)]
    validators: tuple[Email, ...]

    @model_validator(mode="after")
    def _enough(self) -> Approvers:
        if len(set(self.validators)) != len(self.validators) or len(self.validators) < self.needed:
            raise ValueError(
                f"{self.needed} different persons must agree, so at least as many must be named, each once"
            )
        return self


class Approvals(Strict):
    """How a person's approval becomes a permit.

    Attributes:
        tiers: by tier.
        wait_hours: how long an answer is waited for.
        valid_days: how long a permit holds.
    """

    tiers: dict[Tier, Approvers]
    wait_hours: Annotated[float, Field(gt=0)]
    valid_days: Annotated[int, Field(ge=1, le=3660)]


class Review(Strict):
    """When a model in use is looked at again, and what an overdue review or an expired permit does.

    Attributes:
        every_days: by tier, the longest time between reviews.
        overdue, expired_permit: `stop` scoring, or `warn` and open an incident.
        after_psi: a published batch whose PSI reaches it makes a review due at once.
        rollback_seconds: how long a rollback may take when it is rehearsed.
    """

    every_days: dict[Tier, Annotated[int, Field(ge=1)]]
    overdue: Literal["stop", "warn"]
    expired_permit: Literal["stop", "warn"]
    after_psi: Annotated[float, Field(gt=0)]
    rollback_seconds: Annotated[float, Field(gt=0)]
