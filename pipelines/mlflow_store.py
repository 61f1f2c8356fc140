"""MLflow: runs, registered versions, aliases and artefacts. The only module that imports mlflow.

MLflow is the registry of record for numbers and files. It is not trusted: it keeps no history of aliases and no checksum
of artefacts, so callers verify digests before loading anything, and the journal in Postgres proves every change. The
store is MLflow's own tables in a database beside ours, without a server, unless settings.mlflow_tracking_uri names one.
Importing mlflow takes about three seconds, so it happens inside the functions.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import database, objects
from pipelines.contracts import ConnectionBroken, DataFault, Value
from pipelines.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL_FOLDER = "model"
REPORT_FOLDER = "report"
DOCUMENTS_FOLDER = "documents"
_MOST_VERSIONS = 10_000
_MODELS_IN_A_PAGE = 500
_OUTSIDE = ("mlflow", "boto3", "botocore", "requests", "urllib3")  # mlflow lets the artefact store's own errors through


class Dataset(Value):
    """A table a run was trained on: its name, the pinned version or digest (at most 36 characters) and where it is."""

    name: str
    pin: str
    location: str


class RunRecord(Value):
    """Everything one training run leaves in MLflow.

    Attributes:
        name: shown in MLflow, e.g. `catboost 2026-06-30`.
        pins: fingerprint of everything that determines the result; runs of equal pins are the same run, tried again.
        artefact: local folder of the model, kept as `model/`.
        report: local folder of plots and tables, kept as `report/`.
        documents: local folder of what came with a model trained elsewhere, kept as `documents/`.
    """

    name: str
    pins: str
    parameters: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    datasets: tuple[Dataset, ...]
    artefact: Path
    report: Path
    documents: Path | None = None


class StoredVersion(Value):
    """A registered version as MLflow holds it; its tags are what training claimed, not yet verified."""

    model: str
    version: int
    run_id: str
    tags: dict[str, str]


def log_run(settings: Settings, model: str, record: RunRecord) -> str:
    """Write one finished run with its files and return its id; an earlier try that was killed is marked so.

    Raises ConnectionBroken when MLflow's store or the artefact store does not answer.
    """
    with _answers(settings) as client:
        from mlflow.entities import Metric, Param

        experiment = _experiment(client, settings, model)
        _close_abandoned(client, experiment, record.pins)
        tags = {**record.tags, "vigil.pins": record.pins, "mlflow.source.name": "pipelines.training"}
        run_id: str = client.create_run(experiment, run_name=record.name, tags=tags).info.run_id
        now = time.time_ns() // 1_000_000
        client.log_batch(
            run_id,
            metrics=[Metric(key, value, now, 0) for key, value in record.metrics.items()],
            params=[Param(key, value) for key, value in record.parameters.items()],
        )
        client.log_inputs(run_id, [_dataset_input(d) for d in record.datasets])
        client.log_artifacts(run_id, str(record.artefact), MODEL_FOLDER)
        client.log_artifacts(run_id, str(record.report), REPORT_FOLDER)
        if record.documents is not None:
            client.log_artifacts(run_id, str(record.documents), DOCUMENTS_FOLDER)
        client.set_terminated(run_id, "FINISHED")
    return run_id


def log_folder(settings: Settings, run_id: str, folder: Path, place: str) -> None:
    """Put the files of a local folder into an existing run as `<place>/`; files of the same name are replaced."""
    with _answers(settings) as client:
        client.log_artifacts(run_id, str(folder), place)


def register_version(settings: Settings, model: str, run_id: str, tags: Mapping[str, str]) -> StoredVersion:
    """Register the run's model folder as the next version of `model`, without any alias."""
    with _answers(settings) as client:
        _ensure_registered(client, model)
        made = client.create_model_version(
            model, source=f"runs:/{run_id}/{MODEL_FOLDER}", run_id=run_id, tags=dict(tags)
        )
    return _stored(made)


def versions(settings: Settings, model: str) -> tuple[StoredVersion, ...]:
    """All versions of a model, oldest first; empty when none was ever registered."""
    with _answers(settings) as client:
        found = client.search_model_versions(f"name = '{model}'", max_results=_MOST_VERSIONS)
    return tuple(sorted((_stored(v) for v in found), key=lambda v: v.version))


def version(settings: Settings, model: str, number: int) -> StoredVersion:
    """One version. Raises DataFault when the registry does not hold it."""
    known = {v.version: v for v in versions(settings, model)}
    if number not in known:
        raise DataFault(
            f"model {model} has no version {number} in the registry; have {sorted(known) or 'none'}. "
            f"Train one: python -m pipelines train --model {model}"
        )
    return known[number]


