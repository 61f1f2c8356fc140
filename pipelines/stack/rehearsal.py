"""Rehearse a rollback on a copy: a PostgreSQL of its own with the journal and what it refers to, and the files themselves.

The rollback that runs there is the real one, on an empty cache, so every file comes from production's store. Production is
only read, until the result is recorded.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from pipelines import database, mlflow_store, registry
from pipelines.contracts import Blocked, Value, VigilError
from pipelines.mlflow_store import RunRecord, StoredVersion
from pipelines.registry import Rollback
from pipelines.registry.rollback import earlier_champions
from pipelines.registry.standing import read_standings
from pipelines.settings import Settings
from pipelines.spec import Model, load_policy
from pipelines.stack import lease
from pipelines.stack.postgres import EmbeddedPostgres

REHEARSER = "rehearsal@vigil.invalid"
_TABLES = ("gate_run", "approval_request", "approval_answer", "permit", "evidence_pack", "journal")


class Rehearsal(Value):
    """What came of one rehearsal.

    Attributes:
        outcome: `not_possible` when there is no earlier champion to go back to, which is nobody's fault.
        seconds: of the rollback on the copy; None when it did not come to its end.
    """

    model: str
    outcome: Literal["passed", "failed", "not_possible"]
    from_version: int | None = None
    to_version: int | None = None
    seconds: float | None = None
    message: str


def rehearse(settings: Settings, model: Model) -> Rehearsal:
    """Roll the model back on a copy, and record in production how it went.

    Raises:
        Blocked: the rollback did not work, or took longer than the policy allows; that is recorded too.
        ConnectionBroken: production's database, registry or artefact store did not answer, or the copy did not start.
    """
    try:
        found = _rehearsed(settings, model)
    except Exception as error:
        told = str(error) if isinstance(error, VigilError) else f"unexpected {type(error).__name__}"
        _record(settings, Rehearsal(model=model.name, outcome="failed", message=told))
        kind = type(error) if isinstance(error, VigilError) else Blocked
        raise kind(
            f"model {model.name}: the rehearsal of a rollback failed: {told} This happened on a copy; in production nothing "
            f"was changed. Until it is corrected do not count on a rollback. Then run: python -m pipelines registry rehearse "
            f"--model {model.name}"
        ) from error
    _record(settings, found)
    return found


def _rehearsed(settings: Settings, model: Model) -> Rehearsal:
    if nothing := _nothing_to_go_back_to(settings, model):
        return Rehearsal(model=model.name, outcome="not_possible", message=nothing)
    limit = _limit(settings, model)
    plan = registry.rollback(settings, model, reason="rehearsal", by=REHEARSER, dry_run=True)
    with _copy(settings, model, plan) as copy:
        began = time.monotonic()
        done = registry.rollback(copy, model, reason="rehearsal", by=REHEARSER)
        seconds = time.monotonic() - began
        _require_rolled_back(copy, model, plan, done)
    if seconds > limit:
        raise Blocked(f"the rollback took {seconds:.1f} s; policy {model.policy} allows {limit:g} s.")
    return Rehearsal(
        model=model.name,
        outcome="passed",
        from_version=done.from_version,
        to_version=done.to_version,
        seconds=round(seconds, 3),
        message=f"version {done.to_version} was champion again, verified, {seconds:.1f} s after the command",
    )


def _nothing_to_go_back_to(settings: Settings, model: Model) -> str:
    held = read_standings(settings, model.name)
    if not held:
        return "the model never had a champion"
    if held[-1].version is None:
        return f"the model is retired since {held[-1].since:%Y-%m-%d}"
    if not earlier_champions(held):
        return f"version {held[-1].version} has no champion before it that was not rolled back from"
    return ""


def _limit(settings: Settings, model: Model) -> float:
    review = load_policy(settings.policies, model.policy).review
    if review is None:
        raise Blocked(f"policy {model.policy} has no section `review`, so no limit for the time of a rollback.")
    return review.rollback_seconds


def _require_rolled_back(copy: Settings, model: Model, plan: Rollback, done: Rollback) -> None:
    now = registry.champion(copy, model)
    if not now.version == done.to_version == plan.to_version:
        raise Blocked(
            f"version {now.version} is champion after the rollback, which went to {done.to_version}; version "
            f"{plan.to_version} was expected."
        )
    own = {entry.entry_no for entry in registry.entries(copy) if entry.model == model.name}
    for fault in registry.verify(copy).faults:
        if fault.what != "evidence" or fault.entry_no in own:  # what another model's entries rest on is its own trouble
            raise Blocked(f"the journal does not verify after the rollback: {fault.message}.")


@contextmanager
def _copy(settings: Settings, model: Model, plan: Rollback) -> Iterator[Settings]:
    """Settings of a copy of the registry that is gone afterwards; what a killed rehearsal left is removed first."""
    folder = settings.home / "rehearsal" / model.name
    server = EmbeddedPostgres(folder / "postgres", lasting=False)
    with lease.alone(settings.home, f"rehearsal.{model.name}"):
        _remove(server, folder)
        try:
            server.start()
            copy = _settings(settings, folder, server)
            database.migrate(copy)
            _copy_records(settings, copy)
            _copy_versions(settings, copy, model, (plan.from_version, plan.to_version))
            registry.anchor(copy)
            yield copy
        finally:
            _remove(server, folder)


def _remove(server: EmbeddedPostgres, folder: Path) -> None:
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


def _settings(settings: Settings, folder: Path, server: EmbeddedPostgres) -> Settings:
    return settings.model_copy(
        update={
            "home": folder / "home",
            "database_url": server.url("vigil"),
            "mlflow_tracking_uri": server.url("mlflow"),
            "mlflow_artifacts": str(folder / "mlflow"),
            "anchors": str(folder / "anchors"),
        }
    )


def _copy_records(settings: Settings, copy: Settings) -> None:
    """The journal is one chain of all models, so what it refers to is copied for all of them."""
    with database.transaction(copy) as connection:
        for table in _TABLES:
            database.copy_rows(settings, connection, f"vigil.{table}")


def _copy_versions(settings: Settings, copy: Settings, model: Model, needed: Iterable[int]) -> None:
    """Register the versions under the numbers they have; only those that are needed get their files and tags."""
    held = {stored.version: stored for stored in mlflow_store.versions(settings, model.name)}
    runs = {number: _copy_run(settings, copy, held[number]) for number in needed}
    some_run = next(iter(runs.values()))
    for number in range(1, max(runs) + 1):
        tags = held[number].tags if number in runs else {}
        mlflow_store.register_version(copy, model.name, runs.get(number, some_run), tags)
    for alias, number in mlflow_store.get_aliases(settings, model.name).items():
        if number <= max(runs):
            mlflow_store.set_alias(copy, model.name, alias, number)


def _copy_run(settings: Settings, copy: Settings, stored: StoredVersion) -> str:
    """The files as production's store gives them, unverified: verifying them is the rollback's part."""
    with TemporaryDirectory(prefix="vigil-rehearsal-") as scratch:
        empty = Path(scratch) / "report"
        empty.mkdir()
        record = RunRecord(
            name=f"version {stored.version}",
            pins=f"version {stored.version}",
            parameters={},
            metrics={},
            tags={},
            datasets=(),
            artefact=mlflow_store.download_artefact(settings, stored, Path(scratch) / "files"),
            report=empty,
        )
        return mlflow_store.log_run(copy, stored.model, record)


def _record(settings: Settings, found: Rehearsal) -> None:
    facts = found.model_dump(exclude={"model"})
    with registry.journalled(settings) as connection:
        database.execute(
            connection,
            "INSERT INTO vigil.rehearsal (model, from_version, to_version, outcome, seconds, message) "
            "VALUES (:model, :from_version, :to_version, :outcome, :seconds, :message)",
            model=found.model,
            **facts,
        )
        registry.append(connection, found.model, "rehearsed", facts)
