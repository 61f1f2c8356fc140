"""The public data sets, and the examples run on them once a session by the commands of their own READMEs.

They take minutes on one core, so they are started with the session and run beside the tests that do not need them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from example_project import ExampleMachine, Record, RunExample, page_commands
from sqlalchemy import create_engine, text

from pipelines import database
from pipelines.settings import REPOSITORY
from pipelines.stack.postgres import EmbeddedPostgres

EXAMPLES = ("lending_club", "uci_default", "fraud_handbook", "amlsim")
PREPARED = {"amlsim": "amlsim_20k"}  # by their prepare.py, from this folder
TOKEN_KEY = bytes(range(32))  # rows are ordered by token, and folds are drawn in that order: docs/examples.md


def data_home() -> Path:
    """The folder named by VIGIL_TEST_DATA, by default `shared/data` beside the repository."""
    return Path(os.environ.get("VIGIL_TEST_DATA", REPOSITORY.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of the public data. Its absence fails, never skips."""
    folder = data_home()
    if not folder.is_dir():
        pytest.fail(
            f"no public data at {folder}: set VIGIL_TEST_DATA to the folder that holds lendingclub_2007_2011/ etc."
        )
    return folder


@pytest.fixture(scope="session")
def running(
    request: pytest.FixtureRequest,
    postgres: EmbeddedPostgres,
    data_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Future[RunExample]]]:
    """The examples that this session's tests ask for, one after the other in the background."""
    wanted = [name for name in EXAMPLES if any(name in item.fixturenames for item in request.session.items)]
    homes = {name: tmp_path_factory.mktemp(name) for name in wanted}
    machines = {
        name: ExampleMachine(
            home=home,
            database_url=_new_database(postgres, f"example_{name}"),
            sources=home / "sources" if name in PREPARED else data_folder,
            project=REPOSITORY / "examples" / name,
        )
        for name, home in homes.items()
    }
    for machine in machines.values():
        database.migrate(machine.settings)
    pool = ThreadPoolExecutor(1)
    yield {name: pool.submit(_run, machine) for name, machine in machines.items()}
    pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session", autouse=True)
def _start_examples_early(request: pytest.FixtureRequest) -> None:
    if data_home().is_dir() and any("running" in item.fixturenames for item in request.session.items):
        request.getfixturevalue("running")


@pytest.fixture(scope="session")
def lending_club(running: dict[str, Future[RunExample]]) -> RunExample:
    return running["lending_club"].result()


@pytest.fixture(scope="session")
def uci_default(running: dict[str, Future[RunExample]]) -> RunExample:
    return running["uci_default"].result()


@pytest.fixture(scope="session")
def fraud_handbook(running: dict[str, Future[RunExample]]) -> RunExample:
    return running["fraud_handbook"].result()


@pytest.fixture(scope="session")
def amlsim(running: dict[str, Future[RunExample]]) -> RunExample:
    return running["amlsim"].result()


def _run(machine: ExampleMachine) -> RunExample:
    machine.settings.token_key_file.write_bytes(TOKEN_KEY)
    if machine.project.name in PREPARED:
        given = data_home() / PREPARED[machine.project.name]
        done = machine.python(str(machine.project / "prepare.py"), str(given), str(machine.sources))
        assert done.returncode == 0, done.stderr[-3000:]
    printed: dict[str, list[Record]] = {}
    for command in page_commands(machine.project / "README.md"):
        found = machine.run(*command, may_be_blocked=command[2] == "judge")  # a true verdict may well be no
        printed.setdefault(command[2], []).extend(found)
    return RunExample(machine, printed)


def _new_database(postgres: EmbeddedPostgres, name: str) -> str:
    admin = create_engine(postgres.url("postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    admin.dispose()
    return postgres.url(name)
