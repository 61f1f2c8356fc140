"""Features of a customer: what income and the bureau say, and all of the customer's accounts together.

Segment and region are left out on purpose: both stand in for age and origin.
"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from pipelines.features.definitions import feature_view


@feature_view(entity="customer", sources=("customer_snapshots", "account_snapshots"), ttl_days=45, history_days=200)
def customer_profile(
    customer_snapshots: ir.Table, account_snapshots: ir.Table, business_date: ir.DateScalar
) -> ir.Table:
    """Income, bureau items and total exposure of each customer present on the business date."""
    today = customer_snapshots.filter(customer_snapshots.business_date == business_date)
    joined = today.left_join(_earlier_bureau(customer_snapshots, business_date), "customer_token")
    joined = joined.left_join(_exposure(account_snapshots, business_date), "customer_token")
    return joined.select(
        customer_token=joined.customer_token,
        income=joined.income,
        bureau_score=joined.bureau_score,
        bureau_score_change_6m=joined.bureau_score - joined.bureau_score_mean_6m,
        bureau_enquiries_6m=joined.bureau_enquiries_6m,
        bureau_delinquencies_24m=joined.bureau_delinquencies_24m,
        bureau_utilisation=joined.bureau_utilisation,
        customer_accounts=joined.accounts.fill_null(0),
        customer_max_days_past_due=joined.worst_days_past_due.fill_null(0),
        customer_balance_to_income=joined.total_balance.fill_null(0.0) / joined.income.nullif(0),
    )


def _earlier_bureau(customer_snapshots: ir.Table, business_date: ir.DateScalar) -> ir.Table:
    next_day = customer_snapshots.business_date + ibis.interval(days=1)
    recent = customer_snapshots.business_date > business_date - ibis.interval(days=173)
    earlier = customer_snapshots.business_date < business_date
    rows = customer_snapshots.filter((next_day.day() == 1) & recent & earlier)
    return rows.group_by("customer_token").agg(bureau_score_mean_6m=rows.bureau_score.mean())


def _exposure(account_snapshots: ir.Table, business_date: ir.DateScalar) -> ir.Table:
    rows = account_snapshots.filter(account_snapshots.business_date == business_date)
    return rows.group_by("customer_token").agg(
        accounts=rows.count(), worst_days_past_due=rows.days_past_due.max(), total_balance=rows.balance.sum()
    )
