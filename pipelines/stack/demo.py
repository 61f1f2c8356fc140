"""What makes a machine a demo: a file `vigil.env` in its home that says so."""

from __future__ import annotations

from pathlib import Path

from pipelines.settings import get_settings, home_folder

# Persons that the demo's models and policies name, with their roles (docker/roles.json), so that an approval can be tried.
LOGINS = {
    "credit-models@bank.example": "trainer",
    "model-validation@bank.example": "validator",
    "second-validator@bank.example": "validator",
}
_PLACES = ("sources", "lake_url", "mlflow_artifacts", "data_docs", "token_key_file")


def write_environment() -> tuple[Path, bool]:
    """Write `<home>/vigil.env` unless it is there; return it and whether it was written.

    It says that the environment is the demo, and repeats the places that were set by variables, so that a command typed
    later in another shell finds the same. Passwords and database addresses are not written: the embedded PostgreSQL's are
    in `<home>/postgres`, a server's come from the environment.
    """
    home = home_folder()
    path = home / "vigil.env"
    if path.exists():
        return path, False
    settings = get_settings()
    places = {name: getattr(settings, name) for name in _PLACES if name in settings.model_fields_set}
    lines = ["# Written by `make up` or `python -m pipelines init`. A variable of the environment wins over this file."]
    lines += ["VIGIL_ENVIRONMENT=demo", *(f"VIGIL_{name.upper()}={value}" for name, value in places.items())]
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_text("\n".join(lines) + "\n")
    get_settings.cache_clear()
    return path, True
