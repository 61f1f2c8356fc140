"""`nightly`: from nothing to last night's scores through the real scheduler, and everything stopped again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from rich.progress import Progress, TaskID

from pipelines import mlflow_store, registry, report, sample_bank
from pipelines.aml import alerts
from pipelines.cli import output
from pipelines.cli.app import machine
from pipelines.cli.stack import bring_up
from pipelines.cli.steps import ingest_many, train_as_of
from pipelines.contracts import Blocked, ConnectionBroken, DataFault
from pipelines.ingest import available_dates
from pipelines.settings import Settings, get_settings
from pipelines.spec import Model, load_contract, load_model
from pipelines.stack import control
from pipelines.stack.airflow_api import AirflowApi, DagRun
from pipelines.stack.state import StackState

MODELS = ("credit_default", "aml_customer")
NIGHTS = 3
_STAGES = ("ingest", "features", "score")
_SECONDS_TO_PARSE = 90
_SECONDS_BETWEEN_STAGES = 120
_LOOK_SECONDS = 1.0
_LOG_LINES = 25
_ALERT_COLUMNS = ("alerts", "cases", "budget_used")
_COLUMNS = (
    *("model", "business_date", "rows_in", "scored", "rejected", "quarantined", "version", "psi"),
    *(*_ALERT_COLUMNS, "seconds", "where_to_look"),
)


@dataclass
class Followed:
    """One night of a model on its way: a run for each of its DAGs, as far as they have started."""

    model: Model
    business_date: date
    runs: list[DagRun]
    bar: TaskID
    began: float = field(default_factory=time.monotonic)
    progressed: float = field(default_factory=time.monotonic)
    seconds: float | None = None

    @property
    def finished(self) -> bool:
        return len(self.runs) == len(_STAGES) and all(run.finished for run in self.runs)


def run(customers: int) -> None:
    """All of it; see the command `nightly`."""
    began = time.monotonic()
    with ExitStack() as stack:
        state = stack.enter_context(_stack_up())
        settings = stack.enter_context(machine())
        _sample_bank(settings, customers)
        models = [load_model(settings.models, name) for name in MODELS]
        dates = available_dates(settings, load_contract(settings.expectations, models[0].population))
        history, nights = dates[:-NIGHTS], dates[-NIGHTS:]
        _history(settings, models, history)
        for model in models:
            _first_champion(settings, model, history[-1])
        _table(settings, _on_airflow(state, models, nights))
    output.note(
        f"Done in {(time.monotonic() - began) / 60:.1f} minutes. `make up` leaves all of it running, with pages."
    )


@contextmanager
def _stack_up() -> Iterator[StackState]:
    """The stack for as long as the block runs; one that was up before stays up."""
    started = True
    try:
        state, started = bring_up(pages=False)
        yield state
    finally:
        if started:
            control.down(get_settings().home)


def _sample_bank(settings: Settings, customers: int) -> None:
    if (settings.sources / "sample_bank").exists():
        return
    with output.progress() as bars:
        bar = bars.add_task(f"sample bank of {customers:,} customers", total=None)
        sample_bank.generate(
            settings.sources,
            customers=customers,
            progress=lambda done, of: bars.update(bar, completed=done, total=of),
        )


def _history(settings: Settings, models: Sequence[Model], dates: Sequence[date]) -> None:
    sources = dict.fromkeys(source for model in models for source in model.sources)
    contracts = [load_contract(settings.expectations, source) for source in sources]
    deque(ingest_many(settings, contracts, dates), maxlen=0)


def _first_champion(settings: Settings, model: Model, as_of: date) -> None:
    """Train and install the first champion, with the other algorithms as challengers; nothing when there is one."""
    if mlflow_store.get_aliases(settings, model.name):
        return
    versions = train_as_of(settings, model, as_of)
    registry.bootstrap(settings, model, [v.version for v in versions])
    for version in versions:
        output.show(version)


def _on_airflow(state: StackState, models: Sequence[Model], nights: Sequence[date]) -> list[Followed]:
    """Run the nights of every model as DAG runs and wait for the scores. Raises Blocked when one fails."""
    server = state.child("api-server")
    if server is None:
        raise ConnectionBroken("the stack has no api-server. `make down`, then try again.")
    login = control.logins(get_settings().home)
    with (
        AirflowApi(server.address, login["user"], login["password"]) as api,
        _unpaused(api, models),
        output.progress() as bars,
    ):
        followed = [_start(api, model, on, bars) for on in nights for model in models]
        try:
            while any(not one.finished for one in followed):
                for one in followed:
                    _follow(api, one, bars)
                time.sleep(_LOOK_SECONDS)
        finally:
            for run in [run for one in followed for run in one.runs if not run.finished]:
                api.end(run)
        return followed


@contextmanager
def _unpaused(api: AirflowApi, models: Sequence[Model]) -> Iterator[None]:
    """The nights' DAGs running; each is paused again afterwards if it was before."""
    names = [f"{model.name}_{stage}" for model in models for stage in _STAGES]
    deadline = time.monotonic() + _SECONDS_TO_PARSE
    while not all(api.knows(name) for name in names):
        if time.monotonic() > deadline:
            raise DataFault(
                f"Airflow knows no DAG {names[0]} after {_SECONDS_TO_PARSE} s. See dag-processor.log in the logs."
            )
        time.sleep(_LOOK_SECONDS)
    before = {name: api.is_paused(name) for name in names}
    for name in names:
        api.pause(name, False)
    try:
        yield
    finally:
        for name, paused in before.items():
            api.pause(name, paused)


