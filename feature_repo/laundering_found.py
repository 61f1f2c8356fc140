"""The label of the AML model: would an investigation of the customer find laundering?"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from pipelines.features.definitions import label_view

WITHIN_DAYS = 31
BACKGROUND = "0"
"""Customers whose token begins with this digit, one in sixteen, stand for everybody nobody investigated."""


@label_view(entity="customer", sources=("customer_snapshots", "investigations"), unlabelled=True)
def laundering_found(customer_snapshots: ir.Table, investigations: ir.Table) -> ir.Table:
    """1 when an investigation found the customer suspicious, 0 when it cleared him, absent when there was none.

    The event is the first business date on or after the day the investigation was opened: the customer's features of then
    hold what made somebody look. The answer is known when it was reported. A customer investigated twice about one event is
    suspicious when either found something.
    """
    customers = customer_snapshots.select("customer_token", event_date=customer_snapshots.business_date)
    cases = investigations.select(
        customer=investigations.customer_token,
        opened_on=investigations.opened_on,
        reported_on=investigations.reported_on,
        suspicious=(investigations.outcome == "suspicious").cast("int8"),
    )
    days = customers.event_date.delta(cases.opened_on, unit="day")
    about = (customers.customer_token == cases.customer) & (days >= 0) & (days <= WITHIN_DAYS)
    met = customers.inner_join(cases, about)
    first = met.group_by("customer_token", "opened_on", "reported_on", "suspicious").agg(
        event_date=met.event_date.min()
    )
    found = first.group_by("customer_token", "event_date").agg(
        label=first.suspicious.max(), known_at=first.reported_on.max()
    )
    sampled = customers.filter(customers.customer_token.substr(0, 1) == BACKGROUND)
    others = sampled.anti_join(found, ["customer_token", "event_date"])
    background = others.select(
        customer_token=others.customer_token,
        event_date=others.event_date,
        label=ibis.null("int8"),
        known_at=others.event_date,
    )
    return found.select("customer_token", "event_date", "label", "known_at").union(background)
