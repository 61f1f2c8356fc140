"""What a customer's payments look like up to the business date: how many, how much, how fast, in what form, and against
the customer's own past and peers.

Windows count days of booking that end on the business date, included. Everybody in the population has a row; who made no
payment has zeros. When a day of bookings or a nightly file is missing at the bank, nobody's payments can be counted, and every
feature is absent: the model file sends such rows to review.
"""

from __future__ import annotations

from pathlib import Path

import ibis
import ibis.expr.types as ir

from pipelines.features.definitions import feature_view
from pipelines.spec import load_activity_limits

LIMITS = load_activity_limits(Path(__file__).resolve().parents[1] / "policies", "aml_activity")
WINDOWS = (1, 7, 30, 90)
HISTORY_DAYS = 215
KNOWN_BEFORE = (90, 125)  # days ago; a month-end is always among them


@feature_view(entity="customer", sources=("customer_snapshots", "transactions"), ttl_days=40, history_days=HISTORY_DAYS)
def customer_activity(customer_snapshots: ir.Table, transactions: ir.Table, business_date: ir.DateScalar) -> ir.Table:
    """Payments of each customer present on the business date, over 1, 7, 30 and 90 days."""
    today = customer_snapshots.filter(customer_snapshots.business_date == business_date)
    payments = _payments(transactions, business_date)
    joined = today.select("customer_token", "segment").left_join(
        _sums(payments), "customer_token", rname="summed_{name}"
    )
    joined = joined.left_join(
        _awakening(payments, _known_before(customer_snapshots, business_date)), "customer_token", rname="woken_{name}"
    )
    counted = _counted(joined.drop("summed_customer_token", "woken_customer_token"))
    missing = _missing_deliveries(customer_snapshots, transactions, business_date)
    return _against_peers(counted.cross_join(_completeness(payments, missing)))


def _payments(transactions: ir.Table, business_date: ir.DateScalar) -> ir.Table:
    """Each payment once, with its age in days at the end of the business date (0 is the date itself) and its traits."""
    booked_on = transactions.booked_at.date()
    rows = transactions.mutate(booked_on=booked_on).filter(
        transactions.customer_token.notnull(), booked_on <= business_date
    )
    # A payment delivered again under a later date is that payment corrected, not a second one.
    said = ("customer_token", "account_token", "booked_on", "amount", "channel", "country", "direction")
    rows = rows.group_by("transaction_token").agg(**{name: rows[name].argmax(rows.business_date) for name in said})
    incoming, cash = rows.direction == "credit", rows.channel.isin(list(LIMITS.cash_channels))
    under = LIMITS.reporting_threshold
    return rows.select(
        "customer_token",
        "account_token",
        "booked_on",
        "amount",
        age=business_date.delta(rows.booked_on, unit="day"),
        incoming=incoming,
        cash=cash,
        abroad=rows.country != LIMITS.home_country,
        high_risk=rows.country.isin(list(LIMITS.high_risk_countries)),
        just_under=cash & incoming & (rows.amount < under) & (rows.amount >= LIMITS.just_under_fraction * under),
        round=(rows.amount >= LIMITS.round_to) & (rows.amount % LIMITS.round_to == 0),
    )


def _sums(payments: ir.Table) -> ir.Table:
    within = {days: payments.age < days for days in WINDOWS}
    found: dict[str, ir.Value] = {}
    for days, recent in within.items():
        found[f"payments_{days}d"] = payments.count(where=recent)
        found[f"amount_in_{days}d"] = payments.amount.sum(where=recent & payments.incoming)
        found[f"amount_out_{days}d"] = payments.amount.sum(where=recent & ~payments.incoming)
    month, quarter = within[30], within[90]
    return payments.group_by("customer_token").agg(
        **found,
        median_amount_30d=payments.amount.quantile(0.5, where=month),
        p95_amount_90d=payments.amount.quantile(0.95, where=quarter),
        largest_amount_30d=payments.amount.max(where=month),
        cash_in_30d=payments.amount.sum(where=month & payments.cash & payments.incoming),
        cash_amount_30d=payments.amount.sum(where=month & payments.cash),
        abroad_amount_30d=payments.amount.sum(where=month & payments.abroad),
        high_risk_amount_90d=payments.amount.sum(where=quarter & payments.high_risk),
        high_risk_payments_90d=payments.count(where=quarter & payments.high_risk),
        just_under_threshold_30d=payments.count(where=month & payments.just_under),
        cash_deposits_30d=payments.count(where=month & payments.cash & payments.incoming),
        round_amount_30d=payments.amount.sum(where=month & payments.round),
        round_payments_30d=payments.count(where=month & payments.round),
    )


def _known_before(customer_snapshots: ir.Table, business_date: ir.DateScalar) -> ir.Table:
    """Since how many days, at least, somebody is a customer who already was one three months ago."""
    latest, earliest = KNOWN_BEFORE
    on = customer_snapshots.business_date
    then = customer_snapshots.filter(on >= business_date - ibis.interval(days=earliest))
    then = then.filter(then.business_date <= business_date - ibis.interval(days=latest))
    return then.group_by("customer_token").agg(known=business_date.delta(then.business_date.min(), unit="day"))


