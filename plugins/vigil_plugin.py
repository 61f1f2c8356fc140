"""What Vigil adds to Airflow's menu: the pages beside it, such as Data Docs and MLflow (setting `links`).

The one file of this folder that Airflow executes, under its bare name. Whatever is wrong costs the links, never the
api-server.
"""

from __future__ import annotations

import logging

from airflow.plugins_manager import AirflowPlugin

_log = logging.getLogger(__name__)


def links() -> list[dict[str, str]]:
    """A menu entry for each page of the settings whose address a browser may open."""
    try:
        from pipelines.settings import get_settings

        pages = get_settings().links
        return [
            {"name": name, "href": address, "destination": "nav", "category": "browse"}
            for name, address in pages.items()
            if address.startswith(("http://", "https://"))
        ]
    except Exception:  # noqa: BLE001 - anything raised here would stop the api-server
        _log.exception(
            "Vigil's links are left out of the menu: its settings cannot be read. Check the VIGIL_* variables."
        )
        return []


class VigilPlugin(AirflowPlugin):
    name = "vigil"
    external_views = links()
