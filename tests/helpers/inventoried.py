"""A project of many model files, and the records of the registry as promotions, batches and gates leave them."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import yaml
from small_night import MODEL

from pipelines import database
from pipelines.registry import journal
from pipelines.settings import REPOSITORY, Settings

DIGEST = "a" * 64
VALIDATOR = "model-validation@bank.example"


def project_of(settings: Settings, *names: str, **review: Any) -> Settings:
    """A project folder with these model files, of tier 3, and a policy whose section review has changed keys."""
    project = settings.home / "project"
    for folder in ("models", "policies"):
        (project / folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        write_model(project, name)
    policy = yaml.safe_load((REPOSITORY / "policies" / "internal.yaml").read_text())
    policy |= {"policy": "small", "review": policy["review"] | review, "in_force_from": date(2020, 1, 1)}
    (project / "policies" / "small.yaml").write_text(yaml.safe_dump(policy))
    return settings.model_copy(update={"project": project})


def write_model(project: Path, name: str, **changed: Any) -> None:
    (project / "models" / f"{name}.yaml").write_text(
        yaml.safe_dump(MODEL.model_dump(mode="json") | {"name": name} | changed, sort_keys=False)
    )


def promote(settings: Settings, model: str, version: int, *, granted: datetime, expires: datetime) -> int:
    """A permit and the journal entry of its promotion; returns the permit's number."""
    with database.transaction(settings) as connection:
        [row] = database.execute(
            connection,
            "INSERT INTO vigil.permit (model, version, role, artefact_digest, policy, policy_version, kind, reason, "
            "granted_at, expires) VALUES (:model, :version, 'challenger', :digest, 'small', '1', 'bootstrap', 'test', "
            ":granted, :expires) RETURNING permit_no",
            model=model,
            version=version,
            digest=DIGEST,
            granted=granted,
            expires=expires,
        )
        facts = {"version": version, "permit_no": row["permit_no"], "artefact_digest": DIGEST, "by": VALIDATOR}
        journal.append(connection, model, "promoted", facts)
    return int(row["permit_no"])


def publish(settings: Settings, model: str, on: date, psi: float | None, published_at: datetime) -> None:
    """A published batch of a date with its PSI."""
    with database.transaction(settings) as connection:
        [row] = database.execute(
            connection,
            "INSERT INTO vigil.batch (batch_id, state, model, business_date, model_version, artefact_digest, policy, "
            "policy_version, rows_in, rows_scored, rows_rejected, rows_quarantined, rows_review, reject_reasons, "
            "review_reasons, digest, psi, feature_snapshot, staged) VALUES (md5(random()::text) || md5(random()::text), "
            "'published', :model, :on, 1, :digest, 'small', '1', 1, 1, 0, 0, 0, '{}', '{}', 'd', :psi, '{}', 's') "
            "RETURNING batch_no",
            model=model,
            on=on,
            digest=DIGEST,
            psi=psi,
        )
        database.execute(
            connection,
            "INSERT INTO vigil.published (model, business_date, batch_no, published_at, lake_version) "
            "VALUES (:model, :on, :batch, :at, 0)",
            model=model,
            on=on,
            batch=row["batch_no"],
            at=published_at,
        )
