"""What went in and out of an account, in counts and sums; and whether the account turned in the four weeks that followed."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from pipelines.features.definitions import feature_view, label_view

WINDOWS = (7, 28, 112)
HORIZON_DAYS = 28


@feature_view(entity="account", sources=("accounts", "payments_made"), ttl_days=7, history_days=112)
def payment_sums(accounts: ir.Table, payments_made: ir.Table, business_date: ir.DateScalar) -> ir.Table:
    """Number, sum and mean of the payments out and in, over one, four and sixteen weeks."""
    today = accounts.filter(accounts.business_date == business_date).select("account_token")
    paid = _sums(payments_made, "account_token", "out", business_date)
    received = _sums(payments_made, "counterparty_token", "in", business_date)
    both = today.left_join(paid, today.account_token == paid.out_token)
    both = both.left_join(received, both.account_token == received.in_token)
    counts = [f"{kind}_{way}_{days}d" for way in ("out", "in") for days in WINDOWS for kind in ("count", "sum")]
    means = [f"mean_{way}_{days}d" for way in ("out", "in") for days in WINDOWS]
    return both.select("account_token", *means, **{name: both[name].coalesce(0) for name in counts})


@label_view(entity="account", sources=("accounts", "turned"))
def turns_within_four_weeks(accounts: ir.Table, turned: ir.Table) -> ir.Table:
    """1 when the account turned in the 28 days after the business date, known that day; 0 known when they are over."""
    events = accounts.select("account_token", event_date="business_date")
    end = events.event_date + ibis.interval(days=HORIZON_DAYS)
    days = turned.filter(turned.turned_on.notnull()).select(account="account_token", turned_on="turned_on")
    within = (events.account_token == days.account) & (days.turned_on > events.event_date) & (days.turned_on <= end)
    joined = events.left_join(days, within)
    return joined.select(
        "account_token",
        "event_date",
        label=joined.turned_on.notnull().cast("int8"),
        known_at=joined.turned_on.coalesce(joined.event_date + ibis.interval(days=HORIZON_DAYS)),
    )


def _sums(payments_made: ir.Table, token: str, way: str, business_date: ir.DateScalar) -> ir.Table:
    """Per account on that side of the payments."""
    measures = {}
    for days in WINDOWS:
        recent = payments_made.booked_on > business_date - ibis.interval(days=days)
        measures[f"count_{way}_{days}d"] = payments_made.amount.count(where=recent)
        measures[f"sum_{way}_{days}d"] = payments_made.amount.sum(where=recent)
        measures[f"mean_{way}_{days}d"] = payments_made.amount.mean(where=recent)
    return payments_made.group_by(**{f"{way}_token": payments_made[token]}).agg(**measures)
