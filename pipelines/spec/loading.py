"""Reading the files. Every error names the file, the key and the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from pipelines.contracts import DataFault
from pipelines.settings import REPOSITORY
from pipelines.spec.activity import ActivityLimits
from pipelines.spec.alerting import AlertLimits, BelowTheLine, CaseLimits, EvidenceLimits, KnownOutcomes
from pipelines.spec.base import Strict, closest
from pipelines.spec.documentation import DocumentationMap, Framework, Heading
from pipelines.spec.gates import (
    Approvals,
    Approvers,
    Fairness,
    Measuring,
    ProtectedAttribute,
    Review,
    Rule,
    Scenario,
    Shift,
)
from pipelines.spec.model import Feature, Label, Model, Schedule, Training, Validation
from pipelines.spec.network import ChainLimits, ExposureLimits, FanLimits, NetworkLimits, PassThroughLimits
from pipelines.spec.policy import Policy, PolicyFile, ScoringLimits, TrainingLimits, resolve
from pipelines.spec.source import Column, Contract, FilesLocation, Freshness, Volume
from pipelines.spec.typologies import Condition, EvidenceFilter, Typology, TypologyPack

try:
    from yaml import CSafeLoader as _YamlLoader
except ImportError:  # pragma: no cover - PyYAML built without libyaml
    from yaml import SafeLoader as _YamlLoader  # type: ignore[assignment]

LoadedFile = TypeVar("LoadedFile", bound=Strict)

_PARTS: dict[type[BaseModel], tuple[type[BaseModel], ...]] = {
    TypologyPack: (Typology, Condition, EvidenceFilter),
    DocumentationMap: (Framework, Heading),
    NetworkLimits: (FanLimits, ChainLimits, PassThroughLimits, ExposureLimits),
    PolicyFile: (
        *(TrainingLimits, ScoringLimits, AlertLimits, BelowTheLine, CaseLimits, EvidenceLimits, KnownOutcomes),
        *(Measuring, Fairness, ProtectedAttribute, Scenario, Shift, Rule, Approvals, Approvers, Review),
    ),
}
_PAGES: dict[type[Strict], str] = {
    Contract: "docs/contracts.md",
    TypologyPack: "docs/training.md",
    NetworkLimits: "docs/aml_network.md",
    DocumentationMap: "docs/fairness.md",
}
_PARTS_OF_OTHERS = (Column, Feature, Label, Training, Validation, Schedule, Volume, Freshness, FilesLocation)


def load_model(folder: Path, name: str) -> Model:
    """Read `<folder>/<name>.yaml`. Raises DataFault with file, key and remedy."""
    model = _load(Model, _file_named(folder, name, "model"))
    return _named_as_its_file(model, model.name, folder, name)


def load_contract(folder: Path, name: str) -> Contract:
    """Read `<folder>/<name>.yaml`. Raises DataFault with file, key and remedy."""
    contract = _load(Contract, _file_named(folder, name, "contract"))
    return _named_as_its_file(contract, contract.source, folder, name)


def load_policy(folder: Path, name: str) -> Policy:
    """Read `<folder>/<name>.yaml` and the packs it inherits from, which may also be the repository's own.

    Raises DataFault with file, key and remedy; also when packs inherit from each other in a circle.
    """
    lineage = _lineage(folder, name, ())
    try:
        return resolve(lineage)
    except ValueError as error:
        raise DataFault(f"{folder / name}.yaml: {error}. Correct the file; docs/gates.md lists every key.") from None


def _lineage(folder: Path, name: str, below: tuple[str, ...]) -> list[PolicyFile]:
    """The file and all it inherits from, nearest first, each once."""
    if name in below:
        raise DataFault(f"{folder / name}.yaml: packs inherit in a circle: {' -> '.join([*below, name])}. Remove one.")
    place = folder if (folder / f"{name}.yaml").is_file() or not below else REPOSITORY / "policies"
    file = _load(PolicyFile, _file_named(place, name, "policy"))
    found = [_named_as_its_file(file, file.policy, place, name)]
    for parent in file.inherits:
        known = {pack.policy for pack in found}
        found += [pack for pack in _lineage(folder, parent, (*below, name)) if pack.policy not in known]
    return found


def load_activity_limits(folder: Path, name: str) -> ActivityLimits:
    """Read `<folder>/<name>.yaml`. Raises DataFault with file, key and remedy."""
    limits = _load(ActivityLimits, _file_named(folder, name, "policy"))
    return _named_as_its_file(limits, limits.policy, folder, name)


def load_typologies(folders: Sequence[Path], name: str) -> TypologyPack:
    """Read `<name>.yaml` from the first of the folders that has it. Raises DataFault with file, key and remedy."""
    folder = next((f for f in folders if (f / f"{name}.yaml").is_file()), folders[0])
    pack = _load(TypologyPack, _file_named(folder, name, "typology pack"))
    return _named_as_its_file(pack, pack.pack, folder, name)


def load_network_limits(folder: Path, name: str) -> NetworkLimits:
    """Read `<folder>/<name>.yaml`. Raises DataFault with file, key and remedy."""
    limits = _load(NetworkLimits, _file_named(folder, name, "policy"))
    return _named_as_its_file(limits, limits.policy, folder, name)


def load_documentation_map(folder: Path, name: str = "documentation") -> DocumentationMap:
    """Read `<folder>/<name>.yaml`. Raises DataFault with file, key and remedy."""
    found = _load(DocumentationMap, _file_named(folder, name, "documentation map"))
    return _named_as_its_file(found, found.name, folder, name)


def model_names(folder: Path) -> list[str]:
    """Names of all model files of a folder, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def _file_named(folder: Path, name: str, kind: str) -> Path:
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = model_names(folder)
        raise DataFault(f"no {kind} file {path}{closest(name, known)}. Have: {', '.join(known) or 'none'}.")
    return path


def _named_as_its_file(loaded: LoadedFile, inside: str, folder: Path, name: str) -> LoadedFile:
    if inside != name:
        raise DataFault(f"{folder / name}.yaml: it calls itself {inside!r}; file and name must agree. Rename one.")
    return loaded


def _load(kind: type[LoadedFile], path: Path) -> LoadedFile:
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_YamlLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataFault(f"{path}: not readable as YAML: {_first_line(error)}. Correct the file.") from None
    if not isinstance(raw, dict):
        raise DataFault(f"{path}: holds no keys. See {_page(kind)} for a complete file.")
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        problems = "\n".join(f"  {line}" for line in _problems(kind, error))
        raise DataFault(f"{path}:\n{problems}\nCorrect the file; {_page(kind)} lists every key.") from None


def _page(kind: type[Strict]) -> str:
    return _PAGES.get(kind, "docs/onboarding.md")


def _problems(kind: type[Strict], error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        location = [str(part) for part in problem["loc"]]
        key = ".".join(location) or "file"
        hint = ""
        if problem["type"] == "extra_forbidden":
            hint = closest(location[-1], _known_keys(kind))
        yield f"{key}: {problem['msg'].removeprefix('Value error, ')}{hint}"


def _known_keys(kind: type[BaseModel]) -> set[str]:
    keys: set[str] = set(kind.model_fields)
    for part in _PARTS.get(kind, _PARTS_OF_OTHERS):
        keys |= set(part.model_fields)
    return keys


def _first_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error))[:200]
