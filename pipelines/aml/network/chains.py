"""Money handed on from account to account: cycles and scatter-gather, through links between two payments.

A link is two payments through one account: the second leaves it after the first came, within some days, and is not larger
and not smaller by more than a share. A chain is payments in a row, each linked to the next, that visits no account twice.

A cycle of k payments is two chains, of about k/2 payments each, that lead from one account to another and back. So only
chains of half the length are ever written down, and the halves meet in a join on both their ends: what is found is the
same as by walking every path to its end, and the work grows with the branching to the power of two and not of five.

An account through which very many payments could be linked is a bounded hub: no chain goes through it, and it is listed.
"""

from __future__ import annotations

import math
from datetime import date
from itertools import product

import duckdb

from pipelines.aml.network.window import start_of
from pipelines.contracts import DataFault
from pipelines.spec.network import NetworkLimits

_HOUR_US = 3_600_000_000
_NEIGHBOURS = "(VALUES (0, 0), (0, 1), (1, 0), (1, 1)) near(later, smaller)"


def build_chains(connection: duckdb.DuckDBPyConnection, on: date, limits: NetworkLimits) -> None:
    """Make the tables of links and what is made of them.

    * `network_cell`: account, period and class where the bound was met; `bounded_hub` shows them per account.
    * `network_beyond`: payments that are not linked there, in and out.
    * `network_cycle_<k>`: p1..pk and a1..ak, where a<i> pays p<i>, and cents, the last and least amount.
    * `network_fork`: chains of two payments of every pair that has enough intermediaries at all.
    * `network_scatter_gather`: source, sink, begins, middles: the window of most intermediaries of each pair.

    Raises:
        DataFault: there are more chains than the policy allows.
    """
    _class_steps(connection, on, limits)
    _bound_hubs(connection, limits)
    _link(connection, limits)
    for length in range(3, _half(limits.chains.longest_cycle) + 1):
        _extend(connection, length, limits)
    for length in range(2, limits.chains.longest_cycle + 1):
        _close(connection, length, limits)
    _meet_in_sinks(connection, limits)
    for length in range(2, max(2, _half(limits.chains.longest_cycle)) + 1):
        connection.execute(f"DROP TABLE network_chain_{length}")
    connection.execute("DROP VIEW network_chain_1; DROP TABLE network_step; DROP TABLE network_bounded")


def _half(length: int) -> int:
    return (length + 1) // 2


