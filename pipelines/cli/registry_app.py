"""The group of commands about which version may be used, who approved it, and the proof."""

from __future__ import annotations

import typer

from pipelines.cli.app import app

registry_app = typer.Typer(no_args_is_help=True, help="Which version may be used, who approved it, and the proof.")
app.add_typer(registry_app, name="registry")
