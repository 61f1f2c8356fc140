"""Where packages lie that were read and found plain: by digest, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines.contracts import fingerprint
from pipelines.lake import local_folder
from pipelines.registry.artefacts import alone
from pipelines.registry.foreign.archive import names_and_digests
from pipelines.settings import Settings


def folder_of(settings: Settings, digest: str) -> Path:
    """Where the package with this digest lies."""
    return settings.home / "quarantine" / "models" / digest


def keep(settings: Settings, files: Mapping[str, bytes], digest: str) -> Path:
    """Put the files into quarantine by one rename. A killed call leaves nothing that looks like a package, and the next one
    clears it away."""
    kept = folder_of(settings, digest)
    parent = local_folder(kept.parent)
    with alone(parent / ".lock"):
        for left in parent.glob("arriving-*"):
            shutil.rmtree(left)
        with TemporaryDirectory(prefix="arriving-", dir=parent) as scratch:
            for name, content in files.items():
                put(Path(scratch) / "new" / name, content)
            if kept.exists() and not _intact(kept, digest):
                kept.rename(Path(scratch) / "damaged")
            if not kept.exists():
                (Path(scratch) / "new").rename(kept)
    return kept


def put(place: Path, content: bytes) -> None:
    """Write one file, with the folders it lies in, for this user alone."""
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    place.write_bytes(content)


def digest_of(files: Mapping[str, bytes]) -> str:
    """Digest of a package's content: the same for a folder and for the .zip file of it."""
    return fingerprint(*(part for entry in names_and_digests(files) for part in entry))


def digest_unread(path: Path, most: int) -> str:
    """A digest for something that cannot be read as a package: of a plain file its bytes, of others their names and sizes."""
    if path.is_symlink() or not path.is_dir():
        return _digest_of_one(path, most)
    return fingerprint(*(part for name in sorted(os.listdir(path))[:1000] for part in (name, _size(path / name))))


def _digest_of_one(path: Path, most: int) -> str:
    if path.is_symlink() or not path.is_file():
        return fingerprint("no plain file", path.name)
    if path.stat().st_size > most:
        return fingerprint("too large", path.name, path.stat().st_size)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _size(path: Path) -> int:
    return path.lstat().st_size


def _intact(folder: Path, digest: str) -> bool:
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
    if any(path.is_symlink() for path in found.values()):
        return False
    return digest_of({name: path.read_bytes() for name, path in found.items()}) == digest
