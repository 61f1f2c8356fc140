"""What a sandbox is given: Vigil's tables, the records that make production's sources usable, and the champions."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines import database, mlflow_store, registry
from pipelines.contracts import Blocked
from pipelines.mlflow_store import RunRecord
from pipelines.sandbox import login
from pipelines.sandbox.place import Place
from pipelines.settings import Settings
from pipelines.spec import Model, load_model, model_names

COPIED_FROM = "vigil.copied_from_version"

# Tables of ingest with their numbers, in the order their references need.
_RECORDS = (
    ("vigil.landing", "landing_no", "true"),
    ("vigil.quality_verdict", "verdict_no", "subject LIKE 'landing/%'"),
    ("vigil.source_publication", "publication_no", "true"),
)
_OWN_NUMBERS_FROM = 1_000_000_000_000


def migrate(place: Place) -> None:
    """Bring the sandbox's tables to the newest migration, as the login that made it, and hand them over."""
    url = database.sibling_url(place.production.database_url, place.database)
    ours = place.production.model_copy(update={"database_url": url})
    database.migrate(ours)
    with database.transaction(ours) as connection:
        login.hand_over(connection, place)
    database.engine(url).dispose()


def number_apart(sandbox: Settings) -> None:
    """Let the sandbox's own verdicts have numbers that production's, copied now or later, never reach."""
    with database.transaction(sandbox) as connection:
        for table, number, _ in _RECORDS:
            database.execute(connection, f"ALTER TABLE {table} ALTER {number} RESTART WITH {_OWN_NUMBERS_FROM}")


def copy_records(production: Settings, sandbox: Settings) -> int:
    """Copy the landings, verdicts and publications of sources that the sandbox does not have yet; how many."""
    copied = 0
    with database.transaction(sandbox) as connection:
        database.lock(connection, "records of production")
        for table, number, where in _RECORDS:
            last = f"SELECT coalesce(max({number}), 0) AS last FROM {table} WHERE {number} < {_OWN_NUMBERS_FROM}"
            [known] = database.execute(connection, last)
            newer = f"{where} AND {number} > :last ORDER BY {number}"
            copied += database.copy_rows(production, connection, table, newer, last=known["last"])
    return copied


def copy_champions(production: Settings, sandbox: Settings) -> dict[str, str]:
    """Install production's champion of every model as the first champion of the sandbox.

    Returns for each model the version it has in production, or why it has none here. A model that has a champion in the
    sandbox keeps it.
    """
    return {
        name: _copy_champion(production, sandbox, load_model(production.models, name))
        for name in model_names(production.models)
    }


def _copy_champion(production: Settings, sandbox: Settings, model: Model) -> str:
    if known := mlflow_store.versions(sandbox, model.name):
        return f"version {known[0].tags.get(COPIED_FROM, '?')}, as copied before"
    try:
        champion = registry.champion(production, model)
    except Blocked as none:
        return f"no champion: {none}"
    folder = registry.fetch(production, champion)
    stored = mlflow_store.version(production, model.name, champion.version)
    tags = stored.tags | {COPIED_FROM: str(champion.version)}
    with TemporaryDirectory(prefix="vigil-sandbox-") as empty:
        record = RunRecord(
            name=f"production's champion, version {champion.version}",
            pins=stored.tags.get("vigil.pins", champion.artefact_digest),
            parameters={},
            metrics=mlflow_store.run_metrics(production, champion.run_id),
            tags=tags,
            datasets=(),
            artefact=folder,
            report=Path(empty),
        )
        run_id = mlflow_store.log_run(sandbox, model.name, record)
    made = mlflow_store.register_version(sandbox, model.name, run_id, tags)
    registry.bootstrap(sandbox, model, [made.version])
    return f"version {champion.version}"
