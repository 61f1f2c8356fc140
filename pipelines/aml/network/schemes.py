"""Schemes: what an investigator is shown. One table of schemes, one of the accounts in them, one of their transactions."""

from __future__ import annotations

import duckdb

from pipelines.aml.network.fans import SIDES
from pipelines.spec.network import NetworkLimits

KINDS = ("fan_in", "fan_out", "gather_scatter", "scatter_gather", "cycle", "pass_through")


def build_schemes(connection: duckdb.DuckDBPyConnection, limits: NetworkLimits) -> None:
    """Gather all schemes into `scheme`, `scheme_member` and `scheme_payment`, from the tables of their kinds.

    The id of a scheme is a digest of its kind and transaction tokens, so it is the same in every run that finds the same
    payments, and another one as soon as a payment is added.
    """
    connection.execute("""
        CREATE OR REPLACE TEMP TABLE network_found (kind VARCHAR, place VARCHAR, payment BIGINT);
        CREATE OR REPLACE TEMP TABLE network_part (kind VARCHAR, place VARCHAR, account INTEGER, part VARCHAR);
        CREATE OR REPLACE TEMP TABLE network_amount (kind VARCHAR, place VARCHAR, cents HUGEINT);
    """)
    for side in SIDES:
        _add_fans(connection, side, limits)
    _add_gather_scatter(connection, limits)
    _add_scatter_gather(connection, limits)
    for length in range(2, limits.chains.longest_cycle + 1):
        _add_cycles(connection, length)
    _add_passing(connection, limits)
    _name(connection)


def _add(connection: duckdb.DuckDBPyConnection, payments: str, parts: str, amounts: str) -> None:
    connection.execute(f"INSERT INTO network_found {payments}")
    connection.execute(f"INSERT INTO network_part SELECT DISTINCT * FROM ({parts})")
    connection.execute(f"INSERT INTO network_amount {amounts}")


def _add_fans(connection: duckdb.DuckDBPyConnection, side: str, limits: NetworkLimits) -> None:
    fans, (hub, other) = limits.fans, SIDES[side]
    kind = f"fan_{side}"
    connection.execute(f"""
        CREATE OR REPLACE TEMP VIEW network_{kind}_scheme AS
        SELECT CAST(hub AS VARCHAR) AS place, hub, last_day, cents FROM network_{kind}
        WHERE parties >= {fans.least_parties} AND cents >= {fans.least_share} * of_cents
    """)
    inside = f"""network_{kind}_scheme f JOIN network_small s
        ON s.{hub} = f.hub AND s.day > f.last_day - {fans.days} AND s.day <= f.last_day"""
    _add(
        connection,
        f"SELECT '{kind}', place, s.payment FROM {inside}",
        f"SELECT '{kind}', place, s.{hub}, 'hub' FROM {inside} "
        f"UNION ALL SELECT '{kind}', place, s.{other}, '{other}' FROM {inside}",
        f"SELECT '{kind}', place, cents FROM network_{kind}_scheme",
    )


def _add_gather_scatter(connection: duckdb.DuckDBPyConnection, limits: NetworkLimits) -> None:
    days = limits.fans.days
    gathered = f"s.payee = g.hub AND s.day > gathered_day - {days} AND s.day <= gathered_day"
    scattered = f"s.payer = g.hub AND s.day > scattered_day - {days} AND s.day <= scattered_day"
    start = "SELECT 'gather_scatter', CAST(g.hub AS VARCHAR)"
    joined = "FROM network_gather_scatter g JOIN network_small s ON"
    _add(
        connection,
        f"{start}, s.payment {joined} {gathered} UNION ALL {start}, s.payment {joined} {scattered}",
        f"{start}, s.payer, 'payer' {joined} {gathered} UNION ALL {start}, s.payee, 'payee' {joined} {scattered} "
        f"UNION ALL {start}, g.hub, 'hub' FROM network_gather_scatter g",
        f"{start}, gathered FROM network_gather_scatter g",
    )


