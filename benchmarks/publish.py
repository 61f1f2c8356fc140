"""Publishing scores to PostgreSQL: batch, probability, token, model and a reason for review per row.

Raw: COPY of a ready text into a plain table without an index, and commit. Ours: the publish step from the staged rows in
the lake: read, sort, compare with the batch's digest, commit to the lake, COPY (binary), index, pointer, commit. Usual:
pandas' to_sql into a plain table, a thousand rows to a statement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.harness import Measurement, timed
from pipelines import database
from pipelines.contracts import FeatureSnapshot, ScoredBatch
from pipelines.lake import Lake, connect
from pipelines.registry import Permit, RegisteredVersion
from pipelines.registry.permits import PermitRequest, grant
from pipelines.scoring.batches import NewBatch, record_batch
from pipelines.scoring.inputs import BatchInputs
from pipelines.scoring.rows import COPY_COLUMNS, digest_of
from pipelines.scoring.stream import scored_rows
from pipelines.settings import REPOSITORY, Settings
from pipelines.spec import Feature, Model, load_policy
from pipelines.stack.postgres import EmbeddedPostgres

RUNS = 3
FIRST_DAY = date(2026, 6, 1)
REVIEWED = 0.03
MODEL = Model.model_construct(name="bench", entity="account", features={"all": {"x": Feature()}})


def measure(rows: int) -> list[Measurement]:
    """Seconds to publish `rows` scores, one way after the other."""
    with _machine() as settings:
        days = [FIRST_DAY + timedelta(days=n) for n in range(RUNS)]
        staged = [_stage(settings, rows, day) for day in days]
        raw = timed(_copy, settings, rows, runs=RUNS)
        ours = timed(_publish, settings, staged, runs=RUNS)
        usual = timed(_to_sql, settings, rows, runs=1)
    return [
        Measurement(
            "publish scores to Postgres",
            rows,
            len(COPY_COLUMNS),
            raw.seconds,
            ours.seconds,
            usual.seconds,
            ours.peak_mb,
        )
    ]


@contextmanager
def _machine() -> Iterator[Settings]:
    """An empty machine with a PostgreSQL of its own and one permit."""
    with TemporaryDirectory(prefix="vigil-bench-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        server.start()
        try:
            settings = Settings(
                environment="demo", home=Path(folder), lake_url=f"{folder}/lake", database_url=server.url()
            )
            database.migrate(settings)
            with database.transaction(settings) as connection:
                grant(connection, [_request()], valid_days=1)
                database.execute(connection, "CREATE TABLE plain (LIKE vigil.score)")
            yield settings
        finally:
            server.stop()


def _stage(settings: Settings, rows: int, day: date) -> BatchInputs:
    """A scored batch as the score step leaves it; returns what it was made from."""
    inputs = _inputs(day, rows)
    table = _scores(rows, seed=day.toordinal()).rename_columns(["account_token", "probability", "review_reason"])
    table = table.sort_by("account_token")
    version = Lake(settings).replace_date(
        "staging_scores/bench", day, table.append_column("business_date", pa.repeat(day, rows))
    )
    with connect(settings) as scratch:
        scratch.register("arrived", table)
        scratch.execute("CREATE TABLE scored AS SELECT account_token AS token, * EXCLUDE account_token FROM arrived")
        digest = digest_of(scored_rows(settings, scratch)).hexdigest()
    batch = ScoredBatch(
        model=MODEL.name, business_date=day, batch_id=inputs.batch_id, model_version=1, artefact_digest="0" * 64,
        challenger_versions=(), rows_in=rows, rows_scored=rows, rows_rejected=0, rows_quarantined=0, rows_review=0,
        reject_reasons={}, digest=digest, psi=0.0, feature_snapshot=inputs.snapshot, staged=f"staging_scores/bench@{version}",
    )  # fmt: skip
    record_batch(
        settings,
        NewBatch(batch=batch, policy="internal", policy_version="1", review_reasons={}, psi_chance_99=0.0),
    )
    return inputs


def _publish(settings: Settings, staged: list[BatchInputs]) -> Callable[[], object]:
    """The whole step, but for reading permit and verdict, which is a few queries whatever the rows."""
    step = import_module("pipelines.scoring.publish")
    waiting = {inputs.business_date: inputs for inputs in staged}
    step.pin = lambda settings, model, day: waiting[day]  # type: ignore[attr-defined]
    days = iter(sorted(waiting))
    return lambda: step.publish(settings, MODEL, next(days))


def _copy(settings: Settings, rows: int) -> Callable[[], object]:
    table = _scores(rows, seed=1)
    text = "".join(
        f"1\t{probability!r}\t{token}\tbench\t{reason or chr(92) + 'N'}\n"
        for token, probability, reason in zip(*(table[n].to_pylist() for n in table.column_names), strict=True)
    ).encode()

    def work() -> None:
        with database.transaction(settings) as connection:
            database.copy_in(connection, "plain", COPY_COLUMNS, [text], binary=False)

    return work


def _to_sql(settings: Settings, rows: int) -> Callable[[], object]:
    frame = _scores(rows, seed=1).to_pandas().assign(batch_no=1, model="bench")
    engine = database.engine(settings.database_url)
    return lambda: frame.to_sql(
        "usual_scores", engine, schema="vigil", index=False, if_exists="append", method="multi", chunksize=1_000
    )


def _scores(rows: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    tokens = pa.array([random.bytes(16).hex() for _ in range(rows)])
    reasons: Any = np.where(random.random(rows) < REVIEWED, "income missing", None)
    return pa.table(
        {"token": tokens, "probability": random.random(rows), "review_reason": pa.array(reasons, pa.string())}
    )


def _inputs(day: date, rows: int) -> BatchInputs:
    permit = Permit(
        **_request().model_dump(), permit_no=1, granted_at=datetime.now(UTC), expires=datetime.now(UTC), expired=False
    )
    champion = RegisteredVersion(model=MODEL.name, version=1, run_id="", artefact_digest="0" * 64, permit=permit)
    snapshot = FeatureSnapshot(
        model=MODEL.name, business_date=day, table="model_features/bench", lake_version=0, rows=rows, view_versions={},
        source_versions={}, content_digest="0" * 64,
    )  # fmt: skip
    policy = load_policy(REPOSITORY / "policies", "internal")
    return BatchInputs(MODEL, day, policy, champion, snapshot, rows_in=rows, rows_quarantined=0)


def _request() -> PermitRequest:
    return PermitRequest(
        model=MODEL.name, version=1, role="champion", artefact_digest="0" * 64, policy="internal", policy_version="1",
        kind="bootstrap", reason="benchmark",
    )  # fmt: skip
