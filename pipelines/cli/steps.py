"""The steps of a night, one command each, for one model and one or many business dates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from typing import Annotated

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
)
from pipelines.contracts import Blocked, DataFault, Manifest, QualityVerdict, TrainedVersion, Value
from pipelines.settings import Settings
from pipelines.spec import Contract, Model, load_contract

Work = Callable[[Settings, Model, date], Value]
_HISTORY_WORKERS = 2


@app.command()
def ingest(
    model: ModelName = None,
    source: Annotated[str | None, typer.Option("--source", help="Only this source.")] = None,
    date_: Day = None,
    from_: FirstDay = None,
    to: LastDay = None,
    every: AllDays = False,
) -> None:
    """Land, check and publish the sources of a model; many dates at a time with --from, --to or --all."""
    from pipelines import night

    with machine() as settings:
        contracts = _contracts(settings, model, source)
        dates = chosen_days(_dates_of(settings, contracts), date_, from_, to, every)
        if date_ is not None:
            for contract in night.in_order(contracts):
                output.show(night.ingest(settings, contract, dates[0]))
            return
        for manifest in ingest_many(settings, contracts, dates):
            output.show(manifest)


@app.command()
def quarantine(
    source: Annotated[str, typer.Option("--source", help="The source whose rows were quarantined.")],
    date_: Day = None,
    reason: Annotated[str | None, typer.Option(help="Only rows of this reason, e.g. balance:type.")] = None,
    most: Annotated[int, typer.Option(min=1, help="Rows to show at most.")] = 20,
) -> None:
    """Show the rows of a source and date that broke its contract: line of the file, reason, and the row without ids."""
    from pipelines.ingest import bad_rows

    on = _one(date_)
    with machine() as settings:
        found = bad_rows(settings, load_contract(settings.expectations, source), on, reason, most)
        columns = ("source_line", "reason", "content")
        output.show_rows(f"{source}, {on}: quarantined", columns, output.as_rows(found))


@app.command()
def check(model: ModelName = None, date_: Day = None) -> None:
    """Judge what was landed and built for a date again: every source, and the features when there are any."""
    from pipelines import features, quality

    with machine() as settings:
        chosen, on = chosen_model(settings, model), _one(date_)
        verdicts = [quality.check_source(settings, c, on) for c in _contracts(settings, chosen.name, None)]
        if features.snapshot(settings, chosen, on) is not None:
            verdicts.append(quality.check_features(settings, chosen, on))
        for verdict in verdicts:
            output.show(verdict)
        _require_passed(verdicts)


@app.command()
def features(
    model: ModelName = None, date_: Day = None, from_: FirstDay = None, to: LastDay = None, every: AllDays = False
) -> None:
    """Build and check the features of a model."""
    from pipelines import features as step
    from pipelines import quality

    def work(settings: Settings, model: Model, on: date) -> Value:
        made = step.build(settings, model, on)
        _require_passed([quality.check_features(settings, model, on)])
        return made

    _for_dates(model, "features", work, date_, from_, to, every)


@app.command()
def train(
    model: ModelName = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            "--as-of",
            "--date",
            formats=["%Y-%m-%d"],
            metavar="YYYY-MM-DD",
            help="Only labels known by then are used; by default the newest ingested date.",
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(metavar="EMAIL", help="Who trains: this person may not approve the versions."),
    ] = None,
) -> None:
    """Train every algorithm of a model and register the versions; no champion changes."""
    with machine() as settings:
        chosen = chosen_model(settings, model)
        on = day(as_of) or newest_ingested(settings, chosen)
        output.note(f"{chosen.name} as of {on}: labels known later, or not final by then, are left out.")
        for version in train_as_of(settings, chosen, on, by):
            output.show(version)


@app.command()
def reproduce(
    version: Annotated[int, typer.Option("--version", min=1, help="The version to make again.")],
    model: ModelName = None,
) -> None:
    """Train a version again from its own pins and compare every prediction; exit code 3 when one differs."""
    from pipelines import training

    with machine() as settings:
        found = training.reproduce(settings, chosen_model(settings, model), version)
    output.show(found)
    if not found.identical:
        raise Blocked(
            f"model {found.model}: version {found.version} was made again and is not the same: {found.rows_that_differ:,} of "
            f"{found.rows:,} rows score otherwise. Nothing was changed. Compare its code version and libraries with these; they "
            "are in its evidence pack."
        )


@app.command()
def bootstrap(
    model: ModelName = None,
    versions: Annotated[
        str | None, typer.Option(help="Version numbers, champion first, e.g. 1,2; default: all of an empty registry.")
    ] = None,
) -> None:
    """Install the first champion of an empty demo registry; elsewhere people approve one."""
    from pipelines import mlflow_store, registry

    with machine() as settings:
        chosen = chosen_model(settings, model)
        known = [v.version for v in mlflow_store.versions(settings, chosen.name)]
        registry.bootstrap(settings, chosen, [int(v) for v in versions.split(",")] if versions else known)
        for installed in (registry.champion(settings, chosen), *registry.challengers(settings, chosen)):
            output.show(installed)


@app.command()
def score(
    model: ModelName = None, date_: Day = None, from_: FirstDay = None, to: LastDay = None, every: AllDays = False
) -> None:
    """Score the population of a date with the champion and, in the shadow, the challengers; nothing is published."""
    from pipelines import scoring

    _for_dates(model, "score", scoring.score, date_, from_, to, every)


@app.command()
def publish(
    model: ModelName = None, date_: Day = None, from_: FirstDay = None, to: LastDay = None, every: AllDays = False
) -> None:
    """Check permit and policy, then make the scored batch of a date the one that readers see."""
    from pipelines import scoring

    _for_dates(model, "publish", scoring.publish, date_, from_, to, every)


@app.command()
def verify(
    model: ModelName = None, date_: Day = None, from_: FirstDay = None, to: LastDay = None, every: AllDays = False
) -> None:
    """Read published rows back from the lake and from Postgres and compare them with what was scored."""
    from pipelines import report, scoring

    with machine() as settings:
        chosen = chosen_model(settings, model)
        seen = [night.business_date for night in report.published(settings, chosen)]
        for on in chosen_days(seen, date_, from_, to, every):
            output.show(scoring.verify_batch(settings, chosen, on))


@app.command()
def performance(
    model: ModelName = None,
    from_: FirstDay = None,
    to: LastDay = None,
    every: Annotated[bool, typer.Option("--all", help="Every published business date.")] = False,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            "--as-of",
            formats=["%Y-%m-%d"],
            metavar="YYYY-MM-DD",
            help="Only labels known by then are used; by default the newest ingested date.",
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many a night can be looked at, for the top precision.")] = 100,
    by: Annotated[
        str | None, typer.Option(help="Entity that is looked at, e.g. customer; by default the model's.")
    ] = None,
) -> None:
    """Measure published nights by the outcomes known since: how they ranked, and the precision of the highest scores."""
    from pipelines import report
    from pipelines.monitoring.performance import performance as measure

    with machine() as settings:
        chosen = chosen_model(settings, model)
        seen = [night.business_date for night in report.published(settings, chosen)]
        on = day(as_of) or newest_ingested(settings, chosen)
        nights, together = measure(settings, chosen, chosen_days(seen, None, from_, to, every), on, top=top, by=by)
        columns = [name for name in type(nights[0]).model_fields if name != "model"]
        output.show_rows(f"{chosen.name} by what was known on {on}", columns, output.as_rows(nights))
        output.show(together)


@app.command()
def night(
    model: ModelName = None, date_: Day = None, from_: FirstDay = None, to: LastDay = None, every: AllDays = False
) -> None:
    """Everything a night does, from the sources to published scores. Safe to repeat."""
    from pipelines import night as nights

    with machine() as settings:
        chosen = chosen_model(settings, model)
        dates = chosen_days(_dates_of(settings, [_population(settings, chosen)]), date_, from_, to, every)
        for on in dates:
            steps = nights.steps(settings, chosen, on)
            with output.progress() as bars:
                bar = bars.add_task(f"{on}", total=len(steps))
                for name, work in steps:
                    bars.update(bar, description=f"{on} {name}")
                    output.show(work())
                    bars.advance(bar)


def ingest_many(settings: Settings, contracts: Sequence[Contract], dates: Sequence[date]) -> Iterator[Manifest]:
    """Take in many dates of several sources in two processes, with a progress bar; yields what was published."""
    from pipelines import night

    needs = night.history(settings, contracts, dates)
    with output.progress() as bars:
        bar = bars.add_task("ingest", total=len(needs))
        for manifest in night.ingest_history(settings, needs, _HISTORY_WORKERS):
            output.advance(bars, bar, f"ingest {manifest.source} {manifest.business_date}")
            yield manifest


def train_as_of(settings: Settings, model: Model, as_of: date, by: str | None = None) -> tuple[TrainedVersion, ...]:
    """Build the features that the labels need, then train; `by` is the person who does."""
    from pipelines import features as step
    from pipelines import training
    from pipelines.registry.persons import person

    trainer = person(by) if by else training.BY_HAND

    with output.progress() as bars:
        dates = step.training_dates(settings, model, as_of)
        bar = bars.add_task("features", total=len(dates))
        for on in dates:
            step.build_history(settings, model, [on])
            output.advance(bars, bar, f"features {on}")
        bars.update(bars.add_task(f"train {', '.join(model.training.algorithms)}", total=1))
        return training.train(settings, model, as_of, by=trainer)


def _for_dates(
    model: str | None, name: str, work: Work, one: Day, first: FirstDay, last: LastDay, every: AllDays
) -> None:
    with machine() as settings:
        chosen = chosen_model(settings, model)
        dates = chosen_days(_dates_of(settings, [_population(settings, chosen)]), one, first, last, every)
        with output.progress() as bars:
            bar = bars.add_task(name, total=len(dates))
            for on in dates:
                output.show(work(settings, chosen, on))
                output.advance(bars, bar, f"{name} {on}")


def _contracts(settings: Settings, model: str | None, source: str | None) -> list[Contract]:
    names = [source] if source else list(chosen_model(settings, model).sources)
    return [load_contract(settings.expectations, name) for name in names]


def _population(settings: Settings, model: Model) -> Contract:
    return load_contract(settings.expectations, model.population)


def _dates_of(settings: Settings, contracts: Sequence[Contract]) -> list[date]:
    from pipelines.ingest import available_dates

    return sorted({on for contract in contracts for on in available_dates(settings, contract)})


def newest_ingested(settings: Settings, model: Model) -> date:
    """The newest business date of the model's population. Raises DataFault when there is none."""
    from pipelines.lake import Lake

    dates = Lake(settings).dates(f"source/{model.population}")
    if not dates:
        raise DataFault(
            f"nothing was ingested for {model.population}: python -m pipelines ingest --model {model.name} --all"
        )
    return dates[-1]


def _one(given: Day) -> date:
    on = day(given)
    if on is None:
        raise DataFault("say which business date: --date YYYY-MM-DD.")
    return on


def _require_passed(verdicts: Sequence[QualityVerdict]) -> None:
    stopped = [v for v in verdicts if not v.passed]
    if stopped:
        reasons = "; ".join(f"{v.subject}: {v.reasons}" for v in stopped)
        raise Blocked(
            f"checks of {stopped[0].business_date} failed. {reasons}. Nothing was published. See {stopped[0].data_docs}"
        )
