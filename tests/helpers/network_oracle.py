"""The transfer network's features and schemes once more, by plain loops over few rows: every path is walked to its end.

Follows docs/aml_network.md and shares no code with the package it checks.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

from pipelines.spec import NetworkLimits

Row = dict[str, Any]


@dataclass(frozen=True, order=True)
class Payment:
    at: datetime
    token: str
    payer: str
    payee: str
    cents: int | None
    twin: str | None = None


class Oracle:
    def __init__(self, rows: list[Row], found: list[Row], on: date, limits: NetworkLimits) -> None:
        self.limits, self.on = limits, on
        self.end = datetime(on.year, on.month, on.day, tzinfo=UTC) + timedelta(days=1)
        seen = [r for r in rows if self.since(limits.known_days) <= r["booked_at"] < self.end]
        self.owner = owners(seen)
        self.payments = sorted(matched(once([r for r in seen if valid(r)]), limits))
        self.recent = [p for p in self.payments if p.at >= self.since(limits.lookback_days)]
        self.suspicious = {
            f["customer_token"] for f in found if f["outcome"] == "suspicious" and f["reported_on"] <= on
        }
        self.suspicious &= set(self.owner.values())
        self.bounded = self._bounded()
        self.cycles = [c for first in self.recent for c in self._walk((first,)) if self._several_holders(c)]

    def since(self, days: int) -> datetime:
        return self.end - timedelta(days=days)

    def holder(self, account: str) -> str:
        return self.owner.get(account, f"account {account}")

    def flows(self, customer: str, payments: list[Payment]) -> Iterator[tuple[Payment, bool, str]]:
        for p in payments:
            payer, payee = self.owner.get(p.payer), self.owner.get(p.payee)
            if payer != payee and customer in (payer, payee):
                yield p, payee == customer, p.payer if payee == customer else p.payee

    # Degrees

    def degree(self, customer: str, incoming: bool, days: int) -> int:
        flows = self.flows(customer, [p for p in self.payments if p.at >= self.since(days)])
        return len({other for _, into, other in flows if into == incoming})

    def new(self, customer: str, incoming: bool, days: int) -> int | None:
        if not self.payments or self.payments[0].at >= self.since(days + self.limits.least_known_days):
            return None
        old = {o for p, into, o in self.flows(customer, self.payments) if into == incoming and p.at < self.since(days)}
        now = {o for p, into, o in self.flows(customer, self.payments) if into == incoming and p.at >= self.since(days)}
        return len(now - old)

    def equal(self, customer: str, incoming: bool) -> int:
        times = Counter(
            (p.payee if into else p.payer, p.cents, p.at.date())
            for p, into, _ in self.flows(customer, self.payments)
            if into == incoming and p.cents is not None and p.at >= self.since(30)
        )
        return max(times.values(), default=0)

    # Bursts

    def fan_windows(self, hub: str, incoming: bool) -> dict[date, tuple[int, list[Payment]]]:
        """Distinct accounts and payments by the last day of the window."""
        small = self.small(hub, incoming)
        windows = {}
        for day in {p.at.date() for p in small}:
            first = day - timedelta(days=self.limits.fans.days - 1)
            inside = [p for p in small if first <= p.at.date() <= day]
            windows[day] = (len({p.payer if incoming else p.payee for p in inside}), inside)
        return windows

    def small(self, hub: str, incoming: bool) -> list[Payment]:
        most = self.limits.fans.small_amount * 100
        return [
            p
            for p in self.recent
            if (p.payee if incoming else p.payer) == hub and p.cents is not None and p.cents <= most
        ]

    def peak(self, hub: str, incoming: bool) -> tuple[int, float, list[Payment]]:
        windows = self.fan_windows(hub, incoming)
        if not windows:
            return 0, 0.0, []
        parties = max(count for count, _ in windows.values())
        inside = windows[min(day for day, (count, _) in windows.items() if count == parties)][1]
        return parties, worth(inside) / worth(self.small(hub, incoming)), inside

    def gather_scatter(self, hub: str) -> list[Payment] | None:
        fans = self.limits.fans
        pairs = [
            (-n - m, d, e, a, b)
            for d, (n, a) in self.fan_windows(hub, True).items()
            for e, (m, b) in self.fan_windows(hub, False).items()
            if min(n, m) >= fans.least_parties and d <= e <= d + timedelta(days=fans.scatter_days)
        ]
        good = [pair for pair in pairs if self._gathers_then_scatters(hub, *pair[-2:])]
        return (good and [p for window in min(good)[-2:] for p in window]) or None

    def _gathers_then_scatters(self, hub: str, gathered: list[Payment], scattered: list[Payment]) -> bool:
        fans = self.limits.fans
        shares = (worth(gathered) / worth(self.small(hub, True)), worth(scattered) / worth(self.small(hub, False)))
        ordered = min(gathered) < min(scattered) and max(gathered) < max(scattered)
        money = worth(scattered) >= fans.scatter_least_share * worth(gathered)
        return ordered and money and min(shares) >= fans.least_share

    # Chains

    def cell(self, p: Payment) -> tuple[int, int]:
        period = int(p.at.timestamp()) // (self.limits.chains.hop_days * 86400)
        width = math.log(1 / (1 - self.limits.chains.max_shrink)) * 1.0001 + 1e-9
        return period, math.floor(math.log(p.cents or 1) / width)

    def _bounded(self) -> set[Payment]:
        """Payments whose account, period and class have more possible links than allowed."""
        into, out = Counter(), Counter()
        known = [p for p in self.recent if p.cents is not None]
        for p in known:
            into[p.payee, *self.cell(p)] += 1
            out[p.payer, *self.cell(p)] += 1

        def links(p: Payment) -> int:
            period, size = self.cell(p)
            return into[p.payee, period, size] * sum(
                out[p.payee, period + later, size - less] for later in (0, 1) for less in (0, 1)
            )

        return {p for p in known if links(p) > self.limits.chains.max_links}

    def linked(self, e: Payment, f: Payment) -> bool:
        chains = self.limits.chains
        return (
            e not in self.bounded
            and e.payee == f.payer
            and e < f
            and f.at <= e.at + timedelta(days=chains.hop_days)
            and e.cents is not None
            and f.cents is not None
            and round(e.cents * (1 - chains.max_shrink), 6) <= f.cents <= e.cents
        )

    def _walk(self, path: tuple[Payment, ...]) -> Iterator[tuple[Payment, ...]]:
        visited = {p.payer for p in path}
        for following in self.recent:
            if not self.linked(path[-1], following):
                continue
            if following.payee == path[0].payer:
                yield (*path, following)
            elif following.payee not in visited and len(path) + 1 < self.limits.chains.longest_cycle:
                yield from self._walk((*path, following))

    def _several_holders(self, cycle: tuple[Payment, ...]) -> bool:
        return len({self.holder(p.payer) for p in cycle}) > 1

    def scatter_gather(self) -> dict[tuple[str, str], set[Payment]]:
        chains = self.limits.chains
        window = timedelta(days=chains.scatter_gather_days)
        forks = defaultdict(list)
        for e in self.recent:
            for f in self.recent:
                if self.linked(e, f) and f.payee != e.payer:
                    forks[e.payer, f.payee].append((e, f))
        found = {}
        for pair, paths in forks.items():
            best = None
            for begins in sorted({e.at for e, _ in paths}):
                inside = [(e, f) for e, f in paths if e.at >= begins and f.at <= begins + window]
                middles = len({e.payee for e, _ in inside})
                if middles >= chains.least_middles and (best is None or middles > best[0]):
                    best = (middles, {p for path in inside for p in path})
            if best:
                found[pair] = best[1]
        return found

    # Pass-through

    def passed(self, customer: str, days: int) -> tuple[int, int]:
        """The most that can be matched of all that came in the lookback, and what came, in cents, if both are of `days`."""
        flows = [(p, into) for p, into, _ in self.flows(customer, self.recent) if p.cents is not None]
        came = [p for p, into in flows if into and p.at >= self.since(days)]
        gone = [p for p, into in flows if not into]
        hours = timedelta(hours=self.limits.pass_through.hours)
        edges = [[j for j, f in enumerate(gone) if e < f and f.at <= e.at + hours] for e in came]
        return largest_flow([p.cents or 0 for p in came], [p.cents or 0 for p in gone], edges), sum(
            p.cents or 0 for p in came
        )

    # Exposure

    def exposed(self, customer: str, hop: int) -> tuple[int, float | None, float]:
        flows = [(p, other) for p, _, other in self.flows(customer, self.recent)]
        hits = [p for p, other in flows if self._hop(customer, other) == hop]
        return len(hits), len(hits) / len(flows) if flows else None, sum(p.cents or 0 for p in hits) / 100

    def _hop(self, customer: str, other: str) -> int | None:
        if self.owner.get(other) in self.suspicious:
            return 1
        near = [p for p in self.recent if other in (p.payer, p.payee)]
        ends = {p.payee if p.payer == other else p.payer for p in near}
        if len(ends) > self.limits.exposure.max_counterparties:
            return None
        suspects = {self.owner.get(end) for end in ends} & self.suspicious - {customer, self.owner.get(other)}
        return 2 if suspects else None


def worth(payments: list[Payment]) -> int:
    return sum(p.cents or 0 for p in payments)


def valid(row: Row) -> bool:
    tokens = [row[name] for name in ("transaction_token", "account_token", "counterparty_token")]
    return (
        None not in tokens
        and row["account_token"] != row["counterparty_token"]
        and row["direction"] in ("debit", "credit")
        and row["amount"] is not None
        and math.isfinite(row["amount"])
        and round(row["amount"] * 100) > 0
    )


def once(rows: list[Row]) -> list[Row]:
    kept: dict[str, Row] = {}
    for row in sorted(rows, key=lambda r: (r["booked_at"], str(r))):
        kept.setdefault(row["transaction_token"], row)
    return list(kept.values())


def owners(rows: list[Row]) -> dict[str, str]:
    named = [r for r in rows if r["account_token"] is not None and r["customer_token"] is not None]
    return {
        r["account_token"]: r["customer_token"]
        for r in sorted(named, key=lambda r: (r["booked_at"], r["customer_token"]))
    }


def matched(rows: list[Row], limits: NetworkLimits) -> Iterator[Payment]:
    groups = defaultdict(lambda: ([], []))
    for row in rows:
        debit = row["direction"] == "debit"
        ends = (row["account_token"], row["counterparty_token"])
        key = (*(ends if debit else ends[::-1]), round(row["amount"] * 100), row["currency"], row["booked_at"])
        groups[key][0 if debit else 1].append(row["transaction_token"])
    for (payer, payee, cents, currency, at), (debits, credits) in groups.items():
        value = round(cents * limits.currencies[currency]) if currency in limits.currencies else None
        debits, credits = sorted(debits), sorted(credits)
        for place in range(max(len(debits), len(credits))):
            mine = debits[place : place + 1] + credits[place : place + 1]
            yield Payment(at, mine[0], payer, payee, value, mine[1] if len(mine) > 1 else None)


def largest_flow(supply: list[int], demand: list[int], edges: list[list[int]]) -> int:
    """Ford and Fulkerson on a small bipartite graph."""
    supply, demand = list(supply), list(demand)
    moved: dict[tuple[int, int], int] = defaultdict(int)
    total = 0
    while path := _augmenting(supply, demand, edges, moved):
        backwards = [moved[path[k + 1], path[k]] for k in range(1, len(path) - 1, 2)]
        amount = (
            min(supply[path[0]], demand[path[-1]], *backwards) if backwards else min(supply[path[0]], demand[path[-1]])
        )
        for place, (one, two) in enumerate(pairwise(path)):
            if place % 2 == 0:
                moved[one, two] += amount
            else:
                moved[two, one] -= amount
        supply[path[0]] -= amount
        demand[path[-1]] -= amount
        total += amount
    return total


def _augmenting(
    supply: list[int], demand: list[int], edges: list[list[int]], moved: dict[tuple[int, int], int]
) -> list[int]:
    """In, out, in, out, …: forwards along an edge, backwards along what moved."""
    for start, left in enumerate(supply):
        if not left:
            continue
        queue, seen = [[start]], set()
        while queue:
            path = queue.pop(0)
            for out in edges[path[-1]]:
                if out in seen:
                    continue
                seen.add(out)
                if demand[out]:
                    return [*path, out]
                queue += [[*path, out, back] for back in range(len(supply)) if moved[back, out]]
    return []