def _awakening(payments: ir.Table, known_before: ir.Table) -> ir.Table:
    """The longest silence of an account that ended within the last 30 days, and what woken accounts have moved since.

    An account of an old customer that was never used in the whole history was silent for as long as the customer is known
    and the bank's bookings are.
    """
    by_day = payments.group_by("customer_token", "account_token", "booked_on", "age").agg(amount=payments.amount.sum())
    by_day = by_day.left_join(known_before, "customer_token", rname="known_{name}")
    by_day = by_day.cross_join(payments.agg(oldest=payments.age.max()))
    before = by_day.age.lag().over(group_by=["customer_token", "account_token"], order_by="booked_on")
    unused = ibis.ifelse(by_day.known.notnull(), ibis.least(by_day.known, by_day.oldest), None)
    gaps = by_day.mutate(silence=before.fill_null(unused) - by_day.age)
    recent = gaps.filter(gaps.age < 30)
    accounts = recent.group_by("customer_token", "account_token").agg(
        silence=recent.silence.max(), moved=recent.amount.sum()
    )
    return accounts.group_by("customer_token").agg(
        longest_silence_30d=accounts.silence.max(),
        amount_after_silence_30d=accounts.moved.sum(where=accounts.silence >= LIMITS.dormant_days),
    )


def _missing_deliveries(customer_snapshots: ir.Table, transactions: ir.Table, business_date: ir.DateScalar) -> ir.Table:
    """One row: business dates of the longest window for which the bank has customers, but no file of transactions came."""
    within = [
        source.filter(source.business_date > business_date - ibis.interval(days=WINDOWS[-1])).select("business_date")
        for source in (customer_snapshots, transactions)
    ]
    expected, came = (dates.distinct() for dates in within)
    return expected.anti_join(came, "business_date").agg(missing=lambda dates: dates.count())


def _completeness(payments: ir.Table, missing_deliveries: ir.Table) -> ir.Table:
    """One row: whether the bank booked on as many days of the longest window as it must, and the files came that must."""
    recent = payments.filter(payments.age < WINDOWS[-1])
    days = recent.agg(silent=WINDOWS[-1] - recent.booked_on.nunique()).cross_join(missing_deliveries)
    booked, came = days.silent <= LIMITS.max_days_without_bookings, days.missing <= LIMITS.max_missing_deliveries
    return days.select(complete=booked & came)


def _counted(joined: ir.Table) -> ir.Table:
    """Who made no payment has none: zero, not absent. Quantiles and extremes of nothing stay absent."""
    extremes = ("median_amount_30d", "p95_amount_90d", "largest_amount_30d", "longest_silence_30d")
    numbers = [n for n in joined.columns if n not in ("customer_token", "segment", *extremes)]
    return joined.mutate(**{name: joined[name].fill_null(0) for name in numbers})


def _against_peers(t: ir.Table) -> ir.Table:
    moved = t.amount_in_30d + t.amount_out_30d
    daily_before = (t.payments_90d - t.payments_7d) / 83.0
    amount_7d = t.amount_in_7d + t.amount_out_7d
    amount_before = (t.amount_in_90d + t.amount_out_90d - amount_7d) / 83.0
    peers = ibis.window(group_by="segment")
    sums = {name: t[name] for name in t.columns if name.startswith(("payments_", "amount_in_", "amount_out_"))}
    found = sums | {
        "median_amount_30d": t.median_amount_30d,
        "p95_amount_90d": t.p95_amount_90d,
        "largest_amount_30d": t.largest_amount_30d,
        "payments_change": ((t.payments_7d / 7.0 + 0.1) / (daily_before + 0.1)).ln(),
        "amount_change": ((amount_7d / 7.0 + 10.0) / (amount_before + 10.0)).ln(),
        "amount_to_peers": ((moved + 100.0) / (moved.median().over(peers) + 100.0)).ln(),
        "in_to_out_30d": ((t.amount_in_30d + 100.0) / (t.amount_out_30d + 100.0)).ln(),
        "cash_in_30d": t.cash_in_30d,
        "cash_share_30d": t.cash_amount_30d / moved.nullif(0),
        "abroad_share_30d": t.abroad_amount_30d / moved.nullif(0),
        "high_risk_amount_90d": t.high_risk_amount_90d,
        "high_risk_payments_90d": t.high_risk_payments_90d,
        "just_under_threshold_30d": t.just_under_threshold_30d,
        "just_under_threshold_share_30d": t.just_under_threshold_30d / t.cash_deposits_30d.nullif(0),
        "round_payments_30d": t.round_payments_30d,
        "round_share_30d": t.round_amount_30d / moved.nullif(0),
        "longest_silence_30d": t.longest_silence_30d,
        "amount_after_silence_30d": t.amount_after_silence_30d,
    }
    return t.select("customer_token", **{name: ibis.ifelse(t.complete, value, None) for name, value in found.items()})
