"""Features of an account: how it was used and repaid up to the business date."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from pipelines.features.definitions import feature_view


@feature_view(entity="account", sources=("account_snapshots",), ttl_days=45, history_days=400)
def account_behaviour(account_snapshots: ir.Table, business_date: ir.DateScalar) -> ir.Table:
    """Utilisation, delinquency, payments, balance movement and terms of each account open on the business date."""
    monthly = _one_row_a_month(account_snapshots, business_date)
    history = _history(monthly, business_date)
    today = account_snapshots.filter(account_snapshots.business_date == business_date)
    joined = today.left_join(history, "account_token")
    age_in_months = joined.snapshot_date.delta(joined.opened_on, unit="day") / 30.4375
    return joined.select(
        account_token=joined.account_token,
        product=joined["product"],
        utilisation=_ratio(joined.balance, joined.credit_limit),
        utilisation_mean_3m=_ratio(joined.balance_mean_3m, joined.credit_limit),
        days_past_due=joined.days_past_due,
        max_days_past_due_3m=joined.max_days_past_due_3m,
        max_days_past_due_6m=joined.max_days_past_due_6m,
        max_days_past_due_12m=joined.max_days_past_due_12m,
        late_months_12m=joined.late_months_12m,
        payment_ratio_mean_3m=_ratio(joined.made_3m, joined.due_3m),
        payment_ratio_mean_6m=_ratio(joined.made_6m, joined.due_6m),
        missed_payments_6m=joined.missed_payments_6m,
        balance_trend_3m=_ratio(joined.balance, joined.balance_mean_3m),
        balance_trend_12m=_ratio(joined.balance, joined.balance_mean_12m),
        cash_advance_share_3m=_ratio(joined.cash_advance_3m, joined.credit_limit),
        cash_advance_months_12m=joined.cash_advance_months_12m,
        months_on_book=age_in_months,
        credit_limit=joined.credit_limit,
        limit_change_12m=_ratio(joined.credit_limit, joined.credit_limit_mean_12m),
        interest_rate=joined.interest_rate,
        remaining_term_share=1 - _ratio(age_in_months, joined.term_months),
    )


def _one_row_a_month(rows: ir.Table, business_date: ir.DateScalar) -> ir.Table:
    """Month-ends and the business date itself, so that a month with daily rows does not weigh more than one without."""
    next_day = rows.business_date + ibis.interval(days=1)
    return rows.filter((next_day.day() == 1) | (rows.business_date == business_date))


def _history(monthly: ir.Table, business_date: ir.DateScalar) -> ir.Table:
    # 31 * months - 13 days reaches back over exactly that many month-ends, in February and over leap years too.
    in_3m, in_6m, in_12m = (
        monthly.business_date > business_date - ibis.interval(days=31 * months - 13) for months in (3, 6, 12)
    )
    late = monthly.days_past_due > 0
    missed = monthly.payment_made < monthly.payment_due
    return monthly.group_by("account_token").agg(
        max_days_past_due_3m=monthly.days_past_due.max(where=in_3m),
        max_days_past_due_6m=monthly.days_past_due.max(where=in_6m),
        max_days_past_due_12m=monthly.days_past_due.max(where=in_12m),
        late_months_12m=late.sum(where=in_12m),
        made_3m=monthly.payment_made.sum(where=in_3m),
        due_3m=monthly.payment_due.sum(where=in_3m),
        made_6m=monthly.payment_made.sum(where=in_6m),
        due_6m=monthly.payment_due.sum(where=in_6m),
        missed_payments_6m=missed.sum(where=in_6m),
        balance_mean_3m=monthly.balance.mean(where=in_3m),
        balance_mean_12m=monthly.balance.mean(where=in_12m),
        cash_advance_3m=monthly.cash_advance.sum(where=in_3m),
        cash_advance_months_12m=(monthly.cash_advance > 0).sum(where=in_12m),
        credit_limit_mean_12m=monthly.credit_limit.mean(where=in_12m),
    )


def _ratio(part: ir.NumericValue, whole: ir.NumericValue) -> ir.NumericValue:
    """part / whole, absent where the whole is zero."""
    return part / whole.nullif(0)
