"""What Postgres remembers of batches: each batch, its shadow scores, the pointer readers follow, and its history."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date

from pipelines import database
from pipelines.contracts import PublishedBatch, ScoredBatch, Value, json_ready
from pipelines.settings import Settings
from pipelines.spec import Model

_BATCH_FIELDS = tuple(name for name in ScoredBatch.model_fields if name != "challenger_versions")
_BESIDE_FIELDS = ("policy", "policy_version", "review_reasons", "psi_chance_99", "typologies")
_JSON_FIELDS = ("reject_reasons", "review_reasons", "feature_snapshot")


class NewBatch(Value):
    """A batch with what is kept beside it.

    Attributes:
        review_reasons: rows per single reason; a row with two counts under both.
        psi_chance_99: PSI that 99 of 100 samples of this size stay below when nothing changed.
        typologies: pack, version and digest of the typologies that the scores were made with; None without.
    """

    batch: ScoredBatch
    policy: str
    policy_version: str
    review_reasons: dict[str, int]
    psi_chance_99: float | None
    typologies: str | None = None


class BatchRecord(NewBatch):
    """A recorded batch.

    Attributes:
        batch_no: its number in vigil.score.
        rows_are_in: whether its rows are in vigil.score; they never leave it again.
    """

    batch_no: int
    rows_are_in: bool


class ShadowRecord(Value):
    """The scores of one challenger beside a batch, in the lake only."""

    version: int
    artefact_digest: str
    rows: int
    digest: str
    lake_version: int


def find_batch(settings: Settings, batch_id: str) -> BatchRecord | None:
    """The batch of that id, or None when it was never scored."""
    found = database.rows(
        settings,
        f"SELECT batch_no, state = 'published' AS rows_are_in, {', '.join(_BATCH_FIELDS + _BESIDE_FIELDS)}, "
        "ARRAY(SELECT version FROM vigil.shadow s WHERE s.batch_no = b.batch_no ORDER BY version) AS challenger_versions "
        "FROM vigil.batch b WHERE batch_id = :batch_id",
        batch_id=batch_id,
    )
    if not found:
        return None
    row = found[0]
    batch = ScoredBatch.model_validate({name: row[name] for name in ScoredBatch.model_fields})
    return BatchRecord(batch=batch, **{name: row[name] for name in BatchRecord.model_fields if name != "batch"})


def record_batch(settings: Settings, new: NewBatch) -> BatchRecord:
    """Remember a batch as scored. The database refuses one whose rows are not conserved."""
    columns = _BATCH_FIELDS + _BESIDE_FIELDS
    values = ", ".join(f"CAST(:{c} AS jsonb)" if c in _JSON_FIELDS else f":{c}" for c in columns)
    parameters = json_ready(new.batch) | json_ready(new)
    with database.transaction(settings) as connection:
        made = database.execute(
            connection,
            f"INSERT INTO vigil.batch ({', '.join(columns)}) VALUES ({values}) RETURNING batch_no",
            **{c: json.dumps(parameters[c]) if c in _JSON_FIELDS else parameters[c] for c in columns},
        )
    return BatchRecord(batch_no=made[0]["batch_no"], rows_are_in=False, **dict(new))


def shadows_of(settings: Settings, batch_no: int) -> list[ShadowRecord]:
    """What challengers scored beside a batch, by version."""
    found = database.rows(
        settings,
        f"SELECT {', '.join(ShadowRecord.model_fields)} FROM vigil.shadow WHERE batch_no = :no ORDER BY version",
        no=batch_no,
    )
    return [ShadowRecord.model_validate(row) for row in found]


def record_shadows(settings: Settings, batch_no: int, shadows: Sequence[ShadowRecord], note: str | None) -> None:
    """Replace what is remembered of the challengers beside a batch; `note` says why some or all were not scored."""
    with database.transaction(settings) as connection:
        database.execute(connection, "DELETE FROM vigil.shadow WHERE batch_no = :no", no=batch_no)
        for shadow in shadows:
            database.execute(
                connection,
                "INSERT INTO vigil.shadow (batch_no, version, artefact_digest, rows, digest, lake_version) "
                "VALUES (:no, :version, :artefact_digest, :rows, :digest, :lake_version)",
                no=batch_no,
                **shadow.model_dump(),
            )
        database.execute(
            connection, "UPDATE vigil.batch SET shadow_note = :note WHERE batch_no = :no", note=note, no=batch_no
        )


def published(settings: Settings, model: Model, business_date: date) -> PublishedBatch | None:
    """What readers see for the model and date now; None when nothing was ever published for it."""
    with database.transaction(settings) as connection:
        return pointer(connection, model.name, business_date)


def pointer(connection: database.Connection, model: str, business_date: date) -> PublishedBatch | None:
    """What the pointer says inside the caller's transaction."""
    found = database.execute(
        connection,
        "SELECT p.model, p.business_date, b.batch_id, b.model_version, b.digest, b.rows_scored, p.published_at, "
        "p.lake_version, true AS already_published FROM vigil.published p JOIN vigil.batch b USING (batch_no) "
        "WHERE p.model = :model AND p.business_date = :business_date",
        model=model,
        business_date=business_date,
    )
    return PublishedBatch.model_validate(found[0]) if found else None


def move_pointer(
    connection: database.Connection, record: BatchRecord, permit_no: int, lake_version: int
) -> PublishedBatch:
    """Make the batch what readers see, and add the change to the history, inside the caller's transaction."""
    batch = record.batch
    parameters = {
        "model": batch.model,
        "business_date": batch.business_date,
        "batch_no": record.batch_no,
        "lake_version": lake_version,
    }
    database.execute(
        connection,
        "INSERT INTO vigil.publication (model, business_date, batch_no, previous_batch_no, permit_no, lake_version) "
        "VALUES (:model, :business_date, :batch_no, (SELECT batch_no FROM vigil.published p "
        "WHERE p.model = :model AND p.business_date = :business_date), :permit_no, :lake_version)",
        **parameters,
        permit_no=permit_no,
    )
    moved = database.execute(
        connection,
        "INSERT INTO vigil.published (model, business_date, batch_no, lake_version) "
        "VALUES (:model, :business_date, :batch_no, :lake_version) ON CONFLICT (model, business_date) "
        "DO UPDATE SET batch_no = excluded.batch_no, lake_version = excluded.lake_version, published_at = now() "
        "RETURNING published_at",
        **parameters,
    )
    database.execute(connection, "UPDATE vigil.batch SET state = 'published' WHERE batch_no = :no", no=record.batch_no)
    return PublishedBatch(
        model=batch.model,
        business_date=batch.business_date,
        batch_id=batch.batch_id,
        model_version=batch.model_version,
        digest=batch.digest,
        rows_scored=batch.rows_scored,
        published_at=moved[0]["published_at"],
        lake_version=lake_version,
        already_published=False,
    )
