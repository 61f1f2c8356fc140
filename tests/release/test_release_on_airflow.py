"""A release through Airflow's own API and scheduler: every way it can end, and every way somebody could get round it.

The runs of all models are started together; each test then plays its part in one of them. They are ordered, because they share
one Airflow and its waiting times.
"""

from __future__ import annotations

import json

import pytest
from airflow_stack import Airflow, Person
from lender import AS_OF

from pipelines import database, mlflow_store, registry, training, validation
from pipelines.registry import approvals
from pipelines.registry.approval_records import ApprovalRequest
from pipelines.settings import Settings
from pipelines.spec import load_model

ANNA, BORIS, STRANGER = "anna@bank.example", "boris@bank.example", "stranger@bank.example"
TRAINER, OWNER = "trainer@bank.example", "owner@bank.example"
MODELS = ("both", "refused", "late", "own", "swapped", "weak")

POOL = {"name": "vigil_train", "slots": 3, "description": "", "include_deferred": False}

pytestmark = pytest.mark.timeout(1_200)  # of the first test, which waits for all of Airflow to start


class Release:
    """One run of a model's release DAG."""

    def __init__(self, airflow: Airflow, bank: Settings, model: str) -> None:
        self.airflow, self.bank, self.model = airflow, bank, model
        self.dag_id = f"{model}_release"
        self.run_id = airflow.person(OWNER).start(self.dag_id, business_date=AS_OF.isoformat())

    def wait(self, task_id: str, *states: str) -> str:
        def reached() -> str | None:
            state = self.tasks[task_id]
            return state if state in states else None

        return self.airflow.wait_for(reached, f"{self.dag_id} {task_id} {states}, tasks {self.tasks}")

    def ask(self, task_id: str) -> dict:
        """The form of an approval task, once it waits."""
        self.wait(task_id, "awaiting_input", "failed")
        form = self.admin.asked(self.dag_id, self.run_id, task_id)
        assert form, self.failure(task_id)
        return form

    def answer(self, person: str, task_id: str, choice: str = "Approve", **fields: object) -> int:
        return self.airflow.person(person).answer(self.dag_id, self.run_id, task_id, choice, **fields).status_code

    def settle(self, person: str, task_id: str, choice: str = "Approve", **fields: object) -> str:
        """Answer and see what becomes of the task. Airflow can lose an answer that comes within seconds of the question (its
        scheduler has not seen the task park) and asks again, by a retry; then the person answers again. A task that goes on
        with the answer it got is a new try too."""
        for _ in range(3):
            if (state := self.wait(task_id, "awaiting_input", "success", "failed")) != "awaiting_input":
                return state
            tried = self.tries(task_id)
            assert self.answer(person, task_id, choice, **fields) == 200
            self.airflow.wait_for(
                lambda: self.tasks[task_id] in ("success", "failed") or self.tries(task_id) > tried,  # noqa: B023
                f"{self.dag_id} {task_id} takes the answer",
            )
            if (state := self.tasks[task_id]) in ("success", "failed"):
                return state
        pytest.fail(f"{self.dag_id} {task_id} was asked three times")

    def tries(self, task_id: str) -> int:
        return self.admin.get(f"/dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances/{task_id}")["try_number"]

    def ends(self, state: str) -> dict[str, str]:
        """The tasks of the run, once it has ended."""
        self.airflow.wait_for(
            lambda: self.admin.run(self.dag_id, self.run_id)["state"] in ("success", "failed"), f"{self.dag_id} ends"
        )
        assert self.admin.run(self.dag_id, self.run_id)["state"] == state, self.tasks
        return self.tasks

    def failure(self, task_id: str) -> dict[str, str]:
        return self.admin.note_of(self.dag_id, self.run_id, task_id)

    def mark_success(self, task_id: str) -> None:
        self.admin.mark_success(self.dag_id, self.run_id, task_id)

    def clear(self, task_id: str) -> None:
        self.admin.clear(self.dag_id, self.run_id, task_id)

    @property
    def admin(self) -> Person:
        return self.airflow.person()

    @property
    def tasks(self) -> dict[str, str]:
        return self.admin.tasks(self.dag_id, self.run_id)

    @property
    def champion(self) -> int | None:
        return mlflow_store.get_aliases(self.bank, self.model).get("champion")

    @property
    def journal(self) -> list[str]:
        found = database.rows(
            self.bank, "SELECT kind FROM vigil.journal WHERE model = :model ORDER BY entry_no", model=self.model
        )
        return [row["kind"] for row in found if not row["kind"].startswith("gates")]