def _class_steps(connection: duckdb.DuckDBPyConnection, on: date, limits: NetworkLimits) -> None:
    """`network_step`: the payments of the lookback, each with its period of `hop_days` and its class of amount.

    Two linked payments are in the same or in neighbouring periods and classes, so a join on account, period and class
    finds every link, without comparing all payments into a shop with all payments out of it.
    """
    period = limits.chains.hop_days * 24 * _HOUR_US
    width = math.log(1 / (1 - limits.chains.max_shrink)) * 1.0001 + 1e-9
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_step AS
        SELECT payment, payer, payee, paid_at, cents, epoch_us(paid_at) // {period} AS period,
               CAST(floor(ln(cents) / {width!r}) AS BIGINT) AS class
        FROM network_payment
        WHERE paid_at >= {start_of(on, limits.lookback_days)} AND cents IS NOT NULL
    """)
    connection.execute("""
        CREATE OR REPLACE TEMP VIEW network_chain_1 AS
        SELECT payment AS p1, payer AS a0, payee AS a1, paid_at AS first_at, paid_at AS last_at,
               cents AS first_cents, cents AS last_cents
        FROM network_step
    """)


def _bound_hubs(connection: duckdb.DuckDBPyConnection, limits: NetworkLimits) -> None:
    """`network_cell`: account, period and class of incoming payments that have more possible links than allowed.

    More than n possible links need more than n / 4 with one of the four neighbours, so more than the square root of that
    many payments on one of the two sides: only such crowded cells, which are few, are looked at.
    """
    crowded = math.isqrt(limits.chains.max_links // 4) + 1
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_cell AS
        WITH full_in AS (
            SELECT payee AS account, period, class FROM network_step GROUP BY ALL HAVING count(*) >= {crowded}
        ),
        full_out AS (
            SELECT payer AS account, period, class FROM network_step GROUP BY ALL HAVING count(*) >= {crowded}
        ),
        cell AS (
            FROM full_in UNION SELECT account, period - later, class + smaller FROM full_out, {_NEIGHBOURS}
        ),
        incoming AS (
            SELECT c.*, count(*) AS payments_in
            FROM cell c JOIN network_step s ON s.payee = c.account AND s.period = c.period AND s.class = c.class GROUP BY ALL
        ),
        outgoing AS (
            SELECT c.account, c.period, c.class, count(*) AS payments_out
            FROM (SELECT *, period + later AS next_period, class - smaller AS next_class FROM cell, {_NEIGHBOURS}) c
            JOIN network_step s ON s.payer = c.account AND s.period = c.next_period AND s.class = c.next_class
            GROUP BY ALL
        )
        SELECT * FROM incoming JOIN outgoing USING (account, period, class)
        WHERE payments_in * payments_out > {limits.chains.max_links}
    """)
    connection.execute("""
        CREATE OR REPLACE TEMP TABLE network_bounded AS
        SELECT s.payment FROM network_step s
        SEMI JOIN network_cell c ON s.payee = c.account AND s.period = c.period AND s.class = c.class
    """)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_beyond AS
        SELECT payment FROM network_bounded
        UNION
        SELECT s.payment FROM network_step s
        SEMI JOIN (SELECT account, period + later AS period, class - smaller AS class FROM network_cell, {_NEIGHBOURS}) c
            ON s.payer = c.account AND s.period = c.period AND s.class = c.class
    """)
    connection.execute("""
        CREATE OR REPLACE TEMP VIEW bounded_hub AS
        SELECT account_token, count(*) AS cells, max(payments_in) AS payments_in, max(payments_out) AS payments_out,
               CAST(sum(payments_in * payments_out) AS BIGINT) AS links
        FROM network_cell JOIN network_account USING (account)
        GROUP BY account_token
    """)


def _link(connection: duckdb.DuckDBPyConnection, limits: NetworkLimits) -> None:
    """`network_chain_2`. A link back to the first payer is no chain; such pairs close as cycles of two."""
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_chain_2 AS
        SELECT e.payment AS p1, f.payment AS p2, e.payer AS a0, e.payee AS a1, f.payee AS a2,
               e.paid_at AS first_at, f.paid_at AS last_at, e.cents AS first_cents, f.cents AS last_cents
        FROM (
            SELECT *, period + later AS next_period, class - smaller AS next_class
            FROM (
                FROM network_step ANTI JOIN network_bounded USING (payment)
                WHERE payee IN (SELECT payer FROM network_step)
            ), {_NEIGHBOURS}
        ) e
        JOIN network_step f ON e.payee = f.payer AND e.next_period = f.period AND e.next_class = f.class
        WHERE {_linked("e.payment", "e.paid_at", "e.cents", "f.payment", "f.paid_at", "f.cents", limits)}
            AND e.payer <> f.payee
        LIMIT {limits.chains.max_chains + 1}
    """)
    _require_few(connection, "chain_2", limits)


def _linked(
    payment: str, paid_at: str, cents: str, next_payment: str, next_at: str, next_cents: str, limits: NetworkLimits
) -> str:
    hop = f"INTERVAL {limits.chains.hop_days * 24} HOUR"
    return (
        f"{next_payment} > {payment} AND {next_at} <= {paid_at} + {hop} "
        f"AND {next_cents} <= {cents} AND {next_cents} >= {cents} * {round(1 - limits.chains.max_shrink, 9)}"
    )


