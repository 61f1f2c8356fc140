"""The registry by hand: who is champion and why, promote, roll back, retire, and verify the record."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from pipelines.cli import output
from pipelines.cli.app import ModelName, chosen_model, machine, shared
from pipelines.cli.registry_app import registry_app
from pipelines.contracts import Blocked, DataFault

By = Annotated[str, typer.Option("--by", metavar="EMAIL", help="Who does this: a person's e-mail address.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, in a sentence.")]

_ENTRY_COLUMNS = ("entry_no", "at", "model", "kind", "payload", "hash")
_HASH_SHOWN = 12


@registry_app.command()
def verify() -> None:
    """Verify the journal, its anchors, and the permits, gate reports and answers it refers to; 3 when something is wrong."""
    from pipelines import registry

    with machine() as settings:
        found = registry.verify(settings)
    output.show(found)
    if not found.ok:
        raise Blocked(
            f"the registry's journal is not as it was written. First bad entry: {found.first_bad} ({found.what}): "
            f"{found.message}. Nothing was changed. See docs/registry.md, section Verify."
        )


@registry_app.command()
def anchor() -> None:
    """Put the anchors that are missing outside the database, and the head of today. Safe to repeat."""
    from pipelines import registry

    with machine() as settings:
        output.show(registry.anchor(settings))


@registry_app.command()
def journal(
    model: Annotated[str | None, typer.Option("--model", help="Only entries of this model.")] = None,
    most: Annotated[int, typer.Option(min=1, help="Newest entries to show at most.")] = 50,
) -> None:
    """List the journal's entries, newest last."""
    from pipelines import registry

    with machine() as settings:
        rows = output.as_rows(registry.entries(settings, model)[-most:])
    if not shared.as_json:
        rows = [row | {"hash": row["hash"][:_HASH_SHOWN]} for row in rows]
    output.show_rows("journal", _ENTRY_COLUMNS, rows)


@registry_app.command()
def champion(
    model: ModelName = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="ISO 8601, e.g. 2026-06-30T02:00+02:00; UTC if no zone.")
    ] = None,
) -> None:
    """Who is or was champion, who approved it, on what evidence."""
    from pipelines import registry

    with machine() as settings:
        output.show(registry.champion_at(settings, chosen_model(settings, model).name, _moment(at)))


@registry_app.command()
def promote(
    version: Annotated[int, typer.Option("--version", min=1, help="The approved version.")],
    expect: Annotated[str, typer.Option("--expect", help="Version that is champion now, or none.")],
    by: By,
    model: ModelName = None,
) -> None:
    """Make an approved version champion, if the champion is still the expected one. Safe to repeat."""
    from pipelines import registry

    with machine() as settings:
        chosen = chosen_model(settings, model)
        output.show(registry.promote(settings, chosen, version, expected_champion=_expected(expect), by=by))


@registry_app.command()
def rollback(
    reason: Reason,
    by: By,
    model: ModelName = None,
    expect: Annotated[
        int | None, typer.Option("--expect", min=1, help="Version to roll back from; refused when another is champion.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say where it would go.")] = False,
) -> None:
    """Go back to the last approved champion that still verifies."""
    from pipelines import registry

    with machine() as settings:
        chosen = chosen_model(settings, model)
        done = registry.rollback(settings, chosen, reason=reason, by=by, expected_champion=expect, dry_run=dry_run)
        output.show(done)
        for passed in done.passed_over:
            output.note(f"passed over: {passed}")


@registry_app.command()
def retire(reason: Reason, by: By, model: ModelName = None) -> None:
    """Take a model out of use: it no longer scores until a version is approved and promoted again."""
    from pipelines import registry

    with machine() as settings:
        output.show(registry.retire(settings, chosen_model(settings, model), reason=reason, by=by))


@registry_app.command()
def align(model: ModelName = None) -> None:
    """Put the aliases in MLflow back as the journal says."""
    from pipelines import registry

    with machine() as settings:
        done = registry.align(settings, chosen_model(settings, model))
        output.show(done)
        for change in done.changes:
            output.note(change)


def _moment(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise DataFault(f"--at {text!r} is no time: write it as 2026-06-30T02:00+02:00.") from None
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def _expected(text: str) -> int | None:
    if text == "none":
        return None
    if not text.isdigit():
        raise DataFault(f"--expect {text!r}: give the number of the version that is champion now, or none.")
    return int(text)
