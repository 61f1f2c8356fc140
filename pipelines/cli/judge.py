"""The gate step by hand: what the gates say about a version."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime
from typing import Annotated

import typer

from pipelines.cli import output
from pipelines.cli.app import ModelName, app, chosen_model, day, machine
from pipelines.cli.app import shared as shared_options
from pipelines.contracts import Blocked, DataFault, GateReport, GateVerdict, Verdict
from pipelines.settings import Settings
from pipelines.spec import Model

_FEW = 4
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
    and_on: Annotated[
        datetime | None,
        typer.Option(
            "--and-on",
            formats=["%Y-%m-%d"],
            metavar="YYYY-MM-DD",
            help="A second day: show only the verdicts that its rules change. Nothing is recorded.",
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
        judged_on, second = day(on) or date.today(), day(and_on)
        if second is not None:
            _show_changes(*validation.judge_on_days(settings, chosen, number, (judged_on, second), policy=policy))
            return
        report = validation.judge(settings, chosen, number, judged_on, policy=policy, record=record)
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


def _show_changes(before: GateReport, after: GateReport) -> None:
    """The verdicts of which the two reports, on the same measurements, say something else."""
    first, second = ({(v.rule, v.source, v.limit, v.segment): v for v in report.verdicts} for report in (before, after))
    days = str(before.judged_on), str(after.judged_on)
    changed: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for key in first | second:
        told = _told(first.get(key)), _told(second.get(key))
        if told[0] != told[1]:
            changed[*key[:3], *told].append(key[3])
    rows = [
        {
            "rule": key[0],
            "source": key[1],
            "limit": key[2],
            "segments": _listed(segments),
            **dict(zip(days, key[3:], strict=True)),
        }
        for key, segments in changed.items()
    ]
    subject = f"{before.model} version {before.version}, policy {before.policy}"
    output.show_rows(
        f"{subject}: what the rules of {days[0]} and {days[1]} say differently",
        ("rule", "source", "limit", "segments", *days),
        rows,
    )
    for report in (before, after):
        stopped = ", ".join(sorted({v.rule for v in report.blocking}))
        output.note(f"{report.judged_on}: {'passes' if report.passed else f'blocked by {stopped}'}")


def _listed(segments: list[str]) -> str:
    """Their names; of many only how many, for their verdicts are alike."""
    return ", ".join(segments) if len(segments) <= _FEW else f"{len(segments)} segments"


def _told(verdict: GateVerdict | None) -> str:
    return "no such rule" if verdict is None else f"{verdict.verdict.value.replace('_', ' ')}, {verdict.effect}s"


def _newest(settings: Settings, model: Model) -> int:
    from pipelines import mlflow_store

    known = mlflow_store.versions(settings, model.name)
    if not known:
        raise DataFault(f"model {model.name} has no version. Train one: python -m pipelines train --model {model.name}")
    return known[-1].version
