"""Everything recorded about a version, read once: what the sections of its evidence pack are made from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipelines import database, features, mlflow_store
from pipelines.contracts import Blocked, DataFault, GateReport
from pipelines.registry.artefacts import fetch_verified
from pipelines.registry.journal import Entry
from pipelines.registry.permits import Permit, Request, permits_of, request_numbered
from pipelines.registry.standing import verified
from pipelines.registry.versions import stored_digest
from pipelines.settings import REPOSITORY, Settings
from pipelines.spec import Contract, DocumentationMap, Model, Policy, load_contract, load_documentation_map, load_policy
from pipelines.training import artefact
from pipelines.training.artefact import Schema
from pipelines.training.provenance import Provenance
from pipelines.training.reproduction import recorded_provenance

REPORT = "report"
COMPARISON = "comparison"
_PICTURES_AND_TABLES = (".png", ".csv", ".json", ".html")


@dataclass(frozen=True)
class GateRun:
    """A judgement as it is stored.

    Attributes:
        text: the report as it was digested.
        comparison: of the same judgement, as JSON; None when nothing was compared.
    """

    number: int
    at: datetime
    report: GateReport
    text: str
    comparison: Any


@dataclass(frozen=True)
class Asked:
    """A request for approval with its answers, and when it was made."""

    request: Request
    at: datetime
    answer_by: datetime
    policy: str
    policy_version: str


@dataclass(frozen=True)
class Records:
    """What is known of one version.

    Attributes:
        model: the model file as it is now.
        provenance: None when there is none that this code reads; `why_no_provenance` says why.
        provenance_text: as it is in the files; empty when they hold none.
        schema: what the verified files say the model takes.
        files: digest of each file of the artefact.
        gate_runs: oldest first.
        entries: of the journal, about this version or the end of the model.
        kept: files of the version's MLflow run worth keeping, by their path in the pack.
        lineage: by feature the (source, column) pairs it comes from; empty with `why_no_lineage`.
        described: by view name its docstring, as feature_repo/ has it now.
    """

    model: Model
    version: int
    tags: dict[str, str]
    run_id: str
    artefact_digest: str
    files: dict[str, str]
    metrics: dict[str, float]
    provenance: Provenance | None
    why_no_provenance: str
    provenance_text: bytes
    schema: Schema
    policy: Policy
    gate_runs: tuple[GateRun, ...]
    requests: tuple[Asked, ...]
    permits: tuple[Permit, ...]
    entries: tuple[Entry, ...]
    kept: dict[str, bytes]
    lineage: dict[str, tuple[tuple[str, str], ...]]
    why_no_lineage: str
    described: dict[str, str]
    contracts: dict[str, Contract]
    documentation: DocumentationMap | None

    @property
    def gate_run(self) -> GateRun | None:
        """The newest judgement of the version's files; None when they were never judged."""
        own = [run for run in self.gate_runs if run.report.artefact_digest == self.artefact_digest]
        return own[-1] if own else None

    @property
    def newest(self) -> datetime | None:
        """When the newest record was made; the pack has no other time."""
        times = [
            *(run.at for run in self.gate_runs),
            *(asked.at for asked in self.requests),
            *(answer.answered_at for asked in self.requests for answer in asked.request.answers),
            *(permit.granted_at for permit in self.permits),
            *(entry.at for entry in self.entries),
        ]
        return max(times, default=None)


def collect(settings: Settings, model: Model, version: int) -> Records:
    """Read all records of a version.

    Raises:
        Blocked: the version's files, a gate report or the journal is not what was recorded.
        DataFault: the registry does not hold the version, or the policy cannot be read.
        ConnectionBroken: the database or the registry did not answer.
    """
    stored = mlflow_store.version(settings, model.name, version)
    digest = stored_digest(model, stored)
    files = artefact.read_verified(fetch_verified(settings, stored, digest), digest)
    provenance, why = _provenance(model, version, files, stored.tags)
    lineage, why_no_lineage = _lineage(settings, provenance.model if provenance else model)
    with database.transaction(settings) as connection:
        entries = verified(connection)
        runs = _gate_runs(connection, model.name, version)
        permits = tuple(p for p in permits_of(connection, model.name) if p.version == version)
        asked = database.execute(
            connection,
            "SELECT request_no, at, answer_by, policy, policy_version FROM vigil.approval_request "
            "WHERE model = :model AND version = :version ORDER BY request_no",
            model=model.name,
            version=version,
        )
    requests = (Asked(request, **_without(row, "request_no")) for row in asked if (request := _request(settings, row)))
    return Records(
        model=model,
        version=version,
        tags=stored.tags,
        run_id=stored.run_id,
        artefact_digest=digest,
        files=_digests(files),
        metrics=mlflow_store.run_metrics(settings, stored.run_id),
        provenance=provenance,
        why_no_provenance=why,
        provenance_text=files.get(artefact.PROVENANCE, b""),
        schema=Schema.model_validate_json(files[artefact.SCHEMA]),
        policy=load_policy(settings.policies, model.policy),
        gate_runs=runs,
        requests=tuple(requests),
        permits=permits,
        entries=tuple(entry for entry in entries if entry.model == model.name and _about(entry, version)),
        kept=_kept(settings, stored.run_id),
        lineage=lineage,
        why_no_lineage=why_no_lineage,
        described=_described(settings),
        contracts=_contracts(settings, model.sources),
        documentation=_documentation(settings),
    )


