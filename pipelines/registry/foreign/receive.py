"""A package arrives: read, looked through, put into quarantine. Its model is not opened here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pipelines.contracts import DataFault
from pipelines.registry.foreign import archive, content, quarantine
from pipelines.registry.foreign.golden import GoldenRows, read_golden
from pipelines.registry.foreign.manifest import PackageManifest, read_manifest, require_fits
from pipelines.registry.foreign.records import Subject, note_quarantined, refusals_noted
from pipelines.registry.persons import person
from pipelines.settings import Settings
from pipelines.spec import ForeignModels, Model, load_foreign_models


@dataclass(frozen=True)
class Package:
    """A package in quarantine.

    Attributes:
        subject: what it is noted under.
        files: by name, as they were read and looked through; the quarantine keeps the same bytes.
    """

    subject: Subject
    limits: ForeignModels
    manifest: PackageManifest
    golden: GoldenRows
    files: dict[str, bytes]
    folder: Path

    @property
    def digest(self) -> str:
        return self.subject.digest


def receive(settings: Settings, model: Model, path: Path, by: str) -> Package:
    """Read a package for a model into quarantine, and note it.

    Args:
        path: a .zip file or a folder.
        by: e-mail address of the person who brings it in.

    Raises:
        PackageRefused: the package is not what docs/foreign_models.md asks for; noted in the table and the journal.
        DataFault: there is nothing at `path`, or `by` is no e-mail address. Nothing was noted.
    """
    brought_by = person(by)
    if not path.exists() and not path.is_symlink():
        raise DataFault(f"there is no package at {path}. Nothing was read.")
    limits = load_foreign_models(settings.typology_folders).require_in_force(date.today())
    subject = Subject(model.name, brought_by, quarantine.digest_unread(path, limits.package.max_mb << 20))
    with refusals_noted(settings, subject):
        files = archive.read(path, limits.package)
        subject.digest = quarantine.digest_of(files)
        content.require_harmless(files, limits.package)
        manifest = read_manifest(files, limits)
        subject.format = manifest.format
        require_fits(manifest, model, settings.models)
        golden = read_golden(manifest, files[manifest.golden], limits)
    folder = quarantine.keep(settings, files, subject.digest)
    note_quarantined(settings, subject)
    return Package(subject, limits, manifest, golden, files, folder)
