"""Make a registered version again from what its run pinned, and compare every prediction."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from pydantic import ValidationError

from pipelines import features, mlflow_store
from pipelines.contracts import Blocked, DataFault, Value
from pipelines.settings import Settings
from pipelines.spec import Model
from pipelines.training import artefact
from pipelines.training.provenance import Provenance, code_digest
from pipelines.training.register import artefact_files
from pipelines.training.rows import rows_of
from pipelines.training.trial import try_out


class Reproduction(Value):
    """What came out of training a version again.

    Attributes:
        same_rows: the training set has the recorded digest.
        same_code: the source of training and evaluation has the recorded digest.
        same_files: every file but the provenance has the recorded bytes.
        rows: labelled and unlabelled.
        rows_that_differ: training rows whose probability is not the same, bit for bit.
        largest_difference: between two probabilities of a row.
    """

    model: str
    version: int
    rows: int
    same_rows: bool
    same_code: bool
    same_files: bool
    rows_that_differ: int
    largest_difference: float

    @property
    def identical(self) -> bool:
        return self.same_rows and self.rows_that_differ == 0


def reproduce(settings: Settings, model: Model, version: int) -> Reproduction:
    """Train the version again from its run's pins: the model file, Delta versions, parameters and seed recorded with it.

    Raises:
        Blocked: the registered files are not the ones their digest promises.
        DataFault: the version is unknown, a definition or the form of a record has changed since, or a pinned lake version
            is gone.
    """
    stored = mlflow_store.version(settings, model.name, version)
    with TemporaryDirectory(prefix="vigil-reproduce-") as scratch:
        folder = mlflow_store.download_artefact(settings, stored, Path(scratch))
        digest = _digest(model, version, stored.tags)
        files = artefact.read_verified(folder, digest)
        predictor = artefact.load_verified(folder, digest)
    recorded = recorded_provenance(model, version, files[artefact.PROVENANCE], stored.tags)
    if recorded.foreign is not None:
        raise DataFault(
            f"version {version} of {model.name} was trained by {recorded.foreign.organisation}, not here, so it cannot be made "
            f"again. Its judgement can: python -m pipelines judge --model {model.name} --version {version}"
        )
    pins = recorded.training_set
    pinned = features.training_rows(settings, recorded.model, pins.as_of, pins.pins)
    rows = rows_of(pinned.table, recorded.model.feature)
    again = try_out(recorded.model, recorded.algorithm, rows, recorded.typologies)
    made, kept = again.developed.probability(rows.population), predictor.predict(rows.population)
    remade = artefact_files(recorded, again)
    return Reproduction(
        model=model.name,
        version=version,
        rows=rows.population.num_rows,
        same_rows=pinned.digest == pins.digest,
        same_code=code_digest() == recorded.code_digest,
        same_files=remade == files,
        rows_that_differ=int((made != kept).sum()),
        largest_difference=float(np.max(np.abs(made - kept))),
    )


def _digest(model: Model, version: int, tags: dict[str, str]) -> str:
    if "vigil.artefact_digest" not in tags:
        raise Blocked(f"version {version} of {model.name} carries no artefact digest, so nothing can be verified.")
    return tags["vigil.artefact_digest"]


def recorded_provenance(model: Model, version: int, provenance: bytes, tags: dict[str, str]) -> Provenance:
    """What a version was made from, as its verified files say. Raises DataFault when older code described it differently."""
    try:
        return Provenance.model_validate_json(provenance)
    except ValidationError:
        raise DataFault(
            f"version {version} of {model.name} was recorded by code that described models differently. Check out "
            f"{tags.get('vigil.code_version', 'its commit')} and run the same command again."
        ) from None
