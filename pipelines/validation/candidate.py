"""A version under judgement: its files verified and loaded, its training set made again from its pins, and the rows it is
judged on, which it has not learnt from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pipelines import features, mlflow_store
from pipelines.contracts import DataFault
from pipelines.evaluation.metrics import Scores
from pipelines.registry.artefacts import fetch_verified
from pipelines.registry.versions import stored_digest
from pipelines.settings import Settings
from pipelines.spec import Model
from pipelines.training import artefact, split
from pipelines.training.artefact import Predictor
from pipelines.training.provenance import Provenance
from pipelines.training.reproduction import recorded_provenance
from pipelines.training.rows import Rows, rows_of
from pipelines.training.trial import unseen


@dataclass(frozen=True)
class Candidate:
    """A loaded version and its rows.

    Attributes:
        model: the model file as it was recorded with the version.
        folder: its verified files.
        development: labelled rows it was fitted on (and the background, of a model that has one).
        judged: labelled rows it is judged on: out of time; in folds all rows, each scored by a model that had not seen it.
        tokens: entity of each judged row, in the same order.
        probability: of each judged row.
    """

    model: Model
    version: int
    run_id: str
    artefact_digest: str
    tags: dict[str, str]
    folder: Path
    predictor: Predictor
    provenance: Provenance
    development: Rows
    judged: Rows
    tokens: pa.ChunkedArray
    probability: Scores

    @property
    def in_folds(self) -> bool:
        return self.model.training.validation.kind == "folds"


@dataclass(frozen=True)
class LoadedFiles:
    """A registered version with its files verified: where they are, what it was made from, and the model itself."""

    stored: mlflow_store.StoredVersion
    artefact_digest: str
    folder: Path
    provenance: Provenance
    predictor: Predictor


def load_files(settings: Settings, model: Model, version: int) -> LoadedFiles:
    """Fetch, verify and load a version. Raises Blocked for files that are not what it claims, DataFault for one unknown."""
    stored = mlflow_store.version(settings, model.name, version)
    digest = stored_digest(model, stored)
    folder = fetch_verified(settings, stored, digest)
    content = artefact.read_verified(folder, digest)[artefact.PROVENANCE]
    provenance = recorded_provenance(model, version, content, stored.tags)
    return LoadedFiles(stored, digest, folder, provenance, artefact.load_verified(folder, digest))


def load_candidate(settings: Settings, model: Model, version: int) -> Candidate:
    """Verify, load and score the rows to judge.

    Raises:
        Blocked: a file is not what the version claims, or the golden rows score differently here.
        DataFault: the version is unknown, or its training set cannot be made again from its pins.
        ConnectionBroken: the database, the lake or the registry did not answer.
    """
    files = load_files(settings, model, version)
    provenance, predictor = files.provenance, files.predictor
    recorded = provenance.model
    pinned = features.training_rows(settings, recorded, provenance.training_set.as_of, provenance.training_set.pins)
    if pinned.digest != provenance.training_set.digest:
        raise DataFault(
            f"model {model.name}: the training set of version {version} cannot be made again: its rows differ from those "
            "recorded. Nothing was judged. Find out what changed in the lake; train again to get a version that can be judged."
        )
    rows = rows_of(pinned.table, recorded.feature)
    labelled = pinned.table.filter(pinned.table["label"].is_valid())
    if recorded.training.validation.kind == "folds":
        development, judged, tokens = rows, rows, labelled[recorded.token]
        probability = unseen(recorded, provenance.algorithm, rows, provenance.typologies)
    else:
        chosen = split.judged_by_date(rows, recorded.training.validation)
        development = split.by_date(rows, recorded.training.validation).development
        judged, tokens = rows.where(chosen), labelled[recorded.token].filter(pa.array(chosen))
        probability = predictor.predict(judged.features)
    return Candidate(
        model=recorded,
        version=version,
        run_id=files.stored.run_id,
        artefact_digest=files.artefact_digest,
        tags=files.stored.tags,
        folder=files.folder,
        predictor=predictor,
        provenance=provenance,
        development=development,
        judged=judged,
        tokens=tokens,
        probability=probability,
    )
