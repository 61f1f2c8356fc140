"""The software bill of materials: what the version's scoring code is made of, as CycloneDX. The only module that imports it.

From the locked requirements with their hashes; where there are none, from what is installed. No time and no random number,
so the same lock file gives the same bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from uuid import UUID

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6

from pipelines.contracts import fingerprint

_PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_NAME = re.compile(r"[-_.]+")


@dataclass(frozen=True)
class Package:
    """One package, with the hashes of the files that may be installed for it."""

    name: str
    version: str
    hashes: tuple[str, ...] = ()


def locked(requirements: Path) -> tuple[Package, ...]:
    """The packages of a lock file as `uv pip compile --generate-hashes` writes it, by name."""
    found: dict[str, Package] = {}
    name = ""
    for line in requirements.read_text(encoding="utf-8").splitlines():
        if pinned := _PINNED.match(line):
            name = _normal(pinned[1])
            found[name] = Package(name, pinned[2])
        for digest in _HASH.findall(line):
            held = found[name]
            found[name] = Package(held.name, held.version, (*held.hashes, digest))
    return tuple(found[name] for name in sorted(found))


def installed() -> tuple[Package, ...]:
    """The packages of this Python, by name; no hashes."""
    found = {_normal(d.metadata["Name"]): d.version for d in distributions() if d.metadata["Name"]}
    return tuple(Package(name, found[name]) for name in sorted(found))


def bill_of_materials(model: str, version: int, artefact_digest: str, packages: tuple[Package, ...]) -> bytes:
    """CycloneDX 1.6 as JSON: the model as the main component, each package below it."""
    subject = Component(
        name=model,
        version=str(version),
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=f"model:{model}@{version}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=artefact_digest)],
    )
    parts = list(_components(packages))
    serial = fingerprint(model, version, artefact_digest, *((p.name, p.version, p.hashes) for p in packages))
    bom = Bom(metadata=BomMetaData(component=subject), components=parts, serial_number=UUID(serial[:32], version=5))
    bom.register_dependency(subject, parts)
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    document["metadata"].pop("timestamp", None)
    return json.dumps(document, indent=1, sort_keys=True).encode()


def _components(packages: tuple[Package, ...]) -> Iterator[Component]:
    from packageurl import PackageURL

    for package in packages:
        address = PackageURL("pypi", name=package.name, version=package.version)
        yield Component(
            name=package.name,
            version=package.version,
            bom_ref=address.to_string(),
            purl=address,
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in package.hashes],
        )


def _normal(name: str) -> str:
    return _NAME.sub("-", name).lower()
