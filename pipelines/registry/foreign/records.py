"""What came of each package: rows of vigil.foreign_package, and an entry in the journal when it was taken or refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pipelines import database
from pipelines.contracts import Value
from pipelines.registry import journal
from pipelines.registry.anchors import journalled
from pipelines.registry.foreign.refusal import PackageRefused
from pipelines.settings import Settings

State = Literal["quarantined", "refused", "registered"]


class PackageRecord(Value):
    """One thing that happened to a package."""

    package_no: int
    model: str
    digest: str
    format: str | None
    state: State
    reason: str
    version: int | None
    by: str
    at: datetime


@dataclass
class Subject:
    """A package on its way in; the digest and format get known as it is read."""

    model: str
    by: str
    digest: str
    format: str | None = None


def packages(settings: Settings, model: str | None = None) -> tuple[PackageRecord, ...]:
    """Everything that happened to packages, of one model or all, oldest first."""
    columns = ", ".join(PackageRecord.model_fields)
    found = database.rows(
        settings,
        f"SELECT {columns} FROM vigil.foreign_package WHERE model = coalesce(:model, model) ORDER BY package_no",
        model=model,
    )
    return tuple(PackageRecord.model_validate(row) for row in found)


def note_quarantined(settings: Settings, subject: Subject) -> None:
    """Note that the package lies in quarantine, unless that was noted and nothing came of it yet."""
    with database.transaction(settings) as connection:
        database.lock(connection, f"vigil.foreign_package.{subject.model}")
        newest = database.execute(
            connection,
            "SELECT state FROM vigil.foreign_package WHERE model = :model AND digest = :digest "
            "ORDER BY package_no DESC LIMIT 1",
            model=subject.model,
            digest=subject.digest,
        )
        if [row["state"] for row in newest] not in (["quarantined"], ["registered"]):
            _insert(connection, subject, "quarantined", "read and found plain; its model was not opened yet")


def note_registered(
    connection: database.Connection, subject: Subject, version: int, artefact_digest: str, trained_by: str
) -> None:
    """Note the version the package became, once, inside the caller's transaction."""
    noted = database.execute(
        connection,
        "SELECT 1 FROM vigil.foreign_package WHERE model = :model AND digest = :digest AND version = :version",
        model=subject.model,
        digest=subject.digest,
        version=version,
    )
    if noted:
        return
    _insert(
        connection, subject, "registered", "registered as a version, without an alias and without a permit", version
    )
    payload = {
        "package_digest": subject.digest,
        "format": subject.format,
        "version": version,
        "artefact_digest": artefact_digest,
        "trained_by": trained_by,
        "by": subject.by,
    }
    journal.append(connection, subject.model, "imported", payload)


@contextmanager
def refusals_noted(settings: Settings, subject: Subject) -> Iterator[None]:
    """Note a refusal in the table and the journal, and pass it on in a whole sentence."""
    try:
        yield
    except PackageRefused as refusal:
        reason = str(refusal)
        with journalled(settings) as connection:
            _insert(connection, subject, "refused", reason)
            payload = {"package_digest": subject.digest, "format": subject.format, "reason": reason, "by": subject.by}
            journal.append(connection, subject.model, "import_refused", payload)
        raise PackageRefused(
            f"model {subject.model}: package {subject.digest[:12]}… is refused: {reason}. Nothing was registered, and no "
            "champion changed. Ask its sender for a corrected package; docs/foreign_models.md says what one must hold."
        ) from refusal


def _insert(
    connection: database.Connection, subject: Subject, state: State, reason: str, version: int | None = None
) -> None:
    database.execute(
        connection,
        "INSERT INTO vigil.foreign_package (model, digest, format, state, reason, version, by) "
        "VALUES (:model, :digest, :format, :state, :reason, :version, :by)",
        model=subject.model,
        digest=subject.digest,
        format=subject.format,
        state=state,
        reason=reason,
        version=version,
        by=subject.by,
    )
