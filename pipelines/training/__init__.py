"""From pinned rows to a registered version: leakage check, time split, three algorithms, calibration, evidence, artefact.

The night scores without training, so nothing that only training needs is imported before it is called.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from pipelines.contracts import TrainedVersion
from pipelines.settings import Settings
from pipelines.spec import Model

if TYPE_CHECKING:
    from pipelines.training.reproduction import Reproduction


BY_HAND = "system:cli"


def train(settings: Settings, model: Model, as_of: date, *, by: str = BY_HAND) -> tuple[TrainedVersion, ...]:
    """Train and register every algorithm of the model file; see pipelines.training.steps."""
    from pipelines.training import steps

    return steps.train(settings, model, as_of, by=by)


def reproduce(settings: Settings, model: Model, version: int) -> Reproduction:
    """Train a registered version again from its pins and compare; see pipelines.training.reproduction."""
    from pipelines.training import reproduction

    return reproduction.reproduce(settings, model, version)
