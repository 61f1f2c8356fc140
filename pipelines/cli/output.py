"""What a command says: records on stdout, as sentences or as one JSON object per line; progress on stderr."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import singledispatch
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipelines.cli.app import shared
from pipelines.contracts import (
    FeatureSnapshot,
    Manifest,
    PublishedBatch,
    QualityVerdict,
    RaisedAlerts,
    ScoredBatch,
    TrainedVersion,
    Value,
    json_ready,
)

_DIGEST_SHOWN = 12
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(\.\d+)?(?=Z|[+-]|$)")
_TOLD = ("auc", "gini", "ks", "average_precision", "brier", "calibration_error", "development_auc")
_WIDTH_OF_A_LOG = 150


def show(value: Value) -> None:
    """Print one record."""
    print(json.dumps(json_ready(value)) if shared.as_json else sentence(value))


def show_rows(title: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print a table, or each row as one JSON object."""
    if shared.as_json:
        for row in rows:
            print(json.dumps(row, default=str))
        return
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*("" if row[column] is None else str(row[column]) for column in columns))
    if not table.row_count:
        print(f"{title}: nothing.")
        return
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH_OF_A_LOG
    console.print(table)


def as_rows(values: Iterable[Value]) -> list[dict[str, Any]]:
    """Records as rows of a table: numbers as people read them, ids of batches shortened as people use them; as JSON
    objects that say which kind of record they are, and keep every digit."""
    if shared.as_json:
        return [{"record": type(record).__name__} | json_ready(record) for record in values]
    return [{name: _short(name, value) for name, value in json_ready(record).items()} for record in values]


def note(text: str) -> None:
    """Print something for a person; not printed when records are JSON."""
    if not shared.as_json:
        print(text)


@contextmanager
def progress() -> Iterator[Progress]:
    """Progress bars on stderr, one line each; where stderr is no terminal they are printed once, at their end."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=shared.as_json) as bars:
        yield bars


def advance(bars: Progress, bar: TaskID, said: str) -> None:
    """One step further, and what was done."""
    bars.update(bar, advance=1, description=said)


def _short(name: str, value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, str) and (moment := _MOMENT.match(value)):
        return f"{moment[1]} {moment[2]}{value[moment.end() :]}"
    return value[:_DIGEST_SHOWN] if name == "batch_id" or name.endswith("digest") else value


@singledispatch
def sentence(value: Value) -> str:
    """One line about a record, for a person."""
    plain = {name: field for name, field in json_ready(value).items() if isinstance(field, str | int | float)}
    return ", ".join(f"{name.replace('_', ' ')} {_short(name, field)}" for name, field in plain.items())


@sentence.register
def _(value: Manifest) -> str:
    reasons = "".join(f", {count} {reason}" for reason, count in sorted(value.quarantine_reasons.items()))
    late = ", late" if value.late else ""
    return (
        f"{value.business_date} {value.source}: {value.state}{late}; {value.rows_in:,} rows in = {value.rows_published:,} "
        f"published + {value.rows_quarantined:,} quarantined{' (' + reasons[2:] + ')' if reasons else ''}"
    )


@sentence.register
def _(value: QualityVerdict) -> str:
    failed = [c for c in value.checks if c.passed is not True]
    told = "".join(f"\n  {c.severity}: {c.name}: {c.observed}, expected {c.expected}" for c in failed)
    verdict = "passed" if value.passed else "blocked"
    return f"{value.business_date} {value.subject}: {verdict}, {len(value.checks)} checks; {value.data_docs}{told}"


@sentence.register
def _(value: FeatureSnapshot) -> str:
    return f"{value.business_date} {value.model}: features of {value.rows:,} entities in {value.table}@{value.lake_version}"


@sentence.register
def _(value: TrainedVersion) -> str:
    told = ", ".join(f"{name.replace('_', ' ')} {value.metrics[name]:.4f}" for name in _TOLD if name in value.metrics)
    judged = f"{value.metrics['rows']:,.0f} of them judged, with {value.metrics['events']:,.0f} events"
    return f"{value.model} version {value.version}: {value.algorithm}, training set of {value.rows:,} rows, {judged}: {told}"


@sentence.register
def _(value: ScoredBatch) -> str:
    psi = "not assessable" if value.psi is None else f"{value.psi:.4f}"
    return (
        f"{value.business_date} {value.model}: batch {value.batch_id[:_DIGEST_SHOWN]} by version {value.model_version}; "
        f"{value.rows_in:,} rows in = {value.rows_scored:,} scored + {value.rows_rejected:,} rejected + "
        f"{value.rows_quarantined:,} quarantined; {value.rows_review:,} to review; PSI {psi}"
    )


@sentence.register
def _(value: PublishedBatch) -> str:
    how = "was published already" if value.already_published else "is published"
    return (
        f"{value.business_date} {value.model}: batch {value.batch_id[:_DIGEST_SHOWN]} {how}, "
        f"{value.rows_scored:,} scores, digest {value.digest[:_DIGEST_SHOWN]}"
    )


@sentence.register
def _(value: RaisedAlerts) -> str:
    used = "" if value.budget_used is None else f" of {value.budget} ({value.budget_used:.0%} of the budget)"
    how = ", raised already" if value.already_raised else ""
    superseded = f"; of the batch before {value.withdrawn} withdrawn, {value.kept} kept" if value.attempt > 1 else ""
    return (
        f"{value.business_date} {value.model}: {value.raised} alerts{used}{how}; {value.suppressed} suppressed, "
        f"{value.carried} carried, {value.resting} resting, {value.review_items} review items, {value.sampled} sampled below "
        f"the line; cases: {value.cases_new} new, {value.cases_joined} joined{superseded}"
    )
