"""The reason catalogue of a model file: what a person may be told of a score, in words that say what counted.

Regulation B, 12 CFR 1002.9(b)(2) and its commentary: reasons must be specific, and that somebody did not reach a score or meet a
standard is no reason; as a rule no more than four are told.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.spec.base import Name, Strict

MOST_REASONS = 4
_SAYS_NOTHING = re.compile(r"\b(scor\w*|points?|models?|algorithms?|internal|polic(y|ies)|standards?|criteria)\b", re.I)


class Reason(Strict):
    """One reason. What its features add to a score is added up, so that a person is told the same thing once.

    Attributes:
        text: a sentence for the person the score is about.
        parts: components of the score that are no feature: `anomaly` of a combined model.
    """

    text: Annotated[str, Field(min_length=15, max_length=200)]
    features: tuple[Name, ...] = ()
    parts: tuple[Literal["anomaly"], ...] = ()

    @model_validator(mode="after")
    def _says_something(self) -> Reason:
        if vague := _SAYS_NOTHING.search(self.text):
            raise ValueError(
                f"text says {vague.group()!r}: say what counted against the person, not how it was counted"
            )
        if not self.features and not self.parts:
            raise ValueError("needs features or parts")
        return self

    @property
    def components(self) -> tuple[str, ...]:
        """Names of its contributions."""
        return (*self.features, *(f"part {part}" for part in self.parts))


class Reasons(Strict):
    """What may be told of a score.

    Attributes:
        catalogue: reasons by their code.
        untold: features that are never told as a reason, each with why not. They still count in the score.
        most: how many reasons are told at most.
    """

    catalogue: dict[Name, Reason] = Field(min_length=1)
    untold: dict[Name, Annotated[str, Field(min_length=10)]] = Field(default_factory=dict)
    most: Annotated[int, Field(ge=1, le=MOST_REASONS)] = MOST_REASONS

    @model_validator(mode="after")
    def _each_once(self) -> Reasons:
        named = [*self.untold, *(component for reason in self.catalogue.values() for component in reason.components)]
        if twice := sorted({name for name in named if named.count(name) > 1}):
            raise ValueError(f"named twice in reasons: {', '.join(twice)}")
        texts = [reason.text.lower() for reason in self.catalogue.values()]
        if len(set(texts)) < len(texts):
            raise ValueError("two reasons have the same text: merge them")
        return self

    @property
    def named(self) -> frozenset[str]:
        """Features that are in a reason or untold."""
        return frozenset(self.untold) | {name for reason in self.catalogue.values() for name in reason.features}
