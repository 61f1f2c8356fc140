"""The gate step by hand: what the gates say about a version."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

import typer

from pipelines.cli import output
from pipelines.cli.app import ModelName, app, chosen_model, day, machine
from pipelines.cli.app import shared as shared_options
from pipelines.contracts import Blocked, DataFault, GateReport, Verdict
from pipelines.settings import Settings
from pipelines.spec import Model

_COLUMNS = ("gate", "metric", "segment", "observed", "limit", "verdict", "effect", "rule")


@app.command()
def judge(
    model: ModelName = None,
    version: Annotated[int | None, typer.Option(help="Version to judge; by default the newest.")] = None,
    on: Annotated[
        datetime | None,
        typer.Option(
            "--on", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="Day whose rules apply; by default today."
        ),
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="Judge by another policy pack, to see what it would say; nothing is recorded.")
    ] = None,
    record: Annotated[bool, typer.Option(help="Store the report and let what passed be scored in the shadow.")] = True,
    every: Annotated[
        bool, typer.Option("--all", help="Show every verdict; by default those that did not pass.")
    ] = False,
) -> None:
    """Put a registered version through every gate; exit code 3 when a rule that blocks does not hold."""
    from pipelines import validation

    with machine() as settings:
        chosen = chosen_model(settings, model)
        number = version if version is not None else _newest(settings, chosen)
        report = validation.judge(settings, chosen, number, day(on) or date.today(), policy=policy, record=record)
    _show(report, every)
    if not report.passed:
        stopped = ", ".join(sorted({f"{v.gate}.{v.metric}" for v in report.blocking}))
        raise Blocked(
            f"model {report.model}: version {report.version} does not pass the gates of {report.policy} on "
            f"{report.judged_on}: {stopped}. The champion stays. docs/gates.md says what each gate measures."
        )
    kept = "" if record and policy in (None, chosen.policy) else " Nothing was recorded."
    output.note(f"Version {report.version} passes the gates of {report.policy} on {report.judged_on}.{kept}")


def _show(report: GateReport, every: bool) -> None:
    if shared_options.as_json:
        output.show(report)
        return
    from pipelines.validation.pages import observed

    shown = [v for v in report.verdicts if every or v.verdict is not Verdict.PASS]
    shown.sort(key=lambda verdict: verdict.effect)  # what blocks comes first
    rows = [verdict.model_dump() | {"observed": observed(verdict)} for verdict in shown]
    subject = f"{report.model} version {report.version} on {report.judged_on}, policy {report.policy}"
    passed = sum(v.verdict is Verdict.PASS for v in report.verdicts)
    output.show_rows(subject if every else f"{subject}: not passed", _COLUMNS, rows)
    output.note(f"{passed} of {len(report.verdicts)} verdicts are passes.")
    output.note(f"Report {report.digest}, files {report.artefact_digest}.")


def _newest(settings: Settings, model: Model) -> int:
    from pipelines import mlflow_store

    known = mlflow_store.versions(settings, model.name)
    if not known:
        raise DataFault(f"model {model.name} has no version. Train one: python -m pipelines train --model {model.name}")
    return known[-1].version
