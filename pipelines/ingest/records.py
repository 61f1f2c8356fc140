"""What Postgres remembers of ingest: every landing, every publication, and the verdict between them. Nothing is changed
or removed; the newest row of a source and business date is the one in force."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from pipelines import database
from pipelines.contracts import Manifest, QualityVerdict, Value, fingerprint, json_ready
from pipelines.database import Connection
from pipelines.settings import Settings
from pipelines.spec import Contract


@dataclass(frozen=True)
class Landing:
    """One landing. `content` identifies the rows and the row rules; `delivery` the bytes alone."""

    landing_no: int
    content: str
    manifest: Manifest


@dataclass(frozen=True)
class Publication:
    """What readers see of a source for a business date."""

    landing_no: int
    content: str
    manifest: Manifest


@dataclass(frozen=True)
class RecordedVerdict:
    """A verdict with its number and the fingerprint of the contract it was judged by."""

    verdict_no: int
    rules: str
    verdict: QualityVerdict


def contract_fingerprint(contract: Contract) -> str:
    """Changes with anything the contract says."""
    return fingerprint(contract.model_dump_json())


def landed(connection: Connection, source: str, business_date: date) -> Landing | None:
    """The newest landing of a source and date."""
    found = database.execute(
        connection,
        "SELECT landing_no, content, manifest FROM vigil.landing WHERE source = :source AND business_date = :day "
        "ORDER BY landing_no DESC LIMIT 1",
        source=source,
        day=business_date,
    )
    return Landing(**_with_manifest(found[0])) if found else None


def record_landing(connection: Connection, manifest: Manifest, content: str, delivery: str) -> None:
    """Remember a landing inside the caller's transaction."""
    database.execute(
        connection,
        "INSERT INTO vigil.landing (source, business_date, content, delivery, manifest) "
        "VALUES (:source, :day, :content, :delivery, CAST(:manifest AS jsonb))",
        source=manifest.source,
        day=manifest.business_date,
        content=content,
        delivery=delivery,
        manifest=as_json(manifest),
    )


def published(connection: Connection, source: str, business_date: date) -> Publication | None:
    """What is published of a source for a date."""
    found = database.execute(
        connection,
        "SELECT p.landing_no, l.content, p.manifest FROM vigil.source_publication p JOIN vigil.landing l "
        "USING (landing_no) WHERE p.source = :source AND p.business_date = :day ORDER BY publication_no DESC LIMIT 1",
        source=source,
        day=business_date,
    )
    return Publication(**_with_manifest(found[0])) if found else None


def publications(
    settings: Settings, source: str, first: date, last: date, lake_version: int | None
) -> list[tuple[Manifest, QualityVerdict]]:
    """What was published of a source for each date of a range, with the verdict that let it through, by date.

    With a lake version: what readers of that version saw, whatever was published again since.
    """
    found = database.rows(
        settings,
        "SELECT DISTINCT ON (p.business_date) p.manifest, v.verdict FROM vigil.source_publication p "
        "JOIN vigil.quality_verdict v USING (verdict_no) WHERE p.source = :source AND p.business_date BETWEEN :first AND :last "
        "AND (CAST(:version AS bigint) IS NULL OR (p.manifest ->> 'lake_version')::bigint <= :version) "
        "ORDER BY p.business_date, p.publication_no DESC",
        source=source,
        first=first,
        last=last,
        version=lake_version,
    )
    return [(Manifest.model_validate(r["manifest"]), QualityVerdict.model_validate(r["verdict"])) for r in found]


def record_publication(connection: Connection, manifest: Manifest, landing_no: int, verdict_no: int) -> None:
    """Remember a publication inside the caller's transaction."""
    database.execute(
        connection,
        "INSERT INTO vigil.source_publication (source, business_date, landing_no, verdict_no, manifest) "
        "VALUES (:source, :day, :landing_no, :verdict_no, CAST(:manifest AS jsonb))",
        source=manifest.source,
        day=manifest.business_date,
        landing_no=landing_no,
        verdict_no=verdict_no,
        manifest=as_json(manifest),
    )


def published_dates(connection: Connection, source: str) -> list[date]:
    """Business dates of a source that readers can see, ascending."""
    found = database.execute(
        connection,
        "SELECT DISTINCT business_date FROM vigil.source_publication WHERE source = :source ORDER BY 1",
        source=source,
    )
    return [row["business_date"] for row in found]


def earlier_manifests(settings: Settings, source: str, before: date, most: int) -> list[Manifest]:
    """Manifests of the last `most` published business dates before a date, newest first."""
    found = database.rows(
        settings,
        "SELECT DISTINCT ON (business_date) manifest FROM vigil.source_publication WHERE source = :source "
        "AND business_date < :day ORDER BY business_date DESC, publication_no DESC LIMIT :most",
        source=source,
        day=before,
        most=most,
    )
    return [Manifest.model_validate(row["manifest"]) for row in found]


def dates_of_delivery(connection: Connection, source: str, delivery: str) -> list[date]:
    """Business dates whose published rows came from the very same bytes."""
    found = database.execute(
        connection,
        "SELECT business_date FROM (SELECT DISTINCT ON (p.business_date) p.business_date, l.delivery "
        "FROM vigil.source_publication p JOIN vigil.landing l USING (landing_no) WHERE p.source = :source "
        "ORDER BY p.business_date, publication_no DESC) newest WHERE delivery = :delivery ORDER BY 1",
        source=source,
        delivery=delivery,
    )
    return [row["business_date"] for row in found]


def record_verdict(settings: Settings, verdict: QualityVerdict, rules: str) -> None:
    """Remember a verdict, in a transaction of its own."""
    with database.transaction(settings) as connection:
        database.execute(
            connection,
            "INSERT INTO vigil.quality_verdict (subject, business_date, lake_version, rules, passed, verdict) "
            "VALUES (:subject, :day, :version, :rules, :passed, CAST(:verdict AS jsonb))",
            subject=verdict.subject,
            day=verdict.business_date,
            version=verdict.lake_version,
            rules=rules,
            passed=verdict.passed,
            verdict=as_json(verdict),
        )


def newest_verdict(connection: Connection, subject: str, business_date: date) -> RecordedVerdict | None:
    """The newest verdict on a subject and date."""
    found = database.execute(
        connection,
        "SELECT verdict_no, rules, verdict FROM vigil.quality_verdict WHERE subject = :subject "
        "AND business_date = :day ORDER BY verdict_no DESC LIMIT 1",
        subject=subject,
        day=business_date,
    )
    if not found:
        return None
    row = found[0]
    return RecordedVerdict(row["verdict_no"], row["rules"], QualityVerdict.model_validate(row["verdict"]))


def as_json(value: Value) -> str:
    return json.dumps(json_ready(value))


def _with_manifest(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "manifest": Manifest.model_validate(row["manifest"])}
