"""Fixtures of the DAG tests: an Airflow home outside the user's, and the DAGs of a project parsed once."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest

from pipelines.settings import REPOSITORY, get_settings

# Airflow reads these while it is imported, so they cannot wait for a fixture.
_HOME = tempfile.TemporaryDirectory(prefix="vigil-airflow-")
os.environ["AIRFLOW_HOME"] = _HOME.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

DAGS = REPOSITORY / "dags"


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's models, and beside them one without a schedule and four that cannot be used."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(REPOSITORY / "models", folder / "models")
    text = (REPOSITORY / "models" / "credit_default.yaml").read_text()
    changes = {
        "on_request": ('cron: "0 2 * * *"', "cron: null"),
        "misspelt": ("owner:", "ovner:"),
        "bad_cron": ('cron: "0 2 * * *"', 'cron: "61 2 * * *"'),
        "bad_zone": ("timezone: Europe/Berlin", "timezone: Mars/Olympus"),
        "a b": ("tier: 1", "tier: one"),
    }
    for name, (old, new) in changes.items():
        changed = text.replace("name: credit_default", f"name: {name}").replace(old, new)
        (folder / "models" / f"{name}.yaml").write_text(changed)
    return folder


@pytest.fixture(scope="session")
def bag(project: Path) -> object:
    """dags/ as Airflow parses it, for `project`."""
    from airflow.dag_processing.dagbag import BundleDagBag

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIGIL_PROJECT", str(project))
        get_settings.cache_clear()
        made = BundleDagBag(dag_folder=DAGS, bundle_path=DAGS, bundle_name="dags-folder")
    get_settings.cache_clear()
    return made


@pytest.fixture(scope="session")
def vigil_dags(bag: object) -> ModuleType:
    """The module the DAG files share, as they imported it."""
    return sys.modules["vigil_dags"]
