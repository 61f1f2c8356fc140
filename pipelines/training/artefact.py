"""A model as a folder of files in native formats, and the only way to load one: digests first, then golden rows.

MANIFEST.json lists the SHA-256 of every file; the artefact digest is the SHA-256 of MANIFEST.json, and a permit is bound
to it. Loading reads each file once, compares, and gives the loaders those same bytes, so nothing can be swapped in
between. Neither MLflow nor CatBoost would notice a changed byte. Then the golden rows are scored and must give the
recorded probabilities bit for bit, which catches another library version or processor that computes differently. No
pickle, and no file that could hold one: JSON and CatBoost's own format.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field, ValidationError

from pipelines.contracts import Blocked, DataFault, Value
from pipelines.evaluation.metrics import Scores
from pipelines.lake import local_folder
from pipelines.spec import Feature, TypologyPack
from pipelines.training import algorithms, calibration
from pipelines.training.algorithms import Developed
from pipelines.training.contributions import Contributions
from pipelines.training.reference import Reference
from pipelines.training.rows import Features, Mask, Rows, typed

MANIFEST = "MANIFEST.json"
SCHEMA = "schema.json"
CALIBRATION = "calibration.json"
REFERENCE = "reference.json"
GOLDEN = "golden.json"
PROVENANCE = "provenance.json"
GOLDEN_ROWS = 64
_FORMAT = "vigil-artefact-1"


class Schema(Value):
    """What the model takes: its features in order, and per categorical feature the categories seen in training."""

    format: str = _FORMAT
    model: str
    algorithm: str
    features: dict[str, Feature]
    categories: dict[str, tuple[str, ...]]


class GoldenParts(Value):
    """What the golden rows' probabilities are put together from."""

    values: dict[str, tuple[float, ...]]
    typologies_met: tuple[str, ...]


class Golden(Value):
    """Rows that are nobody's (each column shuffled on its own) and the probabilities they must have.

    Attributes:
        parts: of a model whose scores are put together from parts; not written for others.
    """

    columns: dict[str, tuple[float | str | None, ...]]
    probabilities: tuple[float, ...]
    parts: GoldenParts | None = Field(default=None, exclude_if=lambda parts: parts is None)


@dataclass(frozen=True)
class InParts:
    """Probabilities and what they were put together from.

    Attributes:
        probability: as from Predictor.predict.
        values: by part (pipelines.training.combined.PARTS), in [0, 1]; NaN where the part has no value.
        typologies_met: per row the names, separated by `; `; empty when none.
        unsure: by reason, the rows that a person must look at, because their score rests on less than it should.
    """

    probability: Scores
    values: dict[str, Scores]
    typologies_met: pa.StringArray
    unsure: dict[str, Mask]


@dataclass(frozen=True)
class Predictor:
    """A verified model, ready to score.

    Attributes:
        schema: the features by name, and the categories seen in training.
        reference: distributions to measure drift against.
        provenance: what the model was made from, as recorded at training.
    """

    artefact_digest: str
    schema: Schema
    reference: Reference
    provenance: Mapping[str, Any]
    developed: Developed

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features, in the model's order."""
        return tuple(self.schema.features)

    @property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """Per categorical feature, the values seen in training. Any other counts as absent."""
        return self.schema.categories

    def predict(self, features: Features) -> Scores:
        """Calibrated probability of the event for each row.

        Args:
            features: a pyarrow Table or RecordBatch that holds the features by name, numbers as any numeric type and
                categories as strings; other columns are ignored. Null is absent.

        Returns:
            float64 in [0, 1], as many as rows. A row's result does not depend on the other rows.

        Raises:
            DataFault: a feature is not there, or of another kind.
        """
        return self.developed.probability(typed(features, self.schema.features))

    def contributions(self, features: Features) -> Contributions:
        """What each feature adds to each row's log odds (pipelines.training.contributions). Arguments and errors as `predict`."""
        return self.developed.contributions(typed(features, self.schema.features))

    @property
    def has_parts(self) -> bool:
        """Whether the probabilities are put together from parts."""
        return self.developed.in_parts is not None

    @property
    def typologies(self) -> TypologyPack | None:
        """The typologies the model was permitted with, whatever the file in policies/ says now; None when it has none."""
        model = self.developed.in_parts
        return None if model is None else model.pack

    def predict_in_parts(self, features: Features) -> InParts:
        """The same probabilities as from `predict`, with their parts. Raises DataFault also when the model has none."""
        model = self.developed.in_parts
        if model is None:
            raise DataFault(
                f"model {self.schema.model}: {self.schema.algorithm} does not put its scores together of parts."
            )
        probability, parts = self.developed.probability_in_parts(model, typed(features, self.schema.features))
        return InParts(probability, parts.values, parts.typologies_met, parts.unsure)


def pack(
    model: str, developed: Developed, rows: Rows, features: dict[str, Feature], reference: Reference, provenance: Any
) -> dict[str, bytes]:
    """All files of an artefact but the manifest. `rows` are those the model was fitted on."""
    golden = _golden(rows, features, seed=len(rows))
    files = developed.fitted.files() | {
        SCHEMA: _json(
            Schema(model=model, algorithm=developed.algorithm, features=features, categories=_seen(rows, features))
        ),
        CALIBRATION: calibration.dump(developed.calibration),
        REFERENCE: _json(reference),
        PROVENANCE: json.dumps(provenance, indent=1).encode(),  # unsorted: the order of the features matters
    }
    # Through the files, so that the golden probabilities are those of the loaded model and not of the one in memory.
    loaded = _assembled(files, digest="")
    rows_to_score = pa.table(_columns(golden, features))
    probabilities = loaded.predict(rows_to_score)
    expected = Golden(
        columns=golden, probabilities=tuple(probabilities.tolist()), parts=_golden_parts(loaded, rows_to_score)
    )
    return files | {GOLDEN: _json(expected)}


