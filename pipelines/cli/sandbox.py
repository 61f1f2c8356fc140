"""Sandboxes: a place of one's own to train and compare in, from which production cannot be written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli import output
from pipelines.cli.app import app, machine

commands = typer.Typer(no_args_is_help=True, help="A place to train and compare that cannot write to production.")
app.add_typer(commands, name="sandbox")

Name = Annotated[str, typer.Option("--name", help="Small letters, digits and _; the login is vigil_sandbox_NAME.")]
By = Annotated[str, typer.Option("--by", metavar="EMAIL", help="Who does this: a person's e-mail address.")]

_COLUMNS = ("name", "action", "at", "by", "isolated", "home", "lake")


@commands.command()
def create(
    name: Name,
    by: By,
    home: Annotated[Path | None, typer.Option(help="Its home folder; by default sandboxes/NAME in this home.")] = None,
) -> None:
    """Make a login, its databases, a lake prefix and a home; copy the records of sources and the champions."""
    from pipelines import sandbox

    with machine() as settings:
        made = sandbox.create(settings, name, by=by, home=home)
    output.show(made)
    _tell_champions(made.champions)
    output.note(
        f"Give the folder to its person, who runs: VIGIL_HOME={made.home} python -m pipelines train --model … --date …"
    )


@commands.command()
def refresh(name: Name, by: By) -> None:
    """Copy what production took in since, migrate the tables, and renew the password in its vigil.env."""
    from pipelines import sandbox

    with machine() as settings:
        made = sandbox.refresh(settings, name, by=by)
    output.show(made)
    _tell_champions(made.champions)


@commands.command()
def drop(name: Name, by: By) -> None:
    """Remove a sandbox: login, databases, its tables in the lake, and what its commands kept in its home."""
    from pipelines import sandbox

    with machine() as settings:
        made = sandbox.drop(settings, name, by=by)
    output.show(made)
    if made.lake.startswith("s3://"):
        output.note(f"Objects below {made.lake}/ were left; remove them with the bucket's own tools.")


@commands.command("list")
def list_() -> None:
    """List the sandboxes, and whether each is still shut in."""
    from pipelines import sandbox

    with machine() as settings:
        output.show_rows("sandboxes", _COLUMNS, output.as_rows(sandbox.listed(settings)))


def _tell_champions(champions: Mapping[str, str]) -> None:
    for model, told in champions.items():
        output.note(f"  {model}: {told}")
