"""Challengers score the rows the champion scored; the result is kept in the lake to compare, and never used.

What is wrong with a challenger never holds up the champion's batch: it is noted beside the batch instead.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import duckdb
import pyarrow as pa

from pipelines import registry
from pipelines.contracts import Blocked, DataFault
from pipelines.lake import PARTITION, Lake, connect
from pipelines.registry import RegisteredVersion
from pipelines.scoring.batches import BatchRecord, ShadowRecord, record_shadows, shadows_of
from pipelines.scoring.inputs import BatchInputs
from pipelines.scoring.predict import judged_and_scored, load
from pipelines.scoring.rows import BatchDigest, digest_of
from pipelines.scoring.stream import add_rows, feature_chunks, scored_rows
from pipelines.settings import Settings

log = logging.getLogger(__name__)


def score_challengers(settings: Settings, inputs: BatchInputs, record: BatchRecord) -> tuple[int, ...]:
    """Score the batch's rows with every challenger, unless that was done; returns the versions that gave scores.

    Raises ConnectionBroken when the registry, Postgres or the lake did not answer; what else is wrong becomes a note.
    """
    challengers, faults = _permitted(settings, inputs)
    held = shadows_of(settings, record.batch_no)
    if faults or _versions(held) != _versions(challengers):
        held, more = _score_all(settings, inputs, challengers)
        note = "; ".join(faults + more) or None
        record_shadows(settings, record.batch_no, held, note)
        if note:
            log.warning(
                "model %s on %s: shadow scores are not complete: %s", inputs.model.name, inputs.business_date, note
            )
    return tuple(shadow.version for shadow in held)


def _permitted(settings: Settings, inputs: BatchInputs) -> tuple[tuple[RegisteredVersion, ...], list[str]]:
    try:
        found = registry.challengers(settings, inputs.model)
    except Blocked as refusal:
        return (), [str(refusal)]
    return tuple(c for c in found if c.version != inputs.champion.version), []


def _score_all(
    settings: Settings, inputs: BatchInputs, challengers: Sequence[RegisteredVersion]
) -> tuple[list[ShadowRecord], list[str]]:
    """One pass per challenger, then one commit with the rows of all."""
    made: list[tuple[RegisteredVersion, BatchDigest]] = []
    faults: list[str] = []
    with connect(settings) as scratch:
        scratch.execute("CREATE TABLE shadow (version INTEGER, token VARCHAR, probability DOUBLE)")
        for challenger in challengers:
            try:
                made.append((challenger, _score_one(settings, scratch, inputs, challenger)))
            except (Blocked, DataFault) as fault:
                faults.append(str(fault))
        if not made:
            return [], faults
        version = _write(settings, scratch, inputs)
    return [
        ShadowRecord(
            version=challenger.version,
            artefact_digest=challenger.artefact_digest,
            rows=digest.rows,
            digest=digest.hexdigest(),
            lake_version=version,
        )
        for challenger, digest in made
    ], faults


def _score_one(
    settings: Settings, scratch: duckdb.DuckDBPyConnection, inputs: BatchInputs, challenger: RegisteredVersion
) -> BatchDigest:
    loaded = load(settings, inputs, challenger)
    scratch.execute("CREATE OR REPLACE TABLE arrived (token VARCHAR, probability DOUBLE)")
    chunks = feature_chunks(settings, inputs.model, inputs.snapshot)
    for judged, probability in judged_and_scored(chunks, loaded):
        columns = [judged.accepted[inputs.model.token], pa.array(probability)]
        add_rows(scratch, "arrived", pa.record_batch(columns, ["token", "probability"]))
    scratch.execute(
        "CREATE OR REPLACE TABLE scored AS SELECT *, NULL::VARCHAR AS review_reason FROM arrived ORDER BY token"
    )
    digest = digest_of(scored_rows(settings, scratch))
    scratch.execute(f"INSERT INTO shadow SELECT {challenger.version}, token, probability FROM scored")
    return digest


def _write(settings: Settings, scratch: duckdb.DuckDBPyConnection, inputs: BatchInputs) -> int:
    rows = scratch.sql(
        f"SELECT token AS {inputs.model.token}, version AS model_version, probability, '{inputs.batch_id}' AS batch_id, "
        f"DATE '{inputs.business_date}' AS {PARTITION} FROM shadow"
    )
    return Lake(settings).replace_date(
        f"shadow_scores/{inputs.model.name}", inputs.business_date, rows.to_arrow_reader(settings.chunk_rows)
    )


def _versions(found: Sequence[ShadowRecord] | Sequence[RegisteredVersion]) -> list[tuple[int, str]]:
    return [(one.version, one.artefact_digest) for one in found]
