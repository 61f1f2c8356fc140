"""The documentation map: which headings of a law or of guidance the sections of an evidence pack answer."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from pipelines.spec.base import Name, Strict
from pipelines.spec.gates import Domain

Section = Literal[
    "model_card",
    "training_data",
    "features",
    "assumptions_and_limits",
    "gates",
    "comparison",
    "fairness",
    "approvals",
    "sbom",
    "code_version",
    "monitoring",
    "journal",
]
SECTIONS: tuple[Section, ...] = get_args(Section)


class Heading(Strict):
    """One heading, and where its answer is.

    Attributes:
        number: as the framework counts, e.g. `2(d)`.
        title: in our own words, after the framework's.
        articles: articles that ask for it, with their paragraph where one is meant.
        sections: of the evidence pack, the most telling first.
        outside: what the pack does not hold and the bank keeps elsewhere.
    """

    number: Annotated[str, Field(pattern=r"^[0-9A-Z][0-9A-Za-z().]*$")]
    title: str
    articles: tuple[Annotated[str, Field(pattern=r"^\d+(\(\d+\))?(\([a-z]\))?(\([ivx]+\))?$")], ...] = ()
    sections: tuple[Section, ...] = ()
    outside: str = ""

    @model_validator(mode="after")
    def _answered(self) -> Heading:
        if not self.sections and not self.outside:
            raise ValueError(f"heading {self.number}: name the sections that answer it, or say `outside` who does")
        return self


class Framework(Strict):
    """A law or guidance with headings of its own.

    Attributes:
        source: where an auditor finds it.
        uses: models it asks about.
        applies_from, applies_to: first and last day it applies; before and after it is for information.
        confirmed_by: who confirmed the table; None where counsel has yet to.
    """

    framework: Name
    title: str
    source: str
    uses: tuple[Domain, ...] = Field(min_length=1)
    applies_from: date
    applies_to: date | None = None
    confirmed_by: str | None = None
    headings: tuple[Heading, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _each_number_once(self) -> Framework:
        numbers = [heading.number for heading in self.headings]
        twice = sorted({number for number in numbers if numbers.count(number) > 1})
        if twice:
            raise ValueError(f"framework {self.framework}: heading {', '.join(twice)} is there more than once")
        return self

    def applies(self, on: date) -> bool:
        """Whether it applies on that day."""
        return self.applies_from <= on and (self.applies_to is None or on <= self.applies_to)

    def answered_by(self, section: Section) -> tuple[Heading, ...]:
        """The headings that a section of the pack answers."""
        return tuple(heading for heading in self.headings if section in heading.sections)


class DocumentationMap(Strict):
    """policies/documentation.yaml: every framework the evidence pack is mapped to."""

    name: Name
    version: str
    description: str
    frameworks: tuple[Framework, ...] = Field(min_length=1)

    def for_use(self, domain: Domain) -> tuple[Framework, ...]:
        """The frameworks that ask about models of a domain, in file order, whether they apply already or not."""
        return tuple(framework for framework in self.frameworks if domain in framework.uses)