def _provenance(
    model: Model, version: int, files: dict[str, bytes], tags: dict[str, str]
) -> tuple[Provenance | None, str]:
    if artefact.PROVENANCE not in files:
        return None, "the version's files hold no provenance"
    try:
        return recorded_provenance(model, version, files[artefact.PROVENANCE], tags), ""
    except DataFault:
        return None, "the version's provenance has another form than training here writes; its file is in the pack"


def _digests(files: dict[str, bytes]) -> dict[str, str]:
    listed: dict[str, str] = json.loads(artefact.manifest_of(files))["files"]
    return listed


def _gate_runs(connection: database.Connection, model: str, version: int) -> tuple[GateRun, ...]:
    found = database.execute(
        connection,
        "SELECT gate_run_no, at, report, digest, comparison FROM vigil.gate_run "
        "WHERE model = :model AND version = :version ORDER BY gate_run_no",
        model=model,
        version=version,
    )
    return tuple(_gate_run(row) for row in found)


def _gate_run(row: Any) -> GateRun:
    report = GateReport.model_validate_json(row["report"])
    if report.digest != row["digest"]:
        raise Blocked(
            f"model {report.model}: the report of gate run {row['gate_run_no']} is not the one its digest was taken of, so "
            "no evidence pack is made of it. Nothing was written. Judge the version again, and find out who can write to "
            "vigil.gate_run. Run: python -m pipelines registry verify"
        )
    comparison = json.loads(row["comparison"]) if row["comparison"] else None
    return GateRun(row["gate_run_no"], row["at"], report, row["report"], comparison)


def _request(settings: Settings, row: Any) -> Request | None:
    return request_numbered(settings, row["request_no"])


def _without(row: Any, *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def _about(entry: Entry, version: int) -> bool:
    """Whether the entry is about the version, also as the one that another was set against or put in place of."""
    return version in (entry.facts.get("version"), entry.facts.get("expected_champion")) or entry.kind == "retired"


def _kept(settings: Settings, run_id: str) -> dict[str, bytes]:
    """Pictures, tables and pages that training and comparison left in the version's run."""
    found: dict[str, bytes] = {}
    with TemporaryDirectory(prefix="vigil-evidence-") as scratch:
        for place in (REPORT, COMPARISON):
            folder = mlflow_store.download_folder(settings, run_id, place, Path(scratch))
            for path in sorted(folder.rglob("*")) if folder else ():
                if path.is_file() and path.suffix in _PICTURES_AND_TABLES:
                    found[f"{place}/{path.relative_to(folder).as_posix()}"] = path.read_bytes()  # type: ignore[arg-type]
    return found


def _lineage(settings: Settings, model: Model) -> tuple[dict[str, tuple[tuple[str, str], ...]], str]:
    try:
        traced = features.source_columns(settings, model)
    except DataFault as fault:
        return {}, " ".join(str(fault).split())
    return {name: tuple(sorted(columns)) for name, columns in traced.items()}, ""


def _described(settings: Settings) -> dict[str, str]:
    try:
        known = features.load_definitions(settings)
    except DataFault:
        return {}
    found = {name: view.description for name, view in known.feature_views.items()}
    found |= {name: view.description for name, view in known.label_views.items()}
    return {name: " ".join(text.split()) for name, text in found.items()}


def _contracts(settings: Settings, sources: Sequence[str]) -> dict[str, Contract]:
    found = {}
    for source in sources:
        try:
            found[source] = load_contract(settings.expectations, source)
        except DataFault:
            continue
    return found


def _documentation(settings: Settings) -> DocumentationMap | None:
    """The project's own table, else the repository's."""
    for folder in (settings.policies, REPOSITORY / "policies"):
        if (folder / "documentation.yaml").is_file():
            return load_documentation_map(folder)
    return None
