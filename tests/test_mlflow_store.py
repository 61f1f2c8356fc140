"""MLflow on a real Postgres store: runs, versions, aliases, artefacts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import mlflow_store, objects
from pipelines.contracts import ConnectionBroken, DataFault
from pipelines.settings import Settings

MODEL = "credit_default"


def record(folder: Path, pins: str = "p1") -> mlflow_store.RunRecord:
    for name in ("model", "report"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "a.json").write_text("{}")
    return mlflow_store.RunRecord(
        name="catboost 2026-06-30",
        pins=pins,
        parameters={"depth": "6"},
        metrics={"auc": 0.7},
        tags={"vigil.algorithm": "catboost"},
        datasets=(mlflow_store.Dataset(name="source/accounts", pin="version 3", location="/lake/source/accounts"),),
        artefact=folder / "model",
        report=folder / "report",
    )


def test_a_run_becomes_a_version_whose_files_come_back(settings: Settings, tmp_path: Path) -> None:
    assert mlflow_store.versions(settings, MODEL) == ()
    assert mlflow_store.get_aliases(settings, MODEL) == {}
    run_id = mlflow_store.log_run(settings, MODEL, record(tmp_path))
    made = mlflow_store.register_version(settings, MODEL, run_id, {"vigil.artefact_digest": "d"})
    assert (made.version, made.run_id, made.tags) == (1, run_id, {"vigil.artefact_digest": "d"})
    assert mlflow_store.versions(settings, MODEL) == (made,)
    assert mlflow_store.version(settings, MODEL, 1) == made
    assert mlflow_store.run_metrics(settings, run_id) == {"auc": 0.7}
    folder = mlflow_store.download_artefact(settings, made, tmp_path / "copy")
    assert [p.name for p in folder.iterdir()] == ["a.json"]


def test_aliases_are_set_moved_and_removed(settings: Settings, tmp_path: Path) -> None:
    for pins in ("p1", "p2"):
        run_id = mlflow_store.log_run(settings, MODEL, record(tmp_path, pins))
        mlflow_store.register_version(settings, MODEL, run_id, {})
    assert mlflow_store.get_aliases(settings, MODEL) == {}
    mlflow_store.set_alias(settings, MODEL, "champion", 1)
    mlflow_store.set_alias(settings, MODEL, "champion", 2)
    assert mlflow_store.get_aliases(settings, MODEL) == {"champion": 2}
    mlflow_store.delete_alias(settings, MODEL, "champion")
    assert mlflow_store.get_aliases(settings, MODEL) == {}


def test_an_absent_version_is_a_data_fault_that_names_those_there(settings: Settings) -> None:
    with pytest.raises(DataFault, match=r"no version 7 .* have none.*python -m pipelines train"):
        mlflow_store.version(settings, MODEL, 7)


def test_an_unreachable_store_is_an_outage_never_an_empty_registry(settings: Settings) -> None:
    gone = settings.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})
    with pytest.raises(ConnectionBroken, match="No version and no alias was changed"):
        mlflow_store.get_aliases(gone, MODEL)


def test_artefacts_live_on_s3_where_the_setting_says_so(settings: Settings, s3_server: str, tmp_path: Path) -> None:
    on_s3 = settings.model_copy(update={"mlflow_artifacts": "s3://vigil/mlflow"})
    made = mlflow_store.register_version(on_s3, MODEL, mlflow_store.log_run(on_s3, MODEL, record(tmp_path)), {})
    stored = objects.list_under("s3://vigil/mlflow/")
    assert stored == [
        f"s3://vigil/mlflow/{MODEL}/{made.run_id}/artifacts/model/a.json",
        f"s3://vigil/mlflow/{MODEL}/{made.run_id}/artifacts/report/a.json",
    ]
    folder = mlflow_store.download_artefact(on_s3, made, tmp_path / "copy")
    assert (folder / "a.json").read_text() == "{}"


def test_an_absent_bucket_registers_nothing(settings: Settings, s3_server: str, tmp_path: Path) -> None:
    nowhere = settings.model_copy(update={"mlflow_artifacts": "s3://nowhere/mlflow"})
    with pytest.raises(ConnectionBroken, match="No version and no alias was changed"):
        mlflow_store.log_run(nowhere, MODEL, record(tmp_path))
    assert mlflow_store.versions(settings, MODEL) == ()
