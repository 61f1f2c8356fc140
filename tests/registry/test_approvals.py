"""Who may approve a version, what an approval is bound to, and how a request ends."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest
import yaml
from gate_runs import store_gate_run
from small_night import MODEL, artefact_files, register, small_settings, write_policy

from pipelines import database, mlflow_store
from pipelines.cli.main import main
from pipelines.contracts import Blocked, DataFault
from pipelines.registry import approvals, verify
from pipelines.registry.approvals import ApprovalTimedOut
from pipelines.registry.promotion import promote
from pipelines.settings import Settings
from pipelines.spec import Model

ANNA, BORIS, CARLA = "anna@bank.example", "boris@bank.example", "carla@bank.example"
TRAINER, OWNER = "trainer@bank.example", "owner@bank.example"
TIER_1 = Model.model_validate(MODEL.model_dump() | {"tier": 1})
APPROVALS = {
    "wait_hours": 2,
    "valid_days": 30,
    "tiers": {1: {"needed": 2, "validators": [ANNA, BORIS, CARLA, TRAINER, OWNER]}},
}
RULE = {"gate": "discrimination", "metric": "auc", "at_least": 0.6, "source": "tests"}


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return artefact_files()


@pytest.fixture
def bank(settings: Settings, files: dict[str, bytes]) -> Settings:
    """A version that passed its gates."""
    made = small_settings(settings)
    write_policy(made.project, approvals=APPROVALS, rules=[RULE])
    made.models.mkdir()
    (made.models / "small.yaml").write_text(yaml.safe_dump(TIER_1.model_dump(mode="json")))
    register(made, files, TIER_1, trained_by=TRAINER)
    store_gate_run(made, TIER_1, 1)
    return made


def ask(bank: Settings, requester: str = OWNER, **more):
    return approvals.request(bank, TIER_1, 1, requester=requester, place="tests", **more)


def say(bank: Settings, request, person: str, answer: str = "approve", **more):
    return approvals.answer(bank, request.request_no, person, answer, "seen", "tests", **more)


def journal(bank: Settings) -> list[tuple[str, dict]]:
    found = database.rows(bank, "SELECT kind, payload FROM vigil.journal ORDER BY entry_no")
    return [(row["kind"], json.loads(row["payload"])) for row in found]


def permits(bank: Settings) -> list[dict]:
    return [dict(row) for row in database.rows(bank, "SELECT * FROM vigil.permit")]


def overdue(bank: Settings, request) -> None:
    """Let the time of a request pass; only a superuser can, past the trigger."""
    with database.transaction(bank) as connection:
        database.execute(connection, "ALTER TABLE vigil.approval_request DISABLE TRIGGER approval_request_append_only")
        statement = "UPDATE vigil.approval_request SET answer_by = now() - interval '1 second' WHERE request_no = :no"
        database.execute(connection, statement, no=request.request_no)


def test_two_different_validators_give_a_permit_bound_to_everything_they_saw(bank):
    asked = ask(bank)
    first = say(bank, asked, "Anna@Bank.example")
    assert (first.state, first.approved_by, permits(bank)) == ("open", (ANNA,), [])
    granted = say(bank, asked, BORIS)
    assert (granted.state, granted.approved_by) == ("granted", (ANNA, BORIS))
    [permit] = permits(bank)
    assert (permit["kind"], permit["role"], permit["version"]) == ("approval", "champion", 1)
    assert permit["artefact_digest"] == mlflow_store.version(bank, "small", 1).tags["vigil.artefact_digest"]
    assert (permit["gate_run_no"], permit["gate_digest"]) == (asked.gate_run_no, asked.gate_digest)
    assert (permit["policy"], permit["policy_version"]) == (asked.policy, asked.policy_version)
    assert permit["request_no"] == asked.request_no
    assert permit["expires"] - permit["granted_at"] == timedelta(days=30)
    kinds = [kind for kind, _ in journal(bank)]
    assert kinds == ["requested", "approved"]
    told = journal(bank)[-1][1]
    assert [a["person"] for a in told["answers"]] == [ANNA, BORIS]
    assert (told["permit_no"], told["gate_digest"]) == (permit["permit_no"], asked.gate_digest)
    assert verify(bank).ok
    promote(bank, TIER_1, 1, expected_champion=None, by=OWNER)


@pytest.mark.parametrize(
    ("person", "why"),
    [
        ("stranger@bank.example", "is not one of the validators"),
        (TRAINER.upper(), f"{TRAINER} trained it and may not approve it"),
        (OWNER, f"{OWNER} asked for it and may not approve it"),
    ],
)
def test_who_may_not_answer_is_refused_and_the_request_stays_open(bank, person, why):
    asked = ask(bank)
    with pytest.raises(Blocked, match=why):
        say(bank, asked, person)
    with pytest.raises(Blocked, match=why):
        say(bank, asked, person, "refuse")
    assert approvals.open_requests(bank, "small") == [asked]


def test_one_person_is_one_approval(bank):
    asked = ask(bank)
    say(bank, asked, ANNA)
    with pytest.raises(Blocked, match="has answered already"):
        say(bank, asked, ANNA)
    assert permits(bank) == []


def test_a_name_that_is_no_person_is_a_fault(bank):
    with pytest.raises(DataFault, match="is no person"):
        say(bank, ask(bank), "anna")


def test_the_first_refusal_closes_and_asking_again_is_another_request(bank):
    asked = ask(bank)
    say(bank, asked, ANNA)
    assert say(bank, asked, BORIS, "refuse").state == "refused"
    with pytest.raises(Blocked, match="is closed: it was refused"):
        say(bank, asked, CARLA)
    assert permits(bank) == []
    assert [kind for kind, _ in journal(bank)] == ["requested", "refused"]
    assert ask(bank).request_no == asked.request_no + 1


def test_time_runs_out_once(bank):
    asked = ask(bank)
    with pytest.raises(Blocked, match="is open until"):
        approvals.time_out(bank, asked.request_no)
    say(bank, asked, ANNA)
    overdue(bank, asked)
    assert approvals.open_requests(bank)[0].state == "expired"
    with pytest.raises(ApprovalTimedOut, match="1 of 2 approvals had been given"):
        say(bank, asked, BORIS)
    assert approvals.time_out(bank, asked.request_no).state == "timed_out"
    assert [kind for kind, _ in journal(bank)] == ["requested", "timed_out"]
    assert permits(bank) == []


def test_an_answer_given_in_time_counts_even_when_it_is_recorded_late(bank):
    asked = ask(bank)
    overdue(bank, asked)
    assert say(bank, asked, ANNA, answered_at=datetime.now(UTC) - timedelta(hours=1)).approved_by == (ANNA,)


def test_a_request_past_its_time_is_closed_when_asked_again(bank):
    asked = ask(bank)
    overdue(bank, asked)
    again = ask(bank)
    assert again.request_no != asked.request_no
    assert [kind for kind, _ in journal(bank)] == ["requested", "timed_out", "requested"]


def test_asked_again_the_open_request_is_returned_also_to_two_at_once(bank):
    with ThreadPoolExecutor(4) as pool:
        numbers = {made.request_no for made in pool.map(lambda _: ask(bank), range(8))}
    assert len(numbers) == 1
    assert ask(bank, requester=CARLA).request_no not in numbers, "who asks may not answer, so it is another request"


def test_a_granted_request_is_returned_while_its_permit_is_valid(bank):
    asked = ask(bank)
    for person in (ANNA, BORIS):
        say(bank, asked, person)
    assert ask(bank).request_no == asked.request_no
    promote(bank, TIER_1, 1, expected_champion=None, by=OWNER)
    assert ask(bank).request_no == asked.request_no, "promoted meanwhile, and the task was cleared"


def test_a_version_compared_with_another_champion_is_judged_again_before_anyone_approves_it(bank):
    other = register(bank, artefact_files(seed=2), TIER_1, trained_by=TRAINER)
    store_gate_run(bank, TIER_1, other)
    waiting = approvals.request(bank, TIER_1, other, requester=OWNER, place="tests")
    first = ask(bank)
    for person in (ANNA, BORIS):
        say(bank, first, person)
    promote(bank, TIER_1, 1, expected_champion=None, by=OWNER)
    changed = "compared it with no version, but version 1 is champion now"
    with pytest.raises(Blocked, match=changed):
        say(bank, waiting, ANNA)
    with pytest.raises(Blocked, match=changed):
        approvals.request(bank, TIER_1, other, requester=OWNER, place="tests")
    store_gate_run(bank, TIER_1, other)
    asked = approvals.request(bank, TIER_1, other, requester=OWNER, place="tests")
    assert (asked.expected_champion, asked.request_no != waiting.request_no) == (1, True)


def test_other_files_under_the_version_are_not_approved(bank, files):
    """Approve A, then ship B: the registry's version now claims other files."""
    asked = ask(bank)
    say(bank, asked, ANNA)
    other = register(bank, artefact_files(seed=2), TIER_1)
    digest = mlflow_store.version(bank, "small", other).tags["vigil.artefact_digest"]
    with mlflow_store._answers(bank) as client:
        client.set_model_version_tag("small", "1", "vigil.artefact_digest", digest)
    with pytest.raises(Blocked, match=r"was asked for files .*, the registry now holds"):
        say(bank, asked, BORIS)
    assert permits(bank) == []


