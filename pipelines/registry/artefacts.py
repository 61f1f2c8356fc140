"""A version's files on this machine: downloaded once, verified before anyone may load them, kept by digest."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines import mlflow_store
from pipelines.contracts import Blocked
from pipelines.lake import local_folder
from pipelines.registry.versions import RegisteredVersion
from pipelines.settings import Settings
from pipelines.training.artefact import read_verified


def fetch(settings: Settings, version: RegisteredVersion) -> Path:
    """Local folder of the version's files, every one verified against the digest in its permit.

    Raises:
        Blocked: the registry's files are not those the permit names.
        ConnectionBroken: the registry or its artefact store did not answer.
    """
    stored = mlflow_store.StoredVersion(model=version.model, version=version.version, run_id=version.run_id, tags={})
    return fetch_verified(settings, stored, version.permit.artefact_digest)


def fetch_verified(settings: Settings, stored: mlflow_store.StoredVersion, artefact_digest: str) -> Path:
    """The folder of the files that have this digest, from the cache or the registry.

    One process fetches at a time; the others wait and use what it got. A folder appears in the cache by one rename, after
    its files were verified, so a killed fetch leaves nothing. One that was damaged since is taken out and fetched anew.
    """
    cache = local_folder(settings.home / "cache" / "artefacts")
    kept = cache / artefact_digest
    with alone(cache / f"{artefact_digest}.lock"):
        if not _intact(kept, artefact_digest):
            with TemporaryDirectory(prefix="arriving-", dir=cache) as scratch:
                arrived = mlflow_store.download_artefact(settings, stored, Path(scratch) / "new")
                read_verified(arrived, artefact_digest)
                if kept.exists():
                    kept.rename(Path(scratch) / "damaged")
                arrived.rename(kept)
    return kept


def verify_stored(settings: Settings, stored: mlflow_store.StoredVersion, artefact_digest: str) -> None:
    """Download the registry's files and compare them with the digest, whatever the cache holds. Raises Blocked."""
    with TemporaryDirectory(prefix="vigil-verifying-") as scratch:
        read_verified(mlflow_store.download_artefact(settings, stored, Path(scratch) / "new"), artefact_digest)


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Hold the file's lock, alone on this machine; the system lets go of it when the process dies."""
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _intact(folder: Path, artefact_digest: str) -> bool:
    if not folder.is_dir():
        return False
    try:
        read_verified(folder, artefact_digest)
    except Blocked:
        return False
    return True
