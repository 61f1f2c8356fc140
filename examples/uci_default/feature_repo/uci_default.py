"""How a card client used and repaid the card in the six months up to the business date, and whether default followed.

Month 1 is the newest. Sex, age, marriage and education are protected and not in the lake, so no feature can read them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import add

import ibis
import ibis.expr.types as ir

from pipelines.features.definitions import feature_view, label_view

MONTHS = range(1, 7)


@feature_view(entity="client", sources=("uci_clients",), ttl_days=31, history_days=31)
def card_behaviour(uci_clients: ir.Table, business_date: ir.DateScalar) -> ir.Table:
    """Arrears, utilisation and payments month by month and over all six; amounts as shares of the credit limit."""
    clients = uci_clients.filter(uci_clients.business_date == business_date)
    status = {m: clients[f"pay_status_{m}"] for m in MONTHS}
    bill = {m: clients[f"bill_{m}"] for m in MONTHS}
    paid = {m: clients[f"paid_{m}"] for m in MONTHS}
    late = {m: ibis.greatest(status[m], 0) for m in MONTHS}
    limit = clients.limit_amount
    earlier_bills = _sum(ibis.greatest(bill[m], 0.0) for m in MONTHS if m > 1)
    return clients.select(
        client_token=clients.client_token,
        credit_limit=limit,
        headroom=limit - bill[1],
        balance=bill[1],
        balance_mean=_sum(bill.values()) / 6,
        paid_1m=paid[1],
        paid_2m=paid[1] + paid[2],
        **{f"months_late_{m}": late[m] for m in MONTHS},
        **{f"utilisation_{m}": bill[m] / limit for m in MONTHS},
        **{f"payment_to_limit_{m}": paid[m] / limit for m in MONTHS},
        **{f"bill_covered_{m}": _covered(paid[m], bill[m + 1]) for m in MONTHS if m < 6},
        max_months_late=ibis.greatest(*late.values()),
        sum_months_late=_sum(late.values()),
        times_late=_count(late[m] > 0 for m in MONTHS),
        times_two_months_late=_count(late[m] >= 2 for m in MONTHS),
        times_revolving=_count(status[m] == 0 for m in MONTHS),
        times_paid_in_full=_count(status[m] == -1 for m in MONTHS),
        times_unused=_count(status[m] == -2 for m in MONTHS),
        times_nothing_paid=_count(paid[m] == 0 for m in MONTHS),
        utilisation_mean=_sum(bill.values()) / 6 / limit,
        utilisation_max=ibis.greatest(*bill.values()) / limit,
        utilisation_trend=(bill[1] - bill[6]) / limit,
        paid_3m=paid[1] + paid[2] + paid[3],
        paid_6m=_sum(paid.values()),
        payment_to_limit_min=ibis.least(*paid.values()) / limit,
        bills_covered=ibis.least(_sum(paid[m] for m in MONTHS if m < 6) / earlier_bills.nullif(0), 2.0),
    )


@label_view(entity="client", sources=("uci_clients",))
def default_next_month(uci_clients: ir.Table) -> ir.Table:
    """1 when the client defaulted in the month after the business date, known at that month's end."""
    return uci_clients.select(
        client_token=uci_clients.client_token,
        event_date=uci_clients.business_date,
        label=uci_clients.defaulted.cast("int8"),
        known_at=uci_clients.business_date + ibis.interval(days=31),
    )


def _covered(paid: ir.NumericValue, earlier_bill: ir.NumericValue) -> ir.NumericValue:
    """What was paid of the bill before, at most twice; absent without a bill to pay."""
    return ibis.ifelse(earlier_bill > 0, ibis.least(paid / earlier_bill.nullif(0), 2.0), ibis.null("float64"))


def _sum(values: Iterable[ir.NumericValue]) -> ir.NumericValue:
    return reduce(add, values)


def _count(conditions: Iterable[ir.BooleanValue]) -> ir.NumericValue:
    return _sum(condition.cast("int64") for condition in conditions)
