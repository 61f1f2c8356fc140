"""Command that compares a version with the champion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli import output
from pipelines.cli.app import ModelName, app, chosen_model, machine, shared
from pipelines.contracts import Blocked, DataFault
from pipelines.settings import Settings
from pipelines.spec import Measuring, Model, load_policy


@app.command()
def compare(
    version: Annotated[int, typer.Option("--version", help="The version to compare.")],
    model: ModelName = None,
    other: Annotated[
        int | None,
        typer.Option("--with", help="Compare with this version; by default with the champion."),
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--page", help="Write the page here instead of MLflow.", file_okay=False)
    ] = None,
) -> None:
    """Compare a version with the champion on the rows it is judged on and on the last published nights."""
    from pipelines.validation import page as pages
    from pipelines.validation.candidate import load_candidate
    from pipelines.validation.comparison import compare as compared
    from pipelines.validation.opponent import load_opponent, opponent_of

    with machine() as settings:
        chosen = chosen_model(settings, model)
        measuring = _measuring(settings, chosen)
        candidate = load_candidate(settings, chosen, version)
        opponent = (
            load_opponent(settings, chosen, candidate)
            if other is None
            else opponent_of(settings, chosen, candidate, other)
        )
        if opponent is None:
            raise Blocked(
                f"model {chosen.name}: there is nothing to compare version {version} with: no version was ever champion, and "
                "no other algorithm learnt from the same rows. Name a version with --with."
            )
        found = compared(settings, chosen, candidate, opponent, measuring)
        if page is None:
            pages.log(settings, candidate, opponent, found, measuring)
        else:
            pages.write(page, candidate, opponent, found, measuring)
        output.note(pages.summary(found))
        if shared.as_json:
            output.show(found)


def _measuring(settings: Settings, model: Model) -> Measuring:
    policy = load_policy(settings.policies, model.policy)
    if policy.measuring is None:
        raise DataFault(
            f"policy {policy.policy} of model {model.name} has no section `measuring`, here or in what it inherits, so "
            "nothing says how to compare. Nothing was compared. Add the section, or inherit from a policy that has it."
        )
    return policy.measuring
