"""What was published for a model, and which business dates are missing; for `status`, `nightly` and on-call."""

from __future__ import annotations

import json
from datetime import date, datetime

from pipelines import database
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
    """A business date that the model's population has and nothing was published for, with the command that fills it."""

    model: str
    business_date: date
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
    """Business dates after the first published one that the source of the population has and readers do not.

    A missed night is not run again by the scheduler; this is how it is found. Empty when nothing was ever published.
    """
    from pipelines.ingest import available_dates

    seen = {night.business_date for night in published(settings, model)}
    if not seen:
        return ()
    there = available_dates(settings, load_contract(settings.expectations, model.population))
    return tuple(_gap(model, on) for on in sorted(there) if on > min(seen) and on not in seen)


class FailedRun(Value):
    """A DAG run that failed for a business date that readers still do not have."""

    at: datetime
    business_date: date | None
    dag_id: str
    task: str | None
    kind: str
    next_command: str


def failed_runs(settings: Settings, model: Model) -> tuple[FailedRun, ...]:
    """The newest failed run of each DAG and business date of the model that was not made good since, oldest first."""
    path = settings.home / FAILURES
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    seen = {night.business_date for night in published(settings, model)}
    newest: dict[tuple[str, date | None], FailedRun] = {}
    for told in map(json.loads, lines):
        if told["model"] == model.name:
            run = FailedRun.model_validate({name: told[name] for name in FailedRun.model_fields})
            newest[run.dag_id, run.business_date] = run
    return tuple(sorted((r for r in newest.values() if r.business_date not in seen), key=lambda r: r.at))


def _gap(model: Model, on: date) -> Gap:
    command = f"python -m pipelines night --model {model.name} --date {on}"
    return Gap(model=model.name, business_date=on, next_command=command)
