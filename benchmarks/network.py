"""The transfer network: features of 200,000 customers and all schemes, from a history of `rows` booked transactions.

All ways read the same Parquet file, of 120 days. A tenth of the rows are payments in and out of one account (a million of
ten): the hub that must not blow up. Half are purchases at 40,000 shops, a fortieth wages, the rest transfers between
customers of the bank, booked twice, mostly among a few friends of each.

* raw: one scan that groups all rows by account: count and sum, the least that any feature needs;
* ours: `customer_features`, all features and schemes;
* usual: a networkx graph made from a pandas frame, for two kinds of feature only (degrees of three windows, and cycles of
  up to six payments by walking on from every payment), without the hub, which a walk cannot pass.

`python -m benchmarks.network` measures the cost curve at 1, 2, 5 and 10 million rows.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.harness import Measurement, timed
from pipelines.aml.network import FEATURES, customer_features
from pipelines.lake import connect
from pipelines.settings import REPOSITORY, Settings
from pipelines.spec import load_network_limits

STEP = "transfer network"
CUSTOMERS = 200_000
ON = date(2026, 6, 30)
CURVE = (1_000_000, 2_000_000, 5_000_000, 10_000_000)
_DAYS = 120
_DAY_US = 86_400_000_000
_END_US = 1_782_864_000_000_000  # the end of ON, 2026-07-01 UTC
_SHOPS, _EMPLOYERS, _FRIENDS = 40_000, 9_000, 6
_ELSEWHERE = 10_000_000  # account numbers from here on are not of the bank
_CHUNK = 500_000


def measure(rows: int) -> list[Measurement]:
    """Measure all ways at `rows` transactions."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), rows)
        raw = timed(_raw, folder, runs=1)
        ours = timed(_ours, folder, runs=1)
        usual = timed(_usual, folder, runs=1)
    return [Measurement(STEP, rows, len(FEATURES), raw.seconds, ours.seconds, usual.seconds, ours.peak_mb)]


def write(folder: Path, rows: int, customers: int = CUSTOMERS) -> None:
    """Write `<folder>/transactions.parquet`, in no order of time or account."""
    draw = np.random.default_rng(11)
    with pq.ParquetWriter(folder / "transactions.parquet", _chunk(draw, 0, 20, customers).schema) as writer:
        for start in range(0, rows, _CHUNK):
            writer.write_table(_chunk(draw, start, min(_CHUNK, rows - start), customers))


def _chunk(draw: np.random.Generator, start: int, rows: int, customers: int) -> pa.Table:
    shop, wage, hub = rows // 2, rows // 40, rows // 10
    pairs = (rows - shop - wage - hub) // 2
    hub = rows - shop - wage - 2 * pairs
    one, friend = _friends(draw, pairs, customers)
    side = draw.integers(0, 2, hub)
    account = [draw.integers(0, customers, n) for n in (shop, wage, hub)]
    other = [
        _ELSEWHERE + (_SHOPS * draw.random(shop) ** 3).astype(np.int64),
        _ELSEWHERE + _SHOPS + account[1] % _EMPLOYERS,
        np.full(hub, _ELSEWHERE - 1),
    ]
    moment = [_END_US - draw.integers(1, _DAYS * _DAY_US, n) for n in (shop, wage, hub, pairs)]
    amount = [
        np.round(0.5 + 26 * np.exp(0.9 * draw.standard_normal(shop)), 2),
        np.round(1500 + 2000 * draw.random(wage), 2),
        np.round(50 + 100 * np.exp(0.7 * draw.standard_normal(hub)), 2),
        np.round(20 + 60 * np.exp(1.2 * draw.standard_normal(pairs)), 2),
    ]
    accounts = np.concatenate([*account, one, friend])
    debit = np.concatenate([np.ones(shop), np.zeros(wage), side, np.ones(pairs), np.zeros(pairs)]).astype(bool)
    return pa.table(
        {
            "transaction_token": _tokens(np.arange(start, start + rows), 1),
            "account_token": _tokens(accounts, 2),
            "counterparty_token": _tokens(np.concatenate([*other, friend, one]), 2),
            "customer_token": _tokens(accounts, 3),
            "booked_at": pa.array(np.concatenate([*moment, moment[-1]]), pa.timestamp("us", "UTC")),
            "amount": np.concatenate([*amount, amount[-1]]),
            "currency": pa.array(["EUR"] * rows),
            "channel": pa.array(["transfer"] * rows),
            "country": pa.array(["DE"] * rows),
            "direction": pa.array(np.where(debit, "debit", "credit")),
        }
    )


