"""The entry of the command line: parse, run, and turn an error into a readable block and an exit code."""

from __future__ import annotations

import traceback
from collections.abc import Sequence

from rich.console import Console
from typer.exceptions import TyperException

from pipelines.cli import (  # noqa: F401 - each adds its commands to the application
    aml,
    compare,
    feast,
    files,
    judge,
    registry,
    registry_approvals,
    registry_evidence,
    registry_import,
    registry_inventory,
    registry_rehearsal,
    sandbox,
    stack,
    steps,
)
from pipelines.cli.app import app, shared, shared_options_first
from pipelines.contracts import VigilError

UNEXPECTED = 1
WRONG_USE = 2
INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Run one command. Returns its exit code; the meaning of the codes is in the application's help."""
    try:
        code = app(shared_options_first(arguments), prog_name="python -m pipelines", standalone_mode=False) or 0
        if code == INTERRUPTED:
            _tell("Interrupted", "What was published stays published; the same command again goes on from there.")
        return code
    except TyperException as error:
        if str(error):  # without words it was the help, which is printed already
            _tell("Wrong use", f"{str(error).removeprefix('Value error, ')} See python -m pipelines --help")
        return WRONG_USE
    except VigilError as error:
        _tell(type(error).__name__, str(error))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last resort: an exit code and no customer's data
        _tell("Unexpected", _without_values(error))
        return UNEXPECTED


def _tell(kind: str, text: str) -> None:
    if shared.debug:
        traceback.print_exc()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"{kind}: {text}", markup=False, style="bold red" if console.is_terminal else None)


def _without_values(error: Exception) -> str:
    """An error nobody foresaw may quote a customer's data, so only its class and place are shown."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {frame.filename}, line {frame.lineno}. Run again with --debug for all of it."
