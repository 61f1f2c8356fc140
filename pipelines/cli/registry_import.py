"""Models trained elsewhere: take in a package, list what came of packages, and make one."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli import output
from pipelines.cli.app import ModelName, chosen_model, day, machine
from pipelines.cli.registry_app import registry_app
from pipelines.cli.steps import newest_ingested
from pipelines.contracts import DataFault
from pipelines.settings import get_settings
from pipelines.spec import ForeignFormat


@registry_app.command("import")
def import_(
    package: Annotated[Path, typer.Argument(help="The package: a .zip file or a folder.")],
    by: Annotated[str, typer.Option(help="E-mail address of the person who brings it in.")],
    model: ModelName = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            "--as-of",
            formats=["%Y-%m-%d"],
            metavar="YYYY-MM-DD",
            help="Only labels known by then are used to judge it; by default the newest ingested date.",
        ),
    ] = None,
) -> None:
    """Take a model trained elsewhere into quarantine and, if nothing is wrong with it, register it to be judged."""
    from pipelines.registry import foreign

    with machine() as settings:
        chosen = chosen_model(settings, model)
        on = day(as_of) or newest_ingested(settings, chosen)
        made = foreign.import_package(settings, chosen, package, by, on)
        output.show(made)
        output.note(f"Judge it next: python -m pipelines judge --model {made.model} --version {made.version}")


@registry_app.command()
def packages(model: ModelName = None) -> None:
    """What came of every package that was brought in: quarantined, refused and why, or registered as which version."""
    from pipelines.registry import foreign
    from pipelines.registry.foreign import PackageRecord

    with machine() as settings:
        found = foreign.packages(settings, model)
        output.show_rows("packages", list(PackageRecord.model_fields), output.as_rows(found))


@registry_app.command()
def package(
    format_: Annotated[ForeignFormat, typer.Option("--format", help="What the model file is.")],
    file: Annotated[Path, typer.Option(help="The model file.")],
    golden: Annotated[Path, typer.Option(help="CSV: features and the model's probability.")],
    documents: Annotated[Path, typer.Option(help="Folder of documents.")],
    trained_until: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="Last event date learnt from.")
    ],
    trained_by: Annotated[str, typer.Option(help="E-mail address of the person who trained it.")],
    organisation: Annotated[str, typer.Option(help="Who the person works for.")],
    licence: Annotated[str, typer.Option(help="Under which the model is used.")],
    to: Annotated[Path, typer.Option(help="The .zip file to write.")],
    model: ModelName = None,
    output_kind: Annotated[str, typer.Option(help="probability or log_odds.")] = "probability",
    output_name: Annotated[str | None, typer.Option(help="Name of the output (ONNX).")] = None,
    output_column: Annotated[int | None, typer.Option(help="Column of the event, 0 or 1.")] = None,
    categories: Annotated[
        list[str] | None, typer.Option(help="Categories the model knows, e.g. product=card,loan; once per category.")
    ] = None,
    accepts_missing: Annotated[str, typer.Option(help="Features it was trained on with absent values, by comma.")] = "",
) -> None:
    """Make a package of a model trained elsewhere, as the person who trained it; needs no database."""
    from pipelines.registry import foreign

    made_of = foreign.Ingredients(
        format=format_,
        file=file,
        golden=golden,
        documents=documents,
        output={"kind": output_kind, "name": output_name, "column": output_column},
        trained_until=trained_until.date(),
        trained_by=trained_by,
        organisation=organisation,
        licence=licence,
        categories=dict(_listed(given) for given in categories or []),
        accepts_missing=tuple(name for name in accepts_missing.split(",") if name),
    )
    settings = get_settings()
    made = foreign.make_package(settings, chosen_model(settings, model), made_of, to)
    output.show(made)


def _listed(given: str) -> tuple[str, tuple[str, ...]]:
    name, found, listed = given.partition("=")
    if not found or not listed:
        raise DataFault(f"--categories {given}: write it as in product=card,loan. Nothing was written.")
    return name, tuple(listed.split(","))
