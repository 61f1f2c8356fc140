"""What the bank knows of a card payment in the night after it, and whether it turned out to be fraud.

All windows end at the moment of the payment, or, for outcomes, a week before it: the contract's `delay_days` hides the
outcome of every younger payment. "Usual" is the median of what the customer paid on earlier days, so that a few large
payments with a stolen card do not become usual; an "ordinary" fraud is one of an amount that is not unusual, which only a
compromised terminal explains.
"""

from __future__ import annotations

from datetime import date

import ibis
import ibis.expr.types as ir

from pipelines.features.definitions import feature_view, label_view

HISTORY_DAYS = 60
OUTCOME_DAYS = 7  # as `delay_days` of the contract, to the second: windows of outcomes end so long before the payment
LARGE = 3  # times the usual amount: the customers' own amounts spread by half their mean
LARGEST_ORDINARY = 220  # no customer of the simulation pays more by himself
# Cards of frauds from this day on are blocked once the fraud is known: the handbook's rule, from its first training day on.
KNOWN_SINCE = date(2018, 7, 25)
DAY = 86_400


@feature_view(entity="transaction", sources=("card_transactions",), ttl_days=1, history_days=HISTORY_DAYS)
def payment(card_transactions: ir.Table, business_date: ir.DateScalar) -> ir.Table:
    """Each payment of the business date against the customer's and the terminal's payments before it."""
    seen = _against_usual(card_transactions, business_date)
    today = _under_new_names(seen.filter(seen.business_date == business_date))
    joined = today.left_join(_of_customer(today, seen), "transaction_token").drop("transaction_token_right")
    joined = joined.left_join(_of_terminal(today, seen), "transaction_token").drop("transaction_token_right")
    return joined.drop("customer", "terminal", "at")


@label_view(entity="transaction", sources=("card_transactions",))
def card_fraud_found(card_transactions: ir.Table) -> ir.Table:
    """1 for a fraud, known a week later. Not judged is a card blocked by then: the day before the payment, a fraud with it
    was known already."""
    paid = card_transactions
    frauds = paid.filter((paid.fraud == 1) & (paid.business_date >= ibis.literal(KNOWN_SINCE)))
    blocked = frauds.group_by("customer_token").agg(
        blocked_from=frauds.business_date.min() + ibis.interval(days=OUTCOME_DAYS + 1)
    )
    joined = paid.left_join(blocked, "customer_token")
    return joined.select(
        transaction_token=joined.transaction_token,
        event_date=joined.business_date,
        label=joined.fraud.cast("int8"),
        known_at=joined.business_date + ibis.interval(days=OUTCOME_DAYS),
        judged=(joined.business_date < joined.blocked_from).fill_null(True),
    )


def _against_usual(paid: ir.Table, business_date: ir.DateScalar) -> ir.Table:
    """Every payment, with its amount against those of the customer's earlier days."""
    earlier = paid.filter(paid.business_date < business_date)
    usual = earlier.group_by("customer_token").agg(
        usual_amount=earlier.amount.median(), mean=earlier.amount.mean(), spread=earlier.amount.std(how="sample")
    )
    joined = paid.left_join(usual, "customer_token")
    to_usual = joined.amount / joined.usual_amount.nullif(0)
    return joined.select(
        "transaction_token",
        "customer_token",
        "terminal_token",
        "business_date",
        "amount",
        "fraud",
        "usual_amount",
        second=joined.paid_at.epoch_seconds(),
        amount_to_usual=to_usual,
        amount_deviation=(joined.amount - joined.mean) / joined.spread.nullif(0),
        ordinary_fraud=(joined.fraud == 1) & (joined.amount <= LARGEST_ORDINARY) & (to_usual.fill_null(1) <= LARGE),
    )


def _under_new_names(today: ir.Table) -> ir.Table:
    """The payments of the day, named so that a join with all payments has no name twice."""
    return today.select(
        "transaction_token",
        "amount",
        "usual_amount",
        "amount_to_usual",
        "amount_deviation",
        customer=today.customer_token,
        terminal=today.terminal_token,
        at=today.second,
    )


def _of_customer(today: ir.Table, seen: ir.Table) -> ir.Table:
    """The payments of the customer up to and with this one."""
    now, before = today.select("transaction_token", "customer", "at"), seen.drop("transaction_token")
    both = now.join(before, [now.customer == before.customer_token, before.second <= now["at"]])
    age = both["at"] - both.second
    large = (both.amount_to_usual > LARGE).fill_null(False)  # on a first day nothing is usual yet
    known_fraud = (both.fraud == 1) & (age > OUTCOME_DAYS * DAY)
    return both.group_by("transaction_token").agg(
        **{f"largest_to_usual_{n}d": both.amount_to_usual.max(where=age < n * DAY) for n in (1, 3, 7, 14)},
        **{f"large_payments_{n}d": (large & (age < n * DAY)).sum() for n in (1, 3, 7, 14)},
        days_since_customer_fraud=age.min(where=known_fraud) / DAY,
    )


def _of_terminal(today: ir.Table, seen: ir.Table) -> ir.Table:
    """The payments at the terminal whose outcome was known when this one was made; none known counts as no fraud."""
    now, before = today.select("transaction_token", "terminal", "at"), seen.drop("transaction_token")
    known = [now.terminal == before.terminal_token, before.second <= now["at"] - OUTCOME_DAYS * DAY]
    both = now.join(before, known)
    age = both["at"] - both.second - OUTCOME_DAYS * DAY
    fraud, ordinary, recent = both.fraud == 1, both.ordinary_fraud, age < 35 * DAY
    found = both.group_by("transaction_token").agg(
        terminal_frauds_7d=both.fraud.sum(where=age <= 7 * DAY),
        **{f"terminal_fraud_rate_{n}d": both.fraud.mean(where=age <= n * DAY) for n in (7, 21, 30)},
        **{f"terminal_ordinary_frauds_{n}d": (ordinary & (age <= n * DAY)).sum() for n in (7, 14, 30)},
        days_since_first_terminal_fraud=age.max(where=fraud & recent) / DAY,
        days_since_first_ordinary_fraud=age.max(where=ordinary & recent) / DAY,
        days_since_last_terminal_fraud=age.min(where=fraud) / DAY,
        days_since_last_terminal_success=age.min(where=both.fraud == 0) / DAY,
        last_terminal_outcome=both.fraud.argmax(both.second),
    )
    every = now.select("transaction_token").left_join(found, "transaction_token").drop("transaction_token_right")
    counts = [name for name in found.columns if "_frauds_" in name]
    return every.mutate(**{name: every[name].fill_null(0) for name in counts})
