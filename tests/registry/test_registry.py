"""Permits and aliases: the first champion of a demo, and everything that must stop a version from being used."""

from __future__ import annotations

import pytest
from small_night import MODEL, artefact_files, register, small_settings
from sqlalchemy.exc import DBAPIError

from pipelines import database, mlflow_store
from pipelines.contracts import Blocked, ConnectionBroken, DataFault
from pipelines.registry import bootstrap, challengers, champion, permit_for, retire, verify
from pipelines.settings import Settings

DIGEST_TAG = "vigil.artefact_digest"


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return artefact_files()


@pytest.fixture
def bank(settings: Settings, files: dict[str, bytes]) -> Settings:
    """A demo whose registry holds three versions, none of them permitted."""
    ready = small_settings(settings)
    for note in (b"1", b"2", b"3"):
        register(ready, files | {"provenance.json": b'{"seed": ' + note + b"}"})
    return ready


def permits(settings: Settings) -> list[tuple[int, str, str]]:
    found = database.rows(settings, "SELECT version, role, kind FROM vigil.permit ORDER BY permit_no")
    return [(p["version"], p["role"], p["kind"]) for p in found]


def grant(settings: Settings, version: int, digest: str, *, days: int = 30) -> None:
    database.rows(
        settings,
        "INSERT INTO vigil.permit (model, version, role, artefact_digest, policy, policy_version, kind, reason, "
        "granted_at, expires) VALUES ('small', :version, 'challenger', :digest, 'small', '2026.1', 'bootstrap', 'test', "
        "now() - interval '60 days', now() + :days * interval '1 day') RETURNING permit_no",
        version=version,
        digest=digest,
        days=days,
    )


def test_an_empty_demo_registry_gets_its_first_champion_and_challengers(bank: Settings) -> None:
    bootstrap(bank, MODEL, [2, 1, 3])
    first = champion(bank, MODEL)
    assert (first.version, first.permit.kind, first.permit.policy_version) == (2, "bootstrap", "2026.1")
    assert first.artefact_digest == first.permit.artefact_digest
    assert [c.version for c in challengers(bank, MODEL)] == [1, 3]
    assert mlflow_store.get_aliases(bank, "small") == {"champion": 2, "challenger": 1, "challenger_2": 3}
    assert permits(bank) == [
        (2, "champion", "bootstrap"),
        (1, "challenger", "bootstrap"),
        (3, "challenger", "bootstrap"),
    ]


def test_bootstrap_again_finishes_what_a_killed_one_left_and_grants_nothing_twice(bank: Settings) -> None:
    bootstrap(bank, MODEL, [1, 2])
    before = permits(bank)
    for alias in ("champion", "challenger"):
        mlflow_store.delete_alias(bank, "small", alias)
    bootstrap(bank, MODEL, [1, 2])
    assert permits(bank) == before
    assert champion(bank, MODEL).version == 1


def test_permits_from_before_the_journal_are_written_into_it_by_the_same_bootstrap(bank: Settings) -> None:
    bootstrap(bank, MODEL, [1, 2])
    with database.transaction(bank) as connection:
        database.execute(connection, "ALTER TABLE vigil.journal DISABLE TRIGGER journal_append_only")
        database.execute(connection, "DELETE FROM vigil.journal")
    older = bank.model_copy(update={"anchors": str(bank.home / "none yet")})
    with pytest.raises(Blocked, match=r"permit 1 was given for version 1 before .*bootstrap --model small"):
        champion(older, MODEL)
    before = permits(older)
    bootstrap(older, MODEL, [1, 2])
    assert permits(older) == before
    assert champion(older, MODEL).version == 1
    assert verify(older).ok


def test_a_bootstrap_is_not_repeated_once_persons_have_decided(bank: Settings) -> None:
    bootstrap(bank, MODEL, [1, 2])
    retire(bank, MODEL, reason="not needed", by="anna@bank.example")
    with pytest.raises(Blocked, match=r"not empty .it was retired after its bootstrap, by journal entry 2"):
        bootstrap(bank, MODEL, [1, 2])


def test_outside_demo_nobody_is_bootstrapped(bank: Settings) -> None:
    with pytest.raises(Blocked, match=r"a sandbox only.*owner@bank.example and validator@bank.example"):
        bootstrap(bank.model_copy(update={"environment": "production"}), MODEL, [1])
    assert permits(bank) == []