def get_aliases(settings: Settings, model: str) -> dict[str, int]:
    """Alias to version number; empty when the model was never registered. An outage raises, it is never "no alias"."""
    with _answers(settings) as client:
        named = client.search_registered_models(f"name = '{model}'")
        return {alias: int(number) for m in named for alias, number in m.aliases.items()}


def all_aliases(settings: Settings) -> dict[str, dict[str, int]]:
    """Alias to version number, of every model that was ever registered."""
    found: dict[str, dict[str, int]] = {}
    token = None
    with _answers(settings) as client:
        while True:
            page = client.search_registered_models(max_results=_MODELS_IN_A_PAGE, page_token=token)
            found |= {m.name: {alias: int(number) for alias, number in m.aliases.items()} for m in page}
            token = page.token
            if not token:
                return found


def set_alias(settings: Settings, model: str, alias: str, number: int) -> None:
    """Point an alias at a version. MLflow neither compares nor remembers: only the registry step calls this."""
    with _answers(settings) as client:
        client.set_registered_model_alias(model, alias, str(number))


def delete_alias(settings: Settings, model: str, alias: str) -> None:
    """Remove an alias; one that is not there is no error."""
    with _answers(settings) as client:
        client.delete_registered_model_alias(model, alias)


def download_artefact(settings: Settings, stored: StoredVersion, target: Path) -> Path:
    """Copy the version's model folder below `target` and return the folder. Nothing in it has been verified."""
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _answers(settings) as client:
        return Path(client.download_artifacts(stored.run_id, MODEL_FOLDER, str(target)))


def download_folder(settings: Settings, run_id: str, place: str, target: Path) -> Path | None:
    """Copy the folder `place` of a run below `target` and return it; None when the run has no such folder."""
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _answers(settings) as client:
        if not any(entry.path == place for entry in client.list_artifacts(run_id)):
            return None
        return Path(client.download_artifacts(run_id, place, str(target)))


def run_metrics(settings: Settings, run_id: str) -> dict[str, float]:
    """The metrics of a run."""
    with _answers(settings) as client:
        return dict(client.get_run(run_id).data.metrics)


def tracking_uri(settings: Settings) -> str:
    """Where MLflow's store is: the server that was set, else the database `mlflow` beside ours."""
    return settings.mlflow_tracking_uri or database.sibling_url(settings.database_url, "mlflow")


@contextmanager
def _answers(settings: Settings) -> Iterator[MlflowClient]:
    try:
        yield _client(tracking_uri(settings))
    except Exception as error:
        if not isinstance(error, OSError) and type(error).__module__.split(".")[0] not in _OUTSIDE:
            raise
        code = getattr(error, "error_code", type(error).__name__)
        raise ConnectionBroken(
            f"the MLflow registry did not do what was asked ({code}). No version and no alias was changed. "
            "Check the store and the artefact folder (`make status`), then run the same command again."
        ) from error


@lru_cache(maxsize=4)
def _client(uri: str) -> MlflowClient:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # a bank's night does not call home
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    if uri.startswith("postgresql"):
        database.require_answer(uri)
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # creating its tables is no news to a command's reader
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # the scheduler retries; seven would take minutes
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _experiment(client: MlflowClient, settings: Settings, model: str) -> str:
    """Id of the model's experiment, made at first use. A server decides itself where artefacts go."""
    known = client.get_experiment_by_name(model)
    if known is not None:
        return str(known.experiment_id)
    on_server = tracking_uri(settings).startswith("http")
    return client.create_experiment(model, artifact_location=None if on_server else _artefact_location(settings, model))


def _artefact_location(settings: Settings, model: str) -> str:
    root = settings.mlflow_artifacts.rstrip("/")
    return f"{root}/{model}" if objects.is_s3(root) else (Path(root).resolve() / model).as_uri()


def _close_abandoned(client: MlflowClient, experiment: str, pins: str) -> None:
    """A run still open under our pins belongs to a process that died: callers hold the model's training lock."""
    mine = f"tags.`vigil.pins` = '{pins}' and attributes.status = 'RUNNING'"
    for run in client.search_runs([experiment], filter_string=mine):
        client.set_terminated(run.info.run_id, "KILLED")


def _ensure_registered(client: MlflowClient, model: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _dataset_input(dataset: Dataset) -> Any:
    from mlflow.entities import Dataset as LoggedDataset
    from mlflow.entities import DatasetInput

    return DatasetInput(LoggedDataset(dataset.name, dataset.pin[:36], "delta", dataset.location))


def _stored(found: Any) -> StoredVersion:
    return StoredVersion(model=found.name, version=int(found.version), run_id=found.run_id, tags=dict(found.tags))
