"""Fixtures of the training tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from lender import Lender, new_lender, random_rows

from pipelines.settings import Settings
from pipelines.training.rows import Rows


@pytest.fixture
def lender(settings: Settings, tmp_path: Path) -> Lender:
    return new_lender(settings, tmp_path / "project")


@pytest.fixture(scope="session")
def sample() -> Rows:
    return random_rows(6_000, seed=3)
