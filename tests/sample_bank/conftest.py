"""One bank of the default size for all tests of this folder, and what they ask of it in SQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from pipelines.sample_bank import NAME, Planted, generate


@pytest.fixture(scope="session")
def bank_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the bank is."""
    return tmp_path_factory.mktemp("bank")


@pytest.fixture(scope="session")
def planted(bank_folder: Path) -> Planted:
    """What is planted in the bank, which is there once this is asked for."""
    return generate(bank_folder)


@pytest.fixture(scope="session")
def bank(planted: Planted, bank_folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A view per source over all its files, with the business date as `on_date`, and the truth as `true_<table>`."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        view_sources(connection, bank_folder)
        yield connection


def view_sources(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    for source in sorted(path for path in (folder / NAME).iterdir() if path.is_dir() and path.name != "truth"):
        connection.execute(
            f"CREATE VIEW {source.name} AS SELECT * EXCLUDE filename, CAST(regexp_extract(filename, "
            f"'(\\d{{4}}-\\d\\d-\\d\\d)\\.parquet$', 1) AS DATE) AS on_date "
            f"FROM read_parquet('{source}/*.parquet', filename = true)"
        )
    for truth in sorted((folder / NAME / "truth").iterdir()):
        connection.execute(f"CREATE VIEW true_{truth.stem} AS SELECT * FROM '{truth}'")
