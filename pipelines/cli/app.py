"""The typer application, the options that every command shares, and what a command needs before it can work."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer

from pipelines.contracts import DataFault
from pipelines.settings import Settings, get_settings, home_folder
from pipelines.spec import Model, load_model, model_names

EPILOG = "--json, --debug and --project DIR work with every command, before or after its name."

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, epilog=EPILOG)


@dataclass
class Shared:
    """The options of every command, as given on this command line."""

    as_json: bool = False
    debug: bool = False


shared = Shared()


@app.callback()
def _options(
    project: Annotated[
        Path | None,
        typer.Option(help="Folder with models/, expectations/, feature_repo/ and perhaps policies/.", file_okay=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print records, one JSON object per line.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Vigil: rescore the bank every night, and prove it.

    Exit codes: 0 done, 2 the data or a file is wrong, 3 blocked by a gate, 4 a connection broke (try again), 1 else.
    """
    shared.as_json, shared.debug = as_json, debug
    if project is not None:
        os.environ["VIGIL_PROJECT"] = str(project.resolve())
        get_settings.cache_clear()


def shared_options_first(arguments: Sequence[str]) -> list[str]:
    """The arguments with the shared options moved to the front, where the application looks for them."""
    front: list[str] = []
    rest: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        if argument == "--project":
            front += [argument, *([value] if (value := next(waiting, None)) is not None else [])]
        elif argument in ("--json", "--debug") or argument.startswith("--project="):
            front.append(argument)
        else:
            rest.append(argument)
    return front + rest


ModelName = Annotated[str | None, typer.Option("--model", help="Model; may be left out when the project has one.")]
Day = Annotated[
    datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="Business date.")
]
FirstDay = Annotated[
    datetime | None,
    typer.Option("--from", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="First business date of a range."),
]
LastDay = Annotated[
    datetime | None,
    typer.Option("--to", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="Last business date of a range."),
]
AllDays = Annotated[bool, typer.Option("--all", help="Every business date that the sources have.")]


def chosen_model(settings: Settings, name: str | None) -> Model:
    """The model of that name; without a name the only one. Raises DataFault when there are none or several."""
    if name is not None:
        return load_model(settings.models, name)
    names = model_names(settings.models)
    if len(names) != 1:
        raise DataFault(f"name a model with --model; {settings.models} has: {', '.join(names) or 'none'}.")
    return load_model(settings.models, names[0])


def day(given: datetime | None) -> date | None:
    """A date option as a date."""
    return given.date() if given else None


def chosen_days(
    available: Sequence[date], one: datetime | None, first: datetime | None, last: datetime | None, every: bool
) -> list[date]:
    """The business dates asked for: --date, or those of `available` inside --from/--to, or all of them.

    Raises DataFault when none or two ways were used, or when the range holds no date.
    """
    if sum((one is not None, first is not None or last is not None, every)) != 1:
        raise DataFault("say which business dates: --date YYYY-MM-DD, or --from and --to, or --all.")
    if one is not None:
        return [one.date()]
    inside = [d for d in available if (not first or d >= first.date()) and (not last or d <= last.date())]
    if not inside:
        has = f"from {available[0]} to {available[-1]}" if available else "none"
        raise DataFault(f"no business date in that range; the sources have {has}. Nothing was done.")
    return inside


@contextmanager
def machine() -> Iterator[Settings]:
    """Settings of this machine with its database answering and migrated.

    Without a database of its own a demo machine uses its embedded PostgreSQL, which runs for as long as a command or the
    stack needs it.

    Raises:
        DataFault: nobody said what this machine is.
    """
    settings = get_settings()
    if settings.database_url:
        yield settings
        return
    if settings.environment != "demo":
        raise DataFault(
            f"this machine is not set up: {home_folder() / 'vigil.env'} and VIGIL_DATABASE_URL are both missing. Nothing "
            "was done. For the demo run `make up`, or `python -m pipelines init`; elsewhere see docs/production.md."
        )
    from pipelines import database
    from pipelines.stack import lease

    with lease.postgres(settings.home) as server:
        os.environ["VIGIL_DATABASE_URL"] = server.url()  # for worker processes too
        get_settings.cache_clear()
        try:
            database.migrate(get_settings())
            yield get_settings()
        finally:
            database.engine(server.url()).dispose()
            del os.environ["VIGIL_DATABASE_URL"]
            get_settings.cache_clear()
