"""What all files a person writes have in common: strict, frozen, and helpful about names."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,47}$")]
Email = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def closest(name: str, known: Any) -> str:
    """` (did you mean 'x'?)`, or nothing when no known name is near."""
    near = get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
