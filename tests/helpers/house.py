"""A production as docker-compose has it, small: a login that is no superuser, its own databases, a lender with a champion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lender import AS_OF, MONTHS, new_lender
from machine_copies import as_administrator
from small_night import population_record
from sqlalchemy import make_url

from pipelines import database, training
from pipelines.registry import bootstrap
from pipelines.settings import Settings
from pipelines.spec import Model
from pipelines.stack.postgres import EmbeddedPostgres

NIGHT = MONTHS[-1]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of its own: in the session's everybody may connect to every test's database."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("cluster"), lasting=False)
    server.start()
    as_administrator(server, "CREATE ROLE vigil_investigator NOLOGIN")
    as_administrator(server, "CREATE ROLE vigil_sar_officer NOLOGIN")
    as_administrator(server, "CREATE ROLE vigil_fairness NOLOGIN")
    as_administrator(server, "CREATE ROLE house LOGIN CREATEROLE CREATEDB PASSWORD 'house'")
    as_administrator(
        server,
        "GRANT vigil_investigator, vigil_sar_officer, vigil_fairness TO house WITH ADMIN OPTION, SET FALSE, INHERIT FALSE",
    )
    for name in ("vigil", "mlflow"):
        as_administrator(server, f"ALTER DATABASE {name} OWNER TO house")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def house(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Production's settings: the lender's model has a champion, and its last month is published."""
    home = tmp_path_factory.mktemp("house")
    settings = Settings(
        environment="demo",
        home=home,
        sources=home / "sources",
        database_url=login(cluster.url("vigil"), "house"),
        lake_url=str(home / "lake"),
        mlflow_tracking_uri=login(cluster.url("mlflow"), "house"),
        mlflow_artifacts=str(home / "mlflow"),
        token_key_file=home / "token.key",
        data_docs=home / "data_docs",
    )
    database.migrate(settings)
    lender = new_lender(settings, home / "project")
    model = loans(lender)
    lender.build(model)
    [champion] = training.train(lender.settings, model, AS_OF)
    bootstrap(lender.settings, model, [champion.version])
    population_record(lender.settings, "loans", NIGHT, 600)
    return lender.settings.model_copy(update={"environment": "production"})


def loans(lender) -> Model:
    return lender.model(algorithms=["scorecard"])


def login(url: str, name: str) -> str:
    """The URL for a login whose password is its name."""
    return make_url(url).set(username=name, password=name).render_as_string(hide_password=False)


def home_of(house: Settings, name: str) -> Path:
    return house.home / "sandboxes" / name