@pytest.mark.parametrize("versions", [[2], [1, 3], [2, 1]])
def test_a_registry_with_permits_is_not_empty(bank: Settings, versions: list[int]) -> None:
    bootstrap(bank, MODEL, [1, 2])
    with pytest.raises(Blocked, match="not empty"):
        bootstrap(bank, MODEL, versions)
    assert champion(bank, MODEL).version == 1


def test_a_champion_alias_without_a_permit_is_neither_a_champion_nor_an_empty_registry(bank: Settings) -> None:
    mlflow_store.set_alias(bank, "small", "champion", 1)
    with pytest.raises(Blocked, match="already"):
        bootstrap(bank, MODEL, [1])
    with pytest.raises(Blocked, match="alias was set by hand"):
        champion(bank, MODEL)


@pytest.mark.parametrize("versions", [[], [1, 1]])
def test_each_version_is_named_once(bank: Settings, versions: list[int]) -> None:
    with pytest.raises(DataFault, match="once"):
        bootstrap(bank, MODEL, versions)


def test_a_version_that_is_not_there_or_claims_no_digest_is_not_permitted(bank: Settings) -> None:
    with pytest.raises(DataFault, match=r"no version 9 .* have \[1, 2, 3\]"):
        bootstrap(bank, MODEL, [9])
    run = mlflow_store.version(bank, "small", 1).run_id
    number = mlflow_store.register_version(bank, "small", run, {}).version
    with pytest.raises(Blocked, match="carries no digest"):
        bootstrap(bank, MODEL, [number])


def test_files_that_are_not_what_the_version_claims_are_not_permitted(bank: Settings) -> None:
    run = mlflow_store.version(bank, "small", 1).run_id
    number = mlflow_store.register_version(bank, "small", run, {DIGEST_TAG: "0" * 64}).version
    with pytest.raises(Blocked, match="belongs to another version"):
        bootstrap(bank, MODEL, [number])
    assert permits(bank) == []


def test_no_champion_is_said_as_such_and_an_outage_is_not_taken_for_it(bank: Settings) -> None:
    with pytest.raises(Blocked, match="no version was ever approved"):
        champion(bank, MODEL)
    gone = bank.model_copy(update={"mlflow_tracking_uri": "postgresql+psycopg2://nobody:x@127.0.0.1:1/none"})
    with pytest.raises(ConnectionBroken):
        champion(gone, MODEL)


def test_an_alias_moved_by_hand_is_refused_with_both_versions_named(bank: Settings) -> None:
    bootstrap(bank, MODEL, [1, 2])
    mlflow_store.set_alias(bank, "small", "champion", 2)
    with pytest.raises(
        Blocked, match=r"journal says version 1 is champion .* is at version 2; someone moved it by hand"
    ):
        champion(bank, MODEL)


def test_an_alias_removed_by_hand_is_told_from_no_approval(bank: Settings) -> None:
    bootstrap(bank, MODEL, [1])
    mlflow_store.delete_alias(bank, "small", "champion")
    with pytest.raises(Blocked, match="alias `champion` is gone"):
        champion(bank, MODEL)


def test_an_expired_permit_blocks(bank: Settings) -> None:
    bootstrap(bank, MODEL, [1])
    digest = champion(bank, MODEL).artefact_digest
    mlflow_store.set_alias(bank, "small", "challenger", 1)
    grant(bank, 1, digest, days=-1)
    assert permit_for(bank, "small", 1).expired
    with pytest.raises(Blocked, match=r"expired on \d{4}-\d{2}-\d{2}"):
        challengers(bank, MODEL)


def test_a_challenger_without_a_permit_is_not_loaded_even_in_the_shadow(bank: Settings) -> None:
    bootstrap(bank, MODEL, [1])
    assert challengers(bank, MODEL) == ()
    mlflow_store.set_alias(bank, "small", "challenger", 3)
    with pytest.raises(Blocked, match="version 3 may not be used as challenger: it was never given a permit"):
        challengers(bank, MODEL)
    grant(bank, 3, mlflow_store.version(bank, "small", 3).tags[DIGEST_TAG])
    assert [c.version for c in challengers(bank, MODEL)] == [3]


@pytest.mark.parametrize("change", ["UPDATE vigil.permit SET expires = now() + interval '9 years'",
                                    "DELETE FROM vigil.permit", "TRUNCATE vigil.permit CASCADE"])  # fmt: skip
def test_permits_are_never_changed_or_removed(bank: Settings, change: str) -> None:
    bootstrap(bank, MODEL, [1])
    with pytest.raises(DBAPIError, match="append-only"), database.transaction(bank) as connection:
        database.execute(connection, change)
    assert permits(bank) == [(1, "champion", "bootstrap")]
