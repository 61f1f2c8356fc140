"""The evidence pack: records to sections, sections to pages and a PDF, files to a digest, all of it kept and recorded."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines import database, mlflow_store
from pipelines.contracts import DataFault, Value, json_ready
from pipelines.registry import evidence
from pipelines.settings import REPOSITORY, Settings
from pipelines.spec import Model
from pipelines.validation.documents import about_governance, about_model
from pipelines.validation.documents.blocks import Section
from pipelines.validation.documents.mapping import mapping, with_answers
from pipelines.validation.documents.pages import pages
from pipelines.validation.documents.records import Records, collect

PLACE = "evidence"
SBOM = "sbom.cdx.json"
_SHOWN = 12


class EvidencePack(Value):
    """A pack that is kept.

    Attributes:
        digest: SHA-256 of its manifest, which lists the digest of every file.
        location: folder or s3:// prefix.
        files: paths in it, sorted, without the manifest.
        not_recorded: keys of the sections that have nothing to show.
    """

    model: str
    version: int
    digest: str
    location: str
    files: tuple[str, ...]
    not_recorded: tuple[str, ...]


def evidence_pack(settings: Settings, model: Model, version: int) -> EvidencePack:
    """Make and keep the pack of a version from the records as they are now. The same records give the same digest.

    Kept under `settings.evidence_root`, recorded in Postgres, and put into the version's run in MLflow as
    `evidence/<digest>/`. A killed call leaves nothing half done; the same call again finishes it.

    Raises:
        Blocked: the version's files, a gate report or the journal is not what was recorded.
        DataFault: the registry does not hold the version, or a policy cannot be read.
        ConnectionBroken: the database, the registry or the store did not answer.
    """
    records = collect(settings, model, version)
    sections, files = contents(records)
    digest = evidence.digest_of(evidence.manifest_of(files))
    location = f"{settings.evidence_root}/{model.name}/{version}/{digest}"
    evidence.keep(location, files)
    with TemporaryDirectory(prefix="vigil-evidence-") as scratch:
        evidence.write_files(Path(scratch), files | {evidence.MANIFEST: evidence.manifest_of(files)})
        mlflow_store.log_folder(settings, records.run_id, Path(scratch), f"{PLACE}/{digest[:_SHOWN]}")
    _record(settings, model, version, digest, location)
    return EvidencePack(
        model=model.name,
        version=version,
        digest=digest,
        location=location,
        files=tuple(sorted(files)),
        not_recorded=tuple(section.key for section in sections if section.missing),
    )


def kept_pack(settings: Settings, model: Model, version: int, digest: str) -> EvidencePack:
    """The recorded pack of that digest, after every file of it was verified. `not_recorded` is left empty.

    Raises:
        DataFault: no such pack was recorded for the version.
        Tampered: it is no longer the pack that was written.
    """
    found = database.rows(
        settings,
        "SELECT digest, location FROM vigil.evidence_pack WHERE model = :model AND version = :version "
        "AND starts_with(digest, :digest) ORDER BY pack_no DESC",
        model=model.name,
        version=version,
        digest=digest,
    )
    if len(found) != 1:
        raise DataFault(
            f"model {model.name}: {len(found)} evidence packs of version {version} were recorded whose digest begins with "
            f"{digest!r}. Nothing was verified. The journal has the digest in full: "
            f"python -m pipelines registry champion --model {model.name}"
        )
    [pack] = found
    files = evidence.verify_pack(pack["location"], pack["digest"])
    return EvidencePack(model=model.name, version=version, **pack, files=files, not_recorded=())


def contents(records: Records) -> tuple[tuple[Section, ...], dict[str, bytes]]:
    """The sections and all files of the pack but its manifest."""
    from pipelines.validation.documents import print as printed
    from pipelines.validation.documents import sbom

    lock = REPOSITORY / "requirements.txt"
    packages = sbom.locked(lock) if lock.is_file() else sbom.installed()
    about = (
        about_model.model_card(records),
        about_model.training_data(records),
        about_model.feature_definitions(records),
        about_model.assumptions_and_limits(records),
        about_governance.gates(records),
        about_governance.comparison(records),
        about_governance.fairness(records),
        about_governance.approvals(records),
        about_governance.monitoring(records),
        about_governance.journal(records),
        about_model.code_version(records),
        about_model.software(records, packages),
    )
    answered = with_answers(about, records)
    sections = (*answered, mapping(records, answered))
    files = records.kept | _as_recorded(records)
    files[SBOM] = sbom.bill_of_materials(records.model.name, records.version, records.artefact_digest, packages)
    files |= pages(records, sections)
    files[printed.NAME] = printed.document(records, sections, records.kept)
    return sections, files


def _as_recorded(records: Records) -> dict[str, bytes]:
    """The records themselves: what was digested as it was digested, the rest as JSON."""
    found = {
        "records/model.json": _json(json_ready(records.model)),  # type: ignore[arg-type]
        "records/approvals.json": _json([asked.request.model_dump(mode="json") for asked in records.requests]),
        "records/permits.json": _json(
            [permit.model_dump(mode="json", exclude={"expired"}) for permit in records.permits]
        ),
        "records/journal.json": _json([entry.model_dump(mode="json") for entry in records.entries]),
    }
    if records.provenance_text:
        found["records/provenance.json"] = records.provenance_text
    if records.gate_run is not None:
        found["records/gates.json"] = records.gate_run.text.encode()
        if records.gate_run.comparison is not None:
            found["records/comparison.json"] = _json(records.gate_run.comparison)
    return found


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode()


def _record(settings: Settings, model: Model, version: int, digest: str, location: str) -> None:
    with database.transaction(settings) as connection:
        database.execute(
            connection,
            "INSERT INTO vigil.evidence_pack (model, version, digest, location) VALUES (:model, :version, :digest, :location) "
            "ON CONFLICT (model, version, digest) DO NOTHING",
            model=model.name,
            version=version,
            digest=digest,
            location=location,
        )
