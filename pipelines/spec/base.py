"""What all files a person writes have in common: strict, frozen, and helpful about names."""

from __future__ import annotations

from datetime import date
from difflib import get_close_matches
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from pipelines.contracts import DataFault

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,47}$")]
PackName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{1,47}$")]
Email = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")]
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2.")]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def closest(name: str, known: Any) -> str:
    """` (did you mean 'x'?)`, or nothing when no known name is near."""
    near = get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


class DatedPack(Strict):
    """A rule pack of policies/: its name, version and the dates it holds for."""

    policy: PackName
    version: str
    description: str
    in_force_from: date
    in_force_to: date | None = None

    def require_in_force(self, on: date) -> Self:
        """Return self, or raise DataFault when the pack does not cover the date."""
        if on < self.in_force_from or (self.in_force_to is not None and on > self.in_force_to):
            raise DataFault(
                f"policy {self.policy} {self.version} is in force from {self.in_force_from} to "
                f"{self.in_force_to or 'further notice'}, not on {on}. Name a pack in force, or extend this one."
            )
        return self