def manifest_of(files: Mapping[str, bytes]) -> bytes:
    """The manifest: equal files give equal bytes."""
    digests = {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)}
    return json.dumps({"format": _FORMAT, "files": digests}, indent=1).encode()


def save(folder: Path, files: Mapping[str, bytes]) -> str:
    """Write the files and their manifest into an empty folder; return the artefact digest."""
    local_folder(folder)
    manifest = manifest_of(files)
    for name, content in {**files, MANIFEST: manifest}.items():
        (folder / name).write_bytes(content)
    return hashlib.sha256(manifest).hexdigest()


def read_verified(folder: Path, artefact_digest: str) -> dict[str, bytes]:
    """Every file of the artefact, exactly as the digest promises. Nothing is interpreted but the verified manifest.

    Raises Blocked when a file differs, is missing, is not a plain file, or does not belong there.
    """
    found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*"))}
    strange = [name for name, path in found.items() if path.is_symlink() or not path.is_file()]
    if strange or MANIFEST not in found:
        raise _refused(
            artefact_digest, f"{', '.join(strange)} is no plain file" if strange else f"{MANIFEST} is missing"
        )
    content = {name: path.read_bytes() for name, path in found.items()}
    manifest = content.pop(MANIFEST)
    if hashlib.sha256(manifest).hexdigest() != artefact_digest:
        raise _refused(artefact_digest, f"{MANIFEST} was changed or belongs to another version")
    expected = json.loads(manifest)["files"]
    if sorted(content) != sorted(expected):
        odd = sorted(set(content) ^ set(expected))
        raise _refused(artefact_digest, f"files too many or missing: {', '.join(odd)}")
    changed = [name for name, data in content.items() if hashlib.sha256(data).hexdigest() != expected[name]]
    if changed:
        raise _refused(artefact_digest, f"changed: {', '.join(changed)}")
    return content


def load_verified(folder: Path, artefact_digest: str) -> Predictor:
    """Verify every file against the digest, load from the verified bytes, and score the golden rows.

    Raises Blocked when a file differs, or the golden rows do not give the recorded probabilities bit for bit.
    """
    files = read_verified(folder, artefact_digest)
    try:
        predictor = _assembled(files, artefact_digest)
        golden = Golden.model_validate_json(files[GOLDEN])
    except (KeyError, ValidationError):
        raise _refused(artefact_digest, "its files have another form than this version of Vigil reads") from None
    rows = pa.table(_columns(golden.columns, predictor.schema.features))
    different = golden_differences(predictor, golden)
    if golden.parts != _golden_parts(predictor, rows):
        raise _refused(artefact_digest, "the parts of its golden rows' scores differ here from those it was made with")
    if different:
        raise _refused(
            artefact_digest,
            f"{different} of {len(golden.probabilities)} golden rows score differently here: another version of a library, or "
            "another kind of processor, than the model was made with",
        )
    return predictor


def golden_differences(predictor: Predictor, golden: Golden) -> int:
    """How many golden rows do not have the recorded probability, bit for bit."""
    scored = predictor.predict(pa.table(_columns(golden.columns, predictor.schema.features)))
    return int((scored != np.array(golden.probabilities)).sum())


def _assembled(files: Mapping[str, bytes], digest: str) -> Predictor:
    schema = Schema.model_validate_json(files[SCHEMA])
    return Predictor(
        artefact_digest=digest,
        schema=schema,
        reference=Reference.model_validate_json(files[REFERENCE]),
        provenance=json.loads(files[PROVENANCE]),
        developed=Developed(
            schema.algorithm, algorithms.load(schema.algorithm, files), calibration.load(files[CALIBRATION])
        ),
    )


def _golden_parts(predictor: Predictor, rows: pa.Table) -> GoldenParts | None:
    if not predictor.has_parts:
        return None
    found = predictor.predict_in_parts(rows)
    return GoldenParts(
        values={name: tuple(value.tolist()) for name, value in found.values.items()},
        typologies_met=tuple(found.typologies_met.to_pylist()),
    )


def _golden(rows: Rows, features: Mapping[str, Feature], seed: int) -> dict[str, tuple[float | str | None, ...]]:
    """Sampled values, each column on its own, then one row of absent values and one of a category never seen."""
    random = np.random.default_rng(seed)
    chosen = {n: pa.array(random.integers(0, len(rows), GOLDEN_ROWS)) for n in features}
    sampled = {n: rows.features[n].take(index).to_pylist() for n, index in chosen.items()}
    last = {n: "a category never seen" if f.categorical else 0.0 for n, f in features.items()}
    return {n: (*values, None, last[n]) for n, values in sampled.items()}


def _columns(values: Mapping[str, tuple[Any, ...]], features: Mapping[str, Feature]) -> dict[str, pa.Array]:
    return {n: pa.array(v, pa.string() if features[n].categorical else pa.float64()) for n, v in values.items()}


def _seen(rows: Rows, features: Mapping[str, Feature]) -> dict[str, tuple[str, ...]]:
    return {
        name: tuple(sorted(rows.features[name].drop_null().unique().to_pylist()))
        for name, feature in features.items()
        if feature.categorical
    }


def _json(value: Value) -> bytes:
    return json.dumps(value.model_dump(mode="json"), indent=1).encode()


def _refused(digest: str, why: str) -> Blocked:
    return Blocked(
        f"artefact {digest[:12]}…: {why}. It was not loaded and nothing was scored; the last published scores are still "
        "served. Fetch it again from the registry, or use another permitted version."
    )