def test_a_newer_gate_report_that_found_otherwise_stops_the_approval(bank):
    asked = ask(bank)
    store_gate_run(bank, TIER_1, 1, passed=False)
    with pytest.raises(Blocked, match="did not pass"):
        say(bank, asked, ANNA)
    with pytest.raises(Blocked, match=r"did not pass \(small/discrimination.auc\)"):
        ask(bank)


def test_a_changed_policy_stops_the_approval(bank):
    asked = ask(bank)
    write_policy(bank.project, approvals=APPROVALS, rules=[RULE], version="2026.2")
    with pytest.raises(Blocked, match="other rules are in force today"):
        say(bank, asked, ANNA)


def test_rules_of_another_day_are_not_enough(bank):
    """A version is not approved on a report made as of a day before a rule came into force."""
    stricter = RULE | {"at_least": 0.9, "in_force_from": "2026-02-01"}
    write_policy(bank.project, approvals=APPROVALS, rules=[RULE, stricter])
    store_gate_run(bank, TIER_1, 1, on=date(2026, 1, 31))
    with pytest.raises(Blocked, match="as of 2026-01-31; other rules are in force today"):
        ask(bank)


def test_an_older_gate_run_cannot_be_chosen(bank):
    first = ask(bank).gate_run_no
    store_gate_run(bank, TIER_1, 1)
    with pytest.raises(Blocked, match="is not its newest"):
        ask(bank, gate_run_no=first)


