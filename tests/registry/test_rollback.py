"""Back to the last champion that still verifies, out of use and back again, and aliases that follow the journal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from importlib import import_module
from pathlib import Path

import pytest
from approved import approved
from bank_fixtures import copied
from small_night import MODEL, artefact_files, night, register, write_policy

from pipelines import mlflow_store, registry
from pipelines.contracts import Blocked, ConnectionBroken, DataFault
from pipelines.registry.rollback import earlier_champions
from pipelines.registry.standing import read_standings
from pipelines.scoring import score
from pipelines.settings import Settings
from pipelines.spec import Model
from pipelines.stack.postgres import EmbeddedPostgres

ANNA = "anna@bank.example"
DAY = date(2026, 6, 30)
REVIEW = {"every_days": {3: 100}, "overdue": "warn", "after_psi": 0.25, "rollback_seconds": 60}


@pytest.fixture
def bank(postgres: EmbeddedPostgres, bank_template: Settings, tmp_path: Path) -> Iterator[Settings]:
    """Champions were version 1, then 2, then 3."""
    with copied(postgres, bank_template, tmp_path / "home") as made:
        third = register(made, artefact_files(seed=3))
        for version in (2, third):
            approved(made, version)
            registry.promote(made, MODEL, version, expected_champion=version - 1, by=ANNA)
        yield made


def undo(settings: Settings, model: Model = MODEL, **changed: object) -> registry.Rollback:
    return registry.rollback(settings, model, **({"reason": "scores moved", "by": ANNA} | changed))


def damage(settings: Settings, version: int) -> None:
    stored = mlflow_store.version(settings, "small", version)
    digest = stored.tags["vigil.artefact_digest"]
    found = [*(settings.home / "mlflow").rglob(f"{stored.run_id}/**/model.cbm")]
    for file in [*found, *(settings.home / "cache" / "artefacts" / digest).glob("model.cbm")]:
        file.write_bytes(b"damaged")


def aliases(settings: Settings) -> dict[str, int]:
    return mlflow_store.get_aliases(settings, "small")


def test_a_rollback_goes_to_the_champion_before_and_never_forward_again(bank: Settings) -> None:
    shown = undo(bank, dry_run=True)
    assert (shown.from_version, shown.to_version, shown.entry_no) == (3, 2, None)
    assert aliases(bank) == {"champion": 3}
    done = undo(bank)
    assert (done.from_version, done.to_version, done.passed_over) == (3, 2, ())
    assert aliases(bank) == {"champion": 2}
    assert registry.champion(bank, MODEL).version == 2
    entry = registry.entries(bank)[-1]
    assert (entry.kind, entry.facts["reason"], entry.facts["by"]) == ("rolled_back", "scores moved", ANNA)
    assert undo(bank, reason="still bad").to_version == 1
    with pytest.raises(Blocked, match=r"no earlier champion .*: there was none.*registry retire --model small"):
        undo(bank, reason="worse")
    assert registry.verify(bank).ok


def test_versions_that_no_longer_verify_are_passed_over_with_the_reason(bank: Settings) -> None:
    damage(bank, 2)
    done = undo(bank)
    assert done.to_version == 1
    assert len(done.passed_over) == 1
    assert "version 2: artefact" in done.passed_over[0]
    assert "changed: model.cbm" in done.passed_over[0]
    assert registry.entries(bank)[-1].facts["passed_over"] == list(done.passed_over)


def test_a_version_whose_feature_left_the_model_file_is_no_target(bank: Settings) -> None:
    plain = MODEL.model_dump()
    plain["features"]["behaviour"]["product"]["categorical"] = False
    with pytest.raises(Blocked, match=r"version 2: .*has as another kind: product.*; version 1: "):
        undo(bank, Model.model_validate(plain))
    assert aliases(bank) == {"champion": 3}


def test_an_outage_is_not_taken_for_damage(bank: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise ConnectionBroken("the artefact store did not answer")

    monkeypatch.setattr("pipelines.registry.soundness.fetch_verified", gone)
    with pytest.raises(ConnectionBroken):
        undo(bank)


def test_an_expired_permit_is_no_target_even_where_scoring_only_warns(bank: Settings) -> None:
    champion_with_expired_permit(bank, 2)
    approved(bank, 3)
    registry.promote(bank, MODEL, 3, expected_champion=2, by=ANNA)
    write_policy(bank.project, review=REVIEW | {"expired_permit": "warn"})
    done = undo(bank)
    assert done.to_version == 1
    assert "version 2: " in done.passed_over[0]
    assert "expired on" in done.passed_over[0]


def test_killed_before_the_alias_followed_the_same_rollback_again_finishes_it(
    bank: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise ConnectionBroken("killed here")

    with monkeypatch.context() as patch:
        patch.setattr(mlflow_store, "set_alias", gone)
        with pytest.raises(ConnectionBroken):
            undo(bank)
    done = undo(bank)
    assert (done.already, done.from_version, done.to_version) == (True, 3, 2)
    assert aliases(bank) == {"champion": 2}
    again = undo(bank, expected_champion=3)
    assert (again.already, again.to_version) == (True, 2)
    with pytest.raises(Blocked, match="version 3 was to be rolled back, but version 2 is champion"):
        undo(bank, expected_champion=3, by="boris@bank.example")
    assert [e.kind for e in registry.entries(bank)].count("rolled_back") == 1


def test_a_champion_that_changes_while_the_rollback_is_prepared_stops_it(
    bank: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def promoted_meanwhile(settings: Settings) -> None:
        monkeypatch.undo()
        approved(settings, 2)
        registry.promote(settings, MODEL, 2, expected_champion=3, by=ANNA)

    monkeypatch.setattr(import_module("pipelines.registry.rollback"), "require_agreeing_head", promoted_meanwhile)
    with pytest.raises(Blocked, match="changed while the rollback was prepared"):
        undo(bank)
    assert registry.champion(bank, MODEL).version == 2
    conflict = registry.entries(bank)[-1]
    assert (conflict.kind, conflict.facts["expected_champion"], conflict.facts["actual_champion"]) == ("conflict", 3, 2)


@pytest.mark.parametrize(("changed", "said"), [({"reason": " "}, "reason is needed"), ({"by": "anna"}, "is no person")])
def test_reason_and_person_are_needed(bank: Settings, changed: dict[str, str], said: str) -> None:
    with pytest.raises(DataFault, match=said):
        undo(bank, **changed)
    with pytest.raises(DataFault, match=said):
        registry.retire(bank, MODEL, **({"reason": "old", "by": ANNA} | changed))


def test_a_retired_model_does_not_score_until_a_version_is_approved_again(bank: Settings) -> None:
    done = registry.retire(bank, MODEL, reason="replaced by another model", by="Anna@bank.example")
    assert (done.last_version, done.by, done.already) == (3, ANNA, False)
    assert aliases(bank) == {}
    assert registry.retire(bank, MODEL, reason="again", by=ANNA).already
    night(bank, DAY)
    with pytest.raises(Blocked, match=r"is retired: anna@bank.example .*replaced by another model.*new approval"):
        score(bank, MODEL, DAY)
    mlflow_store.set_alias(bank, "small", "champion", 3)
    with pytest.raises(Blocked, match="is retired"):
        registry.champion(bank, MODEL)
    with pytest.raises(Blocked, match="is retired"):
        undo(bank)
    approved(bank, 2)
    assert registry.promote(bank, MODEL, 2, expected_champion=None, by=ANNA).version == 2
    assert registry.champion(bank, MODEL).version == 2
    assert [one.version for one in earlier_champions(read_standings(bank, "small"))] == [3, 1]


def test_an_alias_moved_or_removed_by_hand_stops_the_next_batch_and_is_put_back(bank: Settings) -> None:
    night(bank, DAY)
    asked = (
        r"owner@bank.example \(owner\) and validator@bank.example \(validator\).*"
        r"python -m pipelines registry align --model small"
    )
    mlflow_store.set_alias(bank, "small", "champion", 1)
    with pytest.raises(Blocked, match=rf"journal says version 3 is champion .* is at version 1; .*{asked}"):
        score(bank, MODEL, DAY)
    done = registry.align(bank, MODEL)
    assert (done.champion, done.changes) == (3, ("alias `champion` set to version 3 (it was at 1)",))
    mlflow_store.delete_alias(bank, "small", "champion")
    with pytest.raises(Blocked, match=rf"alias `champion` is gone; .*{asked}"):
        score(bank, MODEL, DAY)
    mlflow_store.set_alias(bank, "small", "challenger_2", 3)
    assert len(registry.align(bank, MODEL).changes) == 2
    assert aliases(bank) == {"champion": 3}
    assert registry.align(bank, MODEL).changes == ()
    assert score(bank, MODEL, DAY).model_version == 3


def test_an_expired_permit_stops_or_warns_as_the_policy_says(bank: Settings, caplog: pytest.LogCaptureFixture) -> None:
    champion_with_expired_permit(bank, 2)
    with pytest.raises(Blocked, match=r"permit \d+ expired on"):
        registry.champion(bank, MODEL)
    write_policy(bank.project, review=REVIEW | {"expired_permit": "warn"})
    assert registry.champion(bank, MODEL).permit.expired
    assert "is used as champion though permit" in caplog.text
    write_policy(bank.project, review=None)
    with pytest.raises(Blocked, match="expired on"):
        registry.champion(bank, MODEL)


def champion_with_expired_permit(settings: Settings, version: int) -> None:
    """As a promotion leaves it once the permit's time is over."""
    permit = approved(settings, version, days=1e-9)
    with registry.journalled(settings) as connection:
        facts = {"version": version, "artefact_digest": permit.artefact_digest, "permit_no": permit.permit_no,
                 "permit_digest": permit.digest, "by": ANNA}  # fmt: skip
        registry.append(connection, "small", "promoted", facts)
    registry.align(settings, MODEL)
