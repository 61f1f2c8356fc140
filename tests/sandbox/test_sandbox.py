"""A sandbox works like production and cannot touch it: its login is refused by PostgreSQL, its lake by the code."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from house import NIGHT, home_of
from lender import AS_OF, loans_of
from machine_copies import as_administrator
from small_night import population_record
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError

from pipelines import database, features, mlflow_store, quality, sandbox, scoring, tokens, validation
from pipelines.cli.main import main
from pipelines.contracts import Blocked, DataFault, Verdict
from pipelines.lake import Lake
from pipelines.registry import champion
from pipelines.sandbox.place import PLACES
from pipelines.sandbox.steps import SandboxState
from pipelines.settings import Settings, get_settings
from pipelines.spec import load_model
from pipelines.stack.postgres import EmbeddedPostgres

ENGINEER = "erik@bank.example"


@pytest.fixture(scope="module")
def anna(house: Settings) -> SandboxState:
    return sandbox.create(house, "anna", by=ENGINEER)


@pytest.fixture
def own(anna: SandboxState, house: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """The settings that a command has in the sandbox's home, in a shell set up for production."""
    monkeypatch.setenv("VIGIL_ENVIRONMENT", "production")
    monkeypatch.setenv("VIGIL_DATABASE_URL", house.database_url)
    monkeypatch.setenv("VIGIL_LAKE_URL", house.lake_url)
    monkeypatch.setenv("VIGIL_MLFLOW_TRACKING_URI", house.mlflow_tracking_uri)
    monkeypatch.setenv("VIGIL_HOME", str(anna.home))
    get_settings.cache_clear()
    yield get_settings().model_copy(update={"home": anna.home})
    get_settings.cache_clear()


def shell(anna: SandboxState, house: Settings) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("VIGIL_")},
        "VIGIL_HOME": str(anna.home),
        "VIGIL_DATABASE_URL": house.database_url,
        "VIGIL_LAKE_URL": house.lake_url,
        "VIGIL_MLFLOW_TRACKING_URI": house.mlflow_tracking_uri,
    }


def state_of(house: Settings) -> dict[str, object]:
    """Everything of production that a sandbox must leave as it is."""
    tables = database.rows(
        house,
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname IN ('vigil', 'protected') "
        "AND tablename <> 'sandbox_event' ORDER BY 1",
    )
    rows = {t["name"]: database.rows(house, f"SELECT count(*) AS n FROM {t['name']}")[0]["n"] for t in tables}
    mlflow = house.model_copy(update={"database_url": house.mlflow_tracking_uri})
    names = ("experiments", "runs", "model_versions", "registered_model_aliases", "metrics")
    rows |= {name: database.rows(mlflow, f"SELECT count(*) AS n FROM {name}")[0]["n"] for name in names}
    lake = Path(house.lake_url)
    files = {str(p.relative_to(lake)) for p in lake.rglob("*") if p.is_file() and lake / "sandbox" not in p.parents}
    return {"rows": rows, "files": files, "aliases": mlflow_store.get_aliases(house, "loans")}


def changed_project(house: Settings, folder: Path) -> Path:
    """A person's copy of the project, with another algorithm."""
    shutil.copytree(house.project, folder)
    file = folder / "models" / "loans.yaml"
    document = yaml.safe_load(file.read_text())
    document["training"]["algorithms"] = ["catboost"]
    file.write_text(yaml.safe_dump(document))
    return folder


