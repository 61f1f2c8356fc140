"""Which alerts are one case: the same customer, or linked schemes, but never so that a hub chains everybody. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import combinations

from pipelines.spec.alerting import CaseLimits


@dataclass(frozen=True)
class SchemeLink:
    """A scheme that touches an alert: its accounts and the days of its first and last payment."""

    scheme_id: str
    kind: str
    accounts: frozenset[str]
    first_on: date
    last_on: date


@dataclass(frozen=True)
class Node:
    """An alert on its way into a case, or an open case with what its alerts bring.

    Attributes:
        name: alert id, or the case's number as text.
        case_no: None for an alert.
    """

    name: str
    tokens: frozenset[str]
    schemes: tuple[SchemeLink, ...]
    case_no: int | None = None


@dataclass(frozen=True)
class Grouped:
    """Alerts by case.

    Attributes:
        groups: per group its open case, None for a new one, and its alerts; in the order of the smallest alert id, which
            says nothing about the score.
        hubs: accounts in too many schemes, which linked nothing.
        refused: links that were not followed because the case would have grown too large or two open cases met.
    """

    groups: tuple[tuple[int | None, tuple[str, ...]], ...]
    hubs: tuple[str, ...]
    refused: int


def group(limits: CaseLimits, alerts: Sequence[Node], cases: Sequence[Node]) -> Grouped:
    """Put alerts together with each other and with open cases. The same input gives the same groups."""
    nodes = sorted(cases, key=lambda n: n.case_no or 0) + sorted(alerts, key=lambda n: n.name)
    forest = _Forest(nodes, limits.max_customers)
    for one, other in _same_customer(nodes):
        forest.join(one, other, bounded=False)
    hubs = _hubs(limits, nodes)
    refused = sum(not forest.join(*pair, bounded=True) for pair in _linked(limits, nodes, hubs))
    found: dict[int, list[str]] = defaultdict(list)
    for index, node in enumerate(nodes):
        if node.case_no is None:
            found[forest.root(index)].append(node.name)
    groups = sorted((sorted(names), forest.case_no(root)) for root, names in found.items())
    return Grouped(tuple((case_no, tuple(names)) for names, case_no in groups), tuple(sorted(hubs)), refused)


class _Forest:
    """Union-find that never puts two open cases together and, when bounded, never more than so many customers."""

    def __init__(self, nodes: Sequence[Node], most: int) -> None:
        self._parent = list(range(len(nodes)))
        self._tokens = [node.tokens for node in nodes]
        self._case = [node.case_no for node in nodes]
        self._most = most

    def root(self, index: int) -> int:
        while self._parent[index] != index:
            self._parent[index] = self._parent[self._parent[index]]
            index = self._parent[index]
        return index

    def case_no(self, index: int) -> int | None:
        return self._case[self.root(index)]

    def join(self, one: int, other: int, *, bounded: bool) -> bool:
        """Whether the two are together afterwards."""
        first, second = sorted((self.root(one), self.root(other)))
        if first == second:
            return True
        together = self._tokens[first] | self._tokens[second]
        if self._case[second] is not None or (bounded and len(together) > self._most):
            return False
        self._parent[second], self._tokens[first] = first, together
        return True


def _same_customer(nodes: Sequence[Node]) -> Iterator[tuple[int, int]]:
    """Each alert with the first node of its customer; a customer with two open cases is in the older one's."""
    first: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for token in sorted(node.tokens):
            if token in first and node.case_no is None:
                yield first[token], index
            first.setdefault(token, index)


def _hubs(limits: CaseLimits, nodes: Sequence[Node]) -> frozenset[str]:
    schemes = {s.scheme_id: s.accounts for node in nodes for s in node.schemes}
    counted = Counter(account for accounts in schemes.values() for account in accounts)
    return frozenset(a for a, count in counted.items() if count > limits.max_schemes_of_an_account)


def _linked(limits: CaseLimits, nodes: Sequence[Node], hubs: frozenset[str]) -> list[tuple[int, int]]:
    """Pairs of nodes to join, strongest first: the same scheme, then by the number of accounts in common."""
    holders: dict[str, list[int]] = defaultdict(list)
    schemes: dict[str, SchemeLink] = {}
    for index, node in enumerate(nodes):
        for scheme in node.schemes:
            holders[scheme.scheme_id].append(index)
            schemes[scheme.scheme_id] = scheme
    pairs: dict[tuple[int, int], int] = {}
    for scheme_id, indices in sorted(holders.items()):
        if schemes[scheme_id].accounts - hubs:
            for other in indices[1:]:
                pairs[indices[0], other] = len(schemes[scheme_id].accounts) + 1_000_000
    for (id_one, id_other), common in _common(limits, schemes, hubs).items():
        first, second = sorted((holders[id_one][0], holders[id_other][0]))
        pairs[first, second] = max(common, pairs.get((first, second), 0))
    return [pair for pair, _ in sorted(pairs.items(), key=lambda p: (-p[1], p[0])) if pair[0] != pair[1]]


def _common(limits: CaseLimits, schemes: Mapping[str, SchemeLink], hubs: frozenset[str]) -> dict[tuple[str, str], int]:
    """Accounts in common of two schemes that are near in time, where there are enough of them. A hub's schemes are never
    compared through it, so the work is bounded by accounts times the square of the most schemes of an account."""
    of_account: dict[str, list[str]] = defaultdict(list)
    for scheme_id, scheme in sorted(schemes.items()):
        for account in scheme.accounts - hubs:
            of_account[account].append(scheme_id)
    counted: Counter[tuple[str, str]] = Counter()
    for ids in of_account.values():
        counted.update(combinations(ids, 2))
    return {
        pair: count
        for pair, count in counted.items()
        if count >= limits.shared_accounts and _days_between(schemes[pair[0]], schemes[pair[1]]) <= limits.link_days
    }


def _days_between(one: SchemeLink, other: SchemeLink) -> int:
    return max(0, (max(one.first_on, other.first_on) - min(one.last_on, other.last_on)).days)
