"""Where everything is: one settings class, read from VIGIL_* variables and from `<home>/vigil.env`.

`make up` writes `vigil.env` for the embedded stack, so commands typed later find the same database, lake and registry.
A variable in the environment wins over the file, except in a sandbox.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

REPOSITORY = Path(__file__).resolve().parents[1]


def home_folder() -> Path:
    """Folder for everything Vigil writes on this machine: VIGIL_HOME, else `var/` in the repository."""
    return Path(os.environ.get("VIGIL_HOME", REPOSITORY / "var")).resolve()


class Settings(BaseSettings):
    """Locations and limits. Thresholds a regulator asks about live in policies/, not here.

    Attributes:
        environment: `demo` and `sandbox` allow the bootstrap permit; nothing of a sandbox reaches production's readers.
        project: folder holding models/, expectations/, feature_repo/ and policies/.
        sources: folder against which relative source paths in contracts resolve.
        database_url: SQLAlchemy URL, driver named; empty means the embedded PostgreSQL of `home`.
        lake_url: folder or s3:// prefix of the Delta tables. Endpoint and keys come from the AWS_* variables.
        lake_read_url: lake of production, in a sandbox; its `source/` tables are read there and never written.
        mlflow_tracking_uri: empty means MLflow's own store in the same PostgreSQL.
        token_key_file: file with the HMAC key that turns ids into tokens; created only in the demo environment.
        anchors: folder or s3:// prefix, outside the database, that holds the hash of each journal entry; empty means
            `<home>/anchors`. Whoever may write to the database should not be able to write there.
        evidence: folder or s3:// prefix of the evidence packs; empty means `<home>/evidence`.
        chunk_rows: rows held in memory at once by streaming steps.
        duckdb_memory: DuckDB's memory limit per process.
        links: addresses of pages beside Airflow by name, shown in its menu: VIGIL_LINKS='{"Data Docs": "https://…"}'.
    """

    model_config = SettingsConfigDict(env_prefix="VIGIL_", frozen=True, extra="ignore")

    environment: Literal["demo", "sandbox", "production"] = "production"
    home: Path = home_folder()
    project: Path = REPOSITORY
    sources: Path = home_folder() / "sources"
    database_url: str = ""
    lake_url: str = str(home_folder() / "lake")
    lake_read_url: str = ""
    mlflow_tracking_uri: str = ""
    mlflow_artifacts: str = str(home_folder() / "mlflow")
    token_key_file: Path = home_folder() / "secrets" / "token.key"
    data_docs: Path = home_folder() / "data_docs"
    anchors: str = ""
    evidence: str = ""
    chunk_rows: int = 131_072
    duckdb_memory: str = "2GB"
    duckdb_threads: int = 2
    links: dict[str, str] = {}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """In a sandbox its file wins over the environment: a shell set up for production must not turn its commands into
        production's. Only the project may be another, which is what people try out."""
        file = dotenv_settings()
        if file.get("environment") != "sandbox":
            return init_settings, env_settings, dotenv_settings
        places = {name: value for name, value in file.items() if name != "project"}
        return init_settings, InitSettingsSource(settings_cls, places), env_settings, dotenv_settings

    @property
    def models(self) -> Path:
        return self.project / "models"

    @property
    def expectations(self) -> Path:
        return self.project / "expectations"

    @property
    def feature_repo(self) -> Path:
        return self.project / "feature_repo"

    @property
    def policies(self) -> Path:
        own = self.project / "policies"
        return own if own.is_dir() else REPOSITORY / "policies"

    @property
    def anchor_root(self) -> str:
        """Where the anchors of the journal are, without a slash at the end."""
        return (self.anchors or str(self.home / "anchors")).rstrip("/")

    @property
    def evidence_root(self) -> str:
        """Where the evidence packs are, without a slash at the end."""
        return (self.evidence or str(self.home / "evidence")).rstrip("/")

    @property
    def typology_folders(self) -> tuple[Path, ...]:
        """Where typology packs are looked for, the project's own first."""
        return self.project / "policies", REPOSITORY / "policies"


@cache
def get_settings() -> Settings:
    """The settings of this process. Tests call `get_settings.cache_clear()` after changing the environment."""
    return Settings(_env_file=home_folder() / "vigil.env")  # type: ignore[call-arg]
