"""What an algorithm is told besides the rows, and what every fitted one can do."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Protocol

from pipelines.contracts import DataFault
from pipelines.evaluation.metrics import Scores
from pipelines.spec import Feature, TypologyPack
from pipelines.training.contributions import Contributions
from pipelines.training.rows import Features

Parameters = dict[str, float | int | str | bool]


@dataclass(frozen=True)
class Recipe:
    """How to fit: the features with their direction and what absence means, the seed, and the algorithm's parameters.

    Attributes:
        typologies: what `combined` judges rows by; None for the others.
        place: where in the model file the parameters are written, if not under the algorithm's own name.
    """

    model: str
    features: Mapping[str, Feature]
    seed: int
    parameters: Parameters
    typologies: TypologyPack | None = None
    place: str | None = None


class Fitted(Protocol):
    """A fitted model, before calibration."""

    def log_odds(self, features: Features) -> Scores:
        """Log odds of the event, one per row, from the features by name."""

    def contributions(self, features: Features) -> Contributions:
        """What each feature adds to each row's log odds, before calibration."""

    def files(self) -> dict[str, bytes]:
        """The model in its native format, by file name."""

    def importance(self) -> dict[str, float]:
        """Per feature how much it moves the result; only comparable within one model."""


def require_known_parameters(model: str, algorithm: str, given: Mapping[str, Any], known: Collection[str]) -> None:
    """Raises DataFault for the first parameter that is not known, with the closest name."""
    for name in given:
        if name not in known:
            near = get_close_matches(name, list(known), n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise DataFault(
                f"model {model}: training.parameters.{algorithm}.{name} is unknown or fixed by Vigil{hint}. "
                "Correct the model file."
            )


@contextmanager
def readable_refusal(recipe: Recipe, algorithm: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn the library's own complaint about rows or parameters into a DataFault that says where to look."""
    try:
        yield
    except errors as error:
        raise DataFault(
            f"model {recipe.model}: {algorithm} refused to train: {str(error).splitlines()[0]}. Nothing was registered. "
            f"Correct {recipe.place or f'training.parameters.{algorithm}'} in the model file."
        ) from error
