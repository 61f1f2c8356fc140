"""Random small networks, dirt included: every feature and scheme is what plain loops over all paths find."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from network_bank import ON, Bank, limits
from network_oracle import Oracle

EXAMPLES = 40
ACCOUNTS = ["A", "B", "C", "D", "x", "y"]
# Two accounts of one customer, one account of the bank without a customer, and two elsewhere.
OWNERS = {"A": "c1", "B": "c1", "C": "c3", "D": None}
NARROW = {
    "lookback_days": 90,
    "known_days": 100,
    "least_known_days": 5,
    "fans": {"days": 3, "least_parties": 2, "small_amount": 50, "least_share": 0.5},
    "chains": {"hop_days": 2, "max_shrink": 0.2, "least_middles": 2, "scatter_gather_days": 4},
    "pass_through": {"least_amount": 5, "least_share": 0.6},
    "exposure": {"max_counterparties": 3},
}

PAYMENTS = st.tuples(
    st.sampled_from(ACCOUNTS),
    st.sampled_from(ACCOUNTS),
    st.sampled_from([10, 10, 9, 8.5, 8, 60, 7.99, 0, -3, 0.004, math.nan]),
    st.sampled_from([-0.5, 0.25, 1, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 12, 20, 35, 89.9, 95, 120]),
    st.sampled_from(["both", "both", "both", "payer", "payee", "debit twice"]),
    st.sampled_from(["EUR", "EUR", "EUR", "EUR", "USD", "QQQ"]),
)
FOUND = st.tuples(
    st.sampled_from(["c1", "c3", "c9"]), st.integers(-2, 2), st.sampled_from(["suspicious", "suspicious", "cleared"])
)


def bank_of(payments, found, repeats) -> Bank:
    bank = Bank()
    for payer, payee, amount, day, sides, currency in payments:
        booked = [(payer, payee, "debit"), (payee, payer, "credit")]
        wanted = {"both": booked, "payer": booked[:1], "payee": booked[1:], "debit twice": booked[:1] * 2 + booked[1:]}
        for account, other, direction in wanted[sides]:
            if account in OWNERS:
                bank.book(account, other, amount, day, direction, currency=currency, customer_token=OWNERS[account])
    bank.rows += [dict(bank.rows[place % len(bank.rows)]) for place in repeats if bank.rows]
    for customer, days, outcome in found:
        bank.find(customer, ON + timedelta(days=days), outcome)
    return bank


# Shrinking one of these takes minutes; the first failing network is small enough to read.
@settings(max_examples=EXAMPLES, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    st.lists(PAYMENTS, min_size=1, max_size=26),
    st.lists(FOUND, min_size=1, max_size=3),
    st.lists(st.integers(0, 99), max_size=3),
    st.sampled_from([2, 6, 10_000]),
)
def test_everything_is_what_plain_loops_find(payments, found, repeats, max_links):
    bank = bank_of(payments, found, repeats)
    under = limits(
        **NARROW | {"currencies": {"EUR": 1, "USD": 0.9}, "chains": NARROW["chains"] | {"max_links": max_links}}
    )
    oracle = Oracle(bank.rows, bank.found, ON, under)
    features = bank.features(under=under)
    assert features.keys() == set(oracle.owner.values())
    for customer, values in features.items():
        check_counts(oracle, customer, values)
        check_money(oracle, customer, values)
    check_schemes(oracle, bank.schemes(under=under), under)
    assert features == bank.features(under=under, rows=bank.rows[::-1], threads=1), "order and threads must not matter"


def check_counts(oracle: Oracle, customer: str, values: dict) -> None:
    for name, incoming in (("payers", True), ("payees", False)):
        for days in (7, 30, 90):
            assert values[f"{name}_{days}d"] == oracle.degree(customer, incoming, days)
        for days in (7, 30):
            assert values[f"new_{name}_{days}d"] == oracle.new(customer, incoming, days)
    own = [account for account, owner in oracle.owner.items() if owner == customer]
    for side, incoming in (("in", True), ("out", False)):
        assert values[f"equal_{side}_30d"] == oracle.equal(customer, incoming)
        peaks = [oracle.peak(account, incoming)[:2] for account in own]
        parties, share = max(peaks)
        assert values[f"fan_{side}_peak"] == parties
        assert values[f"fan_{side}_peak_share"] == (share if parties else None)
    mine = [c for c in oracle.cycles if any(oracle.owner.get(p.payer) == customer for p in c)]
    assert values["cycles"] == len(mine)
    assert values["cycle_longest"] == max((len(c) for c in mine), default=0)
    assert values["cycle_amount"] == max((c[-1].cents / 100 for c in mine), default=0)
    unknown = [p for p, *_ in oracle.flows(customer, oracle.recent) if p.cents is None]
    assert values["touches_unknown_currency"] == bool(unknown)
    if any(p in oracle.bounded for p, *_ in oracle.flows(customer, oracle.recent)):
        assert values["touches_bounded_hub"]
    if not oracle.bounded:
        assert not values["touches_bounded_hub"]


def check_money(oracle: Oracle, customer: str, values: dict) -> None:
    passed, came = oracle.passed(customer, 90)
    assert values["pass_through_share_90d"] == (pytest.approx(passed / came) if came else None)
    for hop in (1, 2):
        payments, share, amount = oracle.exposed(customer, hop)
        assert values[f"exposed_payments_{hop}"] == payments
        assert values[f"exposed_share_{hop}"] == share
        assert values[f"exposed_amount_{hop}"] == amount


def check_schemes(oracle: Oracle, schemes: list, under) -> None:
    def tokens(payments) -> tuple[str, ...]:
        return tuple(sorted(t for p in payments for t in (p.token, p.twin) if t))

    def of(kind: str) -> list[tuple[str, ...]]:
        return sorted(tuple(s.tokens) for s in schemes if s.kind == kind)

    assert of("cycle") == sorted(tokens(c) for c in oracle.cycles)
    assert of("scatter_gather") == sorted(tokens(p) for p in oracle.scatter_gather().values())
    accounts = {a for p in oracle.recent for a in (p.payer, p.payee)}
    hubs = [oracle.gather_scatter(account) for account in accounts]
    assert of("gather_scatter") == sorted(tokens(p) for p in hubs if p)
    for side, incoming in (("in", True), ("out", False)):
        peaks = [oracle.peak(account, incoming) for account in accounts]
        full = [p for n, share, p in peaks if n >= under.fans.least_parties and share >= under.fans.least_share]
        assert of(f"fan_{side}") == sorted(tokens(p) for p in full)
    assert len({s.scheme_id for s in schemes}) == len(schemes)
