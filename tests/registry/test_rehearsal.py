"""A rehearsed rollback: the real one, on a copy; production keeps its champion and gets the result."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from approved import approved
from bank_fixtures import copied
from small_night import MODEL, artefact_files, register, write_policy

from pipelines import database, mlflow_store, registry
from pipelines.contracts import Blocked, DataFault
from pipelines.settings import Settings
from pipelines.stack import rehearsal
from pipelines.stack.postgres import EmbeddedPostgres

BY = "release@bank.example"


@pytest.fixture
def bank(postgres: EmbeddedPostgres, bank_template: Settings, tmp_path: Path) -> Iterator[Settings]:
    """Champion is version 1, challenger version 2."""
    with copied(postgres, bank_template, tmp_path / "home") as made:
        yield made


@pytest.fixture
def promoted(bank: Settings) -> Settings:
    """Version 2 became champion after version 1; version 3 is a candidate."""
    register(bank, artefact_files(3))
    approved(bank, 2)
    registry.promote(bank, MODEL, 2, expected_champion=1, by=BY)
    return bank


def recorded(settings: Settings) -> list[tuple[str, bool, int | None, int | None]]:
    found = database.rows(settings, "SELECT * FROM vigil.rehearsal ORDER BY rehearsal_no")
    return [(r["outcome"], r["ok"], r["from_version"], r["to_version"]) for r in found]


def state_of(settings: Settings) -> dict[str, object]:
    tables = database.rows(settings, "SELECT tablename AS name FROM pg_tables WHERE schemaname IN ('vigil', 'public')")
    left_out = ("rehearsal", "journal")
    counts = {
        t["name"]: database.rows(settings, f'SELECT count(*) AS n FROM vigil."{t["name"]}"')[0]["n"]
        for t in tables
        if t["name"] not in left_out and "vigil" in where(settings, t["name"])
    }
    return {
        "counts": counts,
        "aliases": mlflow_store.get_aliases(settings, "small"),
        "champion": registry.champion(settings, MODEL),
        "versions": mlflow_store.versions(settings, "small"),
    }


def where(settings: Settings, table: str) -> set[str]:
    found = database.rows(settings, "SELECT schemaname AS s FROM pg_tables WHERE tablename = :table", table=table)
    return {row["s"] for row in found}


def postgres_of(home: Path) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if str(home) in " ".join(p.info["cmdline"] or ())]


def test_a_rehearsal_rolls_back_the_copy_and_leaves_production_as_it_is(promoted: Settings) -> None:
    mlflow_store.set_alias(promoted, "small", "challenger", 3)  # registered after the champion: not needed in the copy
    approved(promoted, 3)
    before = state_of(promoted)
    found = rehearsal.rehearse(promoted, MODEL)
    assert (found.outcome, found.from_version, found.to_version) == ("passed", 2, 1)
    assert 0 < found.seconds < 60
    assert recorded(promoted) == [("passed", True, 2, 1)]
    assert state_of(promoted) == before
    entry = registry.entries(promoted, "small")[-1]
    assert (entry.kind, entry.facts["outcome"], entry.facts["to_version"]) == ("rehearsed", "passed", 1)
    assert registry.verify(promoted).ok
    assert registry.standing(promoted, "small").version == 2
    assert not (promoted.home / "rehearsal" / "small").exists()
    assert not postgres_of(promoted.home), "the copy's PostgreSQL has ended"


def test_what_a_killed_rehearsal_left_is_removed_by_the_next(promoted: Settings) -> None:
    folder = promoted.home / "rehearsal" / "small"
    left = EmbeddedPostgres(folder / "postgres", lasting=False)
    left.start()
    server = psutil.Process(left.pid())
    assert rehearsal.rehearse(promoted, MODEL).outcome == "passed"
    server.wait(10)
    assert not folder.exists()


def test_without_an_earlier_champion_there_is_nothing_to_rehearse_and_no_alarm(bank: Settings) -> None:
    found = rehearsal.rehearse(bank, MODEL)
    assert (found.outcome, found.seconds) == ("not_possible", None)
    assert "version 1 has no champion before it" in found.message
    assert recorded(bank) == [("not_possible", False, None, None)]
    assert registry.entries(bank)[-1].facts["outcome"] == "not_possible"


def test_files_that_are_damaged_in_the_store_are_found_though_the_cache_is_whole(promoted: Settings) -> None:
    registry.rollback(promoted, MODEL, reason="look", by=BY, dry_run=True)  # fills the cache
    stored = mlflow_store.version(promoted, "small", 1)
    [folder] = Path(promoted.mlflow_artifacts).rglob(f"{stored.run_id}/artifacts/model")
    file = max((p for p in folder.iterdir() if p.is_file()), key=lambda p: p.stat().st_size)
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(
        Blocked, match=r"rehearsal of a rollback failed: .*version 1: .*in production nothing was changed"
    ):
        rehearsal.rehearse(promoted, MODEL)
    assert recorded(promoted) == [("failed", False, None, None)]
    assert registry.entries(promoted)[-1].facts["outcome"] == "failed"
    assert registry.champion(promoted, MODEL).version == 2
    assert not postgres_of(promoted.home)


def test_a_rollback_that_takes_longer_than_the_policy_allows_has_failed(promoted: Settings) -> None:
    review = {
        "every_days": {1: 365, 2: 730, 3: 1095}, "overdue": "warn", "expired_permit": "stop", "after_psi": 0.25,
        "rollback_seconds": 0.001,
    }  # fmt: skip
    write_policy(promoted.project, review=review)
    with pytest.raises(Blocked, match=r"took \d+\.\d s; policy small allows 0\.001 s"):
        rehearsal.rehearse(promoted, MODEL)
    assert recorded(promoted) == [("failed", False, None, None)]


def test_a_failure_nobody_foresaw_is_recorded_without_its_text(
    promoted: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: EmbeddedPostgres) -> None:
        raise OSError("no space left for customer 17")

    monkeypatch.setattr(EmbeddedPostgres, "start", broken)
    with pytest.raises(Blocked, match="unexpected OSError"):
        rehearsal.rehearse(promoted, MODEL)
    [row] = database.rows(promoted, "SELECT message FROM vigil.rehearsal")
    assert row["message"] == "unexpected OSError"


def test_a_journal_that_was_changed_fails_the_rehearsal(promoted: Settings) -> None:
    with database.transaction(promoted) as connection:
        database.execute(connection, "ALTER TABLE vigil.journal DISABLE TRIGGER ALL")
        database.execute(connection, "UPDATE vigil.journal SET model = 'other' WHERE entry_no = 1")
    with pytest.raises(Blocked, match="journal is not as it was written"):
        rehearsal.rehearse(promoted, MODEL)
    assert recorded(promoted) == [("failed", False, None, None)]


def test_an_unknown_version_of_the_registry_fails_it(promoted: Settings) -> None:
    """The champion before was deleted from the registry: no rollback can reach it."""
    with database.transaction(promoted) as connection:
        database.execute(connection, "DELETE FROM model_version_tags WHERE version = 1")
        database.execute(connection, "DELETE FROM model_versions WHERE version = 1")
    with pytest.raises((Blocked, DataFault), match="no earlier champion can be rolled back to"):
        rehearsal.rehearse(promoted, MODEL)
