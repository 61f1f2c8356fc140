"""Feast by hand: register definitions, fill the online store, show its pages."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli import output
from pipelines.cli.app import Day, FirstDay, LastDay, ModelName, app, chosen_model, day, machine
from pipelines.contracts import DataFault
from pipelines.spec import load_model, model_names

commands = typer.Typer(no_args_is_help=True, help="Register features in Feast and bring them to the online store.")
app.add_typer(commands, name="feast")


@commands.command()
def apply() -> None:
    """Register the entities, views and services of every model."""
    from pipelines.features import feast_store

    with machine() as settings:
        models = [load_model(settings.models, name) for name in model_names(settings.models)]
        feast_store.apply(settings, models)
        output.note(f"Feast knows {len(models)} models.")


@commands.command()
def materialise(model: ModelName = None, date_: Day = None, from_: FirstDay = None, to: LastDay = None) -> None:
    """Bring the features of a date or of an interval to the online store, and count them there."""
    from pipelines.features import feast_store

    start, end = day(from_) or day(date_), day(to) or day(date_)
    if start is None or end is None:
        raise DataFault("say which business dates: --date YYYY-MM-DD, or --from and --to.")
    with machine() as settings:
        output.show(feast_store.materialise(settings, chosen_model(settings, model), start, end))


@commands.command()
def serve(port: Annotated[int, typer.Option(help="Port on loopback.")]) -> None:
    """Show Feast's own pages until stopped."""
    from pipelines.features import feast_store

    with machine() as settings:
        feast_store.serve(settings, port)
