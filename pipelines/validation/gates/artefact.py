"""Artefact safety: are the files only such that cannot run anything, and do they still give the golden scores?

The files were verified against their digest before they were loaded; a digest says who they are, not what they can do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from pipelines.contracts import EvidenceMissing
from pipelines.training import artefact, onnx_model, skops_model
from pipelines.training.artefact import Golden
from pipelines.validation.gates.inputs import Inputs
from pipelines.validation.measurement import Measurement, assessed

_MEGABYTE = 1e6


def measure(inputs: Inputs) -> Iterator[Measurement]:
    """unsafe_files, golden_differences and size_mb."""
    folder = inputs.candidate.folder
    yield _unsafe_files(folder)
    yield assessed("golden_differences", lambda: _golden(inputs))
    size = sum(path.lstat().st_size for path in folder.rglob("*"))
    yield Measurement(metric="size_mb", value=size / _MEGABYTE, evidence=f"{size} bytes")


def _unsafe_files(folder: Path) -> Measurement:
    found = sorted(folder.rglob("*"))
    if not found:
        return Measurement(metric="unsafe_files", value=None, evidence="the version has no files")
    unsafe = [f"{path.relative_to(folder)} {why}" for path in found if (why := _objection(path))]
    evidence = "; ".join([f"{len(found)} files, of the formats {', '.join(sorted(_FORMATS))}", *unsafe])
    return Measurement(metric="unsafe_files", value=float(len(unsafe)), evidence=evidence)


def _objection(path: Path) -> str | None:
    """Why a file may not be there; None for one that may."""
    if path.is_symlink() or not path.is_file():
        return "is no plain file"
    is_what_it_says = _FORMATS.get(path.suffix)
    if is_what_it_says is None:
        return f"is of a format that may not be there ({path.suffix or 'no suffix'})"
    return None if is_what_it_says(path.read_bytes()) else f"is no {path.suffix} inside"


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True


def _is_catboost(content: bytes) -> bool:
    return content.startswith(b"CBM1")


_FORMATS: Mapping[str, Callable[[bytes], bool]] = {
    ".json": _is_json,
    ".cbm": _is_catboost,
    ".onnx": onnx_model.is_plain,
    ".skops": skops_model.is_plain,
}


def _golden(inputs: Inputs) -> Measurement:
    try:
        golden = Golden.model_validate_json((inputs.candidate.folder / artefact.GOLDEN).read_bytes())
    except (OSError, ValidationError):
        raise EvidenceMissing(f"{artefact.GOLDEN} is not there or has another form.") from None
    if not golden.probabilities:
        raise EvidenceMissing(f"{artefact.GOLDEN} holds no rows.")
    different = artefact.golden_differences(inputs.candidate.predictor, golden)
    evidence = f"{different} of {len(golden.probabilities)} golden rows score differently here"
    return Measurement(metric="golden_differences", value=float(different), evidence=evidence)
