"""What Postgres remembers of the features: which view was built for which date, from what, with what result."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date
from typing import Any

from pipelines import database
from pipelines.contracts import FeatureSnapshot, Value, json_ready
from pipelines.settings import Settings


class ViewBuild(Value):
    """One feature view on one business date.

    Attributes:
        definition_digest: of the compiled SQL; another definition is another digest.
        inputs_digest: of the source files read; a file is never changed, so equal digests mean equal inputs.
        content_digest: of the rows.
    """

    view: str
    business_date: date
    definition_digest: str
    inputs_digest: str
    source_versions: dict[str, int]
    lake_version: int
    rows: int
    content_digest: str

    def made_from(self, definition_digest: str, inputs_digest: str) -> bool:
        """Whether building again would give the same rows."""
        return self.definition_digest == definition_digest and self.inputs_digest == inputs_digest


def last_builds(settings: Settings, view: str, dates: Iterable[date]) -> dict[date, ViewBuild]:
    """The newest build of a view for each of the dates that has one."""
    found = database.rows(
        settings,
        "SELECT DISTINCT ON (business_date) view, business_date, definition_digest, inputs_digest, source_versions, "
        "lake_version, rows, content_digest FROM vigil.feature_build "
        "WHERE view = :view AND business_date = ANY(:dates) ORDER BY business_date, id DESC",
        view=view,
        dates=list(dates),
    )
    return {row["business_date"]: ViewBuild(**row) for row in found}


def record_build(connection: database.Connection, build: ViewBuild) -> None:
    """Remember a build, inside the caller's transaction."""
    columns: dict[str, Any] = build.model_dump() | {"source_versions": json.dumps(build.source_versions)}
    database.execute(
        connection,
        "INSERT INTO vigil.feature_build (view, business_date, definition_digest, inputs_digest, source_versions, "
        "lake_version, rows, content_digest) VALUES (:view, :business_date, :definition_digest, :inputs_digest, "
        "CAST(:source_versions AS jsonb), :lake_version, :rows, :content_digest)",
        **columns,
    )


def last_snapshot(settings: Settings, model: str, business_date: date) -> tuple[FeatureSnapshot, str] | None:
    """The newest feature rows of a model on a date, and the digest of what they were made from."""
    found = database.rows(
        settings,
        "SELECT snapshot, inputs_digest FROM vigil.feature_snapshot "
        "WHERE model = :model AND business_date = :business_date ORDER BY id DESC LIMIT 1",
        model=model,
        business_date=business_date,
    )
    return (FeatureSnapshot(**found[0]["snapshot"]), found[0]["inputs_digest"]) if found else None


def record_snapshot(connection: database.Connection, made: FeatureSnapshot, inputs_digest: str) -> None:
    """Remember the feature rows of a model, inside the caller's transaction."""
    database.execute(
        connection,
        "INSERT INTO vigil.feature_snapshot (model, business_date, inputs_digest, snapshot) "
        "VALUES (:model, :business_date, :inputs_digest, CAST(:snapshot AS jsonb))",
        model=made.model,
        business_date=made.business_date,
        inputs_digest=inputs_digest,
        snapshot=json.dumps(json_ready(made)),
    )
