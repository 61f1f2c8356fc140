"""Where an ingest is killed, and what it is doing then; run in children of dying.py's server."""

from __future__ import annotations

import sys
from collections.abc import Callable

import dying
from account_source import DAY, contract

from pipelines import ingest, quality
from pipelines.settings import Settings

PLANTS: dict[str, dying.Plant] = {
    "before it is fetched": dying.before("pipelines.ingest.deliveries", "fetch"),
    "after it is judged": dying.after("pipelines.ingest.judging", "require_sender_agrees"),
    "before the quarantine": dying.before_commit_of("quarantine/accounts"),
    "after the quarantine": dying.after_commit_of("quarantine/accounts"),
    "after the landing": dying.after_commit_of("landing/accounts"),
    "before the landing is recorded": dying.before("pipelines.ingest.records", "record_landing"),
    "as the landing is recorded": dying.before_postgres_commits("pipelines.ingest.records", "record_landing"),
    "before the verdict is recorded": dying.before("pipelines.ingest.records", "record_verdict"),
    "before it is published": dying.before_commit_of("source/accounts"),
    "half published": dying.during_commit_of("source/accounts"),
    "after it is published": dying.after_commit_of("source/accounts"),
    "before protected rows are published": dying.before("pipelines.ingest.protected", "publish"),
    "as the publication is recorded": dying.before_postgres_commits("pipelines.ingest.records", "record_publication"),
}


def agreed() -> object:
    """The contract of the source, with a protected column."""
    return contract(columns={"product": {"type": "string", "allowed": ["card", "loan"], "protected": True}})


def night(settings: Settings, plant: str) -> None:
    """Land, check and publish, until the plant kills the process."""
    PLANTS[plant](settings)
    steps: tuple[Callable[..., object], ...] = (ingest.land, quality.check_source, ingest.publish)
    for step in steps:
        step(settings, agreed(), DAY)
    sys.exit(0)


def killed(settings: Settings, plant: str) -> int | None:
    """Run the night in a child with the plant in force; the exit code, -9 when it died of SIGKILL."""
    child = dying.server().Process(target=night, args=(settings, plant))
    child.start()
    child.join(120)
    return child.exitcode
