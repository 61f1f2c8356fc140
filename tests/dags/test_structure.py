"""Every DAG is built the same way. Each failure says which file to edit."""

from __future__ import annotations

import ast
import json
from itertools import pairwise
from pathlib import Path

import pytest

from pipelines import contracts
from pipelines.settings import REPOSITORY
from pipelines.spec import load_model, load_policy

DAGS = REPOSITORY / "dags"
PARTS = ("ingest", "features", "score", "train", "release", "rehearsal", "rollback")
UNDATED = ("rehearsal", "rollback")
HEALTHY = ("credit_default", "aml_customer", "on_request")

TOPOLOGY = {
    "ingest": ["land", "check_source", "publish"],
    "features": ["build", "check_features", "materialise"],
    "score": ["score", "publish", "raise_alerts"],
    "train": ["build_history", "train"],
    "release": ["judge", "approve_first", "approve_second", "promote"],
    "rehearsal": ["rehearse"],
    "rollback": ["standing", "rollback"],
}
ONLY_AML = ("raise_alerts",)
HELPERS = ("vigil_dags", "vigil_approval")
OF_NO_MODEL = ("registry",)


@pytest.fixture(params=[f"{model}_{part}" for model in HEALTHY for part in PARTS])
def dag(bag, request):
    assert request.param in bag.dags, f"{request.param} was not generated: see dags/vigil_dags.py, generate()"
    return bag.dags[request.param]


def model_of(dag, project: Path):
    return load_model(project / "models", dag.dag_id.rpartition("_")[0])


def part_of(dag) -> str:
    return dag.dag_id.rpartition("_")[2]


def is_approval(task) -> bool:
    return task.task_id.startswith("approve")


def test_every_dag_file_is_listed():
    files = {path.stem for path in DAGS.glob("*.py")}
    assert files == {*PARTS, *HELPERS, *OF_NO_MODEL}, (
        "a new DAG file: add it to PARTS and TOPOLOGY in tests/dags/test_structure.py"
    )


@pytest.mark.parametrize("part", PARTS)
def test_a_dag_file_stays_short(part):
    lines = (DAGS / f"{part}.py").read_text().count("\n")
    assert lines < 120, (
        f"dags/{part}.py has {lines} lines: work belongs in pipelines/, shared parts in dags/vigil_dags.py"
    )


def test_nothing_failed_to_parse(bag):
    assert bag.import_errors == {}


def test_owner_and_tags_come_from_the_model_file(dag, project):
    model = model_of(dag, project)
    assert dag.owner == model.owner, "set owner in dags/vigil_dags.py, default_args"
    expected = {model.name, model.domain, f"tier-{model.tier}", *model.tags}
    assert set(dag.tags) == expected, "set tags in dags/vigil_dags.py, _model_dag()"


def test_one_run_at_a_time_and_no_catchup(dag):
    assert dag.max_active_runs == 1, "two runs of one date would race: dags/vigil_dags.py, max_active_runs"
    assert dag.catchup is False, "missed nights are rerun by a person: dags/vigil_dags.py, catchup"


def test_only_what_starts_a_night_or_a_training_waits_for_a_person(dag):
    ready = part_of(dag) in ("features", "score", "release", *UNDATED)
    expected = False if ready else None
    assert dag.is_paused_upon_creation is expected, "an asset's event makes no run of a paused DAG: dags/vigil_dags.py"


def test_every_task_has_a_time_limit_retries_and_a_pool(dag, project):
    pools = json.loads((DAGS / "pools.json").read_text())
    limit = model_of(dag, project).schedule.timeout_minutes * 60
    for task in dag.tasks:
        if not is_approval(task):  # which ends by its response_timeout, and then by the run's
            assert task.execution_timeout.total_seconds() == limit, "dags/vigil_dags.py, execution_timeout"
        assert task.retries >= 3, "a broken connection deserves more tries: dags/vigil_dags.py, retries"
        assert task.retry_exponential_backoff > 1, "dags/vigil_dags.py, retry_exponential_backoff"
        assert type(task.retry_policy).__name__ == "FaultsAreFinal", "dags/vigil_dags.py, retry_policy"
        assert task.pool in pools, f"pool {task.pool} would never run a task: add it to dags/pools.json"
    waits = max((t.response_timeout.total_seconds() for t in dag.tasks if is_approval(t)), default=0)
    assert dag.dagrun_timeout.total_seconds() > limit + waits, (
        "a hung queue must be noticed, and a person may take as long as the policy says: dags/vigil_dags.py, dagrun_timeout"
    )


def test_the_failure_callback_is_on_the_dag_and_on_no_task(dag):
    assert dag.on_failure_callback.__name__ == "report_failure", "dags/vigil_dags.py, on_failure_callback"
    for task in dag.tasks:
        assert not task.on_failure_callback, f"{task.task_id}: a task's callback is lost when its process is killed"


def test_the_page_of_a_dag_is_its_files_docstring(dag):
    docstring = ast.get_docstring(ast.parse((DAGS / f"{part_of(dag)}.py").read_text()))
    assert docstring.strip() in dag.doc_md, "dags/vigil_dags.py, doc_md"
    for heading in ("**When**", "**Reads**", "**Writes**", "**If it fails**", "**Rerun**"):
        assert heading in docstring, f"dags/{part_of(dag)}.py: the operator's page lacks {heading}"
    for task in dag.tasks:
        assert task.doc_md, f"dags/{part_of(dag)}.py: {task.task_id} needs a docstring"
        assert f"`{task.task_id}`" in docstring, f"dags/{part_of(dag)}.py: {task.task_id} unexplained"


