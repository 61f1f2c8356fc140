"""The label of the credit model: does the account default within six months of the business date?"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from pipelines.features.definitions import label_view

HORIZON_DAYS = 184
REPORTING_DAYS = 30


@label_view(entity="account", sources=("account_snapshots", "outcomes"))
def default_6m(account_snapshots: ir.Table, outcomes: ir.Table) -> ir.Table:
    """1 when a default falls in (business date, business date + 184 days], known when it was reported; else 0, known
    when the horizon and the time a report may take have passed.

    An account that is already in default has no label: 90 days past due, or defaulted earlier and reported later.
    """
    performing = account_snapshots.filter(account_snapshots.days_past_due < 90)
    events = performing.select(
        account_token=performing.account_token,
        event_date=performing.business_date,
        horizon=performing.business_date + ibis.interval(days=HORIZON_DAYS),
    )
    reported = outcomes.filter(outcomes.outcome == "default")
    defaults = reported.select(
        defaulted=reported.account_token, default_date=reported.event_date, reported_on=reported.reported_on
    )
    by_end = (events.account_token == defaults.defaulted) & (defaults.default_date <= events.horizon)
    joined = events.left_join(defaults, by_end)
    by_event = joined.group_by("account_token", "event_date", "horizon").agg(
        first_default=joined.default_date.min(), reported=joined.reported_on.min()
    )
    open_accounts = by_event.filter(by_event.first_default.isnull() | (by_event.first_default > by_event.event_date))
    return open_accounts.select(
        account_token=open_accounts.account_token,
        event_date=open_accounts.event_date,
        label=open_accounts.first_default.notnull().cast("int8"),
        known_at=ibis.coalesce(open_accounts.reported, open_accounts.horizon + ibis.interval(days=REPORTING_DAYS)),
    )
