"""Makes the secrets that docker-compose.yaml reads, each in a file of docker/secrets/. Standard library only.

    python docker/make_secrets.py [folder]

A file that exists is kept, so running it again adds only what is missing. Deleting one and running it again rotates it;
a database's password must then be changed in the database too. The folder is closed to other users; the files in it are
readable, because a container's user is not the owner on the host.
"""

from __future__ import annotations

import base64
import json
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

DEFAULT_FOLDER = Path(__file__).parent / "secrets"


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)

    def secret(name: str, make: Callable[[], str]) -> str:
        path = folder / name
        if not path.exists():
            path.write_text(make())
            path.chmod(0o444)
            print(f"made {name}")
        return path.read_text()

    def password() -> str:
        return secrets.token_urlsafe(32)

    secret("postgres_password", password)
    secret("airflow_admin_password", password)
    secret("airflow_fernet_key", lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
    secret("airflow_secret_key", password)
    secret("airflow_jwt_secret", lambda: secrets.token_urlsafe(64))
    secret("vigil_token_key", lambda: secrets.token_hex(32))
    redis = secret("redis_password", password)
    secret("celery_broker_url", lambda: f"redis://:{redis}@redis:6379/0")
    for name in ("airflow", "vigil", "mlflow"):
        own = secret(f"{name}_database_password", password)
        url = secret(f"{name}_database_url", lambda n=name, p=own: f"postgresql+psycopg2://{n}:{p}@postgres:5432/{n}")
        if name == "airflow":
            secret("celery_result_backend", lambda u=url: f"db+{u}")
    key_id = secret("s3_access_key_id", lambda: secrets.token_hex(10))
    key = secret("s3_secret_access_key", password)
    secret("s3_identities.json", lambda: json.dumps(_identities(key_id, key)))


def _identities(key_id: str, key: str) -> dict[str, object]:
    credentials = [{"accessKey": key_id, "secretKey": key}]
    return {"identities": [{"name": "vigil", "credentials": credentials, "actions": ["Admin"]}]}


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_FOLDER)
