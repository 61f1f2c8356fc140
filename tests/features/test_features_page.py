"""The examples of docs/features.md work as they stand, on the repository's own contracts."""

from __future__ import annotations

import re
import shutil
from inspect import signature
from pathlib import Path

import pytest

from pipelines.features import load_definitions
from pipelines.features.definitions import feature_view
from pipelines.features.lineage import view_columns
from pipelines.features.views import compile_labels, compile_view
from pipelines.settings import REPOSITORY, Settings

PAGE = REPOSITORY / "docs" / "features.md"


@pytest.fixture
def written(tmp_path: Path) -> Settings:
    """A project with the repository's contracts, and a feature_repo copied from the page."""
    shutil.copytree(REPOSITORY / "expectations", tmp_path / "expectations")
    (tmp_path / "feature_repo").mkdir()
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)):
        (tmp_path / "feature_repo" / f"example_{number}.py").write_text(code, encoding="utf-8")
    return Settings(project=tmp_path)


def test_the_feature_view_compiles_and_is_traced(written):
    view = load_definitions(written).feature_view("recent_use")
    assert dict(compile_view(written, view).features) == {"use": "DOUBLE", "peak_use": "DOUBLE"}
    used = {("account_snapshots", "balance"), ("account_snapshots", "credit_limit")}
    assert view_columns(written, view)["peak_use"] == used


def test_the_label_view_compiles(written):
    sql, _ = compile_labels(written, load_definitions(written).label_view("ever_bad"))
    assert "known_at" in sql


def test_the_table_of_arguments_is_complete():
    page = PAGE.read_text(encoding="utf-8")
    for argument in signature(feature_view).parameters:
        assert f"| `{argument}` |" in page
