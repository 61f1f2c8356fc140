"""The desk of the investigators: alerts, cases, suppressions, the line, and replays of a change."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.cli import output
from pipelines.cli.app import (
    AllDays,
    Day,
    FirstDay,
    LastDay,
    ModelName,
    app,
    chosen_days,
    chosen_model,
    day,
    machine,
    shared,
)
from pipelines.contracts import DataFault
from pipelines.settings import Settings
from pipelines.spec import Model, load_model, model_names

case = typer.Typer(no_args_is_help=True, help="One case: show it, and take it from new to closed.")
app.add_typer(case, name="case")

By = Annotated[str, typer.Option("--by", metavar="EMAIL", help="Who does this: a person's e-mail address.")]
Number = Annotated[int, typer.Argument(metavar="CASE", help="Number of the case.")]
Seen = Annotated[
    int | None, typer.Option("--seen", help="Version of the case you looked at; refused when it changed since.")
]
Note = Annotated[str, typer.Option("--note", help="For the case's story, read by everybody at the desk.")]
Officer = Annotated[bool, typer.Option("--officer", help="As a SAR officer; needs a database login that is one.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, in a sentence.")]

_CASE_COLUMNS = (
    *("case_no", "business_date", "state", "outcome", "assignee", "customers", "alerts", "version", "by", "at"),
)
_ALERT_COLUMNS = ("business_date", "case_no", "state", "token", "segment", "why", "transactions", "schemes")
_SUPPRESSION_COLUMNS = (
    *("suppression_no", "token", "typology", "from_date", "until_date", "reason", "by"),
    *("revoked_by", "revoked_from", "revoked_because"),
)


@app.command("raise-alerts")
def raise_alerts(
    model: ModelName = None, date_: Day = None, from_: FirstDay = None, to: LastDay = None, every: AllDays = False
) -> None:
    """Turn published scores into alerts with evidence, grouped into cases. Safe to repeat."""
    from pipelines import report
    from pipelines.aml.alerts import raise_alerts as raise_night

    with machine() as settings:
        chosen = _monitored(settings, model)
        published = [night.business_date for night in report.published(settings, chosen)]
        dates = chosen_days(published, date_, from_, to, every)
        with output.progress() as bars:
            bar = bars.add_task("raise alerts", total=len(dates))
            for on in dates:
                output.show(raise_night(settings, chosen, on))
                output.advance(bars, bar, f"raise alerts {on}")


@app.command()
def alerts(model: ModelName = None, date_: Day = None, from_: FirstDay = None, to: LastDay = None) -> None:
    """List the alerts of business dates; neither the score nor the side of the line is shown."""
    from pipelines.aml.queue import alerts as queue

    with machine() as settings:
        chosen = _monitored(settings, model)
        first, last = _range(date_, from_, to)
        rows = [_told(row) for row in output.as_rows(queue(settings, chosen.name, first, last))]
        output.show_rows(f"{chosen.name}: alerts from {first} to {last}", _ALERT_COLUMNS, rows)


@app.command()
def cases(
    model: ModelName = None,
    state: Annotated[
        Literal["new", "assigned", "in_review", "closed", "withdrawn", "all"] | None,
        typer.Option(help="By default the open ones."),
    ] = None,
    assignee: Annotated[str | None, typer.Option(metavar="EMAIL", help="Only this person's.")] = None,
    officer: Officer = False,
) -> None:
    """List cases, newest first."""
    from pipelines.aml.cases import cases as listed

    with machine() as settings:
        chosen = _monitored(settings, model)
        found = listed(settings, chosen.name, state=state, assignee=assignee, officer=officer)
        output.show_rows(f"{chosen.name}: cases", _CASE_COLUMNS, output.as_rows(found))


@case.command()
def show(
    case_no: Number,
    most: Annotated[int, typer.Option(min=1, help="Rows to show at most of each list; --json has all kept.")] = 25,
    officer: Officer = False,
) -> None:
    """Show why a case is one: typologies, transactions, counterparties, subgraph, schemes, and its story."""
    from pipelines.aml.cases import case_file
    from pipelines.cli.case_page import print_case

    with machine() as settings:
        found = case_file(settings, case_no, officer=officer)
    if shared.as_json:
        output.show(found)
    else:
        print_case(found, most)


@case.command()
def assign(
    case_no: Number,
    by: By,
    to: Annotated[str, typer.Option("--to", metavar="EMAIL", help="Who gets it.")],
    seen: Seen = None,
) -> None:
    """Give a case to a person."""
    from pipelines.aml import cases as desk

    with machine() as settings:
        output.show(desk.assign(settings, case_no, to, by=by, seen=seen))


@case.command()
def start(case_no: Number, by: By, seen: Seen = None) -> None:
    """Begin the review of a case that is assigned to you."""
    from pipelines.aml import cases as desk

    with machine() as settings:
        output.show(desk.start(settings, case_no, by=by, seen=seen))


@case.command()
def close(
    case_no: Number,
    by: By,
    outcome: Annotated[
        Literal["false_positive", "valuable", "sar_filed"],
        typer.Option(help="sar_filed needs a SAR officer's login; everybody else sees the case as valuable."),
    ],
    note: Note = "",
    reference: Annotated[str, typer.Option(help="Reference of the report, with sar_filed.")] = "",
    seen: Seen = None,
) -> None:
    """Close a case. A false positive with a high score is proposed first; a second person runs the same to close it."""
    from pipelines.aml import cases as desk

    with machine() as settings:
        made = desk.close(settings, case_no, outcome, by=by, note=note, reference=reference, seen=seen)
    output.show(made)
    if made.proposed:
        output.note(
            f"Proposed. A second person runs: python -m pipelines case close {case_no} --outcome {outcome} --by …"
        )


@case.command()
def reopen(case_no: Number, by: By, note: Note, seen: Seen = None) -> None:
    """Open a closed case again; its earlier outcome stays in its story."""
    from pipelines.aml import cases as desk

    with machine() as settings:
        output.show(desk.reopen(settings, case_no, by=by, note=note, seen=seen))


@app.command()
def suppress(
    by: By,
    customer: Annotated[str, typer.Option("--customer", metavar="TOKEN", help="Token as `alerts` shows it.")],
    reason: Reason,
    until: Annotated[
        datetime,
        typer.Option("--until", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="Last business date it holds."),
    ],
    from_: Annotated[
        datetime,
        typer.Option("--from", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="First business date it holds."),
    ],
    typology: Annotated[str | None, typer.Option(help="Only this typology; by default whatever is met.")] = None,
    model: ModelName = None,
) -> None:
    """Raise no alerts for a customer for a while. A new typology or a much higher score breaks through."""
    from pipelines.aml import suppression as desk

    with machine() as settings:
        chosen = _monitored(settings, model)
        first, last = from_.date(), until.date()
        output.show(
            desk.suppress(
                settings, chosen, customer, from_date=first, until_date=last, reason=reason, by=by, typology=typology
            )
        )


@app.command()
def unsuppress(
    number: Annotated[int, typer.Argument(metavar="SUPPRESSION", help="Number of the suppression.")],
    by: By,
    reason: Reason,
    from_: Annotated[
        datetime,
        typer.Option("--from", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="First business date without it."),
    ],
) -> None:
    """Revoke a suppression from a business date on."""
    from pipelines.aml import suppression as desk

    with machine() as settings:
        output.show(desk.revoke(settings, number, from_date=from_.date(), reason=reason, by=by))


@app.command()
def suppressions(model: ModelName = None, date_: Day = None) -> None:
    """List suppressions; with --date those that hold on it."""
    from pipelines.aml import suppression as desk

    with machine() as settings:
        chosen = _monitored(settings, model)
        found = output.as_rows(desk.suppressions(settings, chosen, day(date_)))
        output.show_rows(f"{chosen.name}: suppressions", _SUPPRESSION_COLUMNS, found)


@app.command()
def lines(
    model: ModelName = None,
    date_: Day = None,
    from_: FirstDay = None,
    to: LastDay = None,
    typology: Annotated[str | None, typer.Option(help="Only customers who meet it.")] = None,
    threshold: Annotated[float | None, typer.Option(min=0, max=1, help="Only scores from here on.")] = None,
    officer: Officer = False,
) -> None:
    """Yield above and below the line with exact bounds, and what the line misses, by segment."""
    from pipelines.aml.lines import lines as look
    from pipelines.cli.case_page import print_lines

    with machine() as settings:
        first, last = _range(date_, from_, to)
        chosen = _monitored(settings, model)
        found = look(settings, chosen, first, last, typology=typology, threshold=threshold, officer=officer)
    if shared.as_json:
        output.show(found)
    else:
        print_lines(found)


@app.command()
def replay(
    by: By,
    model: ModelName = None,
    date_: Day = None,
    from_: FirstDay = None,
    to: LastDay = None,
    budget: Annotated[int | None, typer.Option(min=1, help="Another budget in place of the policy file's.")] = None,
    threshold: Annotated[float | None, typer.Option(min=0, max=1, help="A threshold in place of the budget.")] = None,
    typologies: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A changed typology pack, as a YAML file.")
    ] = None,
) -> None:
    """Play a change of the alert limits over stored nights, and record what it gains and loses.

    Without options the policy file as it is now is played against what decided the last alerts. The policy cites the number
    of the replay of a changed section or typology pack, or no alerts are raised with it.
    """
    from pipelines.aml import replay as replays
    from pipelines.aml.rescoring import with_pack
    from pipelines.cli.case_page import print_replay

    with machine() as settings:
        first, last = _range(date_, from_, to)
        chosen = _monitored(settings, model)
        after = replays.proposed(settings, chosen, last, budget=budget, threshold=threshold)
        found = replays.replay(settings, chosen, after, first, last, by=by, pack=typologies, rescore=with_pack)
    if shared.as_json:
        output.show(found)
    else:
        print_replay(found)


def _monitored(settings: Settings, name: str | None) -> Model:
    """The model of that name; without a name the only one of the domain aml."""
    if name is not None:
        return load_model(settings.models, name)
    found = [m for m in _models(settings) if m.domain == "aml"]
    return found[0] if len(found) == 1 else chosen_model(settings, None)


def _models(settings: Settings) -> Iterator[Model]:
    yield from (load_model(settings.models, name) for name in model_names(settings.models))


def _range(one: Day, first: FirstDay, last: LastDay) -> tuple[date, date]:
    on, start, end = day(one), day(first), day(last)
    if on is not None and start is None and end is None:
        return on, on
    if on is None and start is not None and end is not None and start <= end:
        return start, end
    raise DataFault("say which business dates: --date YYYY-MM-DD, or --from and a later --to.")


def _told(row: dict[str, object]) -> dict[str, object]:
    """Reasons as people read them, one to a line."""
    why = row["why"]
    return row | {"why": "\n".join(why) if isinstance(why, list) and not shared.as_json else why}
