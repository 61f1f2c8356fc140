"""The inventory: every model has a line that says what it may do and when it is looked at again."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta

import pytest
import yaml
from inventoried import VALIDATOR, project_of, promote, publish, write_model

from pipelines import database
from pipelines.cli import output, registry_inventory
from pipelines.contracts import Blocked
from pipelines.registry import journal, reviews
from pipelines.registry.incidents import incidents
from pipelines.registry.inventory import Due, InventoryLine, inventory
from pipelines.registry.oversight import require_reviewed, watch
from pipelines.settings import Settings
from pipelines.spec import load_model, load_policy

NOW = datetime.now(UTC)
TODAY = NOW.date()
APPROVED = NOW - timedelta(days=100)
LATER = NOW + timedelta(days=265)


def line_of(settings: Settings, model: str, on: date = TODAY) -> InventoryLine:
    return next(line for line in inventory(settings, on) if line.model == model)


def kinds(settings: Settings, *, every: bool = False) -> list[tuple[str, str, str]]:
    return [(i.model, i.kind, i.state) for i in incidents(settings, every=every)]


def test_every_status_is_told_from_the_records(settings: Settings) -> None:
    bank = project_of(settings, "asked", "expired", "fresh", "kept", "gone")
    promote(bank, "kept", 3, granted=APPROVED, expires=LATER)
    promote(bank, "expired", 1, granted=APPROVED, expires=NOW - timedelta(days=1))
    promote(bank, "gone", 2, granted=APPROVED, expires=LATER)
    promote(bank, "lost", 2, granted=APPROVED, expires=LATER)
    with database.transaction(bank) as connection:
        journal.append(connection, "gone", "retired", {"by": VALIDATOR, "reason": "replaced"})
        database.execute(
            connection,
            "INSERT INTO vigil.gate_run (model, version, artefact_digest, judged_on, policy, policy_version, passed, "
            "digest, report) VALUES ('asked', 1, repeat('a', 64), '2026-06-30', 'small', '1', true, repeat('b', 64), '{}')",
        )
    (bank.models / "torn.yaml").write_text("name: torn\n")
    found = {line.model: line for line in inventory(bank, TODAY)}
    assert {name: line.status for name, line in found.items()} == {
        "asked": "candidate",
        "expired": "permit_expired",
        "fresh": "never_approved",
        "kept": "in_production",
        "gone": "retired",
        "lost": "unreadable",
        "torn": "unreadable",
    }
    kept = found["kept"]
    assert (kept.owner, kept.validator, kept.tier, kept.domain, kept.purpose) == (
        *("owner@bank.example", "validator@bank.example", 3),
        *("credit", "tests"),
    )
    assert (kept.champion_version, kept.permit_expires) == (3, LATER)
    assert found["gone"].review is None
    assert "journal knows" in found["lost"].note
    assert "torn.yaml" in found["torn"].note


def test_a_review_is_due_by_the_calendar_of_its_tier(settings: Settings) -> None:
    bank = project_of(settings, "kept", every_days={1: 365, 2: 730, 3: 120})
    promote(bank, "kept", 1, granted=APPROVED, expires=LATER)
    due = APPROVED.date() + timedelta(days=120)
    line = line_of(bank, "kept")
    assert line.review is not None
    assert (line.review.on, line.overdue) == (due, False)
    assert "120 days after the permit" in line.review.reason
    assert not line_of(bank, "kept", due).overdue
    assert line_of(bank, "kept", due + timedelta(days=1)).overdue


def test_drift_since_the_approval_makes_it_due_at_once_and_a_review_counts_anew(settings: Settings) -> None:
    bank = project_of(settings, "kept")
    promote(bank, "kept", 1, granted=APPROVED, expires=LATER)
    publish(bank, "kept", date(2026, 1, 1), 0.9, APPROVED - timedelta(days=5))
    publish(bank, "kept", date(2026, 1, 2), 0.24, APPROVED + timedelta(days=5))
    assert line_of(bank, "kept").review.on == APPROVED.date() + timedelta(days=1095)  # type: ignore[union-attr]
    publish(bank, "kept", date(2026, 1, 3), 0.25, NOW - timedelta(days=2))
    publish(bank, "kept", date(2026, 1, 4), None, NOW - timedelta(days=1))
    line = line_of(bank, "kept")
    assert line.review is not None
    assert line.review.on == (NOW - timedelta(days=2)).date()
    assert "PSI 0.250 of the scores of 2026-01-03 reached 0.25" in line.review.reason
    assert line.overdue
    assert (line.psi, line.psi_date) == (None, date(2026, 1, 4))
    reviews.record(
        bank, load_model(bank.models, "kept"), outcome="fit", note="The drift is the new product.", by=VALIDATOR
    )
    assert line_of(bank, "kept").review.on == TODAY + timedelta(days=1095)  # type: ignore[union-attr]


@pytest.mark.parametrize("consequence", ["stop", "warn"])
def test_an_overdue_review_opens_an_incident_and_stops_or_warns_by_policy(settings: Settings, consequence: str) -> None:
    bank = project_of(settings, "kept", every_days={1: 1, 2: 1, 3: 30}, overdue=consequence)
    promote(bank, "kept", 1, granted=APPROVED, expires=LATER)
    model, policy = load_model(bank.models, "kept"), load_policy(bank.policies, "small")
    require_reviewed(bank, model, policy, APPROVED.date() + timedelta(days=30))
    assert incidents(bank) == ()
    if consequence == "warn":
        require_reviewed(bank, model, policy, TODAY)
    else:
        with pytest.raises(Blocked, match=r"kept: the review of version 1 is overdue.*validator@bank.example"):
            require_reviewed(bank, model, policy, TODAY)
    [opened] = incidents(bank)
    assert (opened.kind, opened.severity, opened.state) == ("review_overdue", 3, "open")
    assert watch(bank, TODAY).overdue == ("kept",)
    assert len(incidents(bank, every=True)) == 1
    reviews.record(bank, model, outcome="fit_with_conditions", note="Watch the cards.", by=VALIDATOR)
    require_reviewed(bank, model, policy, TODAY)
    assert kinds(bank, every=True) == [("kept", "review_overdue", "resolved")]


def test_a_model_without_a_champion_needs_no_review(settings: Settings) -> None:
    bank = project_of(settings, "fresh", overdue="stop")
    require_reviewed(bank, load_model(bank.models, "fresh"), load_policy(bank.policies, "small"), date(2999, 1, 1))
    assert watch(bank, date(2999, 1, 1)).overdue == ()


def test_an_expired_permit_opens_an_incident_until_there_is_a_new_one(settings: Settings) -> None:
    bank = project_of(settings, "kept")
    promote(bank, "kept", 1, granted=APPROVED, expires=NOW - timedelta(days=1))
    assert watch(bank, TODAY).permit_expired == ("kept",)
    [opened] = incidents(bank)
    assert opened.kind == "permit_expired"
    assert "owner@bank.example" in opened.message
    promote(bank, "kept", 2, granted=NOW, expires=LATER)
    assert watch(bank, TODAY).permit_expired == ()
    assert kinds(bank, every=True) == [("kept", "permit_expired", "resolved")]


def test_retirement_resolves_what_was_overdue(settings: Settings) -> None:
    bank = project_of(settings, "kept", every_days={1: 1, 2: 1, 3: 1})
    promote(bank, "kept", 1, granted=APPROVED, expires=LATER)
    watch(bank, TODAY)
    with database.transaction(bank) as connection:
        journal.append(connection, "kept", "retired", {"by": VALIDATOR, "reason": "replaced"})
    assert watch(bank, TODAY).unresolved_incidents == 0


def test_a_file_that_cannot_be_read_is_an_incident_and_hides_no_other(settings: Settings) -> None:
    bank = project_of(settings, "kept")
    write_model(bank.project, "odd", policy="nowhere")
    promote(bank, "odd", 1, granted=APPROVED, expires=LATER)
    (bank.models / "torn.yaml").write_text("name: torn\n")
    assert watch(bank, TODAY).unreadable == ("torn",)
    assert sorted(kinds(bank)) == [("odd", "no_review_rule", "open"), ("torn", "model_unreadable", "open")]
    write_model(bank.project, "torn")
    assert watch(bank, TODAY).unreadable == ()


def test_a_policy_without_a_rhythm_says_so(settings: Settings) -> None:
    bank = project_of(settings, "kept")
    place = bank.policies / "small.yaml"
    place.write_text(yaml.safe_dump({k: v for k, v in yaml.safe_load(place.read_text()).items() if k != "review"}))
    promote(bank, "kept", 1, granted=APPROVED, expires=LATER)
    assert "no section review" in line_of(bank, "kept").note
    watch(bank, TODAY)
    assert kinds(bank) == [("kept", "no_review_rule", "open")]


def test_three_hundred_models_are_answered_in_a_moment(settings: Settings) -> None:
    names = [f"model_{number:03}" for number in range(300)]
    bank = project_of(settings, *names)
    for name in names[::3]:
        promote(bank, name, 1, granted=APPROVED, expires=LATER)
        publish(bank, name, date(2026, 1, 3), 0.3, NOW)
    started = time.perf_counter()
    found = inventory(bank, TODAY)
    took = time.perf_counter() - started
    assert [line.model for line in found] == names
    assert sum(line.status == "in_production" for line in found) == 100
    assert sum(line.review is not None and "PSI" in line.review.reason for line in found) == 100
    assert took < 3, f"{took:.1f} s"


@pytest.mark.parametrize(("overdue", "begins"), [(False, "2027-01-01: 365 days"), (True, "OVERDUE since 2027-01-01")])
def test_the_table_calls_overdue_only_what_is(overdue: bool, begins: str) -> None:
    due = Due(on=date(2027, 1, 1), reason="365 days after the permit of 2026-01-01")
    line = InventoryLine(model="kept", status="in_production", review=due, overdue=overdue)
    [row] = output.as_rows([line])
    assert registry_inventory._told(row)["review_due"].startswith(begins)
