"""Which alerts are one case, and that no hub chains everybody."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pipelines.aml.linking import Grouped, Node, SchemeLink, group
from pipelines.spec.alerting import CaseLimits

DAY = date(2026, 6, 30)
LIMITS = CaseLimits(link_days=10, shared_accounts=2, max_schemes_of_an_account=3, max_customers=4)


def scheme(name: str, accounts: str, last: date = DAY) -> SchemeLink:
    """A scheme whose accounts are letters."""
    return SchemeLink(name, "cycle", frozenset(accounts), last - timedelta(days=2), last)


def alert(name: str, *schemes: SchemeLink, token: str | None = None) -> Node:
    return Node(name, frozenset({token or f"customer {name}"}), schemes)


def case(number: int, token: str, *schemes: SchemeLink) -> Node:
    return Node(str(number), frozenset({token}), schemes, case_no=number)


def together(grouped: Grouped) -> set[frozenset[str]]:
    return {frozenset(names) for _, names in grouped.groups}


def test_the_same_scheme_and_enough_shared_accounts_link() -> None:
    alerts = [
        alert("1", scheme("s", "abc")),
        alert("2", scheme("s", "abc")),
        alert("3", scheme("t", "bcx")),
        alert("4", scheme("u", "xyz")),  # one account in common with t
    ]
    assert together(group(LIMITS, alerts, [])) == {frozenset("123"), frozenset("4")}


def test_schemes_far_apart_in_time_do_not_link() -> None:
    near, far = DAY - timedelta(days=12), DAY - timedelta(days=13)
    for last, linked in ((near, True), (far, False)):
        grouped = group(LIMITS, [alert("1", scheme("s", "abc")), alert("2", scheme("t", "abc", last))], [])
        assert (len(grouped.groups) == 1) is linked


def test_a_hub_in_many_schemes_links_nothing_and_is_named() -> None:
    alerts = [alert(str(n), scheme(f"s{n}", f"hk{n}")) for n in range(5)]
    grouped = group(LIMITS, alerts, [])
    assert len(grouped.groups) == 5
    assert grouped.hubs == ("h", "k")


def test_a_chain_stops_at_the_largest_case_and_says_so() -> None:
    alerts = [alert(str(n), scheme(f"s{n}", "".join(chr(97 + n + k) for k in range(4)))) for n in range(9)]
    limits = LIMITS.model_copy(update={"max_schemes_of_an_account": 9})
    grouped = group(limits, alerts, [])
    assert max(len(names) for _, names in grouped.groups) <= limits.max_customers
    assert grouped.refused > 0


def test_an_alert_joins_the_open_case_of_its_customer_before_that_of_a_scheme() -> None:
    cases = [case(7, "other", scheme("s", "abc")), case(9, "ann")]
    grouped = group(LIMITS, [alert("1", scheme("s", "abc"), token="ann")], cases)
    assert grouped.groups == ((9, ("1",)),)
    assert grouped.refused == 1  # two open cases are never made one


def test_an_alert_joins_the_open_case_of_a_linked_scheme() -> None:
    grouped = group(LIMITS, [alert("1", scheme("t", "abx"))], [case(7, "other", scheme("s", "abc"))])
    assert grouped.groups == ((7, ("1",)),)


def test_a_customer_s_alerts_are_together_however_large_the_case() -> None:
    full = Node("1", frozenset({"ann", "b", "c", "d"}), (), case_no=1)
    assert group(LIMITS, [alert("1", token="ann")], [full]).groups == ((1, ("1",)),)


schemes = st.lists(
    st.builds(scheme, st.text("stuvw", min_size=1, max_size=2), st.text("abcdefgh", min_size=1, max_size=5)), max_size=3
)


@given(st.lists(schemes, min_size=1, max_size=12), st.randoms())
def test_every_alert_is_in_one_group_whatever_the_order(found: list[list[SchemeLink]], random) -> None:  # type: ignore[no-untyped-def]
    alerts = [alert(f"{n:02}", *links) for n, links in enumerate(found)]
    grouped = group(LIMITS, alerts, [])
    assert sorted(name for _, names in grouped.groups for name in names) == [a.name for a in alerts]
    assert all(len(names) <= LIMITS.max_customers for _, names in grouped.groups)
    shuffled = random.sample(alerts, len(alerts))
    assert group(LIMITS, shuffled, []) == grouped
