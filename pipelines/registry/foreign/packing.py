"""Makes a package from a model file, its golden rows and its documents: what a vendor runs."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import yaml

from pipelines.contracts import DataFault, Value
from pipelines.registry.foreign.archive import require_plain_names
from pipelines.registry.foreign.content import require_harmless
from pipelines.registry.foreign.golden import PROBABILITY, read_golden
from pipelines.registry.foreign.manifest import NAME, read_manifest, require_fits
from pipelines.registry.foreign.refusal import PackageRefused
from pipelines.settings import Settings
from pipelines.spec import ForeignFormat, Model, load_foreign_models


class Made(Value):
    """A package that was written."""

    package: str
    model: str
    files: int
    features: int


@dataclass(frozen=True)
class Ingredients:
    """What a package is made of; see PackageManifest for what the words mean.

    Attributes:
        file, golden: the model's file and golden.csv, whose columns are the features in the model's order.
        documents: folder of documents.
        categories: per category of the model file, those the model knows.
        accepts_missing: features the model was trained on with absent values.
    """

    format: ForeignFormat
    file: Path
    golden: Path
    documents: Path
    output: dict[str, Any]
    trained_until: date
    trained_by: str
    organisation: str
    licence: str
    categories: dict[str, tuple[str, ...]]
    accepts_missing: tuple[str, ...]


def make_package(settings: Settings, model: Model, made_of: Ingredients, to: Path) -> Made:
    """Write a package for a model, once it holds what can be checked without opening the model.

    Raises DataFault when something is missing, a column is no feature of the model file, or the bank would refuse the package.
    """
    names = _features(model, made_of.golden)
    content = _content(made_of)
    file = f"model{made_of.file.suffix}"
    manifest = {
        "package": "vigil-model-1",
        "model": model.name,
        "format": made_of.format,
        "file": file,
        "output": {key: value for key, value in made_of.output.items() if value is not None},
        "features": [_declared(name, model, made_of) for name in names],
        "golden": "golden.csv",
        "trained_until": made_of.trained_until,
        "trained_by": {"person": made_of.trained_by, "organisation": made_of.organisation},
        "licence": made_of.licence,
        "documents": [name for name in content if name.startswith("documents/")],
        "sha256": {name: sha256(data).hexdigest() for name, data in content.items()},
    }
    files = {NAME: yaml.safe_dump(manifest, sort_keys=False).encode()} | content
    _require_acceptable(settings, model, files)
    _write(to, files)
    return Made(package=str(to), model=model.name, files=len(files), features=len(names))


def _features(model: Model, golden: Path) -> list[str]:
    if not golden.is_file():
        raise DataFault(f"there is no file {golden}. Nothing was written.")
    with golden.open(newline="", encoding="utf-8") as lines:
        header = next(csv.reader(lines), [])
    names = [name for name in header if name != PROBABILITY]
    strange = [name for name in names if name not in model.feature]
    if strange or PROBABILITY not in header:
        raise DataFault(
            f"{golden}: needs the column {PROBABILITY}, and else only features of model {model.name}; has also: "
            f"{', '.join(strange) or 'nothing'}. Nothing was written."
        )
    return names


def _content(made_of: Ingredients) -> dict[str, bytes]:
    folder = made_of.documents
    parts = {f"model{made_of.file.suffix}": made_of.file, "golden.csv": made_of.golden}
    parts |= {f"documents/{p.relative_to(folder).as_posix()}": p for p in sorted(folder.rglob("*")) if p.is_file()}
    try:
        return {name: path.read_bytes() for name, path in parts.items()}
    except OSError as error:
        raise DataFault(f"{error.filename} cannot be read. Nothing was written.") from None


def _require_acceptable(settings: Settings, model: Model, files: dict[str, bytes]) -> None:
    limits = load_foreign_models(settings.typology_folders)
    try:
        require_plain_names(list(files), limits.package)
        require_harmless(files, limits.package)
        manifest = read_manifest(files, limits)
        require_fits(manifest, model, settings.models)
        read_golden(manifest, files["golden.csv"], limits)
    except PackageRefused as reason:
        raise DataFault(f"the bank would refuse this package: {reason}. Nothing was written.") from reason


def _declared(name: str, model: Model, made_of: Ingredients) -> dict[str, Any]:
    missing = "accepted" if name in made_of.accepts_missing else "refused"
    if not model.feature[name].categorical:
        return {"name": name, "kind": "number", "missing": missing}
    if name not in made_of.categories:
        raise DataFault(f"{name} is a category: name those the model knows, --categories {name}=one,other.")
    return {"name": name, "kind": "category", "categories": list(made_of.categories[name]), "missing": missing}


def _write(to: Path, files: dict[str, bytes]) -> None:
    unfinished = to.with_name(f"{to.name}.unfinished")
    with ZipFile(unfinished, "w", ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    os.replace(unfinished, to)
