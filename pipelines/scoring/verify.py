"""Is what readers see what was scored? The lake's rows and Postgres' rows, read back, against the recorded digest."""

from __future__ import annotations

import hashlib
from datetime import date

from pipelines import database
from pipelines.contracts import Blocked, DataFault, PublishedBatch, Value
from pipelines.lake import Lake, connect
from pipelines.scoring.batches import published
from pipelines.scoring.publish import scores_table
from pipelines.scoring.rows import PACKED_BYTES, digest_of
from pipelines.scoring.stream import scored_rows
from pipelines.settings import Settings
from pipelines.spec import Model

_READ_BYTES = 49 << 14  # whole lines: 48 hex digits and the end of the line


class VerifiedBatch(Value):
    """A published batch whose rows were read back from both places and found to be those that were scored."""

    model: str
    business_date: date
    batch_id: str
    rows: int
    digest: str


def verify_batch(settings: Settings, model: Model, business_date: date) -> VerifiedBatch:
    """Read the published rows of the model and date back from the lake and from Postgres, and compare.

    Raises:
        Blocked: nothing is published for the date.
        DataFault: the rows in one of the two places are not those that were scored; says which.
    """
    seen = published(settings, model, business_date)
    if seen is None:
        raise Blocked(f"model {model.name} on {business_date}: nothing is published, so nothing can be verified.")
    for place, digest, rows in (("the lake", *_lake(settings, model, seen)), ("Postgres", *_postgres(settings, seen))):
        if (digest, rows) != (seen.digest, seen.rows_scored):
            raise DataFault(
                f"model {model.name} on {business_date}: the rows of batch {seen.batch_id[:12]} in {place} are not those "
                f"that were scored: {rows:,} rows, {seen.rows_scored:,} expected, or changed values. Keep them as evidence "
                "and find out who changed them before publishing again."
            )
    return VerifiedBatch(
        model=model.name,
        business_date=business_date,
        batch_id=seen.batch_id,
        rows=seen.rows_scored,
        digest=seen.digest,
    )


def _lake(settings: Settings, model: Model, seen: PublishedBatch) -> tuple[str, int]:
    with connect(settings) as scratch:
        table = scores_table(model.name)
        Lake(settings).scan(scratch, "seen", table, version=seen.lake_version, dates=[seen.business_date])
        scratch.execute(
            f"CREATE TABLE scored AS SELECT {model.token} AS token, probability, review_reason FROM seen "
            f"WHERE batch_id = '{seen.batch_id}' ORDER BY token"
        )
        digest = digest_of(scored_rows(settings, scratch))
    return digest.hexdigest(), digest.rows


def _postgres(settings: Settings, seen: PublishedBatch) -> tuple[str, int]:
    """Digest and rows, streamed: each row as 16 bytes of token and 8 of double, in hex, one to a line."""
    query = (
        "SELECT encode(uuid_send(token) || float8send(probability), 'hex') AS packed FROM vigil.published_score "
        f"WHERE model = '{seen.model}' AND business_date = '{seen.business_date}' ORDER BY token"
    )
    sha, length = hashlib.sha256(), 0
    with database.copy_out(settings.database_url, query) as lines:
        lines.readline()
        while part := lines.read(_READ_BYTES):
            packed = bytes.fromhex(part.decode())
            sha.update(packed)
            length += len(packed)
    return sha.hexdigest(), length // PACKED_BYTES