@pytest.fixture(scope="module")
def runs(airflow: Airflow, bank: Settings) -> dict[str, Release]:
    """A release of every model, started by the owner."""
    airflow.person().send("PATCH", "/pools/vigil_train", POOL).raise_for_status()  # judged side by side
    return {name: Release(airflow, bank, name) for name in MODELS}


def test_two_validators_approve_and_the_version_becomes_champion(runs):
    release = runs["both"]
    form = release.ask("approve_first")
    assert "May both version 1 become champion? (approval 1 of 2)" in form["subject"]
    for told in ("discrimination", TRAINER, OWNER, "is the first champion"):
        assert told in form["body"]
    assert {user["id"] for user in form["assigned_users"]} == {ANNA, BORIS, TRAINER}

    assert release.answer(STRANGER, "approve_first") == 403, "a validator whom the policy does not name"
    assert release.answer("admin", "approve_first") == 403, "an administrator of Airflow is no validator"
    assert release.answer(OWNER, "approve_first") == 403, "who asked has no right to answer anything"
    assert release.settle(ANNA, "approve_first", note="as good as it looks") == "success"
    release.ask("approve_second")
    assert release.champion is None
    assert release.settle(BORIS, "approve_second") == "success"
    assert set(release.ends("success").values()) == {"success"}
    assert release.champion == 1
    assert release.journal == ["requested", "approved", "promoted"]
    [request] = approvals.requests_of(release.bank, "both", 1)
    assert [(a.person, a.note) for a in request.answers] == [(ANNA, "as good as it looks"), (BORIS, "")]
    assert (request.trainer, request.requester) == (TRAINER, OWNER)


def test_a_refusal_ends_the_run_and_says_so(runs):
    release = runs["refused"]
    assert release.settle(ANNA, "approve", "Reject", note="the sample is too old") == "failed"
    tasks = release.ends("failed")
    assert (tasks["approve"], tasks["promote"]) == ("failed", "upstream_failed")
    assert release.failure("approve")["kind"] == "ApprovalRefused"
    assert "was refused by anna@bank.example: the sample is too old" in release.failure("approve")["message"]
    assert release.journal == ["requested", "refused"]
    assert release.champion is None
    release.clear("approve")
    assert release.ends("failed")["approve"] == "failed", "one run asks once: its old form would be shown again"


def test_silence_ends_the_run_and_says_so(runs):
    release = runs["late"]
    tasks = release.ends("failed")
    assert (tasks["approve"], tasks["promote"]) == ("failed", "upstream_failed")
    assert release.failure("approve")["kind"] == "ApprovalTimedOut"
    assert "timed out: 0 of 1 approvals" in release.failure("approve")["message"]
    assert release.journal == ["requested", "timed_out"]
    assert release.champion is None


def test_a_gate_failure_ends_the_run_and_nobody_is_asked(runs):
    release = runs["weak"]
    assert release.ends("failed") == {"judge": "failed", "approve": "upstream_failed", "promote": "upstream_failed"}
    assert release.failure("judge")["kind"] == "GatesFailed"
    assert "strict/discrimination.auc 0.7" in release.failure("judge")["message"]
    assert "at least 0.99" in release.failure("judge")["message"]
    assert release.journal == []
    assert release.champion is None


def test_who_trained_cannot_approve_and_the_task_can_ask_again(runs):
    release = runs["own"]
    assert release.settle(TRAINER, "approve") == "failed", "named by the policy, so Airflow takes the answer"
    release.ends("failed")
    failure = release.failure("approve")
    assert failure["kind"] == "Blocked"
    assert f"{TRAINER} trained it and may not approve it" in failure["message"]
    release.clear("approve")
    assert release.ask("approve")["params"]["request"]["value"] == request_of(release).request_no
    assert release.journal == ["requested"], "the same request, asked again"


def test_marking_the_task_as_success_promotes_nothing(runs):
    release = runs["own"]
    release.mark_success("approve")
    tasks = release.ends("failed")
    assert (tasks["approve"], tasks["promote"]) == ("success", "failed")
    assert "0 of 1 approvals are recorded" in release.failure("promote")["message"]
    assert release.journal == ["requested"]
    assert release.champion is None


def test_other_files_than_those_approved_are_not_promoted(runs):
    """Approve A, then ship B: the version's files are exchanged after the permit was given."""
    release = runs["swapped"]
    release.ask("approve")
    asked = request_of(release)
    assert approvals.answer(release.bank, asked.request_no, ANNA, "approve", "", "tests").ended == "granted"
    claim_files(release, mlflow_store.version(release.bank, "both", 1).tags["vigil.artefact_digest"])
    release.mark_success("approve")
    assert release.ends("failed")["promote"] == "failed"
    assert "names files" in release.failure("promote")["message"]
    claim_files(release, asked.artefact_digest)
    assert release.champion is None


