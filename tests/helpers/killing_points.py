"""The named points at which tests/faults/test_kills.py kills, and the steps it kills there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from multiprocessing.connection import Connection

import account_source
from dying import (
    Plant,
    after,
    after_commit_of,
    after_postgres_committed,
    before,
    before_commit_of,
    before_postgres_commits,
    during,
    during_commit_of,
)
from small_night import MODEL

from pipelines import database, registry, scoring
from pipelines.settings import Settings

DAY = date(2026, 6, 30)

Seen = tuple[str, int, int, str]
_LOOK = """
    SELECT min(batch_id) AS batch_id, count(*) AS rows, count(DISTINCT batch_id) AS batches,
           CAST(sum(hashfloat8extended(probability, hashtext(token::text))) AS text) AS content
    FROM vigil.published_score WHERE model = 'small' AND business_date = :day"""

STEPS: dict[str, Callable[[Settings], object]] = {
    "score": lambda settings: scoring.score(settings, MODEL, DAY),
    "publish": lambda settings: scoring.publish(settings, MODEL, DAY),
    "promote": lambda settings: promote(settings),
    "rollback": lambda settings: roll_back(settings),
    "ingest": lambda settings: account_source.night(settings, account_source.contract()),
}


def promote(settings: Settings) -> registry.Promotion:
    """The newest approved version, in place of the one it was approved against."""
    [newest] = database.rows(
        settings,
        "SELECT permit_no, version, expected_champion FROM vigil.permit JOIN vigil.approval_request USING (request_no, "
        "version) ORDER BY permit_no DESC LIMIT 1",
    )
    return registry.promote(
        settings,
        MODEL,
        newest["version"],
        expected_champion=newest["expected_champion"],
        permit_no=newest["permit_no"],
        by="release@bank.example",
    )


def roll_back(settings: Settings) -> registry.Rollback:
    return registry.rollback(settings, MODEL, reason="killed in a test", by="anna@bank.example", expected_champion=2)


SCORE, SHADOW, PUBLISH = "pipelines.scoring.score", "pipelines.scoring.shadow", "pipelines.scoring.publish"

SCORE_PLANTS: dict[str, Plant] = {
    "score: before the first row": before(SCORE, "feature_chunks"),
    "score: between two chunks": before(SCORE, "add_rows", call=4),
    "score: before the rows are staged": before_commit_of("staging_scores/small"),
    "score: while the rows are staged": during_commit_of("staging_scores/small"),
    "score: after the rows are staged": after_commit_of("staging_scores/small"),
    "score: after the batch is recorded": after(SCORE, "record_batch"),
    "score: while shadow scores are written": during_commit_of("shadow_scores/small"),
    "score: before shadow scores are recorded": before(SHADOW, "record_shadows"),
    "score: at the very end": before_postgres_commits(SHADOW, "record_shadows"),
}

PUBLISH_PLANTS: dict[str, Plant] = {
    "publish: before anything": before(PUBLISH, "ensure_partition"),
    "publish: before the lake's commit": before_commit_of("scores/small"),
    "publish: while the lake is written": during_commit_of("scores/small"),
    "publish: after the lake's commit": after_commit_of("scores/small"),
    "publish: mid-COPY": during(PUBLISH, "copy_stream", item=4),
    "publish: before the pointer": before(PUBLISH, "move_pointer"),
    "publish: after the pointer": after(PUBLISH, "move_pointer"),
    "publish: before Postgres commits": before_postgres_commits(PUBLISH, "move_pointer"),
    "publish: after Postgres committed": after_postgres_committed(PUBLISH, "move_pointer"),
}

INGEST_PLANTS: dict[str, Plant] = {
    "ingest: before landing": before_commit_of("landing/accounts"),
    "ingest: while landing": during_commit_of("landing/accounts"),
    "ingest: after landing, not recorded": after_commit_of("landing/accounts"),
    "ingest: after landing": before("pipelines.quality", "check_source"),
    "ingest: after the check": before("pipelines.ingest", "publish"),
    "ingest: while the source is written": during_commit_of("source/accounts"),
    "ingest: after the source's commit": after_commit_of("source/accounts"),
    "ingest: before Postgres commits": before_postgres_commits("pipelines.ingest.records", "record_publication"),
}

JOURNAL, ALIASES, MLFLOW = "pipelines.registry.journal", "pipelines.registry.alignment", "pipelines.mlflow_store"

REGISTRY_PLANTS: dict[str, Plant] = {
    "registry: before the entry": before(JOURNAL, "append"),
    "registry: before Postgres commits": before_postgres_commits(JOURNAL, "append"),
    "registry: after Postgres committed": after_postgres_committed(JOURNAL, "append"),
    "registry: before the alias": before(MLFLOW, "set_alias"),
    "registry: after the alias": after(MLFLOW, "set_alias"),
}

PLANTS: dict[str, Plant] = SCORE_PLANTS | PUBLISH_PLANTS | INGEST_PLANTS | REGISTRY_PLANTS


def look_until_told(settings: Settings, parent: Connection) -> None:
    """Poll the published scores; say so after the first look, and send all looks when told to stop."""
    seen: list[Seen] = []
    while not parent.poll(0):
        seen += [tuple(row.values()) for row in database.rows(settings, _LOOK, day=DAY)]
        if len(seen) == 1:
            parent.send("looking")
    parent.recv()
    parent.send(seen)
