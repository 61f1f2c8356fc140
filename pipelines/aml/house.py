"""Where evidence comes from in this house: the model's typology pack and the network of payments."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import duckdb

from pipelines.aml.batch import Batch
from pipelines.aml.found import FoundInTransactions, Network, Rule
from pipelines.aml.network import find_schemes
from pipelines.aml.rescoring import scored_by
from pipelines.settings import Settings
from pipelines.spec import EvidenceFilter, Model, TypologyPack, load_network_limits
from pipelines.spec.alerting import EvidenceLimits


def evidence_of(settings: Settings, model: Model, limits: EvidenceLimits, batch: Batch) -> FoundInTransactions:
    """Evidence for a batch: titles and filters of the typologies its scores were made with, whatever the file says now, and
    the schemes of the network if the policy names its limits."""
    pack = None if batch.typologies is None else scored_by(settings, model, batch).typologies
    rules = {} if pack is None else rules_of(pack, batch.business_date)
    return FoundInTransactions(model, rules, None if limits.network is None else _network(settings, limits.network))


def rules_of(pack: TypologyPack, on: date) -> dict[str, Rule]:
    """The pack as conditions on the transactions known at the end of a business date."""
    return {
        one.name: Rule(name=one.name, title=one.title, evidence=_condition(one.evidence, on)) for one in pack.typologies
    }


def _network(settings: Settings, name: str) -> Network:
    limits = load_network_limits(settings.policies, name)

    def search(connection: duckdb.DuckDBPyConnection, on: date) -> None:
        find_schemes(connection, on, limits)

    return search


def _condition(filter_: EvidenceFilter, on: date) -> str | None:
    """The filter in SQL; None when it restricts nothing, for then no transaction says more than another."""
    return " AND ".join(_conditions(filter_, on)) or None


def _conditions(filter_: EvidenceFilter, on: date) -> Iterator[str]:
    if filter_.direction is not None:
        yield f"direction = '{filter_.direction}'"
    if filter_.channel:
        yield f"channel IN ({_listed(filter_.channel)})"
    if filter_.country_in:
        yield f"country IN ({_listed(filter_.country_in)})"
    if filter_.country_not_in:
        yield f"country NOT IN ({_listed(filter_.country_not_in)})"
    if filter_.amount_between is not None:
        yield f"amount BETWEEN {filter_.amount_between[0]!r} AND {filter_.amount_between[1]!r}"
    if filter_.schemes:
        yield (
            "transaction_token IN (SELECT transaction_token FROM scheme_payment JOIN scheme USING (scheme_id) "
            f"WHERE kind IN ({_listed(filter_.schemes)}))"
        )
    if filter_.days is not None and (filter_ != EvidenceFilter(days=filter_.days)):
        yield f"booked_at >= TIMESTAMPTZ '{on - timedelta(days=filter_.days - 1)} 00:00:00Z'"


def _listed(values: tuple[str, ...]) -> str:
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)
