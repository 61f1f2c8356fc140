"""Rehearse a rollback by hand."""

from __future__ import annotations

from pipelines.cli import output
from pipelines.cli.app import ModelName, chosen_model, machine
from pipelines.cli.registry_app import registry_app


@registry_app.command()
def rehearse(model: ModelName = None) -> None:
    """Roll back on a copy of the registry and record whether it worked and how long it took; production stays as it is."""
    from pipelines.stack import rehearsal

    with machine() as settings:
        output.show(rehearsal.rehearse(settings, chosen_model(settings, model)))
