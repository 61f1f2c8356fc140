"""An evidence pack as files: its digest, where it is kept, and whether what is there is still what was written.

MANIFEST.json lists the SHA-256 of every other file; the digest of the pack is the SHA-256 of MANIFEST.json. A folder appears
under its digest by one rename; in a bucket the manifest is put last. Nothing that is there is ever overwritten.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from pipelines import database, objects
from pipelines.contracts import Blocked, DataFault
from pipelines.lake import local_folder
from pipelines.settings import Settings

MANIFEST = "MANIFEST.json"
_FORMAT = "vigil-evidence-1"


class Tampered(Blocked):
    """What is kept is not the pack that was written."""


def manifest_of(files: Mapping[str, bytes]) -> bytes:
    """The manifest of the files, sorted by path."""
    digests = {name: _sha(files[name]) for name in sorted(files)}
    return json.dumps({"format": _FORMAT, "files": digests}, indent=1).encode()


def digest_of(manifest: bytes) -> str:
    """The digest of the pack that has this manifest."""
    return _sha(manifest)


def keep(place: str, files: Mapping[str, bytes]) -> None:
    """Put a pack where nothing is yet; what is there already must be the same pack.

    Raises:
        Tampered: something else is there.
        ConnectionBroken: the store did not answer; run again.
    """
    manifest = manifest_of(files)
    if objects.is_s3(place):
        for name in sorted(files):
            objects.put_new(f"{place}/{name}", files[name])
        objects.put_new(f"{place}/{MANIFEST}", manifest)
    elif not Path(place).exists():
        _rename_into(Path(place), {**files, MANIFEST: manifest})
    verify_pack(place, digest_of(manifest))


def verify_pack(place: str | Path, digest: str) -> tuple[str, ...]:
    """Names of the pack's files, when the folder or s3:// prefix holds exactly the pack of that digest.

    Raises:
        Tampered: the manifest is another one, or a file is changed, missing or does not belong there; names them.
        ConnectionBroken: the store did not answer.
    """
    where = str(place).rstrip("/")
    found = {uri.removeprefix(f"{where}/"): content for uri, content in objects.read_under(f"{where}/").items()}
    manifest = found.pop(MANIFEST, None)
    if manifest is None:
        raise _tampered(where, digest, f"{MANIFEST} is missing")
    if _sha(manifest) != digest:
        raise _tampered(where, digest, f"{MANIFEST} was changed, or it is another pack's")
    expected: dict[str, str] = json.loads(manifest)["files"]
    wrong = [
        *(f"{name} is missing" for name in sorted(set(expected) - set(found))),
        *(f"{name} does not belong there" for name in sorted(set(found) - set(expected))),
        *(f"{name} was changed" for name in sorted(set(found) & set(expected)) if _sha(found[name]) != expected[name]),
    ]
    if wrong:
        raise _tampered(where, digest, "; ".join(wrong))
    return tuple(sorted(expected))


def recorded_place(settings: Settings, model: str, version: int, digest: str) -> str | None:
    """Where the pack of that digest is kept; None when none was recorded."""
    found = database.rows(
        settings,
        "SELECT location FROM vigil.evidence_pack WHERE model = :model AND version = :version AND digest = :digest",
        model=model,
        version=version,
        digest=digest,
    )
    return found[0]["location"] if found else None


def copy_pack(place: str, digest: str, target: Path) -> Path:
    """Copy a verified pack into a folder that is empty or not there. Raises Tampered; DataFault when the folder is in use."""
    if target.exists() and any(target.iterdir()):
        raise DataFault(f"{target} is not empty. Nothing was copied. Name another folder with --to.")
    for name in (*verify_pack(place, digest), MANIFEST):
        file = target / name
        file.parent.mkdir(parents=True, exist_ok=True)
        objects.fetch(f"{place}/{name}", file)
    verify_pack(target, digest)
    return target


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files below a folder."""
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def _rename_into(folder: Path, files: Mapping[str, bytes]) -> None:
    """The folder appears whole; a killed writer leaves only a folder of another name."""
    parent = local_folder(folder.parent)
    with TemporaryDirectory(prefix=".arriving-", dir=parent) as scratch:
        made = Path(mkdtemp(dir=scratch))
        write_files(made, files)
        made.chmod(0o750)
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was first, with the same files
                raise


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _tampered(where: str, digest: str, why: str) -> Tampered:
    return Tampered(
        f"evidence pack {digest[:12]}… at {where}: {why}. It proves nothing any more. Restore it from a copy that verifies, or "
        "make the pack of today's records: python -m pipelines registry evidence"
    )