def _start(api: AirflowApi, model: Model, on: date, bars: Progress) -> Followed:
    run = api.trigger(f"{model.name}_{_STAGES[0]}", on)
    return Followed(model, on, [run], bars.add_task(f"{model.name} {on}", total=len(_STAGES)))


def _follow(api: AirflowApi, one: Followed, bars: Progress) -> None:
    """Look at the night once: the runs that are under way, and whether an asset has started the next."""
    if one.finished:
        return
    before = one.runs
    one.runs = [run if run.finished else api.run(run.dag_id, run.run_id) for run in one.runs]
    for run in one.runs:
        if run.state == "failed":
            raise Blocked(_why(api, one, run))
    if len(one.runs) < len(_STAGES):
        _find_next(api, one)
    if one.runs != before:
        one.progressed = time.monotonic()
    under_way = [run for run in one.runs if not run.finished]
    done = len(one.runs) - len(under_way)
    bars.update(one.bar, completed=done, description=f"{one.model.name} {one.business_date}: {_doing(api, under_way)}")
    if one.finished:
        one.seconds = time.monotonic() - one.began


def _find_next(api: AirflowApi, one: Followed) -> None:
    following = f"{one.model.name}_{_STAGES[len(one.runs)]}"
    run = api.run_of_partition(following, one.business_date, since=one.runs[-1].queued_at)
    if run is not None:
        one.runs = [*one.runs, run]
    elif one.runs[-1].finished and time.monotonic() - one.progressed > _SECONDS_BETWEEN_STAGES:
        last = one.runs[-1].dag_id
        raise Blocked(f"night of {one.business_date}: {last} succeeded but {following} was not started by its asset.")


def _doing(api: AirflowApi, under_way: Sequence[DagRun]) -> str:
    """The tasks that are being worked on, as `dag.task`."""
    working = [
        f"{run.dag_id}.{name}" for run in under_way for name, task in api.tasks(run).items() if task == "running"
    ]
    return ", ".join(working) or ("waiting" if under_way else "done")


def _why(api: AirflowApi, one: Followed, run: DagRun) -> str:
    return (
        f"the night of {one.business_date} failed in {run.dag_id}, {api.failure(run, _LOG_LINES)}\n"
        f"The last good batch is still served. When the cause is removed: "
        f"python -m pipelines night --model {one.model.name} --date {one.business_date}"
    )


def _table(settings: Settings, followed: Sequence[Followed]) -> None:
    rows = [
        row for model in dict.fromkeys(one.model.name for one in followed) for row in _rows(settings, model, followed)
    ]
    output.show_rows("The last nights", _COLUMNS, rows)
    output.note(
        f"Scores: view vigil.published_score. Data quality pages: {settings.data_docs}. Lake: {settings.lake_url}."
    )


def _rows(settings: Settings, name: str, followed: Sequence[Followed]) -> list[dict[str, Any]]:
    """The table's rows of one model: what was published, how long it took and, of an AML model, what was alerted."""
    ended = {one.business_date: one for one in followed if one.model.name == name and one.seconds is not None}
    model = load_model(settings.models, name)
    made = [night for night in report.published(settings, model) if night.business_date in ended]
    return [
        row
        | {"seconds": round(ended[night.business_date].seconds or 0), "where_to_look": f"batch {night.batch_id[:12]}"}
        | _alerts(settings, model, night.business_date)
        for night, row in zip(made, output.as_rows(made), strict=True)
    ]


def _alerts(settings: Settings, model: Model, on: date) -> dict[str, Any]:
    """What the night's scores became on the investigators' desk; raising what is raised already reads its record."""
    if model.domain != "aml":
        return dict.fromkeys(_ALERT_COLUMNS)
    night = alerts.raise_alerts(settings, model, on)
    used = None if night.budget_used is None else f"{night.budget_used:.0%} of {night.budget}"
    return {"alerts": night.raised, "cases": night.cases_new + night.cases_joined, "budget_used": used}