def test_a_gate_report_that_was_altered_is_not_believed(bank):
    store_gate_run(bank, TIER_1, 1, passed=False)
    with database.transaction(bank) as connection:
        database.execute(connection, "ALTER TABLE vigil.gate_run DISABLE TRIGGER gate_run_append_only")
        changed = "UPDATE vigil.gate_run SET passed = true, report = replace(report, '\"fail\"', '\"pass\"')"
        database.execute(connection, changed)
    with pytest.raises(Blocked, match="the row was altered"):
        ask(bank)


def test_a_version_that_was_never_judged_or_whose_trainer_is_unknown_cannot_be_asked_for(bank, files):
    other = register(bank, artefact_files(seed=2), TIER_1, trained_by="")
    with pytest.raises(Blocked, match="was never judged under policy small"):
        approvals.request(bank, TIER_1, other, requester=OWNER, place="tests")
    store_gate_run(bank, TIER_1, other)
    with pytest.raises(Blocked, match="who trained it is not recorded"):
        approvals.request(bank, TIER_1, other, requester=OWNER, place="tests")


@pytest.mark.parametrize(
    ("section", "why"),
    [(None, "does not say who approves"), ({**APPROVALS, "tiers": {2: {"needed": 1, "validators": [ANNA]}}}, "tier 1")],
)
def test_a_policy_that_names_nobody_blocks(bank, section, why):
    write_policy(bank.project, approvals=section, rules=[RULE])
    with pytest.raises(Blocked, match=why):
        ask(bank)


def test_a_request_is_open_for_as_long_as_the_policy_says_at_most(bank):
    asked = ask(bank)
    assert asked.answer_by - asked.at == timedelta(hours=2)
    with pytest.raises(DataFault, match="up to 2 hours"):
        ask(bank, hours=3)


def test_what_was_asked_and_answered_cannot_be_changed(bank):
    say(bank, ask(bank), ANNA)
    for change in (
        "UPDATE vigil.approval_request SET needed = 1",
        "DELETE FROM vigil.approval_answer",
        "TRUNCATE vigil.approval_end",
    ):
        with pytest.raises(Exception, match="append-only"), database.transaction(bank) as connection:
            database.execute(connection, change)


def test_only_a_granted_request_is_taken_for_one(bank):
    with pytest.raises(Blocked, match="nobody was asked to approve it"):
        approvals.require_granted(bank, TIER_1, 1)
    asked = ask(bank)
    say(bank, asked, ANNA)
    with pytest.raises(Blocked, match="is open: 1 of 2 approvals are recorded"):
        approvals.require_granted(bank, TIER_1, 1)
    say(bank, asked, BORIS)
    assert approvals.require_granted(bank, TIER_1, 1).request_no == asked.request_no


def test_the_commands_say_who_may_answer_who_approved_and_what_comes_next(bank, monkeypatch, capsys):
    monkeypatch.setattr("pipelines.cli.app.get_settings", lambda: bank)

    def said(*arguments: str) -> str:
        assert main(["registry", *arguments]) == 0
        return capsys.readouterr().out

    asked = said("request", "--version", "1", "--by", OWNER)
    assert "0 of 2 approvals" in asked
    assert f"May answer: {ANNA}, {BORIS}" in asked
    assert "registry answer --request 1 --approve" in asked
    assert "1 of 2 approvals" in said("answer", "--request", "1", "--approve", "--by", ANNA)
    granted = said("answer", "--request", "1", "--approve", "--by", BORIS)
    assert f"is approved by {ANNA}, {BORIS}; permit 1" in granted
    assert "registry promote --model small --version 1 --expect none" in granted
    [approved] = [line for line in said("journal").splitlines() if "approved" in line]
    assert ANNA in approved
    assert OWNER not in approved, "who asked is not who approved"
