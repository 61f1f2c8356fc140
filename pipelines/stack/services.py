"""The processes of the stack: how each is started and how it says that it is well."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import httpx

from pipelines import mlflow_store
from pipelines.settings import Settings

AIRFLOW = "airflow"
_SECONDS_TO_ANSWER = 5


@dataclass(frozen=True)
class Service:
    """One process.

    Attributes:
        healthy: whether it has answered since a moment.
        essential: the night needs it: when it cannot be kept alive the whole group stops.
        address: its page, empty without one.
        menu: the page's name in Airflow's menu; empty when it has no place there.
        secrets: environment of this process only; a password never stands in the arguments, which everyone can read.
    """

    name: str
    command: tuple[str, ...]
    healthy: Callable[[datetime], bool]
    essential: bool = True
    address: str = ""
    menu: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict)


def airflow_services(port: int) -> tuple[Service, ...]:
    """The four processes of Airflow. Tasks' logs are read from the shared folder, so no log server is opened."""
    address = f"http://127.0.0.1:{port}"

    def component(name: str, reported_as: str, *options: str, page: str = "") -> Service:
        return Service(
            name=name,
            command=(sys.executable, "-m", "airflow", name, *options),
            healthy=lambda since: _airflow_reports(address, reported_as, since),
            address=page,
        )

    return (
        component("api-server", "metadatabase", page=address),
        component("scheduler", "scheduler", "--skip-serve-logs"),
        component("dag-processor", "dag_processor"),
        component("triggerer", "triggerer", "--skip-serve-logs"),
    )


def page_services(settings: Settings, mlflow_port: int, feast_port: int, docs_port: int) -> tuple[Service, ...]:
    """The pages for people. The night goes on without them."""
    settings.data_docs.mkdir(parents=True, exist_ok=True)
    stores = {
        "MLFLOW_BACKEND_STORE_URI": mlflow_store.tracking_uri(settings),
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": settings.mlflow_artifacts,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    folder = str(settings.data_docs)
    return (
        _page(
            "MLflow", mlflow_port, "mlflow", "server", "--host", "127.0.0.1", "--workers", "1", "--port", secrets=stores
        ),
        _page("Feast", feast_port, "pipelines", "feast", "serve", "--port"),
        _page("Data Docs", docs_port, "http.server", "--bind", "127.0.0.1", "--directory", folder),
    )


def menu_links(services: Iterable[Service]) -> dict[str, str]:
    """Address by name of the pages that Airflow's menu shows."""
    return {service.menu: service.address for service in services if service.menu}


def _page(menu: str, port: int, module: str, *options: str, secrets: Mapping[str, str] | None = None) -> Service:
    address = f"http://127.0.0.1:{port}"
    return Service(
        name=menu.lower().replace(" ", "-"),
        command=(sys.executable, "-m", module, *options, str(port)),
        healthy=lambda _since: _get(address) is not None,
        essential=False,
        address=address,
        menu=menu,
        secrets=secrets or {},
    )


def _airflow_reports(address: str, component: str, since: datetime) -> bool:
    """Whether Airflow calls a component healthy by a heartbeat that is not of an earlier life."""
    answer = _get(f"{address}/api/v2/monitor/health")
    if answer is None:
        return False
    report = answer.json()[component]
    beat = report.get(f"latest_{component}_heartbeat")
    return report["status"] == "healthy" and (beat is None or datetime.fromisoformat(beat) >= since)


def _get(url: str) -> httpx.Response | None:
    try:
        return httpx.get(url, timeout=_SECONDS_TO_ANSWER, trust_env=False).raise_for_status()
    except httpx.HTTPError:
        return None
