"""A source, a lake or the database that does not answer: said so, nothing written, and the same command again is safe."""

from __future__ import annotations

import pytest
from account_source import DAY, contract, deliver, lake_rows, lake_version, night, rows

from pipelines import ingest
from pipelines.contracts import ConnectionBroken, DataFault, IngestState
from pipelines.settings import Settings

NOBODY = "http://127.0.0.1:9"
NO_DATABASE = "postgresql+psycopg2://vigil:secret-word@127.0.0.1:9/core"
IN_S3 = contract(location={"path": "s3://vigil/accounts/{business_date}.parquet"})
IN_TABLE = contract(location={"kind": "postgres", "url_variable": "TEST_CORE_BANKING_URL", "table": "accounts"})


@pytest.fixture
def served(settings: Settings) -> Settings:
    deliver(settings, rows(50))
    night(settings, contract())
    return settings


def unchanged(settings: Settings) -> bool:
    return lake_version(settings) == 0 and len(lake_rows(settings, "source/accounts")) == 50


def test_an_unreachable_bucket(served: Settings, s3_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", NOBODY)
    with pytest.raises(ConnectionBroken, match="bucket 'vigil' did not answer") as raised:
        ingest.land(served, IN_S3, DAY)
    assert str(DAY) in str(raised.value)
    assert unchanged(served)
    with pytest.raises(ConnectionBroken):
        ingest.available_dates(served, IN_S3)


def test_a_bucket_that_is_not_there(served: Settings, s3_server: str) -> None:
    nowhere = contract(location={"path": "s3://nowhere/accounts/{business_date}.parquet"})
    with pytest.raises(DataFault, match="nowhere"):
        ingest.available_dates(served, nowhere)
    with pytest.raises(DataFault, match="nowhere"):
        ingest.land(served, nowhere, DAY)
    assert unchanged(served)


def test_an_unreachable_source_database(served: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_CORE_BANKING_URL", NO_DATABASE)
    with pytest.raises(ConnectionBroken, match="source database did not answer") as raised:
        ingest.land(served, IN_TABLE, DAY)
    assert "secret-word" not in str(raised.value)
    assert unchanged(served)


def test_a_source_database_without_a_url(served: Settings) -> None:
    with pytest.raises(DataFault, match="Set TEST_CORE_BANKING_URL"):
        ingest.land(served, IN_TABLE, DAY)
    assert unchanged(served)


def test_a_table_that_is_not_there(served: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_CORE_BANKING_URL", served.database_url)
    with pytest.raises(DataFault, match='relation "accounts" does not exist'):
        ingest.land(served, IN_TABLE, DAY)
    assert unchanged(served)


def test_our_own_database_that_does_not_answer(served: Settings) -> None:
    deliver(served, rows(40))
    with pytest.raises(ConnectionBroken, match="Nothing was written"):
        ingest.land(served.model_copy(update={"database_url": NO_DATABASE}), contract(), DAY)
    assert unchanged(served)
    assert night(served, contract()).state is IngestState.REPLACED


def test_a_lake_that_does_not_answer(served: Settings, s3_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    away = served.model_copy(update={"lake_url": "s3://vigil/lake"})
    deliver(served, rows(40))
    monkeypatch.setenv("AWS_ENDPOINT_URL", NOBODY)
    with pytest.raises(ConnectionBroken, match="lake"):
        ingest.land(away, contract(), DAY)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    assert night(away, contract()).rows_published == 40