def _add_scatter_gather(connection: duckdb.DuckDBPyConnection, limits: NetworkLimits) -> None:
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_scatter_gather_fork AS
        SELECT source || '-' || sink AS place, f.* FROM network_scatter_gather g JOIN network_fork f USING (source, sink)
        WHERE f.first_at >= begins AND f.last_at <= begins + INTERVAL {limits.chains.scatter_gather_days * 24} HOUR
    """)
    fork = "FROM network_scatter_gather_fork"
    start = "SELECT DISTINCT 'scatter_gather', place"
    _add(
        connection,
        f"{start}, unnest([p1, p2]) {fork}",
        f"{start}, source, 'source' {fork} UNION ALL {start}, middle, 'middle' {fork} UNION ALL {start}, sink, 'sink' {fork}",
        f"SELECT 'scatter_gather', place, sum(cents) FROM ({start}, p2, cents {fork}) GROUP BY place",
    )


def _add_cycles(connection: duckdb.DuckDBPyConnection, length: int) -> None:
    payments, accounts = (", ".join(f"{letter}{i}" for i in range(1, length + 1)) for letter in "pa")
    start = f"SELECT 'cycle', concat_ws('-', {payments})"
    cycle = f"FROM network_cycle_{length}"
    _add(
        connection,
        f"{start}, unnest([{payments}]) {cycle}",
        f"{start}, unnest([{accounts}]), 'member' {cycle}",
        f"{start}, cents {cycle}",
    )


def _add_passing(connection: duckdb.DuckDBPyConnection, limits: NetworkLimits) -> None:
    passing = limits.pass_through
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_episode AS
        WITH came AS (
            SELECT episode, sum(p.cents) AS cents
            FROM (SELECT DISTINCT episode, came FROM network_passed) JOIN network_payment p ON came = p.payment
            GROUP BY episode
        )
        SELECT episode, passed FROM (SELECT episode, sum(cents) AS passed FROM network_passed GROUP BY episode)
        JOIN came USING (episode)
        WHERE passed >= {round(passing.least_amount * 100)} AND passed >= {passing.least_share} * cents
    """)
    start = "SELECT 'pass_through', CAST(episode AS VARCHAR)"
    pieces = "FROM network_episode JOIN network_passed USING (episode)"
    came = f"{pieces} JOIN network_payment p ON came = p.payment"
    left = f"{pieces} JOIN network_payment p ON left_by = p.payment"
    _add(
        connection,
        f"SELECT DISTINCT 'pass_through', CAST(episode AS VARCHAR), unnest([came, left_by]) {pieces}",
        f"{start}, payer, 'source' {came} UNION ALL {start}, payee, 'middle' {came} "
        f"UNION ALL {start}, payer, 'middle' {left} UNION ALL {start}, payee, 'sink' {left}",
        f"{start}, passed FROM network_episode",
    )


def _name(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("""
        CREATE OR REPLACE TEMP TABLE network_named AS
        SELECT kind, place, md5(kind || ':' || string_agg(token, ',' ORDER BY payment)) AS scheme_id,
               count(*) AS payments, min(paid_at) AS first_at, max(paid_at) AS last_at
        FROM network_found JOIN network_payment USING (payment)
        GROUP BY kind, place
    """)
    connection.execute("""
        CREATE OR REPLACE TEMP TABLE scheme_member AS
        SELECT scheme_id, account_token, part
        FROM network_part JOIN network_named USING (kind, place) JOIN network_account USING (account)
        ORDER BY ALL
    """)
    connection.execute("""
        CREATE OR REPLACE TEMP TABLE scheme AS
        SELECT scheme_id, kind, accounts, payments, cents / 100.0 AS amount, first_at, last_at
        FROM network_named JOIN network_amount USING (kind, place)
        JOIN (SELECT scheme_id, count(DISTINCT account_token) AS accounts FROM scheme_member GROUP BY scheme_id)
            USING (scheme_id)
        ORDER BY kind, first_at, scheme_id
    """)
    connection.execute("""
        CREATE OR REPLACE TEMP TABLE scheme_payment AS
        SELECT scheme_id, unnest(CASE WHEN twin.token IS NULL THEN [p.token] ELSE [p.token, twin.token] END) AS transaction_token
        FROM network_found JOIN network_named USING (kind, place) JOIN network_payment p USING (payment)
        LEFT JOIN network_twin twin USING (payment)
        ORDER BY ALL
    """)
