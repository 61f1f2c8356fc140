"""A version's files on this machine: verified first, whole or absent, whoever else fetches or dies."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path

import pytest
from small_night import MODEL, artefact_files, register, small_settings

from pipelines import mlflow_store
from pipelines.contracts import Blocked
from pipelines.registry import RegisteredVersion, bootstrap, champion, fetch
from pipelines.settings import Settings
from pipelines.training.artefact import load_verified


@pytest.fixture
def bank(settings: Settings) -> Settings:
    ready = small_settings(settings)
    bootstrap(ready, MODEL, [register(ready, artefact_files())])
    shutil.rmtree(ready.home / "cache")
    return ready


def stored_model_file(settings: Settings) -> Path:
    return next(Path(settings.mlflow_artifacts).rglob("model.cbm"))


def test_the_files_are_fetched_once_and_load(bank: Settings) -> None:
    version = champion(bank, MODEL)
    folder = fetch(bank, version)
    assert load_verified(folder, version.artefact_digest).features == MODEL.feature_names
    shutil.rmtree(bank.mlflow_artifacts)
    assert fetch(bank, version) == folder


def test_one_changed_byte_in_the_registry_is_never_loaded(bank: Settings) -> None:
    file = stored_model_file(bank)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(Blocked, match=r"changed: model\.cbm"):
        fetch(bank, champion(bank, MODEL))
    assert not [p for p in (bank.home / "cache" / "artefacts").iterdir() if p.is_dir()]


def test_a_damaged_copy_is_replaced_from_the_registry(bank: Settings) -> None:
    version = champion(bank, MODEL)
    (fetch(bank, version) / "model.cbm").write_bytes(b"damaged")
    load_verified(fetch(bank, version), version.artefact_digest)


def test_a_tag_changed_to_fit_changed_files_does_not_help(bank: Settings) -> None:
    version = champion(bank, MODEL)
    other = artefact_files(seed=5)
    number = register(bank, other)
    mlflow_store.set_alias(bank, "small", "champion", number)
    with pytest.raises(Blocked, match="journal says version 1"):
        champion(bank, MODEL)
    assert fetch(bank, version).name == version.permit.artefact_digest


def test_processes_that_fetch_at_once_all_get_the_whole(bank: Settings) -> None:
    version = champion(bank, MODEL)
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        found = pool.starmap(_fetch_and_load, [(bank, version)] * 3)
    assert set(found) == {version.artefact_digest}


def _fetch_and_load(settings: Settings, version: RegisteredVersion) -> str:
    return load_verified(fetch(settings, version), version.artefact_digest).artefact_digest