def _extend(connection: duckdb.DuckDBPyConnection, length: int, limits: NetworkLimits) -> None:
    """Chains of `length` payments: those of one less, and a link from their last payment to a next one."""
    before = length - 1
    payments = ", ".join(f"c.p{i}" for i in range(1, length))
    accounts = ", ".join(f"c.a{i}" for i in range(length))
    unseen = " AND ".join(f"n.a2 <> c.a{i}" for i in range(before))
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_chain_{length} AS
        SELECT {payments}, n.p2 AS p{length}, {accounts}, n.a2 AS a{length},
               c.first_at, n.last_at, c.first_cents, n.last_cents
        FROM network_chain_{before} c JOIN network_chain_2 n ON c.p{before} = n.p1
        WHERE {unseen}
        LIMIT {limits.chains.max_chains + 1}
    """)
    _require_few(connection, f"chain_{length}", limits)


def _require_few(connection: duckdb.DuckDBPyConnection, found: str, limits: NetworkLimits) -> None:
    row = connection.execute(f"SELECT count(*) FROM network_{found}").fetchone()
    if row and row[0] > limits.chains.max_chains:
        kind, length = found.split("_")
        raise DataFault(
            f"the transfer network has more than {limits.chains.max_chains:,} {kind}s of {length} payments, which "
            f"policies/{limits.policy}.yaml does not allow. Lower chains.max_links, hop_days or max_shrink there, or raise "
            "chains.max_chains. Nothing was written."
        )


def _close(connection: duckdb.DuckDBPyConnection, length: int, limits: NetworkLimits) -> None:
    """Cycles of `length` payments: a first half and a second half that leads back to where the first began.

    A cycle begins with its earliest payment, so it is found once. One between accounts of one customer alone is no cycle.
    """
    first = _half(length)
    second = length - first
    payments = [*(f"p.p{i}" for i in range(1, first + 1)), *(f"q.p{i}" for i in range(1, second + 1))]
    accounts = [*(f"p.a{i}" for i in range(first)), *(f"q.a{i}" for i in range(second))]
    apart = [f"p.a{i} <> q.a{j}" for i, j in product(range(1, first), range(1, second))]
    link = _linked(f"p.p{first}", "p.last_at", "p.last_cents", "q.p1", "q.first_at", "q.first_cents", limits)
    named = [f"{column} AS p{i}" for i, column in enumerate(payments, 1)]
    named += [f"{column} AS a{i}" for i, column in enumerate(accounts, 1)]
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_cycle_{length} AS
        WITH closed AS (
            SELECT {", ".join(named)}, q.last_cents AS cents
            FROM (FROM network_chain_{first} p ANTI JOIN network_bounded b ON p.p{first} = b.payment) p
            JOIN network_chain_{second} q ON p.a{first} = q.a0 AND p.a0 = q.a{second}
            WHERE {" AND ".join([link, *apart])}
        ),
        holder AS (SELECT account, coalesce(customer, -account) AS holder FROM network_account)
        SELECT closed.* FROM closed {" ".join(f"JOIN holder h{i} ON a{i} = h{i}.account" for i in range(1, length + 1))}
        WHERE {" OR ".join(f"h1.holder <> h{i}.holder" for i in range(2, length + 1))}
        LIMIT {limits.chains.max_chains + 1}
    """)
    _require_few(connection, f"cycle_{length}", limits)


def _meet_in_sinks(connection: duckdb.DuckDBPyConnection, limits: NetworkLimits) -> None:
    chains = limits.chains
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_fork AS
        SELECT a0 AS source, a1 AS middle, a2 AS sink, p1, p2, first_at, last_at, last_cents AS cents
        FROM network_chain_2
        SEMI JOIN (
            SELECT a0, a2 FROM network_chain_2 GROUP BY a0, a2 HAVING count(DISTINCT a1) >= {chains.least_middles}
        ) pair USING (a0, a2)
        WHERE last_at <= first_at + {_days(chains.scatter_gather_days)}
    """)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_scatter_gather AS
        SELECT source, sink, begins, count(DISTINCT middle) AS middles
        FROM (SELECT DISTINCT source, sink, first_at AS begins FROM network_fork)
        JOIN network_fork f USING (source, sink)
        WHERE f.first_at >= begins AND f.last_at <= begins + {_days(chains.scatter_gather_days)}
        GROUP BY source, sink, begins
        HAVING middles >= {chains.least_middles}
        QUALIFY row_number() OVER (PARTITION BY source, sink ORDER BY middles DESC, begins) = 1
    """)


def _days(days: int) -> str:
    return f"INTERVAL {days * 24} HOUR"
