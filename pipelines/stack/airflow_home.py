"""Airflow's own folder: configuration, secrets, metadata tables, pools, roles and the first logins.

Airflow runs as separate processes and is never imported. Its configuration is written at every start, because the ports
may differ, into `<home>/airflow/airflow.cfg`; so `.venv/bin/airflow …` works by hand with that `AIRFLOW_HOME` while the
stack is up. Logins are FAB's, the one auth manager of Airflow made for production: it adds three seconds to a start.
"""

from __future__ import annotations

import base64
import configparser
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

from pipelines.contracts import DataFault, fingerprint
from pipelines.settings import REPOSITORY
from pipelines.stack.processes import MARKER, stack_id

ADMIN = "admin"
DAGS = REPOSITORY / "dags"
POOLS = DAGS / "pools.json"
ACCESS = REPOSITORY / "docker" / "access.py"
ROLES = REPOSITORY / "docker" / "roles.json"
PARALLEL_TASKS = 3
NOBODY: Mapping[str, str] = MappingProxyType({})


class AirflowHome:
    """The folder `<home>/airflow` and what must be true before Airflow's processes can start."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.folder = home / "airflow"

    @property
    def admin_password(self) -> str:
        """Password of the login `admin`, made at first use, kept in `<home>/secrets/airflow_admin.password`."""
        return self.password(ADMIN)

    def password(self, user: str) -> str:
        """Password of a login, made at first use, kept in `<home>/secrets/airflow_<user>.password`."""
        return self._secret(f"airflow_{user}.password")

    def configure(self, database_url: str, port: int) -> None:
        """Write airflow.cfg for this database and port. What is not listed keeps Airflow's default."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        fernet = base64.urlsafe_b64encode(bytes.fromhex(self._secret("fernet.key"))).decode()
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_dict(
            {
                "core": {
                    "executor": "LocalExecutor",
                    "parallelism": str(PARALLEL_TASKS),
                    "dags_folder": str(DAGS),
                    "plugins_folder": str(REPOSITORY / "plugins"),
                    "load_examples": "False",
                    "fernet_key": fernet,
                    "auth_manager": "vigil_auth.VigilAuthManager",  # in plugins/
                    # Tasks reach Airflow through its API: on another port than this they wait for ever.
                    "execution_api_server_url": f"http://127.0.0.1:{port}/execution/",
                    "hostname_callable": "socket.gethostname",  # the default asks a name server
                },
                "database": {"sql_alchemy_conn": database_url},
                "api": {
                    "host": "127.0.0.1",
                    "port": str(port),
                    "base_url": f"http://127.0.0.1:{port}",
                    "secret_key": self._secret("api.key"),
                    "instance_name": "Vigil",
                },
                "api_auth": {"jwt_secret": self._secret("jwt.key"), "jwt_issuer": f"vigil-{stack_id(self._home)}"},
                "scheduler": {"scheduler_idle_sleep_time": "0.5"},
                "dag_processor": {"min_file_process_interval": "30", "parsing_processes": "1"},
            }
        )
        _write_privately(self.folder / "airflow.cfg", parser)

    def environment(self, database_url: str) -> dict[str, str]:
        """Environment of every process of the stack. Variables that would overrule airflow.cfg are left out."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW__", "_AIRFLOW"))}
        loopback = ",".join(filter(None, (os.environ.get("NO_PROXY", os.environ.get("no_proxy", "")), "127.0.0.1")))
        return kept | {
            "AIRFLOW_HOME": str(self.folder),
            "VIGIL_HOME": str(self._home),
            "VIGIL_DATABASE_URL": database_url,
            MARKER: stack_id(self._home),
            "SPT_NOENV": "1",  # a process that renames itself keeps its environment readable, so that it is found
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONUNBUFFERED": "1",
            "NO_PROXY": loopback,
            "no_proxy": loopback,
            "GX_ANALYTICS_ENABLED": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }

    def prepare(self, environment: Mapping[str, str], done: Path, logins: Mapping[str, str] = NOBODY) -> None:
        """Bring Airflow's tables up to date, make pools, roles and logins; nothing when `done` says it is done.

        `logins` are e-mail addresses with their roles, beside the administrator. `done` lies beside the database, so that it
        goes when the database goes. Raises DataFault with Airflow's words.
        """
        files = [path.read_bytes() for path in (POOLS, ACCESS, ROLES)]
        versions = version("apache-airflow"), version("apache-airflow-providers-fab")
        state = fingerprint(*versions, *files, sorted(logins.items()))
        if done.exists() and done.read_text() == state:
            return
        self._airflow(environment, "db", "migrate")
        self._airflow(environment, "pools", "import", str(POOLS))
        self._make_access(environment, logins)
        done.write_text(state)

    def _make_access(self, environment: Mapping[str, str], logins: Mapping[str, str]) -> None:
        people = [{"email": e, "role": r, "password_file": str(self._password_file(e))} for e, r in logins.items()]
        listed = self.folder / "logins.json"
        listed.write_text(json.dumps(people))
        environment = {**environment, "ADMIN_PASSWORD_FILE": str(self._password_file(ADMIN))}
        self._run(environment, str(ACCESS), str(listed))

    def _password_file(self, user: str) -> Path:
        self.password(user)
        return self._home / "secrets" / f"airflow_{user}.password"

    def _airflow(self, environment: Mapping[str, str], *arguments: str) -> None:
        self._run(environment, "-m", "airflow", *arguments)

    def _run(self, environment: Mapping[str, str], *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, *arguments],
            env=dict(environment),
            capture_output=True,
            text=True,
            start_new_session=True,
        )
        if done.returncode:
            tail = (done.stderr.strip() or done.stdout.strip())[-1500:]
            raise DataFault(f"`python {' '.join(arguments[:4])}` failed; Airflow was not started:\n{tail}")

    def _secret(self, name: str) -> str:
        path = self._home / "secrets" / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(32) if name.endswith(".key") else secrets.token_urlsafe(12))
        return path.read_text()


def _write_privately(path: Path, parser: configparser.ConfigParser) -> None:
    path.touch(mode=0o600)
    with path.open("w") as file:
        parser.write(file)