def test_what_is_learnt_judged_scored_and_published_in_a_sandbox_stays_there(
    anna: SandboxState, own: Settings, house: Settings, tmp_path: Path
) -> None:
    before = state_of(house)
    project = changed_project(house, tmp_path / "project")
    command = [sys.executable, "-m", "pipelines", "train", "--model", "loans", "--date", AS_OF.isoformat()]
    done = subprocess.run([*command, "--project", str(project)], env=shell(anna, house), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    model = load_model(own.models, "loans")
    tags = [v.tags for v in mlflow_store.versions(own, "loans")]
    assert [(t["vigil.algorithm"], t.get("vigil.copied_from_version")) for t in tags] == [
        ("scorecard", "1"),
        ("catboost", None),
    ]
    report = validation.judge(own.model_copy(update={"project": project}), model, 2, AS_OF)
    assert report.champion_version == 1, "the copied champion is what it is compared with"
    assert {v.verdict for v in report.verdicts if v.gate == "champion"} <= {Verdict.PASS, Verdict.FAIL}
    fairness = {v.metric: v.verdict for v in report.verdicts if v.gate == "fairness"}
    assert {v for metric, v in fairness.items() if metric != "prohibited_inputs"} == {Verdict.NOT_ASSESSABLE}
    assert database.rows(own, "SELECT count(*) AS n FROM vigil.gate_run")[0]["n"] == 1
    features.build(own, model, NIGHT)
    quality.check_features(own, model, NIGHT).require_passed()
    scoring.score(own, model, NIGHT)
    published = scoring.publish(own, model, NIGHT)
    assert published.rows_scored > 500
    assert database.rows(own, "SELECT count(*) AS n FROM vigil.published")[0]["n"] == 1
    assert state_of(house) == before


def test_its_file_is_for_its_owner_and_wins_over_a_shell_set_up_for_production(
    anna: SandboxState, own: Settings, house: Settings
) -> None:
    assert stat.S_IMODE((anna.home / "vigil.env").stat().st_mode) == 0o600
    assert own.environment == "sandbox"
    assert make_url(own.database_url).database == "vigil_sandbox_anna"
    assert make_url(own.mlflow_tracking_uri).database == "mlflow_sandbox_anna"
    assert (own.lake_url, own.lake_read_url) == (f"{house.lake_url}/sandbox/anna", house.lake_url)


def test_every_place_is_said_in_its_file(own: Settings) -> None:
    """A setting that is left out would come from production's shell."""
    no_place = {"home", "project", "chunk_rows", "duckdb_memory", "duckdb_threads", "links"}
    assert set(PLACES) >= set(Settings.model_fields) - no_place, "add the new setting to pipelines/sandbox/place.py"
    for name in set(PLACES) - {"environment", "project", "lake_url", "lake_read_url"}:
        assert "sandbox" in str(getattr(own, name)), name


def test_without_the_token_key_nothing_is_ingested(own: Settings) -> None:
    with pytest.raises(Blocked, match="no token key"):
        tokens.load_key(own)


def test_postgresql_lets_it_into_its_own_databases_only(
    own: Settings, house: Settings, cluster: EmbeddedPostgres
) -> None:
    names = [name for (name,) in as_administrator(cluster, "SELECT datname FROM pg_database WHERE datallowconn")]
    assert {"vigil", "mlflow", "airflow", "postgres", "template1"} <= set(names)
    entered = []
    for name in names:
        engine = create_engine(database.sibling_url(own.database_url, name))
        try:
            engine.connect().close()
            entered.append(name)
        except OperationalError as error:
            assert "permission denied for database" in str(error)  # noqa: PT017 - some names must work
        engine.dispose()
    assert sorted(entered) == ["mlflow_sandbox_anna", "vigil_sandbox_anna"]


def test_were_it_let_in_by_mistake_every_table_of_production_would_refuse_it(
    own: Settings, house: Settings, cluster: EmbeddedPostgres
) -> None:
    tables = database.rows(
        house,
        "SELECT n.nspname AS schema, c.relname AS name, (SELECT attname FROM pg_attribute WHERE attrelid = c.oid "
        "AND attnum = 1) AS first FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname IN ('vigil', 'protected', 'sar') AND c.relkind IN ('r', 'p', 'v')",
    )
    assert {"vigil", "sar"} <= {t["schema"] for t in tables}
    assert {"journal", "permit", "published", "gate_run", "sandbox_event"} <= {t["name"] for t in tables}
    as_administrator(cluster, "GRANT CONNECT ON DATABASE vigil TO vigil_sandbox_anna")
    engine = create_engine(database.sibling_url(own.database_url, "vigil"), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            for table in tables:
                where = f'"{table["schema"]}"."{table["name"]}"'
                for statement in (
                    f"SELECT * FROM {where}",
                    f"INSERT INTO {where} DEFAULT VALUES",
                    f'UPDATE {where} SET "{table["first"]}" = NULL',
                    f"DELETE FROM {where}",
                    f"TRUNCATE {where}",
                    f"ALTER TABLE {where} DISABLE TRIGGER ALL",
                    f"ALTER TABLE {where} RENAME TO mine",
                    f"DROP TABLE {where}",
                ):
                    with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
                        connection.execute(text(statement))
            for statement in (
                "SET ROLE house",
                "SET ROLE vigil_investigator",
                "CREATE SCHEMA mine",
                "CREATE TABLE vigil.mine ()",
                "CREATE ROLE friend LOGIN",
                "CREATE DATABASE mine",
                "GRANT CONNECT ON DATABASE mlflow TO vigil_sandbox_anna",
                "ALTER ROLE house PASSWORD 'mine'",
            ):
                with pytest.raises(DBAPIError, match="permission denied"):
                    connection.execute(text(statement))
        assert [s.isolated for s in sandbox.listed(house)] == [False], "a sandbox with a way out is told"
        with pytest.raises(Blocked, match="could connect to vigil"):
            sandbox.refresh(house, "anna", by=ENGINEER)
    finally:
        engine.dispose()
        as_administrator(cluster, "REVOKE CONNECT ON DATABASE vigil FROM vigil_sandbox_anna")
    assert [(s.name, s.by, s.isolated) for s in sandbox.listed(house)] == [("anna", ENGINEER, True)]


def test_the_lake_of_production_is_read_and_never_written(own: Settings, house: Settings) -> None:
    lake, there = Lake(own), Lake(house)
    assert lake.dates("source/loans") == there.dates("source/loans")
    assert lake.uri("source/loans") == f"{house.lake_url}/source/loans"
    before = there.version("source/loans")
    for table in ("source/loans", "landing/loans", "quarantine/loans", "scores/../../../source/loans"):
        with pytest.raises(Blocked, match="not a sandbox's to write"):
            lake.replace_date(table, NIGHT, loans_of(NIGHT, 5, seed=1))
    for elsewhere in (
        house.lake_url,
        f"{house.lake_url}/sandbox",
        f"{own.lake_url}/../bert",
        f"{house.lake_url}/x/anna",
    ):
        with pytest.raises(Blocked, match="no sandbox prefix of production's lake"):
            Lake(own.model_copy(update={"lake_url": elsewhere}))
    with pytest.raises(Blocked, match="no sandbox prefix"):
        Lake(own.model_copy(update={"lake_read_url": ""}))
    assert there.version("source/loans") == before


def test_the_champion_is_there_to_be_compared_with_and_a_second_is_not_bootstrapped(
    own: Settings, house: Settings
) -> None:
    model = load_model(own.models, "loans")
    assert champion(own, model).artefact_digest == champion(house, model).artefact_digest
    assert champion(own, model).permit.kind == "bootstrap"
    with pytest.raises(Blocked, match="this is a sandbox"):
        sandbox.create(own, "other", by=ENGINEER)


def test_an_engineer_lists_them_on_the_command_line(
    anna: SandboxState, house: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in PLACES:
        monkeypatch.setenv(f"VIGIL_{name.upper()}", str(getattr(house, name)))
    monkeypatch.setenv("VIGIL_HOME", str(house.home))
    get_settings.cache_clear()
    try:
        assert main(["sandbox", "list", "--json"]) == 0
        listed = json.loads(capsys.readouterr().out)
        assert (listed["name"], listed["home"], listed["isolated"]) == ("anna", str(anna.home), True)
        assert main(["sandbox", "drop", "--name", "nobody", "--by", ENGINEER]) == 2
        assert "no sandbox nobody" in capsys.readouterr().err
        assert main(["sandbox", "create", "--name", "anna", "--by", "erik"]) == 2
        assert "is no person" in capsys.readouterr().err
    finally:
        get_settings.cache_clear()


def test_refresh_brings_what_production_took_in_since_and_another_password(
    anna: SandboxState, own: Settings, house: Settings
) -> None:
    held = "SELECT count(*) AS n FROM vigil.source_publication"
    before = database.rows(own, held)[0]["n"]
    Lake(house).replace_date("source/loans", NIGHT, loans_of(NIGHT, 600, seed=4))
    population_record(house, "loans", NIGHT, 600)
    made = sandbox.refresh(house, "anna", by="  Erik@Bank.example ")
    assert (made.records, made.action, made.by) == (3, "refreshed", ENGINEER)
    assert made.champions == {"loans": "version 1, as copied before"}
    get_settings.cache_clear()
    assert database.rows(get_settings(), held)[0]["n"] == before + 1
    with pytest.raises(OperationalError, match="password authentication failed"):
        create_engine(own.database_url).connect()


def test_a_half_made_sandbox_is_made_anew_and_a_dropped_one_leaves_no_way_in(
    house: Settings, cluster: EmbeddedPostgres
) -> None:
    with database.outside_transactions(house.database_url) as connection:
        for statement in ("CREATE ROLE vigil_sandbox_bert", "CREATE DATABASE mlflow_sandbox_bert"):
            connection.execute(text(statement))
    made = sandbox.create(house, "bert", by=ENGINEER)
    assert (made.isolated, made.champions) == (True, {"loans": "version 1"})
    assert Path(made.lake).parent.name == "sandbox"
    Path(made.lake).mkdir(parents=True)
    (made.home / "notes.txt").write_text("a person's")
    with pytest.raises(Blocked, match="there already"):
        sandbox.create(house, "bert", by=ENGINEER)
    dropped = sandbox.drop(house, "bert", by=ENGINEER)
    assert dropped.action == "dropped"
    assert [path.name for path in home_of(house, "bert").iterdir()] == ["notes.txt"]
    assert not Path(made.lake).exists()
    left = "SELECT rolname AS n FROM pg_roles UNION ALL SELECT datname FROM pg_database"
    assert not [name for (name,) in as_administrator(cluster, left) if name.endswith("bert")]
    assert "bert" not in {s.name for s in sandbox.listed(house)}
    with pytest.raises(DataFault, match="no sandbox bert"):
        sandbox.drop(house, "bert", by=ENGINEER)
    assert sandbox.create(house, "bert", by=ENGINEER).isolated
    sandbox.drop(house, "bert", by=ENGINEER)


def test_where_everybody_may_connect_no_sandbox_is_made(house: Settings, cluster: EmbeddedPostgres) -> None:
    as_administrator(cluster, "GRANT CONNECT ON DATABASE airflow TO PUBLIC")
    try:
        with pytest.raises(Blocked, match=r'could connect to airflow.*REVOKE ALL ON DATABASE "airflow" FROM PUBLIC'):
            sandbox.create(house, "carl", by=ENGINEER)
    finally:
        as_administrator(cluster, "REVOKE ALL ON DATABASE airflow FROM PUBLIC")
    assert as_administrator(cluster, "SELECT 1 FROM pg_roles WHERE rolname = 'vigil_sandbox_carl'") == []


def test_a_login_that_may_not_make_one_is_told_what_to_grant(house: Settings, cluster: EmbeddedPostgres) -> None:
    as_administrator(cluster, "ALTER ROLE house NOCREATEROLE NOCREATEDB")
    try:
        with pytest.raises(Blocked, match=r'lacks CREATEROLE and CREATEDB.*ALTER ROLE "house" CREATEROLE CREATEDB'):
            sandbox.create(house, "carl", by=ENGINEER)
    finally:
        as_administrator(cluster, "ALTER ROLE house CREATEROLE CREATEDB")


def test_a_folder_with_things_of_something_else_is_not_taken(house: Settings, tmp_path: Path) -> None:
    (tmp_path / "mlflow").mkdir()
    with pytest.raises(Blocked, match="holds mlflow of something else than sandbox carl"):
        sandbox.create(house, "carl", by=ENGINEER, home=tmp_path)
    assert (tmp_path / "mlflow").is_dir()


@pytest.mark.parametrize("name", ["", "Anna", 'a"; DROP DATABASE vigil', "9a", "a-b", "a" * 41])
def test_a_name_that_would_need_quoting_is_refused(house: Settings, name: str) -> None:
    with pytest.raises(DataFault, match="cannot be the name of a sandbox"):
        sandbox.create(house, name, by=ENGINEER)


def test_events_of_sandboxes_cannot_be_changed(anna: SandboxState, house: Settings) -> None:
    for change in ("UPDATE vigil.sandbox_event SET by = 'x@y'", "DELETE FROM vigil.sandbox_event"):
        with pytest.raises(DBAPIError, match="append-only"), database.transaction(house) as connection:
            database.execute(connection, change)
