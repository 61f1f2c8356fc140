"""Where a sandbox is: its login, databases, lake prefix and home, all from its name; and the file that says so."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from pipelines import database, objects
from pipelines.contracts import Blocked, DataFault
from pipelines.lake import local_folder, sandbox_prefix
from pipelines.settings import Settings

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True)
class Place:
    """One sandbox of a production. Raises DataFault for a name that PostgreSQL or a folder would have to quote."""

    production: Settings
    name: str
    home: Path

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise DataFault(
                f"{self.name!r} cannot be the name of a sandbox: use a small letter, then small letters, digits and _, at "
                "most 40. Nothing was made."
            )

    @property
    def login(self) -> str:
        return f"vigil_sandbox_{self.name}"

    @property
    def database(self) -> str:
        """Name of the database with Vigil's tables."""
        return self.login

    @property
    def mlflow(self) -> str:
        """Name of the database with MLflow's tables."""
        return f"mlflow_sandbox_{self.name}"

    @property
    def databases(self) -> tuple[str, str]:
        return self.database, self.mlflow

    @property
    def lake(self) -> str:
        return sandbox_prefix(self.production.lake_url, self.name)

    def url(self, password: str, database_name: str) -> str:
        """URL of one of its databases for its own login."""
        return database.login_url(self.production.database_url, self.login, password, database_name)

    def settings(self, password: str) -> Settings:
        """The settings in force in the sandbox. The token key is a file that is not there: no id becomes a token here."""
        return self.production.model_copy(
            update={
                "environment": "sandbox",
                "home": self.home,
                "sources": self.home / "sources",
                "database_url": self.url(password, self.database),
                "lake_url": self.lake,
                "lake_read_url": self.production.lake_url,
                "mlflow_tracking_uri": self.url(password, self.mlflow),
                "mlflow_artifacts": str(self.home / "mlflow"),
                "token_key_file": self.home / "secrets" / "token.key",
                "data_docs": self.home / "data_docs",
                "anchors": str(self.home / "anchors"),
                "evidence": str(self.home / "evidence"),
            }
        )

    @property
    def file(self) -> Path:
        return self.home / "vigil.env"


PLACES = (
    *("environment", "project", "sources", "database_url", "lake_url", "lake_read_url", "mlflow_tracking_uri"),
    *("mlflow_artifacts", "token_key_file", "data_docs", "anchors", "evidence"),
)
_KEPT = ("vigil.env", "anchors", "cache", "data_docs", "evidence", "mlflow", "scratch", "secrets")


def write_file(place: Place, password: str) -> None:
    """Write `<home>/vigil.env`, readable by its owner only: it holds the password of the sandbox's login."""
    settings = place.settings(password)
    lines = [
        f"{_title(place)}Written by `python -m pipelines sandbox`; here this file wins over the environment.",
        *(f"VIGIL_{name.upper()}={_quoted(str(getattr(settings, name)))}" for name in PLACES),
    ]
    local_folder(place.home)
    place.file.touch(mode=0o600)
    place.file.chmod(0o600)
    place.file.write_text("\n".join(lines) + "\n")


def clear(place: Place) -> None:
    """Remove what commands of this sandbox keep in its home, and its lake prefix when that is a folder.

    The anchors must go with the journal they are of: a new sandbox of the name would find them and raise the alarm.

    Raises Blocked, and removes nothing, when such things are in the home and no sandbox of this name made them.
    """
    kept = [part for part in _KEPT if (place.home / part).exists()]
    if not kept:
        return
    if not place.file.is_file() or not place.file.read_text().startswith(_title(place)):
        raise Blocked(
            f"the folder {place.home} holds {', '.join(kept)} of something else than sandbox {place.name}. Nothing was made "
            "or removed. Name another folder with --home."
        )
    if not objects.is_s3(place.lake):
        shutil.rmtree(place.lake, ignore_errors=True)
    for part in kept:  # the file that says whose they are comes last
        if (place.home / part).is_dir():
            shutil.rmtree(place.home / part)
    place.file.unlink()


def _title(place: Place) -> str:
    return f"# Sandbox {place.name}. "


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
