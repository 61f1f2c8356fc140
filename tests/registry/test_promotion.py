"""Promotion: one entry, the alias after it, against the expected champion only, and finished when it was killed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from approved import APPROVER, answered, approved, asked, judged, permitted
from bank_fixtures import copied
from small_night import MODEL, artefact_files, register

from pipelines import database, mlflow_store, registry
from pipelines.contracts import Blocked, ConnectionBroken, DataFault
from pipelines.registry import Permit
from pipelines.settings import Settings
from pipelines.stack.postgres import EmbeddedPostgres

BY = "release@bank.example"


@pytest.fixture
def bank(postgres: EmbeddedPostgres, bank_template: Settings, tmp_path: Path) -> Iterator[Settings]:
    """Champion is version 1, challenger version 2."""
    with copied(postgres, bank_template, tmp_path / "home") as made:
        yield made


def kinds(settings: Settings) -> list[str]:
    return [entry.kind for entry in registry.entries(settings)]


def aliases(settings: Settings) -> dict[str, int]:
    return mlflow_store.get_aliases(settings, MODEL.name)


def test_an_approved_version_becomes_champion_and_its_aliases_follow(bank: Settings) -> None:
    permit = approved(bank, 2)
    done = registry.promote(bank, MODEL, 2, expected_champion=1, by="Release@Bank.example")
    assert (done.version, done.previous_champion, done.permit_no, done.by) == (2, 1, permit.permit_no, BY)
    assert aliases(bank) == {"champion": 2}
    now = registry.champion(bank, MODEL)
    assert (now.version, now.permit.kind) == (2, "approval")
    assert kinds(bank) == ["bootstrap", "promoted"]
    assert registry.verify(bank).ok


def test_a_version_that_failed_a_later_judgement_is_not_promoted_on_the_permit_it_had(bank: Settings) -> None:
    approved(bank, 2)
    number, _ = judged(bank, 2, passed=False)
    with pytest.raises(Blocked, match=f"gate run {number} did not pass"):
        registry.promote(bank, MODEL, 2, expected_champion=1, by=BY)
    judged(bank, 2)
    assert registry.promote(bank, MODEL, 2, expected_champion=1, by=BY).version == 2


def test_another_champion_than_expected_is_a_conflict_that_is_recorded(bank: Settings) -> None:
    approved(bank, 2)
    with pytest.raises(Blocked, match=r"no champion was expected, but version 1 is since .* journal entry 2"):
        registry.promote(bank, MODEL, 2, expected_champion=None, by=BY)
    conflict = registry.entries(bank)[-1]
    assert (conflict.kind, conflict.facts["expected_champion"], conflict.facts["actual_champion"]) == (
        "conflict",
        None,
        1,
    )
    assert aliases(bank)["champion"] == 1
    assert registry.champion(bank, MODEL).version == 1
    assert registry.promote(bank, MODEL, 2, expected_champion=1, by=BY).version == 2


def test_naming_the_champion_there_is_does_not_make_up_for_an_approval_against_another(bank: Settings) -> None:
    """Two versions were approved against version 1; the second would replace the first, which nobody compared it with."""
    approved(bank, 2)
    other = register(bank, artefact_files(seed=3))
    approved(bank, other)
    registry.promote(bank, MODEL, 2, expected_champion=1, by=BY)
    with pytest.raises(Blocked, match="version 1 was expected to be champion, but version 2 is since"):
        registry.promote(bank, MODEL, other, expected_champion=2, by=BY)
    conflict = registry.entries(bank)[-1]
    assert (conflict.kind, conflict.facts["approved_against"], conflict.facts["actual_champion"]) == ("conflict", 1, 2)
    assert registry.champion(bank, MODEL).version == 2


def test_killed_between_entry_and_alias_it_is_finished_and_never_written_twice(
    bank: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    approved(bank, 2)

    def gone(*_: object) -> None:
        raise ConnectionBroken("killed here")

    with monkeypatch.context() as patch:
        patch.setattr(mlflow_store, "set_alias", gone)
        with pytest.raises(ConnectionBroken):
            registry.promote(bank, MODEL, 2, expected_champion=1, by=BY)
    assert aliases(bank)["champion"] == 1
    with pytest.raises(Blocked, match="journal says version 2 is champion"):
        registry.champion(bank, MODEL)
    done = registry.promote(bank, MODEL, 2, expected_champion=1, by=BY)
    assert (done.already, done.previous_champion, done.entry_no) == (True, 1, 2)
    assert aliases(bank) == {"champion": 2}
    assert kinds(bank) == ["bootstrap", "promoted"]


def test_a_permit_used_up_does_not_bring_a_replaced_version_back(bank: Settings) -> None:
    approved(bank, 2)
    registry.promote(bank, MODEL, 2, expected_champion=1, by=BY)
    approved(bank, 1)
    registry.promote(bank, MODEL, 1, expected_champion=2, by=BY)
    with pytest.raises(Blocked, match=r"was used before, by journal entry 2, and entry 3 \(promoted .* new approval"):
        registry.promote(bank, MODEL, 2, expected_champion=1, by=BY)
    assert kinds(bank) == ["bootstrap", "promoted", "promoted"]


def test_a_version_is_not_promoted_on_the_approval_of_another(bank: Settings) -> None:
    permit = approved(bank, 2)
    other = register(bank, artefact_files(seed=3))
    with pytest.raises(Blocked, match="has no permit as champion"):
        registry.promote(bank, MODEL, other, expected_champion=1, by=BY)
    with pytest.raises(Blocked, match=r"names version 2, .* and names files"):
        registry.promote(bank, MODEL, other, expected_champion=1, by=BY, permit_no=permit.permit_no)
    with pytest.raises(DataFault, match="no version 9"):
        registry.promote(bank, MODEL, 9, expected_champion=1, by=BY)
    with pytest.raises(DataFault, match="is no person"):
        registry.promote(bank, MODEL, 2, expected_champion=1, by="release")
    assert kinds(bank) == ["bootstrap"]


def test_a_permit_of_gates_alone_makes_no_champion(bank: Settings) -> None:
    permit = permitted(bank, 2, judged(bank, 2), None)
    assert [c.permit.kind for c in registry.challengers(bank, MODEL)] == ["gates"]
    with pytest.raises(Blocked, match="allows it as challenger only"):
        registry.promote(bank, MODEL, 2, expected_champion=1, by=BY, permit_no=permit.permit_no)


def test_files_that_changed_since_are_not_promoted(bank: Settings) -> None:
    approved(bank, 2)
    stored = mlflow_store.version(bank, "small", 2)
    for file in (bank.home / "mlflow").rglob(f"{stored.run_id}/**/model.cbm"):
        file.write_bytes(b"changed")
    for file in (bank.home / "cache").rglob("model.cbm"):
        file.write_bytes(b"changed")
    with pytest.raises(Blocked, match=r"changed: model\.cbm"):
        registry.promote(bank, MODEL, 2, expected_champion=1, by=BY)
    assert kinds(bank) == ["bootstrap"]


def test_an_expired_permit_promotes_nothing(bank: Settings) -> None:
    approved(bank, 2, days=1e-9)
    with pytest.raises(Blocked, match="expired on"):
        registry.promote(bank, MODEL, 2, expected_champion=1, by=BY)


def test_a_hundred_promotions_at_once_have_one_winner_and_ninety_nine_recorded_conflicts(bank: Settings) -> None:
    third = register(bank, artefact_files(seed=3))
    permits = [approved(bank, version) for version in (2, third) * 50]

    def attempt(permit: Permit) -> int | None:
        version, number = permit.version, permit.permit_no
        try:
            return registry.promote(bank, MODEL, version, expected_champion=1, by=BY, permit_no=number).version
        except Blocked:
            return None

    with ThreadPoolExecutor(10) as pool:
        outcomes = list(pool.map(attempt, permits))
    [winner] = [version for version in outcomes if version is not None]
    assert sorted(kinds(bank)) == ["bootstrap", *["conflict"] * 99, "promoted"]
    assert {entry.facts["permit_no"] for entry in registry.entries(bank)[1:]} == {p.permit_no for p in permits}
    assert registry.champion(bank, MODEL).version == winner
    assert aliases(bank)["champion"] == winner
    verified = registry.verify(bank)
    assert (verified.ok, verified.entries, verified.not_anchored) == (True, 101, 0)


def test_history_tells_champion_approver_and_evidence_at_any_time(bank: Settings) -> None:
    start = datetime.now(UTC)
    gate_run = judged(bank, 2)
    request = asked(bank, 2, gate_run, needed=2, expected=1)
    answered(bank, request)
    answered(bank, request, "second@bank.example")
    permit = permitted(bank, 2, gate_run, request)
    registry.promote(bank, MODEL, 2, expected_champion=1, by=BY, evidence_digest="e" * 64)
    before = registry.champion_at(bank, "small", start)
    assert (before.version, before.kind, before.approvals) == (1, "bootstrap", ())
    now = registry.champion_at(bank, "small", datetime.now(UTC))
    assert (now.version, now.permit_no, now.gate_digest) == (2, permit.permit_no, gate_run[1])
    assert [(a.person, a.answer) for a in now.approvals] == [("second@bank.example", "approve"), (APPROVER, "approve")]
    assert (now.previous, now.expected, now.evidence_digest, now.policy_version) == (1, 1, "e" * 64, "2026.1")
    assert (before.until, now.until) == (now.since, None)
    long_ago = registry.champion_at(bank, "small", datetime(2020, 1, 1, tzinfo=UTC))
    assert (long_ago.version, long_ago.entry_no) == (None, None)


@pytest.mark.parametrize(
    ("people", "said"),
    [
        ([], "approval of 0 persons; 1 are needed"),
        ([(APPROVER, "approve"), ("second@bank.example", "refuse")], "which second@bank.example refused"),
        ([("trainer@bank.example", "approve")], "trainer@bank.example, who trained the version or asked"),
        ([("requester@bank.example", "approve")], "requester@bank.example, who trained the version or asked"),
        ([("stranger@bank.example", "approve")], "stranger@bank.example, who is no validator named"),
    ],
)
def test_a_permit_without_enough_independent_approval_is_not_believed(
    bank: Settings, people: list[tuple[str, str]], said: str
) -> None:
    gate_run = judged(bank, 2)
    request = asked(bank, 2, gate_run)
    for person, answer in people:
        answered(bank, request, person, answer)
    permitted(bank, 2, gate_run, request)
    with pytest.raises(Blocked, match=said):
        registry.promote(bank, MODEL, 2, expected_champion=1, by=BY)


def test_a_permit_on_a_gate_run_that_failed_or_was_changed_is_not_believed(bank: Settings) -> None:
    failed = judged(bank, 2, passed=False)
    request = asked(bank, 2, failed)
    answered(bank, request)
    permitted(bank, 2, failed, request)
    with pytest.raises(Blocked, match="which did not pass"):
        registry.promote(bank, MODEL, 2, expected_champion=1, by=BY)
    run, _ = judged(bank, 2)
    request = asked(bank, 2, (run, "0" * 64))
    answered(bank, request)
    permitted(bank, 2, (run, "0" * 64), request)
    with pytest.raises(Blocked, match="no longer the one it was given for"):
        registry.promote(bank, MODEL, 2, expected_champion=1, by=BY)
    assert database.rows(bank, "SELECT count(*) AS n FROM vigil.journal") == [{"n": 1}]


@pytest.mark.parametrize("table", ["gate_run", "permit"])
def test_what_a_champion_rests_on_is_read_again_before_each_batch(bank: Settings, table: str) -> None:
    approved(bank, 2)
    registry.promote(bank, MODEL, 2, expected_champion=1, by=BY)
    change = {
        "gate_run": (
            "UPDATE vigil.gate_run SET report = replace(report, '0.71', '0.72')",
            "no longer the one it was given",
        ),
        "permit": (
            "UPDATE vigil.permit SET expires = expires + interval '1 year'",
            "no longer the one that its journal",
        ),
    }[table]
    with database.transaction(bank) as connection:
        database.execute(connection, f"ALTER TABLE vigil.{table} DISABLE TRIGGER {table}_append_only")
        database.execute(connection, change[0])
    with pytest.raises(Blocked, match=change[1]):
        registry.champion(bank, MODEL)


def test_a_refusal_that_came_after_the_permit_takes_it_back(bank: Settings) -> None:
    permit = approved(bank, 2)
    registry.promote(bank, MODEL, 2, expected_champion=1, by=BY)
    answered(bank, permit.request_no or 0, "second@bank.example", "refuse")
    with pytest.raises(Blocked, match=r"which second@bank\.example refused"):
        registry.champion(bank, MODEL)
