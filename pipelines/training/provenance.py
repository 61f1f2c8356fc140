"""What a model was made from and by: enough to make it again, and to know that nothing else has changed."""

from __future__ import annotations

import hashlib
import subprocess
from datetime import date
from functools import cache
from importlib.metadata import version
from pathlib import Path

from pydantic import Field

from pipelines.contracts import Value, fingerprint
from pipelines.features import TrainingPins, TrainingRows
from pipelines.settings import REPOSITORY
from pipelines.spec import Feature, Model, TypologyPack
from pipelines.training.rows import Rows

_LIBRARIES = ("catboost", "numpy", "pyarrow", "scikit-learn", "scipy")
_MORE_LIBRARIES = {"onnx": ("onnx", "onnxruntime"), "skops": ("skops",)}
_PACKAGES = ("training", "evaluation")


class TrainingSet(Value):
    """The pinned training set: what was read, at which versions, and the digest of what came out.

    Attributes:
        rows, events: labelled rows, and those of them with label 1.
        unlabelled: rows that nobody had investigated; not written where the label view labels every row.
    """

    as_of: date
    digest: str
    rows: int
    events: int
    unlabelled: int | None = Field(default=None, exclude_if=lambda rows: rows is None)
    pins: TrainingPins


class Foreign(Value):
    """Where a model comes from that was trained elsewhere.

    Attributes:
        features: those of the model file that it takes, in its own order.
        trained_until: last event date it has learnt from, as its maker says.
        trained_by: e-mail address of the person who trained it.
    """

    package_digest: str
    features: tuple[str, ...]
    trained_until: date
    trained_by: str
    organisation: str
    licence: str


class Provenance(Value):
    """Everything that determines a model; no time stamp, so that making it again gives the same bytes.

    Attributes:
        model: the model file as it was.
        code_version: git commit, or the package version where there is no repository.
        code_digest: of the source of the steps that make a model; another commit may have the same.
        judged: what the measures were taken on.
        typologies: the pack as it was; not written for an algorithm that has none.
        foreign: of a model that was trained elsewhere; the training set is then what it was judged on, and what its
            references are taken from.
    """

    model: Model
    algorithm: str
    training_set: TrainingSet
    policy: str
    code_version: str
    code_digest: str
    libraries: dict[str, str]
    judged: str
    typologies: TypologyPack | None = Field(default=None, exclude_if=lambda pack: pack is None)
    foreign: Foreign | None = Field(default=None, exclude_if=lambda foreign: foreign is None)

    @property
    def feature(self) -> dict[str, Feature]:
        """The features the model takes, in its order."""
        taken = self.model.feature_names if self.foreign is None else self.foreign.features
        return {name: self.model.feature[name] for name in taken}

    @property
    def pins(self) -> str:
        """Fingerprint of all that can change the result; equal pins are the same training."""
        training = self.model.training
        return fingerprint(
            self.model.name,
            self.algorithm,
            self.training_set.digest,
            sorted((name, feature.model_dump_json()) for name, feature in self.model.feature.items()),
            self.model.feature_names,
            training.seed,
            training.validation.fingerprint(),
            training.calibration,
            sorted(training.parameters.get(self.algorithm, {}).items()),  # type: ignore[call-overload]
            self.code_digest,
            sorted(self.libraries.items()),
            *([] if self.typologies is None else [self.typologies.digest]),
            *([] if self.foreign is None else [self.foreign.package_digest]),
        )


def provenance_of(
    model: Model,
    algorithm: str,
    pinned: TrainingRows,
    rows: Rows,
    policy: str,
    judged: str,
    typologies: TypologyPack | None = None,
    foreign: Foreign | None = None,
) -> Provenance:
    """The provenance of a training now, with this code. `rows` are the pinned ones as they are learnt from."""
    return Provenance(
        model=model,
        algorithm=algorithm,
        training_set=TrainingSet(
            as_of=pinned.as_of,
            digest=pinned.digest,
            rows=len(rows),
            events=rows.events,
            unlabelled=None if rows.background is None else rows.unlabelled,
            pins=pinned.pins,
        ),
        policy=policy,
        code_version=code_version(),
        code_digest=code_digest(),
        libraries={name: version(name) for name in (*_LIBRARIES, *_MORE_LIBRARIES.get(algorithm, ()))},
        judged=judged,
        typologies=typologies if algorithm == "combined" else None,
        foreign=foreign,
    )


@cache
def code_version() -> str:
    """The git commit of the repository, `-modified` when files differ from it; the package version without a repository."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return f"vigil {version('vigil')}"
    return f"{commit}-modified" if _git("status", "--porcelain", "--untracked-files=no", "--", "pipelines") else commit


@cache
def code_digest() -> str:
    """SHA-256 over the source files that make a model."""
    digest = hashlib.sha256()
    for package in _PACKAGES:
        for path in sorted((Path(__file__).parents[1] / package).glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _git(*arguments: str) -> str | None:
    if not (REPOSITORY / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "-C", str(REPOSITORY), *arguments], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
