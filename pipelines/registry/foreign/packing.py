"""Makes a package from a model file, its golden rows and its documents: what a vendor runs."""

from __future__ import annotations

import csv
import os
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import yaml

from pipelines.contracts import DataFault, Value
from pipelines.registry.foreign.golden import PROBABILITY
from pipelines.registry.foreign.manifest import NAME, PackageManifest
from pipelines.spec import ForeignFormat, Model


class Made(Value):
    """A package that was written."""

    package: str
    model: str
    files: int
    features: int


def make_package(
    model: Model,
    format: ForeignFormat,
    file: Path,
    golden: Path,
    documents: Path,
    to: Path,
    *,
    output: dict[str, Any],
    trained_until: date,
    trained_by: str,
    organisation: str,
    licence: str,
    categories: dict[str, tuple[str, ...]],
    accepts_missing: tuple[str, ...],
) -> Made:
    """Write a package for a model. The features are the columns of golden.csv, in its order.

    Raises DataFault when a column is no feature of the model file, or something is missing.
    """
    with golden.open(newline="", encoding="utf-8") as lines:
        header = next(csv.reader(lines), [])
    names = [name for name in header if name != PROBABILITY]
    strange = [name for name in names if name not in model.feature]
    if strange or PROBABILITY not in header:
        raise DataFault(
            f"{golden}: needs the column {PROBABILITY}, and else only features of model {model.name}; has also: "
            f"{', '.join(strange) or 'nothing'}. Nothing was written."
        )
    parts = {f"model{file.suffix}": file, "golden.csv": golden}
    parts |= {
        f"documents/{p.relative_to(documents).as_posix()}": p for p in sorted(documents.rglob("*")) if p.is_file()
    }
    content = {name: path.read_bytes() for name, path in parts.items()}
    manifest = PackageManifest.model_validate(
        {
            "package": "vigil-model-1",
            "model": model.name,
            "format": format,
            "file": f"model{file.suffix}",
            "output": output,
            "features": [_declared(name, model, categories, accepts_missing) for name in names],
            "golden": "golden.csv",
            "trained_until": trained_until,
            "trained_by": {"person": trained_by, "organisation": organisation},
            "licence": licence,
            "documents": [name for name in content if name.startswith("documents/")],
            "sha256": {name: sha256(data).hexdigest() for name, data in content.items()},
        }
    )
    written = yaml.safe_dump(manifest.model_dump(mode="json", exclude_none=True), sort_keys=False)
    _write(to, {NAME: written.encode()} | content)
    return Made(package=str(to), model=model.name, files=len(content) + 1, features=len(names))


def _declared(
    name: str, model: Model, categories: dict[str, tuple[str, ...]], accepts_missing: tuple[str, ...]
) -> dict[str, Any]:
    missing = "accepted" if name in accepts_missing else "refused"
    if not model.feature[name].categorical:
        return {"name": name, "kind": "number", "missing": missing}
    if name not in categories:
        raise DataFault(f"{name} is a category: name those the model knows, --categories {name}=one,other.")
    return {"name": name, "kind": "category", "categories": categories[name], "missing": missing}


def _write(to: Path, files: dict[str, bytes]) -> None:
    unfinished = to.with_name(f"{to.name}.unfinished")
    with ZipFile(unfinished, "w", ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    os.replace(unfinished, to)
