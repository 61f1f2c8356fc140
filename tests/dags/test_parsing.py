"""Hundreds of models still parse in seconds, always to the same DAGs, and a worker parses only the one it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.settings import REPOSITORY

OF_ALL_MODELS = "vigil_registry"
MODELS = 300


def parse(project: Path, **environment: str) -> dict:
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("parse_folder.py"), REPOSITORY / "dags"],
        env={**os.environ, "VIGIL_PROJECT": str(project), "PYTHONHASHSEED": "random", **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.rsplit("\n", 1)[1])


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of 300 models, each as large as the credit model."""
    folder = tmp_path_factory.mktemp("bank")
    (folder / "models").mkdir()
    text = (REPOSITORY / "models" / "credit_default.yaml").read_text()
    for number in range(MODELS):
        name = f"model_{number:03}"
        (folder / "models" / f"{name}.yaml").write_text(text.replace("name: credit_default", f"name: {name}"))
    return folder


@pytest.fixture(scope="module")
def report(bank: Path) -> dict:
    return parse(bank)


def test_every_model_has_its_seven_dags(report):
    assert report["errors"] == {}
    assert report["broken"] == []
    assert set(report["serialised"]) > {OF_ALL_MODELS}
    assert len(report["serialised"]) == 7 * MODELS + 1


def test_parsing_stays_fast(report):
    """Processor seconds of this process, so that a busy machine does not decide the test."""
    assert report["seconds"] < 15
    assert report["seconds"] / MODELS < 0.050
    assert len(report["per_file"]) == 8


def test_no_heavy_import_at_parse_time(report):
    assert report["heavy"] == [], "import inside the task instead: it costs every parse of every DAG"


def test_two_parses_serialise_identically(bank, report):
    assert parse(bank)["serialised"] == report["serialised"], (
        "something varies: Airflow would make a version each parse"
    )


def test_a_worker_parses_only_the_dag_it_runs(bank):
    alone = parse(bank, _AIRFLOW_PARSING_CONTEXT_DAG_ID="model_007_score", _AIRFLOW_PARSING_CONTEXT_TASK_ID="score")
    assert list(alone["serialised"]) == ["model_007_score", OF_ALL_MODELS]
    assert alone["seconds"] < 1
