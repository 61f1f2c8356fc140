"""The embedded stack: up, down, status, and `nightly`, which shows all of Vigil in one go."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console

from pipelines.cli import output
from pipelines.cli.app import ModelName, app, chosen_model, machine, shared
from pipelines.settings import get_settings
from pipelines.spec import load_model, model_names
from pipelines.stack import control, demo
from pipelines.stack.state import Phase, StackState

_NIGHT_COLUMNS = (
    "business_date", "rows_in", "scored", "review", "rejected", "quarantined", "version", "psi", "batch_id",
)  # fmt: skip
_FAILED_COLUMNS = ("at", "business_date", "dag_id", "task", "kind", "next_command")


@app.command()
def init() -> None:
    """Make this machine a demo: write vigil.env. Other commands then find database, lake and sources in its folder."""
    path, written = demo.write_environment()
    output.note(f"{path} {'written' if written else 'was there already and is unchanged'}.")


@app.command()
def up(
    port: Annotated[
        int | None, typer.Option(help="Airflow's port; by default that of last time, or a free one.")
    ] = None,
) -> None:
    """Start PostgreSQL, Airflow, MLflow, Feast and the data quality pages, and leave them running."""
    state, started = bring_up(pages=True, port=port)
    home = get_settings().home
    if shared.as_json:
        print(state.model_dump_json())
        return
    print(f"Vigil is up{'' if started else ' already'}, in {home}.")
    login = control.logins(home)
    for child in state.children:
        if child.name == "api-server":
            print(f"  airflow    {child.address}  user {login['user']}, password {login['password']}")
            for user, known in control.demo_logins(home).items():
                print(f"             {known['role']} {user}, password {known['password']}")
        elif child.address:
            print(f"  {child.name:<10} {child.address}{'' if child.healthy else f'  does not answer: {child.log}'}")
    print(f"  postgres   {control.psql_address(home)}")
    print("`make status` shows how it is, `make down` stops it.")


@app.command()
def down() -> None:
    """Stop every process of the stack, also those that a crash left behind."""
    home = get_settings().home
    was_up = control.status(home) is not None
    strays = control.down(home)
    left = f"; {strays} processes without a supervisor were ended" if strays else ""
    output.note(f"Vigil {'is down' if was_up or strays else 'was not up'}{left}.")


@app.command()
def status(model: ModelName = None) -> None:
    """What runs, what was published, which business dates are missing or out of date, and which runs failed."""
    settings = get_settings()
    state = control.status(settings.home)
    _show_stack(state)
    if not settings.database_url and not (settings.home / "postgres").is_dir():
        output.note(
            f"Nothing was ingested yet in {settings.home}: `make nightly` shows a whole bank, `make up` starts the stack."
        )
        return
    from pipelines import report

    with machine() as settings:
        names = [chosen_model(settings, model).name] if model else model_names(settings.models)
        for name in names:
            chosen = load_model(settings.models, name)
            output.show_rows(f"{name}: published", _NIGHT_COLUMNS, output.as_rows(report.published(settings, chosen)))
            if gaps := output.as_rows(report.gaps(settings, chosen)):
                output.show_rows(f"{name}: nights to run", ("business_date", "why", "next_command"), gaps)
            if failed := output.as_rows(report.failed_runs(settings, chosen)):
                output.show_rows(f"{name}: failed runs", _FAILED_COLUMNS, failed)


@app.command()
def nightly(
    customers: Annotated[int, typer.Option(help="Customers of the sample bank, when it is made.", min=100)] = 20_000,
) -> None:
    """Start the stack, make a sample bank, train a first champion, run the last three nights on Airflow, stop again."""
    from pipelines.cli import nightly as demonstration

    demonstration.run(customers)


def bring_up(*, pages: bool, port: int | None = None) -> tuple[StackState, bool]:
    """The stack, up; with a line on stderr for what is being waited for."""
    demo.write_environment()
    with Console(stderr=True).status("starting PostgreSQL and Airflow") as line:

        def say(state: StackState | None) -> None:
            waiting = [c.name for c in state.children if not c.healthy] if state else []
            if waiting:
                line.update(f"waiting for {', '.join(waiting)}")

        return control.up(get_settings().home, pages=pages, port=port, progress=say)


def _show_stack(state: StackState | None) -> None:
    if shared.as_json:
        print(state.model_dump_json() if state else json.dumps({"phase": "down"}))
        return
    if state is None:
        print("The stack is down.")
        return
    since = (datetime.now(UTC) - state.started_at).total_seconds() / 60
    print(f"The stack is {state.phase}, started {since:.0f} minutes ago. {state.failure}")
    if state.phase is not Phase.FAILED:
        rows = [
            {
                "process": c.name,
                "well": "yes" if c.healthy else "no",
                "pid": c.pid,
                "restarts": c.restarts,
                "address": c.address,
            }
            for c in state.children
        ]
        output.show_rows("", ("process", "well", "pid", "restarts", "address"), rows)
        print(f"postgres: {control.psql_address(get_settings().home)}")
