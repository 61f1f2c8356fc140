"""Commands about files a person writes or brings: contracts, models, the sample bank."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli import output
from pipelines.cli.app import ModelName, app
from pipelines.contracts import DataFault
from pipelines.settings import get_settings
from pipelines.spec import model_names

sources = typer.Typer(no_args_is_help=True, help="Data contracts of sources.")
models = typer.Typer(no_args_is_help=True, help="Model files.")
app.add_typer(sources, name="sources")
app.add_typer(models, name="models")


@models.command("check")
def check_models(model: ModelName = None) -> None:
    """Check model files with their contracts, policy, typologies, features and label together; reads no data."""
    from pipelines.cli import consistency

    settings = get_settings()
    names = [model] if model else model_names(settings.models)
    if not names:
        raise DataFault(f"no model file in {settings.models}. docs/onboarding.md shows how to write one.")
    problems = {name: consistency.problems(settings, name) for name in names}
    for name, found in problems.items():
        output.note(f"{name}: {'fits together' if not found else 'wrong'}")
    if wrong := [text for found in problems.values() for text in found]:
        raise DataFault("\n".join(wrong))


@sources.command()
def draft(
    file: Annotated[Path, typer.Argument(help="A CSV or Parquet file of a normal day.")],
    source: Annotated[str | None, typer.Option(help="Name of the source; by default the file's.")] = None,
    owner: Annotated[str, typer.Option(help="Who answers for the data, as an e-mail address.")] = "data@bank.example",
) -> None:
    """Print a first contract for a file, to be corrected by hand and put in expectations/<source>.yaml."""
    from pipelines.cli.draft import draft_contract

    print(draft_contract(get_settings(), file, source, owner), end="")


@app.command("sample-bank")
def sample_bank(
    customers: Annotated[int, typer.Option(min=1, help="How many customers.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Another seed is another bank.")] = 20230731,
    end: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last business date.")] = datetime(2026, 6, 30),
    months: Annotated[int, typer.Option(min=1, help="Months of history.")] = 36,
    nights: Annotated[int, typer.Option(min=1, help="Daily business dates at the end.")] = 5,
    folder: Annotated[Path | None, typer.Option(help="Where; by default the folder of the sources.")] = None,
) -> None:
    """Make the synthetic bank; docs/sample_bank.md says what is planted in it."""
    from pipelines import sample_bank as bank

    target = folder or get_settings().sources
    with output.progress() as bars:
        bar = bars.add_task(f"sample bank of {customers:,} customers", total=None)
        bank.generate(
            target,
            customers=customers,
            seed=seed,
            end=end.date(),
            months=months,
            nights=nights,
            progress=lambda done, of: bars.update(bar, completed=done, total=of),
        )
    output.note(
        f"{target / 'sample_bank'}: {customers:,} customers, {months} month-ends, {nights} nights up to {end.date()}."
    )
