"""Model files: models/<model>.yaml."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, model_validator

from pipelines.spec.base import Email, Name, PackName, Strict
from pipelines.spec.reasons import Reasons

Sentence = Annotated[str, Field(min_length=10)]
Algorithm = Literal["catboost", "scorecard", "combined"]


class Feature(Strict):
    """One input of the model.

    Attributes:
        monotone: direction in which the probability may move as the feature grows; `none` states that it may do both.
        missing: what an absent value does: `reject` the row, score it and send it to `review`, or `allowed` where absence
            is itself a documented state (e.g. no earlier delinquency).
        categorical: the feature is a category (string).
        leakage_waiver: why a statistical suspicion of the leakage check is unfounded, and who looked at it. What is known
            later by its source or its dates cannot be waived.
    """

    monotone: Literal["increasing", "decreasing", "none"] = "none"
    missing: Literal["reject", "review", "allowed"] = "review"
    categorical: bool = False
    leakage_waiver: Annotated[str, Field(min_length=20)] | None = None

    @model_validator(mode="after")
    def _categories_have_no_order(self) -> Feature:
        if self.categorical and self.monotone != "none":
            raise ValueError("a categorical feature cannot be monotone")
        return self


class Label(Strict):
    """What is predicted: a label view of feature_repo/ and how long until it is final.

    `maturity_days` counts from the event; a row enters training only when its maturity has passed and its label has
    arrived by the as-of date.
    """

    view: Name
    maturity_days: Annotated[int, Field(ge=0)]
    description: str


class Validation(Strict):
    """How the model is validated. `out_of_time` holds out the latest events; `folds` is for data without time.

    Attributes:
        development_to: last event date learnt from, before `out_of_time_from`. The dates between are not used: on the first
            judged date their outcomes would not have been known.
        out_of_time_to: last event date judged.
    """

    kind: Literal["out_of_time", "folds"]
    out_of_time_from: date | None = None
    out_of_time_to: date | None = None
    development_to: date | None = None
    out_of_time_months: Annotated[int, Field(ge=1)] | None = None
    folds: Annotated[int, Field(ge=2, le=20)] | None = None
    why_no_time: str | None = Field(default=None, description="Required with folds: why no date can be held out.")

    @model_validator(mode="after")
    def _one_way(self) -> Validation:
        if self.kind == "out_of_time" and (self.out_of_time_from is None) == (self.out_of_time_months is None):
            raise ValueError("out_of_time needs exactly one of out_of_time_from and out_of_time_months")
        if self.out_of_time_from is None and (self.out_of_time_to or self.development_to):
            raise ValueError("out_of_time_to and development_to need out_of_time_from")
        if self.out_of_time_from and self.out_of_time_to and self.out_of_time_to < self.out_of_time_from:
            raise ValueError("out_of_time_to lies before out_of_time_from")
        if self.out_of_time_from and self.development_to and self.development_to >= self.out_of_time_from:
            raise ValueError("development_to must lie before out_of_time_from")
        if self.kind == "folds" and (self.folds is None or not self.why_no_time):
            raise ValueError("folds needs folds and why_no_time: validation by date is the rule")
        return self

    def fingerprint(self) -> str:
        """The settings as text. Keys that came later stay out where they are not set, so that older versions are found."""
        return self.model_dump_json(exclude={name for name in _ADDED if getattr(self, name) is None})


_ADDED = ("out_of_time_to", "development_to")


class Training(Strict):
    """How the model is trained.

    Attributes:
        history_from: earliest event used.
        algorithms: the first is the one that enters as champion candidate; the others are trained beside it as challengers.
        parameters: per algorithm, passed to CatBoost or scikit-learn's LogisticRegression; a name unknown to it is an
            error. Those of `combined` are in docs/training.md.
    """

    algorithms: tuple[Algorithm, ...] = Field(min_length=1)
    history_from: date | None = None
    seed: int
    validation: Validation
    calibration: Literal["sigmoid", "isotonic", "none"] = "sigmoid"
    parameters: dict[Algorithm, dict[str, float | int | str | bool]] = Field(default_factory=dict)


class Schedule(Strict):
    """When the night starts, as cron in a time zone; empty cron means only on request."""

    cron: Annotated[str, Field(pattern=r"^(\S+ ){4}\S+$")] | None
    timezone: str = "UTC"
    timeout_minutes: Annotated[int, Field(ge=1, le=24 * 60)]

    @model_validator(mode="after")
    def _zone_exists(self) -> Schedule:
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"timezone {self.timezone!r} is unknown; write it as in Europe/Berlin") from None
        return self


class Model(Strict):
    """One governed model: who answers for it, what it reads, what it predicts and how it is trained.

    Attributes:
        population: source whose rows on a business date are the entities to score.
        entity: entity scored; the key is `<entity>_token`.
        features: by feature view, then feature name.
        policy: policy pack in policies/ that holds the limits.
        typologies: typology pack in policies/ that the algorithm `combined` scores by. Left out of what is written where a
            model has none, so that the records of such models stay as they were.
        reasons: what may be told of a score; every feature has its place there. Left out of what is written where a model has
            none.
        assumptions, limits: what the model takes for granted and what it is not for, a sentence each, for its documents.
            Left out of what is written where a model states none.
    """

    name: Name
    title: str
    description: str
    owner: Email
    validator: Email
    tier: Literal[1, 2, 3]
    domain: Literal["credit", "aml", "fraud"]
    purpose: str
    policy: PackName
    typologies: Name | None = Field(default=None, exclude_if=lambda pack: pack is None)
    entity: Name
    population: Name
    sources: tuple[Name, ...] = Field(min_length=1)
    features: dict[Name, dict[str, Feature]] = Field(min_length=1)
    label: Label
    training: Training
    schedule: Schedule
    tags: tuple[str, ...] = ()
    reasons: Reasons | None = Field(default=None, exclude_if=lambda reasons: reasons is None)
    assumptions: tuple[Sentence, ...] = Field(default=(), exclude_if=lambda sentences: not sentences)
    limits: tuple[Sentence, ...] = Field(default=(), exclude_if=lambda sentences: not sentences)

    @model_validator(mode="after")
    def _consistent(self) -> Model:
        if self.owner == self.validator:
            raise ValueError("owner and validator are the same person: four eyes need two")
        if self.population not in self.sources:
            raise ValueError(f"population {self.population!r} is not among sources {list(self.sources)}")
        names = [f for view in self.features.values() for f in view]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"features named twice: {', '.join(twice)}")
        if ("combined" in self.training.algorithms) != (self.typologies is not None):
            raise ValueError("the algorithm combined needs typologies, and typologies are for combined alone")
        return self

    @model_validator(mode="after")
    def _each_feature_has_its_reason(self) -> Model:
        if self.reasons is None:
            return self
        have, named = set(self.feature_names), self.reasons.named
        if unknown := sorted(named - have):
            raise ValueError(f"reasons name what is no feature of the model: {', '.join(unknown)}")
        if forgotten := sorted(have - named):
            raise ValueError(
                f"features in no reason: {', '.join(forgotten)}. Put each into one, or into untold with why."
            )
        return self

    @property
    def feature_names(self) -> tuple[str, ...]:
        """All features in file order, the order of the model's columns."""
        return tuple(f for view in self.features.values() for f in view)

    @property
    def feature(self) -> dict[str, Feature]:
        return {name: feature for view in self.features.values() for name, feature in view.items()}

    @property
    def token(self) -> str:
        return f"{self.entity}_token"
