"""The command that makes the evidence pack of a version."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli import output
from pipelines.cli.app import ModelName, chosen_model, machine
from pipelines.cli.registry_app import registry_app


@registry_app.command()
def evidence(
    version: Annotated[int, typer.Option("--version", min=1, help="The version the pack is about.")],
    model: ModelName = None,
    to: Annotated[Path | None, typer.Option("--to", file_okay=False, help="Copy it into this new folder too.")] = None,
    check: Annotated[
        str | None, typer.Option("--check", metavar="DIGEST", help="Only verify the pack of this digest; make none.")
    ] = None,
) -> None:
    """Make the evidence pack of a version from all records, or verify one that was made."""
    from pipelines.validation.documents import copy_pack, evidence_pack, kept_pack

    with machine() as settings:
        chosen = chosen_model(settings, model)
        pack = (
            evidence_pack(settings, chosen, version) if check is None else kept_pack(settings, chosen, version, check)
        )
    output.show(pack)
    if to is not None:
        copy_pack(pack.location, pack.digest, to)
    place = to or pack.location
    output.note(f"{len(pack.files)} files, all as the digest says. Open {place}/index.html")
    if pack.not_recorded:
        output.note(f"Not recorded: {', '.join(name.replace('_', ' ') for name in pack.not_recorded)}.")
