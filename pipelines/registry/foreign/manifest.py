"""`vigil-model.yaml`: what a package says about itself, and whether it fits the model it was sent for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from pipelines.registry.foreign.content import DOCUMENT_ENDINGS, MODEL_ENDINGS
from pipelines.registry.foreign.refusal import PackageRefused
from pipelines.spec import ForeignFormat, ForeignModels, Model, Strict, load_model, model_names

NAME = "vigil-model.yaml"
_DEEPEST = 8
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Text = Annotated[str, Field(min_length=1, max_length=200)]


class DeclaredFeature(Strict):
    """One input of the model.

    Attributes:
        categories: for a category, those the model knows; in a numeric matrix a category is its position here, from 0.
        missing: `accepted` when the model was trained with absent values of it.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
    kind: Literal["number", "category"]
    categories: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] | None = None
    missing: Literal["accepted", "refused"] = "refused"


class DeclaredOutput(Strict):
    """Where the probability of the event is; see pipelines.training.foreign_inputs.Output."""

    kind: Literal["probability", "log_odds"]
    name: _Text | None = None
    column: Annotated[int, Field(ge=0, le=1)] | None = None


class Trainer(Strict):
    """Who trained the model. The person may not approve it."""

    person: Annotated[str, Field(pattern=r"^[^@\s]{1,64}@[^@\s]{1,190}$")]
    organisation: _Text

    @field_validator("person")
    @classmethod
    def _lower(cls, person: str) -> str:
        return person.lower()


class PackageManifest(Strict):
    """The manifest of a package.

    Attributes:
        trained_until: last event date the model has learnt from.
        sha256: of every file of the package but the manifest.
    """

    package: Literal["vigil-model-1"]
    model: str
    format: ForeignFormat
    file: str
    output: DeclaredOutput
    features: tuple[DeclaredFeature, ...] = Field(min_length=1)
    golden: Literal["golden.csv"]
    trained_until: date
    trained_by: Trainer
    licence: _Text
    documents: tuple[str, ...] = Field(min_length=1)
    sha256: dict[str, _Digest]

    @model_validator(mode="after")
    def _output_of_its_format(self) -> PackageManifest:
        named, column = self.output.name is not None, self.output.column is not None
        if self.format == "catboost" and (self.output.kind != "log_odds" or named or column):
            raise ValueError("the output of a CatBoost file is {kind: log_odds}")
        if self.format == "onnx" and not named:
            raise ValueError("the output of an ONNX graph needs its name")
        if self.format == "skops" and (named or column != (self.output.kind == "probability")):
            raise ValueError("the output of a skops file is {kind: probability, column: 0 or 1} or {kind: log_odds}")
        return self


def read_manifest(files: Mapping[str, bytes], limits: ForeignModels) -> PackageManifest:
    """The manifest of the files, which are exactly those it names, with the digests it names.

    Raises PackageRefused when there is none, it is not as described in docs/foreign_models.md, or a file is too many,
    missing or another.
    """
    if NAME not in files:
        raise PackageRefused(f"it has no {NAME}")
    manifest = _parsed(files[NAME], limits.package.max_text_kb << 10)
    if manifest.format not in limits.formats:
        raise PackageRefused(f"the format {manifest.format} is not let in by policy {limits.policy}")
    _require_files(manifest, files)
    _require_kinds(manifest)
    return manifest


def require_fits(manifest: PackageManifest, model: Model, models: Path) -> None:
    """Whether the package was made for this model. Raises PackageRefused for another model, or features it does not have."""
    if manifest.model != model.name:
        raise PackageRefused(f"it was made for model {manifest.model[:48]!a}, not for {model.name}")
    names = [feature.name for feature in manifest.features]
    if len(set(names)) != len(names):
        raise PackageRefused("it names a feature twice")
    strange = [name for name in names if name not in model.feature]
    if strange:
        raise PackageRefused(f"model {model.name} has no feature {', '.join(strange)}{_made_for(names, model, models)}")
    for feature in manifest.features:
        _require_same_kind(feature, model)


def _made_for(names: list[str], model: Model, models: Path) -> str:
    """Which other model has all of these features, in words."""
    others = [name for name in model_names(models) if name != model.name]
    found = [name for name in others if set(names) <= set(load_model(models, name).feature)]
    return f"; the features are those of {' and of '.join(found)}" if found else ""


def _require_same_kind(feature: DeclaredFeature, model: Model) -> None:
    ours = model.feature[feature.name]
    asked = "category" if ours.categorical else "number"
    if feature.kind != asked:
        raise PackageRefused(f"{feature.name} is a {asked} in model {model.name}, and a {feature.kind} in the package")
    if (feature.kind == "category") != bool(feature.categories):
        raise PackageRefused(f"{feature.name}: a category lists the categories the model knows, and a number none")
    if ours.missing != "reject" and ours.monotone == "none" and feature.missing == "refused":
        raise PackageRefused(
            f"{feature.name} may be absent in model {model.name} (missing: {ours.missing}) and has no direction to replace it "
            "by, but the package's model was not trained with absent values of it"
        )


def _parsed(content: bytes, most: int) -> PackageManifest:
    if len(content) > most:
        raise PackageRefused(f"{NAME} is larger than {most >> 10} kB")
    try:
        _require_flat(content)
        return PackageManifest.model_validate(yaml.safe_load(content))
    except yaml.YAMLError:
        raise PackageRefused(f"{NAME} is not readable as YAML") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part)[:80] for part in first["loc"]) or "file"
        raise PackageRefused(f"{NAME}: {where!a}: {first['msg']}") from None


def _require_flat(content: bytes) -> None:
    """No references, which a few lines of could fill the memory, and no depth, which could fill the stack."""
    depth = 0
    for event in yaml.parse(content, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST or isinstance(event, yaml.AliasEvent):
            raise PackageRefused(f"{NAME} is nested too deeply, or refers to itself")


def _require_files(manifest: PackageManifest, files: Mapping[str, bytes]) -> None:
    named = {manifest.file, manifest.golden, *manifest.documents}
    there = set(files) - {NAME}
    for found, what in ((named - there, "missing"), (there - named, "not named in the manifest"),
                        (there - set(manifest.sha256), "without a digest"),
                        (set(manifest.sha256) - there, "missing, though it has a digest")):  # fmt: skip
        if found:
            raise PackageRefused(f"{', '.join(sorted(found))[:200]!a}: {what}")
    changed = sorted(name for name in there if sha256(files[name]).hexdigest() != manifest.sha256[name])
    if changed:
        raise PackageRefused(f"changed since the package was made (its digest differs): {', '.join(changed)}")


def _require_kinds(manifest: PackageManifest) -> None:
    if PurePosixPath(manifest.file).suffix != MODEL_ENDINGS[manifest.format]:
        raise PackageRefused(
            f"{manifest.file} does not end in {MODEL_ENDINGS[manifest.format]}, as {manifest.format} does"
        )
    for document in manifest.documents:
        if PurePosixPath(document).suffix.lower() not in DOCUMENT_ENDINGS:
            raise PackageRefused(f"{document} is no document")
