"""Commands of the inventory: every model, its reviews, and its incidents."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

import typer

from pipelines.cli import output
from pipelines.cli.app import Day, ModelName, chosen_model, day, machine, shared
from pipelines.cli.registry_app import registry_app

By = Annotated[str, typer.Option("--by", metavar="EMAIL", help="Who does this.")]
Number = Annotated[int, typer.Argument(metavar="INCIDENT", help="Number of the incident.")]
_LINE = (
    *("model", "tier", "domain", "owner", "validator", "status", "champion_version", "permit_expires"),
    *("review_due", "psi", "last_incident", "note"),
)
_INCIDENT = ("incident_no", "model", "kind", "severity", "state", "opened_at", "last_seen", "message", "by", "note")


@registry_app.command()
def inventory(date_: Day = None) -> None:
    """List every model: who answers for it, its status, permit, next review, last drift and last incident."""
    from pipelines.registry.inventory import inventory as lines

    with machine() as settings:
        found = output.as_rows(lines(settings, day(date_) or today()))
    output.show_rows("inventory", _LINE, found if shared.as_json else [_told(row) for row in found])


@registry_app.command()
def watch(date_: Day = None) -> None:
    """Look at every model: open incidents of overdue reviews, expired permits and unreadable files, resolve what recovered."""
    from pipelines.registry import oversight

    with machine() as settings:
        output.show(oversight.watch(settings, day(date_) or today()))


@registry_app.command()
def check_aliases() -> None:
    """Find aliases in MLflow that are not where the journal says; 3 when there is one. Moves nothing."""
    from pipelines.registry import oversight

    with machine() as settings:
        found = oversight.check_aliases(settings)
    if shared.as_json:
        output.show(found)
    oversight.require_aliases(found)
    output.note(f"{found.models} models: every alias is where the journal says.")


@registry_app.command()
def review(
    outcome: Annotated[
        Literal["fit", "fit_with_conditions", "unfit"],
        typer.Option(help="unfit makes the next review overdue at once, which by policy stops scoring or warns."),
    ],
    note: Annotated[str, typer.Option("--note", help="What was looked at and found; kept in the journal.")],
    by: By,
    model: ModelName = None,
) -> None:
    """Record the review of a model in use by a validator of its tier."""
    from pipelines.registry import reviews

    with machine() as settings:
        output.show(reviews.record(settings, chosen_model(settings, model), outcome=outcome, note=note, by=by))


@registry_app.command()
def incidents(
    every: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
    model: Annotated[str | None, typer.Option("--model", help="Only this model's.")] = None,
) -> None:
    """List incidents that are not resolved, newest first."""
    from pipelines.registry.incidents import incidents as listed

    with machine() as settings:
        found = output.as_rows(listed(settings, model, every=every))
    output.show_rows("incidents", _INCIDENT, found)


@registry_app.command()
def acknowledge(
    incident: Number,
    by: By,
    note: Annotated[str, typer.Option("--note", help="What is being done.")] = "",
) -> None:
    """Say that an incident was seen and somebody works on it."""
    from pipelines.registry import incidents as story

    with machine() as settings:
        output.show(story.acknowledge(settings, incident, by=by, note=note))


@registry_app.command()
def resolve(
    incident: Number,
    by: By,
    note: Annotated[str, typer.Option("--note", help="Why it is over.")],
) -> None:
    """Close an incident. What is still wrong opens it again."""
    from pipelines.registry import incidents as story

    with machine() as settings:
        output.show(story.resolve(settings, incident, by=by, note=note))


def today() -> date:
    """The calendar day in UTC, as the journal counts."""
    return datetime.now(UTC).date()


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """A line of the inventory as people read it."""
    due = row["review"]
    overdue = "OVERDUE since " if row["overdue"] == "yes" else ""
    return row | {
        "review_due": due and f"{overdue}{due['on']}: {due['reason']}",
        "permit_expires": row["permit_expires"] and row["permit_expires"][:10],
    }
