"""What the DAG files share: how a model file becomes a DAG, what a task is, and which business date a run has.

Business date of a run, first that applies:
    1. the param `business_date` (`--conf '{"business_date": "2026-06-30"}'`, or the form in the UI);
    2. the run's partition key: DAGs joined by an asset get the business date of the run that wrote the asset;
    3. a scheduled (or backfilled) run: the calendar day before the cron time, in the model's time zone.
Any other run is refused: a business date is never guessed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import (
    DAG,
    Asset,
    CronTriggerTimetable,
    Param,
    PartitionedAssetTimetable,
    RetryDecision,
    RetryPolicy,
    StartOfDayMapper,
    get_current_context,
    get_parsing_context,
    task,
)
from airflow.sdk.exceptions import AirflowTimetableInvalid

from pipelines import failure
from pipelines.contracts import DataFault, Value, VigilError, json_ready
from pipelines.settings import Settings, get_settings
from pipelines.spec import Contract, Model, load_contract, load_model, model_names

POOL = {
    "ingest": "vigil_ingest",
    "features": "vigil_compute",
    "score": "vigil_compute",
    "train": "vigil_train",
    "release": "vigil_release",
    "rehearsal": "vigil_compute",
    "rollback": "vigil_release",
}
_READY = ("rehearsal", "rollback")  # nobody should have to look for the switch when a rollback is needed
_FOLLOWS = ("features", "score", "release")
_NOTE = "failure"
_log = logging.getLogger(__name__)


def no_wait(_model: Model) -> timedelta:
    """Nobody is waited for."""
    return timedelta()


def generate(
    part: str,
    doc: str | None,
    schedule: Callable[[Model], Any],
    wire: Callable[[Model], object],
    *,
    params: Mapping[str, Param] | None = None,
    waits: Callable[[Model], timedelta] = no_wait,
    dated: bool = True,
) -> dict[str, DAG]:
    """The DAG `<model>_<part>` of every model, or only the one that a worker is about to run.

    `params` are asked for beside the business date; `waits` is how long a run may wait for persons beside its work. A DAG
    that is not `dated` has no business date.

    A model file that cannot be used does not take the others down: its DAG stays visible, tagged `broken`, and fails
    with the file's error; for ingest every midnight, so that a night that cannot start is heard.
    """
    folder = get_settings().models
    wanted = get_parsing_context().dag_id
    dags = {}
    for name in model_names(folder):
        dag_id = re.sub(r"[^\w.-]", "_", f"{name}_{part}")
        if wanted not in (None, dag_id):
            continue
        asked = ({"business_date": _business_date_param()} if dated else {}) | dict(params or {})
        try:
            dags[dag_id] = _model_dag(load_model(folder, name), part, doc, schedule, wire, asked, waits)
        except Exception as fault:  # noqa: BLE001 - whatever is wrong with one model stays with that model
            dags[dag_id] = _broken_dag(dag_id, part, name, f"{type(fault).__name__}: {fault}")
    return dags


def nightly(model: Model) -> CronTriggerTimetable | None:
    """The model's own schedule; None means only on request. Raises DataFault when the cron is not one."""
    if model.schedule.cron is None:
        return None
    timetable = CronTriggerTimetable(model.schedule.cron, timezone=model.schedule.timezone)
    try:
        timetable.validate()
    except AirflowTimetableInvalid as error:
        raise DataFault(f"schedule.cron: {model.schedule.cron!r} is not a cron expression. {error}") from None
    return timetable


def after(asset: str) -> PartitionedAssetTimetable:
    """One run for each business date written to an asset; the run's partition key is that date."""
    return PartitionedAssetTimetable(
        assets=Asset(asset), default_partition_mapper=StartOfDayMapper(input_format="%Y-%m-%d")
    )


class FaultsAreFinal(RetryPolicy):
    """A fault in the data is final at once. A broken connection, a killed process and a lost worker are tried again with
    growing delay. An error nobody foresaw is tried once more: waiting rarely heals a bug."""

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> RetryDecision:
        if isinstance(exception, VigilError):
            return RetryDecision.default() if exception.retry else RetryDecision.fail("trying again cannot help")
        return RetryDecision.default() if try_number == 1 else RetryDecision.fail("failed again the same way")


