"""A whole history and a night with sources, lake and model files on an S3 server over HTTP: the same bytes as on folders."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pyarrow.parquet as pq
import pytest
import yaml
from lender import AS_OF, MONTHS, loans_of, new_lender
from sqlalchemy import create_engine, text

from pipelines import database, features, mlflow_store, night, registry, training
from pipelines.contracts import ConnectionBroken, PublishedBatch
from pipelines.ingest import available_dates
from pipelines.lake import Lake
from pipelines.settings import Settings
from pipelines.spec import Model, load_contract
from pipelines.stack.postgres import EmbeddedPostgres

NIGHT = MONTHS[-1]


@contextmanager
def machine(postgres: EmbeddedPostgres, home: Path, name: str, **where: str) -> Iterator[Settings]:
    """An empty demo machine with a database of its own, and its lake and model files at `where`."""
    admin = create_engine(postgres.url("postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    made = Settings(
        environment="demo",
        home=home,
        sources=home / "sources",
        database_url=postgres.url(name),
        mlflow_tracking_uri=postgres.url(name),
        token_key_file=home.parent / "token.key",
        data_docs=home / "data_docs",
        **where,
    )
    database.migrate(made)
    yield made
    database.engine(made.database_url).dispose()
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


def project_of(settings: Settings, source_path: str) -> tuple[Settings, Model]:
    """The tests' loan model, its contract pointing to Parquet files at `source_path`."""
    lender = new_lender(settings, settings.home / "project")
    shutil.rmtree(settings.home / "lake", ignore_errors=True)
    path = lender.settings.expectations / "loans.yaml"
    contract = yaml.safe_load(path.read_text())
    contract["location"] = {"kind": "files", "path": source_path, "format": "parquet"}
    path.write_text(yaml.safe_dump(contract))
    return lender.settings, lender.model()


def deliver(folder: Path) -> list[Path]:
    folder.mkdir(parents=True)
    files = []
    for number, on in enumerate(MONTHS):
        loans = loans_of(on, 600, seed=number).drop_columns(["business_date"])
        names = ["loan_id" if name == "loan_token" else name for name in loans.column_names]
        pq.write_table(loans.rename_columns(names), folder / f"{on}.parquet")
        files.append(folder / f"{on}.parquet")
    return files


def everything(settings: Settings, model: Model) -> PublishedBatch:
    """From the files to published scores of the last month."""
    contract = load_contract(settings.expectations, "loans")
    dates = available_dates(settings, contract)
    assert dates == MONTHS
    for on in dates:
        night.ingest(settings, contract, on)
    features.build_history(settings, model, dates)
    versions = training.train(settings, model, AS_OF)
    registry.bootstrap(settings, model, [version.version for version in versions])
    published = [work() for _, work in night.steps(settings, model, NIGHT)][-1]
    assert isinstance(published, PublishedBatch)
    return published


@pytest.mark.usefixtures("s3_server")
def test_a_night_on_s3_publishes_the_same_scores_as_on_folders(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    files = deliver(tmp_path / "delivered")
    for file in files:
        boto3.client("s3").upload_file(str(file), "vigil", f"loans/{file.name}")
    on_s3 = {"lake_url": "s3://vigil/lake", "mlflow_artifacts": "s3://vigil/mlflow"}
    folder = tmp_path / "folders"
    on_folders = {"lake_url": str(folder / "lake"), "mlflow_artifacts": str(folder / "mlflow")}

    with machine(postgres, folder, "night_on_folders", **on_folders) as bare:
        there = everything(*project_of(bare, str(tmp_path / "delivered" / "{business_date}.parquet")))
    with machine(postgres, tmp_path / "s3", "night_on_s3", **on_s3) as bare:
        settings, model = project_of(bare, "s3://vigil/loans/{business_date}.parquet")
        boto3.resource("s3").Bucket("vigil").objects.filter(Prefix="lake/").delete()
        here = everything(settings, model)
        again = [work() for _, work in night.steps(settings, model, NIGHT)][-1]
        champion = mlflow_store.versions(settings, model.name)

    assert here.rows_scored == there.rows_scored == 600
    assert here.digest == there.digest
    assert again.already_published
    assert again.digest == here.digest
    assert len(champion) == len(model.training.algorithms)
    assert not (tmp_path / "s3" / "lake").exists()
    assert not (tmp_path / "s3" / "mlflow").exists()


def test_a_bucket_that_does_not_answer_is_a_broken_connection_not_an_empty_lake(
    settings: Settings, s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ConnectionBroken, match="did not answer"):
        Lake(settings.model_copy(update={"lake_url": "s3://vigil/lake"})).version("source/loans")
