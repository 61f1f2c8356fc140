"""The plugin as Airflow loads it: its links appear, and bad settings cost the links only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.settings import REPOSITORY

LOAD = """
import json
from airflow import plugins_manager
from airflow.api_fastapi.core_api.datamodels.plugins import PluginResponse
loaded = [PluginResponse.model_validate(info) for info in plugins_manager.get_plugin_info()]
views = {plugin.name: [view.model_dump() for view in plugin.external_views] for plugin in loaded}
print("\\n" + json.dumps([views, plugins_manager.get_import_errors()]))
"""


def load(home: Path, links: str) -> dict[str, list[dict[str, str]]]:
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__CORE__LAZY_DISCOVER_PROVIDERS": "True",
        "VIGIL_LINKS": links,
    }
    done = subprocess.run([sys.executable, "-c", LOAD], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    views, errors = json.loads(done.stdout.rsplit("\n", 2)[1])
    assert errors == {}
    return views


def test_the_links_are_menu_entries(tmp_path):
    views = load(tmp_path, json.dumps({"Data Docs": "https://docs.bank.example/", "Bad": "javascript:alert(1)"}))
    (view,) = views["vigil"]
    assert (view["name"], view["href"], view["destination"]) == ("Data Docs", "https://docs.bank.example/", "nav")


@pytest.mark.parametrize("links", ["not json", '["a list"]'])
def test_unreadable_settings_cost_the_links_only(tmp_path, links):
    assert load(tmp_path, links)["vigil"] == []


def test_the_folder_holds_files_of_names_nobody_else_has_and_one_plugin():
    """Airflow puts each file of plugins/ into sys.modules under its bare name, unless .airflowignore names it."""
    ignored = (REPOSITORY / "plugins" / ".airflowignore").read_text().split()
    files = {path.name for path in (REPOSITORY / "plugins").rglob("*.py")}
    assert files == {"vigil_plugin.py", "vigil_auth.py"}
    assert ignored == ["vigil_auth.py"], "the auth manager takes seconds to import and is no plugin"