def step(body: Callable[[Settings, Model, date], Any]) -> Any:
    """A task made from a function of (settings, model, business date).

    Its values go to XCom as JSON, its outlets are announced for the business date, and its error is noted where the
    failure callback finds it.
    """

    def run(name: str) -> Any:
        context = get_current_context()
        with noting_failure(context):
            settings = get_settings()
            model = load_model(settings.models, name)
            day = business_date(context, model.schedule.timezone)
            _log.info("%s: %s for business date %s", model.name, body.__name__, day)
            result = body(settings, model, day)
        for asset in context["task"].outlets:
            context["outlet_events"][asset].add_partitions(day.isoformat())
        return _as_json(result)

    return _named(run, body)


def act(body: Callable[..., Any]) -> Any:
    """A task made from a function of (settings, model, context, values of earlier tasks), for work that has no business date.

    Its values go to XCom as JSON, and its error is noted where the failure callback finds it.
    """

    def run(name: str, *given: Any) -> Any:
        context = get_current_context()
        with noting_failure(context):
            settings = get_settings()
            return _as_json(body(settings, load_model(settings.models, name), context, *given))

    return _named(run, body)


def _named(run: Callable[..., Any], body: Callable[..., Any]) -> Any:
    run.__name__, run.__qualname__, run.__module__ = body.__name__, body.__qualname__, body.__module__
    run.__doc__ = body.__doc__
    return task(run)


def of_no_model(body: Callable[[Settings], Any]) -> Any:
    """A task made from a function of the settings alone, for work on all models at once."""

    def run() -> Any:
        with noting_failure(get_current_context()):
            return _as_json(body(get_settings()))

    run.__name__, run.__qualname__, run.__module__ = body.__name__, body.__qualname__, body.__module__
    run.__doc__ = body.__doc__
    return task(run)


@contextmanager
def noting_failure(context: Any) -> Iterator[None]:
    """Leave an error where the failure callback finds it."""
    try:
        yield
    except BaseException as error:
        note = failure.describe(error, safe=isinstance(error, VigilError))
        context["ti"].xcom_push(key=_NOTE, value=note)
        raise


def started_by(context: Any) -> str:
    """Who started the run: a person's user name in lower case, or `system:<dag>` for one that started by itself."""
    run = context["dag_run"]
    return (run.triggering_user_name or "").strip().lower() or f"system:{run.dag_id}"


def of_every_source(
    settings: Settings, model: Model, day: date, work: Callable[[Settings, Contract, date], Value]
) -> dict[str, Value]:
    """Run a step on every source of a model; a bad source does not hide what is wrong with the next.

    Raises one error that names all of them; it is tried again only when every one of them may heal.
    """
    done: dict[str, Value] = {}
    faults: list[VigilError] = []
    for source in model.sources:
        try:
            done[source] = work(settings, load_contract(settings.expectations, source), day)
        except VigilError as fault:
            faults.append(fault)
    if faults:
        worst = min(faults, key=lambda fault: fault.retry)
        raise type(worst)("\n".join(str(fault) for fault in faults)) from worst
    return done


def business_date(context: Any, zone: str) -> date:
    """The business date of a run by the rules at the top of this file. Raises DataFault when there is none."""
    run = context["dag_run"]
    asked = context["params"].get("business_date")
    if asked and run.partition_key and asked != run.partition_key:
        raise DataFault(
            f"{run.dag_id}: business_date is {asked} but the run's partition key is {run.partition_key}. "
            "Nothing was done. Trigger the DAG again with one of them."
        )
    if given := asked or run.partition_key:
        return date.fromisoformat(given)
    if run.run_type in ("scheduled", "backfill") and run.logical_date:
        return run.logical_date.astimezone(ZoneInfo(zone)).date() - timedelta(days=1)
    raise DataFault(
        f"{run.dag_id}: this run has no business date, and one is never guessed. Nothing was done. Trigger it with one: "
        f"""airflow dags trigger {run.dag_id} --conf '{{"business_date": "YYYY-MM-DD"}}'"""
    )