def test_every_param_is_described(dag):
    for name in dag.params:
        param = dag.params.get_param(name)
        assert param.description, f"dags/vigil_dags.py: param {name} has no description"
        limits = {"version": ("minimum", 1), "reason": ("minLength", 10)}
        key, value = limits.get(name, ("format", "date"))
        assert param.schema.get(key) == value, f"dags/vigil_dags.py: param {name} takes anything"


def test_topology(dag):
    order = [task.task_id for task in dag.topological_sort()]
    edges = {(up.task_id, down) for up in dag.tasks for down in up.downstream_task_ids}
    expected = [task for task in TOPOLOGY[part_of(dag)] if task not in ONLY_AML or "aml" in dag.tags]
    if len([task for task in dag.tasks if is_approval(task)]) == 1:
        expected = ["approve" if task == "approve_first" else task for task in expected if task != "approve_second"]
    assert order == expected, f"dags/{part_of(dag)}.py, wire()"
    assert edges == set(pairwise(expected)), f"dags/{part_of(dag)}.py, wire()"


@pytest.mark.parametrize("part", PARTS)
def test_a_task_is_named_after_the_step_function_it_calls(part):
    tree = ast.parse((DAGS / f"{part}.py").read_text())
    steps = {
        node.name: {inner.attr for inner in ast.walk(node) if isinstance(inner, ast.Attribute)}
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any(isinstance(d, ast.Name) and d.id in ("step", "act") for d in node.decorator_list)
    }
    assert sorted(steps) == sorted(t for t in TOPOLOGY[part] if not t.startswith("approve")), f"dags/{part}.py"
    for name, used in steps.items():
        assert name in used, f"dags/{part}.py: task {name} does not call a step function of its name"


@pytest.mark.parametrize("name", HEALTHY)
def test_as_many_persons_are_asked_as_the_policy_says(bag, project, name):
    model = load_model(project / "models", name)
    limits = load_policy(REPOSITORY / "policies", model.policy).approvals
    asked = [task for task in bag.dags[f"{name}_release"].tasks if is_approval(task)]
    assert len(asked) == (limits.tiers[model.tier].needed if limits else 1), "dags/vigil_approval.py, approvals_of()"
    for task in asked:
        assert task.response_timeout.total_seconds() == (limits.wait_hours * 3600 if limits else 60)
        assert task.fail_on_reject, "a refusal must never be green"
        assert not task.defaults, "silence is no approval"


def test_dags_are_joined_by_assets(bag, project):
    for name in HEALTHY:
        cron = load_model(project / "models", name).schedule.cron
        assert bag.dags[f"{name}_ingest"].timetable.can_be_scheduled is (cron is not None), "dags/ingest.py"
        assert not bag.dags[f"{name}_train"].timetable.can_be_scheduled, "dags/train.py: training starts on request"
        waits = {part: _awaited(bag.dags[f"{name}_{part}"]) for part in ("features", "score", "release")}
        assert waits == {
            "features": {contracts.sources_asset(name)},
            "score": {contracts.features_asset(name)},
            "release": {contracts.champion_asset(name)},
        }, "the schedule() of dags/features.py, dags/score.py and dags/release.py"


def test_a_rollback_waits_for_a_person_and_is_rehearsed_every_week(bag, project):
    for name in HEALTHY:
        button, weekly = bag.dags[f"{name}_rollback"], bag.dags[f"{name}_rehearsal"]
        assert not button.timetable.can_be_scheduled, "dags/rollback.py: only a person rolls back"
        assert set(button.params) == {"reason"}, "dags/rollback.py: a rollback has a reason and no business date"
        assert not button.params.get_param("reason").has_value, (
            "dags/rollback.py: nobody gives the reason but the person"
        )
        *_, weekday = weekly.timetable.expression.split()
        assert weekday.isdigit(), "dags/rehearsal.py: a rollback is rehearsed once a week"
        assert not weekly.params


def test_every_awaited_asset_is_written_by_one_task(bag):
    writers: dict[str, list[str]] = {}
    for dag in bag.dags.values():
        for task in dag.tasks:
            for asset in task.outlets:
                writers.setdefault(asset.name, []).append(task.task_id)
    for name in HEALTHY:
        assert writers[contracts.sources_asset(name)] == ["publish"], "outlets in dags/ingest.py, wire()"
        assert writers[contracts.features_asset(name)] == ["check_features"], "outlets in dags/features.py, wire()"
        assert writers[contracts.scores_asset(name)] == ["publish"], "outlets in dags/score.py, wire()"
        assert writers[contracts.champion_asset(name)] == ["train"], "outlets in dags/train.py, wire()"


@pytest.mark.parametrize(
    "dag_id", [*(f"misspelt_{part}" for part in PARTS), "bad_cron_ingest", "bad_zone_ingest", "a_b_ingest"]
)
def test_a_model_file_that_cannot_be_used_stays_visible_and_fails_alone(bag, dag_id):
    dag = bag.dags[dag_id]
    assert "broken" in dag.tags
    assert dag.on_failure_callback.__name__ == "report_failure"
    assert dag.timetable.can_be_scheduled is dag_id.endswith("_ingest"), "the missing night would be silent"
    with pytest.raises(contracts.DataFault, match=r"models/.*\.yaml cannot be used"):
        dag.get_task("read_model_file").python_callable()


def test_the_page_of_a_broken_model_says_what_to_correct(bag):
    assert "did you mean 'owner'" in bag.dags["misspelt_ingest"].doc_md
    assert "schedule.cron: '61 2 * * *'" in bag.dags["bad_cron_ingest"].doc_md
    assert "Mars/Olympus" in bag.dags["bad_zone_ingest"].doc_md


def _awaited(dag) -> set[str]:
    return {dag.timetable.asset_condition.name}
