"""Where an import of a foreign model is killed; run in children of dying.py's server."""

from __future__ import annotations

import sys
from pathlib import Path

import dying
from lender import AS_OF

from pipelines.registry import foreign
from pipelines.settings import Settings
from pipelines.spec import Model

BY = "anna@bank.example"
_IMPORTING = "pipelines.registry.foreign.importing"

PLANTS: dict[str, dying.Plant] = {
    "while it is put into quarantine": dying.before("pipelines.registry.foreign.quarantine", "put", call=2),
    "before the version is made": dying.before("pipelines.mlflow_store", "register_version"),
    "as the note is committed": dying.before_postgres_commits(_IMPORTING, "note_registered"),
}


def imported(settings: Settings, model: Model, path: Path, plant: str) -> None:
    """Import the package, until the plant kills the process."""
    PLANTS[plant](settings)
    foreign.import_package(settings, model, path, BY, AS_OF)
    sys.exit(0)


def killed(settings: Settings, model: Model, path: Path, plant: str) -> int | None:
    """Run the import in a child with the plant in force; the exit code, -9 when it died of SIGKILL."""
    child = dying.server().Process(target=imported, args=(settings, model, path, plant))
    child.start()
    child.join(120)
    return child.exitcode