def report_failure(context: Any) -> None:
    """DAG-level failure callback: one line in `<home>/failures.jsonl` and in the log, once for each failed run.

    On the DAG and not on its tasks, because a task's callback does not run when its process is killed.
    """
    settings, ti = get_settings(), context.get("ti")
    model, part = failure.split_dag_id(context["dag"].dag_id)
    note = ti.xcom_pull(task_ids=ti.task_id, key=_NOTE) if ti else None
    try:
        zone = load_model(settings.models, model).schedule.timezone
        day = None if part in failure.UNDATED else business_date(context, zone)
    except (DataFault, KeyError):
        day = None
    failed = failure.Failure(
        at=datetime.now(UTC),
        model=model,
        business_date=day,
        dag_id=context["dag"].dag_id,
        run_id=context["run_id"],
        task=ti.task_id if ti else None,
        reason=context.get("reason") or "failed",
        **(note or {"kind": failure.KILLED, "message": ""}),
        next_command=failure.next_command(part, ti.task_id if ti else None, model, day),
        log_url=ti.log_url if ti else None,
    )
    failure.record(settings.home, failed)
    _log.error(failure.line(failed))


def _model_dag(
    model: Model,
    part: str,
    doc: str | None,
    schedule: Callable[[Model], Any],
    wire: Callable[[Model], object],
    params: Mapping[str, Param],
    waits: Callable[[Model], timedelta],
) -> DAG:
    limit = timedelta(minutes=model.schedule.timeout_minutes)
    dag = DAG(
        dag_id=f"{model.name}_{part}",
        description=f"{model.title}: {part}",
        doc_md=f"# {model.title}: {part}\n\n{model.description}\n\n{doc}",
        schedule=schedule(model),
        catchup=False,
        max_active_runs=1,
        # One switch: ingest. Were a DAG that follows paused, the night would end there without a word.
        is_paused_upon_creation=False if part in (*_FOLLOWS, *_READY) else None,
        dagrun_timeout=2 * limit + waits(model),
        tags=[model.name, model.domain, f"tier-{model.tier}", *model.tags],
        params=params,
        on_failure_callback=report_failure,
        auto_register=False,
        default_args={
            "owner": model.owner,
            "pool": POOL[part],
            "execution_timeout": limit,
            "retries": 3,
            "retry_delay": timedelta(seconds=20),
            "retry_exponential_backoff": 4,
            "max_retry_delay": timedelta(minutes=15),
            "retry_policy": FaultsAreFinal(),
        },
    )
    with dag:
        wire(model)
    dag.validate()
    return dag


def _broken_dag(dag_id: str, part: str, name: str, fault: str) -> DAG:
    dag = DAG(
        dag_id=dag_id,
        description=f"models/{name}.yaml cannot be used",
        doc_md=f"# models/{name}.yaml cannot be used\n\n```\n{fault}\n```\n\nNo night runs for this model until it is corrected.",
        schedule="@daily" if part == "ingest" else None,
        catchup=False,
        max_active_runs=1,
        tags=["broken"],
        on_failure_callback=report_failure,
        auto_register=False,
        default_args={"owner": "vigil", "retries": 0, "execution_timeout": timedelta(minutes=5)},
    )
    with dag:

        @task
        def read_model_file() -> None:
            """Fails with what is wrong in the model file."""
            raise DataFault(f"models/{name}.yaml cannot be used. {fault}")

        read_model_file()
    return dag


def _business_date_param() -> Param:
    return Param(
        None,
        type=["null", "string"],
        format="date",
        title="Business date",
        description="ISO date (YYYY-MM-DD) to run for. Required when a person starts the run; a date may be run again.",
    )


def _as_json(result: Any) -> Any:
    if isinstance(result, Value):
        return json_ready(result)
    if isinstance(result, dict):
        return {key: _as_json(value) for key, value in result.items()}
    if isinstance(result, list | tuple):
        return [_as_json(value) for value in result]
    return result
