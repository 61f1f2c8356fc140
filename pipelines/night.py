"""A whole night in one process, and many nights of history in a few: for people without Airflow and for repair.

The DAGs run the same step functions; only the order they run in is repeated here.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from datetime import date
from functools import partial
from graphlib import CycleError, TopologicalSorter

from pipelines.contracts import DataFault, Manifest, Value
from pipelines.settings import Settings, get_settings
from pipelines.spec import Contract, Model, load_contract

Delivery = tuple[str, date]
Needs = Mapping[Delivery, Sequence[Delivery]]
Step = tuple[str, Callable[[], Value]]


def ingest(settings: Settings, contract: Contract, business_date: date) -> Manifest:
    """Land, check and publish one source. Safe to repeat: what did not change is not done again."""
    from pipelines import ingest as steps
    from pipelines import quality

    steps.land(settings, contract, business_date)
    quality.check_source(settings, contract, business_date)
    return steps.publish(settings, contract, business_date)


def steps(settings: Settings, model: Model, business_date: date) -> list[Step]:
    """Every step of a night in order, from the sources to published scores and alerts: what to say and what to call."""
    from pipelines import features, quality, scoring
    from pipelines.aml import alerts

    contracts = in_order([load_contract(settings.expectations, source) for source in model.sources])
    found: list[Step] = [
        *((f"ingest {c.source}", partial(ingest, settings, c, business_date)) for c in contracts),
        ("build features", partial(features.build, settings, model, business_date)),
        ("check features", partial(quality.check_features, settings, model, business_date)),
        ("score", partial(scoring.score, settings, model, business_date)),
        ("publish", partial(scoring.publish, settings, model, business_date)),
    ]
    if model.domain == "aml":
        found.append(("raise alerts", partial(alerts.raise_alerts, settings, model, business_date)))
    return found


def in_order(contracts: Iterable[Contract]) -> list[Contract]:
    """The contracts, each after those it refers to. Raises DataFault when they refer to each other in a circle."""
    by_name = {contract.source: contract for contract in contracts}
    referred = {c.source: [r.source for r in c.references if r.source in by_name] for c in by_name.values()}
    try:
        return [by_name[source] for source in TopologicalSorter(referred).static_order()]
    except CycleError as circle:
        raise DataFault(f"sources refer to each other in a circle: {', '.join(circle.args[1])}. Remove one.") from None


def history(settings: Settings, contracts: Iterable[Contract], dates: Iterable[date]) -> Needs:
    """For each source and date that the source has: the deliveries that must be published before.

    A source is taken in date by date, as its volume is judged against earlier dates, and a date of a source waits for the
    same date of the sources it refers to.
    """
    from pipelines.ingest import available_dates

    ordered = in_order(contracts)
    there = {c.source: sorted(set(available_dates(settings, c)) & set(dates)) for c in ordered}
    needs: dict[Delivery, list[Delivery]] = {}
    for contract in ordered:
        days = there[contract.source]
        for previous, on in zip([None, *days], days, strict=False):
            referred = [(r.source, on) for r in contract.references if on in there.get(r.source, ())]
            needs[contract.source, on] = ([(contract.source, previous)] if previous else []) + referred
    return needs


def ingest_history(settings: Settings, needs: Needs, workers: int) -> Iterator[Manifest]:
    """Take in every delivery of a history in `workers` processes; yields each manifest as it is published.

    The first fault ends the history; what was published stays.
    """
    contracts = {source: load_contract(settings.expectations, source) for source, _ in needs}
    order = TopologicalSorter(needs)
    order.prepare()
    running: dict[Future[Manifest], Delivery] = {}
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        try:
            while order.is_active():
                ready = order.get_ready()
                running |= {pool.submit(_ingest_one, contracts[source], on): (source, on) for source, on in ready}
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
                    order.done(running.pop(future))
        finally:
            pool.shutdown(cancel_futures=True)


def _ingest_one(contract: Contract, business_date: date) -> Manifest:
    return ingest(get_settings(), contract, business_date)
