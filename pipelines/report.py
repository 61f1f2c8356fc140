"""What was published for a model, and which business dates are missing; for `status`, `nightly` and on-call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime

from pipelines import database, failure
from pipelines.completion import Step, completed
from pipelines.contracts import Value
from pipelines.settings import Settings
from pipelines.spec import Model, load_contract

FAILURES = "failures.jsonl"


class Night(Value):
    """A published batch as readers see it now. `rows_in == scored + rejected + quarantined`; `psi` None: not assessable."""

    model: str
    business_date: date
    rows_in: int
    scored: int
    review: int
    rejected: int
    quarantined: int
    version: int
    psi: float | None
    batch_id: str
    digest: str


class Gap(Value):
    """A business date whose scores are missing or older than their sources, or a source that did not come for a date; with the
    command that puts it right."""

    model: str
    business_date: date
    why: str
    next_command: str


def published(settings: Settings, model: Model) -> tuple[Night, ...]:
    """Everything readers see of a model, oldest business date first."""
    found = database.rows(
        settings,
        "SELECT p.model, p.business_date, rows_in, rows_scored AS scored, rows_review AS review, "
        "rows_rejected AS rejected, rows_quarantined AS quarantined, model_version AS version, psi, batch_id, digest "
        "FROM vigil.published p JOIN vigil.batch USING (batch_no) WHERE p.model = :model ORDER BY p.business_date",
        model=model.name,
    )
    return tuple(Night.model_validate(row) for row in found)


def gaps(settings: Settings, model: Model) -> tuple[Gap, ...]:
    """Business dates from the first published one on that readers do not have, have from rows replaced since or, of an AML
    model, have without alerts; and sources that are missing for a date, since when later nights may rest on less than happened.

    A missed night is not run again by the scheduler, nor is a night whose source was corrected by hand; this is how both
    are found. Oldest first. Empty when nothing was ever published.
    """
    from pipelines.ingest import available_dates

    seen = {night.business_date for night in published(settings, model)}
    if not seen:
        return ()
    there = available_dates(settings, load_contract(settings.expectations, model.population))
    silent = _without_alerts(settings, model) if model.domain == "aml" else []
    why = dict.fromkeys(silent, "its scores are published, but no alerts were raised from them")
    why |= {on: "nothing was published" for on in there if on > min(seen) and on not in seen}
    why |= {on: f"published before {source} was taken in again" for on, source in _replaced(settings, model)}
    nights = [_gap(model, on, why[on]) for on in sorted(why)]
    return tuple(sorted([*_not_delivered(settings, model), *nights], key=lambda gap: gap.business_date))


class FailedRun(Value):
    """A DAG run that failed and was not made good since."""

    at: datetime
    business_date: date | None
    dag_id: str
    task: str | None
    kind: str
    next_command: str


def failed_runs(settings: Settings, model: Model) -> tuple[FailedRun, ...]:
    """The newest failed run of each DAG and business date of the model that was not made good since, oldest first.

    A night is made good by one that ends with published scores, the same as before or others; a training by a training,
    and what failed on the way to the online store by getting there.
    """
    path = settings.home / FAILURES
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    newest: dict[tuple[str, date | None], FailedRun] = {}
    for told in map(json.loads, lines):
        if told["model"] == model.name:
            run = FailedRun.model_validate({name: told[name] for name in FailedRun.model_fields})
            newest[run.dag_id, run.business_date] = run
    ended = {step: completed(settings, model.name, step) for step in {_made_good_by(run) for run in newest.values()}}
    open_runs = [run for run in newest.values() if not _made_good(run, ended[_made_good_by(run)])]
    return tuple(sorted(open_runs, key=lambda run: run.at))


def _made_good_by(run: FailedRun) -> Step:
    """The step whose good end makes up for the run."""
    if run.task == failure.MATERIALISE:
        return "materialise"
    if run.task == failure.RAISE_ALERTS:
        return "raise_alerts"
    own: dict[str, Step] = {"train": "train", "release": "release"}
    return own.get(failure.split_dag_id(run.dag_id)[1], "publish")


def _made_good(run: FailedRun, ended: Mapping[date, datetime]) -> bool:
    return run.business_date is not None and run.business_date in ended and ended[run.business_date] > run.at


def _replaced(settings: Settings, model: Model) -> list[tuple[date, str]]:
    """Published dates of which a source was published again after the last night of that date, and which source."""
    found = database.rows(
        settings,
        "SELECT DISTINCT c.business_date, s.source FROM vigil.completion c JOIN vigil.source_publication s "
        "ON s.business_date = c.business_date AND s.source = ANY(:sources) AND s.published_at > c.completed_at "
        "WHERE c.model = :model AND c.step = 'publish' ORDER BY 1, 2",
        model=model.name,
        sources=list(model.sources),
    )
    return [(row["business_date"], row["source"]) for row in found]


def _without_alerts(settings: Settings, model: Model) -> list[date]:
    """Published dates whose present batch nobody raised alerts from."""
    found = database.rows(
        settings,
        "SELECT business_date FROM vigil.published p WHERE model = :model AND NOT EXISTS (SELECT FROM vigil.alert_run r "
        "WHERE r.model = p.model AND r.business_date = p.business_date AND r.batch_no = p.batch_no)",
        model=model.name,
    )
    return [row["business_date"] for row in found]


def _not_delivered(settings: Settings, model: Model) -> list[Gap]:
    """Dates of the population, from a nightly source's first one on, for which that source was never published."""
    found = database.rows(
        settings,
        "SELECT s.source, p.business_date FROM (SELECT source, min(business_date) AS since FROM vigil.source_publication "
        "WHERE source = ANY(:sources) GROUP BY source) s JOIN (SELECT DISTINCT business_date FROM vigil.source_publication "
        "WHERE source = :population) p ON p.business_date > s.since WHERE NOT EXISTS (SELECT FROM vigil.source_publication o "
        "WHERE o.source = s.source AND o.business_date = p.business_date) ORDER BY 2, 1",
        sources=[s for s in model.sources if load_contract(settings.expectations, s).business_date.cadence == "day"],
        population=model.population,
    )
    return [
        Gap(
            model=model.name,
            business_date=row["business_date"],
            why=f"{row['source']} was not taken in, {model.population} was",
            next_command=f"python -m pipelines ingest --source {row['source']} --date {row['business_date']}",
        )
        for row in found
    ]


def _gap(model: Model, on: date, why: str) -> Gap:
    command = f"python -m pipelines night --model {model.name} --date {on}"
    return Gap(model=model.name, business_date=on, why=why, next_command=command)
