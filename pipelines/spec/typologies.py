"""Typology packs: policies/<pack>.yaml. Transparent rules of how laundering looks, with the source each one comes from.

A typology is met when all of `all_of` and at least one of `any_of` hold. Its points say how strongly it alone suggests
laundering; what several add up to is in pipelines.training.rules. `evidence` says which payments of the customer show it,
for whoever has to look at the alert; it has no part in the score.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.contracts import DataFault, fingerprint
from pipelines.spec.base import Country, Name, Strict, closest
from pipelines.spec.model import Feature


class Condition(Strict):
    """What one feature must hold: a range by `at_least` and `at_most`, both included, or `equals`.

    A feature that is true or false compares with `equals: true` or `equals: false`, a category with its text.
    """

    feature: Name
    at_least: float | None = None
    at_most: float | None = None
    equals: bool | float | str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Condition:
        ranged = self.at_least is not None or self.at_most is not None
        if ranged == (self.equals is not None):
            raise ValueError(f"{self.feature}: needs either at_least and at_most, one or both, or equals")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"{self.feature}: at_least is above at_most, which no value is")
        return self


class EvidenceFilter(Strict):
    """Which of the customer's payments show the typology. What is not given does not restrict.

    Attributes:
        direction: `credit` is money coming in, `debit` money going out.
        channel: one of these channels of the source.
        country_in, country_not_in: country of the counterparty, ISO 3166-1 alpha-2.
        amount_between: smallest and largest amount, both included, in the account's currency.
        days: booked in the last so many days up to the business date.
        schemes: the payment belongs to a scheme of one of these kinds that the network search found.
    """

    direction: Literal["credit", "debit"] | None = None
    channel: tuple[Name, ...] = ()
    country_in: tuple[Country, ...] = ()
    country_not_in: tuple[Country, ...] = ()
    amount_between: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]] | None = None
    days: Annotated[int, Field(ge=1, le=366)] | None = None
    schemes: tuple[Name, ...] = ()

    @model_validator(mode="after")
    def _can_be_met(self) -> EvidenceFilter:
        if self.amount_between is not None and self.amount_between[0] > self.amount_between[1]:
            raise ValueError("amount_between: the smallest amount comes first")
        return self


class Typology(Strict):
    """One way in which laundering looks.

    Attributes:
        name: how scores, alerts and reviews call it.
        title: in a few words, for people.
        why: the reason and its source, such as a FATF report; whoever validates the pack looks it up.
        points: how strongly it alone suggests laundering, above 0 and below 1.
    """

    name: Name
    title: Annotated[str, Field(min_length=5)]
    why: Annotated[str, Field(min_length=20)]
    points: Annotated[float, Field(gt=0, lt=1)]
    all_of: tuple[Condition, ...] = ()
    any_of: tuple[Condition, ...] = ()
    evidence: EvidenceFilter = EvidenceFilter()

    @model_validator(mode="after")
    def _has_a_condition(self) -> Typology:
        if not self.conditions:
            raise ValueError(f"{self.name}: has neither all_of nor any_of, so everybody would meet it")
        if len(self.any_of) == 1:
            raise ValueError(f"{self.name}: any_of has one condition only; write it under all_of")
        return self

    @property
    def conditions(self) -> tuple[Condition, ...]:
        return self.all_of + self.any_of


class TypologyPack(Strict):
    """A dated set of typologies. A version that was trained with it keeps its content, whatever the file becomes."""

    pack: Name
    version: str
    description: str
    in_force_from: date
    in_force_to: date | None = None
    typologies: tuple[Typology, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_unique(self) -> TypologyPack:
        names = [typology.name for typology in self.typologies]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"typologies named twice: {', '.join(twice)}")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the content; another order of the typologies is another pack."""
        return fingerprint(self.model_dump_json())

    @property
    def identity(self) -> str:
        """Pack, version and digest in one text, as batches and alerts keep it."""
        return f"{self.pack} {self.version} {self.digest}"

    @property
    def features(self) -> tuple[str, ...]:
        """Every feature that a condition names, in order of first use."""
        return tuple(dict.fromkeys(c.feature for typology in self.typologies for c in typology.conditions))

    def typology(self, name: str) -> Typology:
        """The typology of that name. Raises DataFault with the closest known name."""
        found = {typology.name: typology for typology in self.typologies}
        if name not in found:
            raise DataFault(f"typology pack {self.pack} {self.version} has no {name!r}{closest(name, found)}.")
        return found[name]

    def require_in_force(self, on: date) -> TypologyPack:
        """Self, or DataFault when the pack does not cover the date."""
        if on < self.in_force_from or (self.in_force_to is not None and on > self.in_force_to):
            raise DataFault(
                f"typology pack {self.pack} {self.version} is in force from {self.in_force_from} to "
                f"{self.in_force_to or 'further notice'}, not on {on}. Name a pack in force in the model file."
            )
        return self

    def require_fits(self, model: str, features: Mapping[str, Feature]) -> TypologyPack:
        """Self, or DataFault with every condition on a feature that the model does not have or that is of another kind."""
        if problems := list(self._misfits(features)):
            listed = "\n".join(f"  {problem}" for problem in problems)
            raise DataFault(
                f"policies/{self.pack}.yaml does not fit model {model}:\n{listed}\n"
                "Correct the condition, or add the feature to the model file."
            )
        return self

    def _misfits(self, features: Mapping[str, Feature]) -> Iterator[str]:
        for typology in self.typologies:
            for condition in typology.conditions:
                name = condition.feature
                if name not in features:
                    yield f"{typology.name}: the model has no feature {name!r}{closest(name, features)}"
                elif features[name].categorical != isinstance(condition.equals, str):
                    kind = "a category, so it needs equals with a text" if features[name].categorical else "a number"
                    yield f"{typology.name}: {name} is {kind}"