def test_an_expired_permit_promotes_nothing(runs):
    release = runs["swapped"]
    with database.transaction(release.bank) as connection:
        database.execute(connection, "ALTER TABLE vigil.permit DISABLE TRIGGER permit_append_only")
        past = "SET granted_at = now() - interval '31 days', expires = now() - interval '1 day'"
        database.execute(connection, f"UPDATE vigil.permit {past} WHERE model = 'swapped' AND kind = 'approval'")
        database.execute(connection, "ALTER TABLE vigil.permit ENABLE TRIGGER permit_append_only")
    release.clear("promote")
    assert release.ends("failed")["promote"] == "failed"
    assert "expired on" in release.failure("promote")["message"]
    assert release.champion is None


def test_the_rehearsal_and_the_button_go_back_to_the_champion_before(runs, airflow, bank):
    """A second version replaces the first; the rehearsal goes back on a copy, and then the owner's button does. That the permit
    of another model was changed by hand in between is no reason against it."""
    model = load_model(bank.models, "both")
    anew = model.model_copy(update={"training": model.training.model_copy(update={"seed": model.training.seed + 1})})
    training.train(bank, anew, AS_OF, by=TRAINER)
    validation.judge(bank, model, 2, AS_OF)
    asked = approvals.request(bank, model, 2, requester=OWNER, place="tests")
    for person in (ANNA, BORIS):
        approvals.answer(bank, asked.request_no, person, "approve", "", "tests")
    registry.promote(bank, model, 2, expected_champion=1, by=OWNER)

    run_to_success(airflow, "both_rehearsal")
    [rehearsed] = database.rows(bank, "SELECT outcome, to_version FROM vigil.rehearsal WHERE model = 'both'")
    assert (rehearsed["outcome"], rehearsed["to_version"]) == ("passed", 1)
    assert runs["both"].champion == 2, "it went back on a copy alone"

    run_to_success(airflow, "both_rollback", params={"reason": "complaints since the second version"})
    assert runs["both"].champion == 1
    assert registry.entries(bank)[-1].facts["by"] == OWNER
    assert runs["both"].journal[-2:] == ["rehearsed", "rolled_back"]


def test_a_validator_answers_and_does_nothing_else(runs):
    release, anna = runs["both"], runs["both"].airflow.person(ANNA)
    assert anna.tasks(release.dag_id, release.run_id)["judge"] == "success"
    assert anna.send("PATCH", f"/dags/{release.dag_id}", {"is_paused": True}).status_code == 403
    assert anna.send("POST", f"/dags/{release.dag_id}/dagRuns", {"logical_date": None}).status_code == 403
    mark = f"/dags/{release.dag_id}/dagRuns/{release.run_id}/taskInstances/promote"
    assert anna.send("PATCH", mark, {"new_state": "failed"}).status_code == 403


def test_no_end_but_the_promoted_one_is_green(runs):
    states = {name: release.ends("success" if name == "both" else "failed") for name, release in runs.items()}
    assert [name for name, tasks in states.items() if tasks["promote"] == "success"] == ["both"]
    failed = {
        json.loads(line)["model"] for line in (runs["both"].bank.home / "failures.jsonl").read_text().splitlines()
    }
    assert failed == {"refused", "late", "weak", "own", "swapped"}


def run_to_success(airflow: Airflow, dag_id: str, params: dict[str, str] | None = None) -> None:
    """A run that the owner starts by hand, to its end."""
    owner = airflow.person(OWNER)
    run_id = owner.start(dag_id, **(params or {}))
    airflow.wait_for(lambda: owner.run(dag_id, run_id)["state"] in ("success", "failed"), f"{dag_id} ends")
    failed = [task for task, state in owner.tasks(dag_id, run_id).items() if state != "success"]
    assert not failed, [owner.note_of(dag_id, run_id, task)["message"] for task in failed]


def request_of(release: Release) -> ApprovalRequest:
    """The one request of the model."""
    [found] = approvals.requests_of(release.bank, release.model, 1)
    return found


def claim_files(release: Release, digest: str) -> None:
    """Let the registry's version claim the files of that digest."""
    with mlflow_store._answers(release.bank) as client:
        client.set_model_version_tag(release.model, "1", "vigil.artefact_digest", digest)
