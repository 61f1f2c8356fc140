"""Score: the features of one business date through the champion, and through its challengers in the shadow.

Nothing a reader sees changes here: rows are staged in the lake and the batch is recorded; publishing is its own step.
"""

from __future__ import annotations

from datetime import date

import duckdb
import pyarrow as pa

from pipelines import database
from pipelines.contracts import Blocked, ScoredBatch
from pipelines.lake import PARTITION, Lake, connect
from pipelines.scoring.batches import NewBatch, find_batch, record_batch
from pipelines.scoring.inputs import BatchInputs, pin
from pipelines.scoring.predict import LoadedVersion, ScoredChunk, Tally, load, scored_chunks
from pipelines.scoring.rows import digest_of
from pipelines.scoring.shadow import score_challengers
from pipelines.scoring.stream import PART_COLUMNS, add_rows, feature_chunks, listed, part_columns, scored_rows
from pipelines.settings import Settings
from pipelines.spec import Model

_ARRIVED = "token VARCHAR, probability DOUBLE, review_reason VARCHAR"
_REJECTED = "token VARCHAR, reason VARCHAR"


def score(settings: Settings, model: Model, business_date: date) -> ScoredBatch:
    """Score, stage and record the batch of the model and date; the same inputs give the batch already recorded.

    Raises:
        Blocked: no permitted champion, no features that passed their checks, or rows that do not add up.
        DataFault: a token comes twice, or the features do not fit the model.
        ConnectionBroken: Postgres, the lake or the registry did not answer; running again is safe.
    """
    inputs = pin(settings, model, business_date)
    with database.transaction(settings) as guard:
        database.lock(guard, f"score {model.name} {business_date}")
        record = find_batch(settings, inputs.batch_id)
        if record is None:
            record = record_batch(settings, _score_champion(settings, inputs))
        challengers = score_challengers(settings, inputs, record)
    return record.batch.model_copy(update={"challenger_versions": challengers})


def _score_champion(settings: Settings, inputs: BatchInputs) -> NewBatch:
    champion = load(settings, inputs, inputs.champion)
    with connect(settings) as scratch:
        tally = _score_rows(settings, scratch, inputs, champion)
        _require_conserved(inputs, tally)
        digest = digest_of(scored_rows(settings, scratch)).hexdigest()
        _keep_rejected(settings, scratch, inputs, tally.rejected)
        staged = _stage(settings, scratch, inputs)
    stability = tally.stability()
    return NewBatch(
        batch=ScoredBatch(
            model=inputs.model.name,
            business_date=inputs.business_date,
            batch_id=inputs.batch_id,
            model_version=inputs.champion.version,
            artefact_digest=inputs.champion.permit.artefact_digest,
            challenger_versions=(),
            rows_in=inputs.rows_in,
            rows_scored=tally.scored,
            rows_rejected=tally.rejected,
            rows_quarantined=inputs.rows_quarantined,
            rows_review=tally.review,
            reject_reasons=dict(sorted(tally.reject_reasons.items())),
            digest=digest,
            psi=stability.value,
            feature_snapshot=inputs.snapshot,
            staged=staged,
        ),
        policy=inputs.policy.policy,
        policy_version=inputs.policy.version,
        review_reasons=dict(sorted(tally.review_reasons.items())),
        psi_chance_99=stability.chance_99,
        typologies=champion.typologies,
    )


def _score_rows(
    settings: Settings, scratch: duckdb.DuckDBPyConnection, inputs: BatchInputs, champion: LoadedVersion
) -> Tally:
    """Fill the connection's tables `scored`, in token order, and `rejected`. The parts of scores are columns of `scored`."""
    more = "".join(f", {name} {kind}" for name, kind in PART_COLUMNS.items() if champion.in_parts)
    scratch.execute(f"CREATE TABLE arrived ({_ARRIVED}{more}); CREATE TABLE rejected ({_REJECTED})")
    tally = Tally(champion.reference)
    chunks = feature_chunks(settings, inputs.model, inputs.snapshot)
    for chunk in scored_chunks(chunks, champion):
        tally.add(chunk.judged, chunk.probability)
        add_rows(scratch, "arrived", _scored_columns(inputs.model.token, chunk))
        add_rows(scratch, "rejected", chunk.judged.rejected)
    scratch.execute("CREATE TABLE scored AS FROM arrived ORDER BY token; DROP TABLE arrived")
    return tally


def _scored_columns(token: str, chunk: ScoredChunk) -> pa.RecordBatch:
    """Token, probability, review reason, and the parts of the probability if it has any; a part that is absent is null."""
    columns = {
        "token": chunk.judged.accepted[token],
        "probability": pa.array(chunk.probability),
        "review_reason": chunk.judged.review_reason,
    }
    if chunk.parts is not None:
        columns |= {f"part_{name}": pa.array(value, from_pandas=True) for name, value in chunk.parts.values.items()}
        columns["typologies_met"] = chunk.parts.typologies_met
    return pa.record_batch(columns)


def _require_conserved(inputs: BatchInputs, tally: Tally) -> None:
    if inputs.rows_in != tally.scored + tally.rejected + inputs.rows_quarantined:
        raise Blocked(
            f"model {inputs.model.name} on {inputs.business_date}: rows are not conserved: {inputs.rows_in:,} came in, but "
            f"{tally.scored:,} scored + {tally.rejected:,} rejected + {inputs.rows_quarantined:,} quarantined are not as "
            "many. Nothing was staged; the last published scores are still served. "
            f"Run: python -m pipelines features --model {inputs.model.name} --date {inputs.business_date}"
        )


def _stage(settings: Settings, scratch: duckdb.DuckDBPyConnection, inputs: BatchInputs) -> str:
    """Keep the scored rows where publishing finds them: table and version."""
    table = f"staging_scores/{inputs.model.name}"
    rows = scratch.sql(
        f"SELECT token AS {inputs.model.token}, probability, review_reason{listed(part_columns(scratch, 'scored'))}, "
        f"DATE '{inputs.business_date}' AS {PARTITION} FROM scored"
    )
    version = Lake(settings).replace_date(
        table, inputs.business_date, rows.to_arrow_reader(settings.chunk_rows), notes={"batch_id": inputs.batch_id}
    )
    return f"{table}@{version}"


def _keep_rejected(settings: Settings, scratch: duckdb.DuckDBPyConnection, inputs: BatchInputs, rejected: int) -> None:
    """Keep the rejected rows of the date with their reasons, in place of those of an earlier batch."""
    lake, table = Lake(settings), f"rejected/{inputs.model.name}"
    if rejected or inputs.business_date in lake.dates(table):
        rows = scratch.sql(
            f"SELECT token AS {inputs.model.token}, reason, '{inputs.batch_id}' AS batch_id, "
            f"DATE '{inputs.business_date}' AS {PARTITION} FROM rejected ORDER BY token"
        )
        lake.replace_date(table, inputs.business_date, rows.to_arrow_reader(settings.chunk_rows))