def _friends(draw: np.random.Generator, pairs: int, customers: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of customers: one in ten with a stranger, the others with one of a few fixed friends, either way."""
    one = draw.integers(0, customers, pairs)
    friend = (one * 31 + 7919 * draw.integers(1, _FRIENDS + 1, pairs)) % customers
    friend = np.where(draw.random(pairs) < 0.1, draw.integers(0, customers, pairs), friend)
    friend = np.where(friend == one, (one + 1) % customers, friend)
    turned = draw.random(pairs) < 0.5
    return np.where(turned, friend, one), np.where(turned, one, friend)


def _tokens(numbers: np.ndarray, kind: int) -> pa.Array:
    """32 hexadecimal digits without an order, as real tokens are."""
    mixed = (numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) ^ np.uint64(kind << 40)
    return pa.array([f"{value:016x}{value:016x}" for value in mixed.tolist()])


def connection_to(folder: str, memory: str = "2GB") -> duckdb.DuckDBPyConnection:
    """A worker's connection in which `transactions` is the file."""
    connection = connect(Settings(home=Path(folder), duckdb_memory=memory))
    connection.execute(f"CREATE VIEW transactions AS SELECT * FROM read_parquet('{folder}/transactions.parquet')")
    return connection


def _raw(folder: str) -> Callable[[], Any]:
    connection = connection_to(folder)
    query = "SELECT account_token, direction, count(*), sum(amount) FROM transactions GROUP BY ALL"
    return lambda: connection.sql(query).to_arrow_table()


def _ours(folder: str) -> Callable[[], Any]:
    connection = connection_to(folder)
    limits = load_network_limits(REPOSITORY / "policies", "aml_network")
    return lambda: connection.sql(customer_features(connection, ON, limits)).to_arrow_table()


def _usual(folder: str) -> Callable[[], Any]:
    import networkx as nx
    import pandas as pd

    rows = pd.read_parquet(f"{folder}/transactions.parquet")
    limits = load_network_limits(REPOSITORY / "policies", "aml_network").chains
    (hub,) = _tokens(np.array([_ELSEWHERE - 1]), 2).to_pylist()

    def work() -> tuple[dict[str, list[int]], int]:
        known = rows[(rows["account_token"] != hub) & (rows["counterparty_token"] != hub)]
        debit = known["direction"] == "debit"
        payments = pd.DataFrame(
            {
                "payer": known["account_token"].where(debit, known["counterparty_token"]),
                "payee": known["counterparty_token"].where(debit, known["account_token"]),
                "cents": (known["amount"] * 100).round().astype("int64"),
                "at": known["booked_at"].astype("int64"),
            }
        ).drop_duplicates()
        graph = nx.from_pandas_edgelist(payments, "payer", "payee", ["cents", "at"], nx.MultiDiGraph)
        return _degrees(graph), sum(_cycles_from(graph, edge, limits) for edge in graph.edges(data=True))

    return work


def _degrees(graph: Any) -> dict[str, list[int]]:
    found = {}
    for node in graph.nodes:
        sides = (
            [(payer, data["at"]) for payer, _, data in graph.in_edges(node, data=True)],
            [(payee, data["at"]) for _, payee, data in graph.out_edges(node, data=True)],
        )
        found[node] = [
            len({other for other, at in side if at >= _END_US - days * _DAY_US})
            for side in sides
            for days in (7, 30, 90)
        ]
    return found


def _cycles_from(graph: Any, edge: Any, limits: Any) -> int:
    """Cycles that begin with a payment of the last 90 days."""
    payer, payee, data = edge
    return _walk(graph, payer, [payer, payee], data, limits) if data["at"] >= _END_US - 90 * _DAY_US else 0


def _walk(graph: Any, start: str, visited: list[str], last: Any, limits: Any) -> int:
    found = 0
    for _, payee, data in graph.out_edges(visited[-1], data=True):
        in_time = last["at"] < data["at"] <= last["at"] + limits.hop_days * _DAY_US
        if not in_time or not last["cents"] * (1 - limits.max_shrink) <= data["cents"] <= last["cents"]:
            continue
        if payee == start:
            found += 1
        elif len(visited) < limits.longest_cycle and payee not in visited:
            found += _walk(graph, start, [*visited, payee], data, limits)
    return found


def main() -> None:
    """Print the cost curve."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.network", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=CURVE, help="sizes of the curve")
    parser.add_argument("--usual", type=int, default=1_000_000, help="largest size at which the usual way is taken")
    options = parser.parse_args()
    print("| rows | raw limit, s | ours, s | ours, processor s | ours / raw | peak MB | usual way, s |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    seconds = [_point(rows, rows <= options.usual) for rows in options.rows]
    print(f"time grows with rows to the power of {exponent(options.rows, seconds):.2f}")


def _point(rows: int, with_usual: bool) -> float:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), rows)
        raw = timed(_raw, folder, runs=1)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ours = timed(_ours, folder, runs=1)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        usual = f"{timed(_usual, folder, runs=1).seconds:.1f}" if with_usual else ""
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    ratio = ours.seconds / raw.seconds
    print(
        f"| {rows:,} | {raw.seconds:.2f} | {ours.seconds:.1f} | {spent:.1f} | {ratio:.1f} | {ours.peak_mb:,.0f} | {usual} |",
        flush=True,
    )
    return ours.seconds


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Slope of the least-squares line through (log size, log seconds): 1 is linear."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0]) if len(sizes) > 1 else float("nan")


if __name__ == "__main__":
    main()
