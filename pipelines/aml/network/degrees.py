"""With how many accounts a customer pays, how many of them are new, and equal payments repeated on one day."""

from __future__ import annotations

from datetime import date

import duckdb

from pipelines.aml.network.window import day_of, end_of, start_of
from pipelines.spec.network import NetworkLimits

DEGREE_DAYS = (7, 30, 90)
NEW_DAYS = (7, 30)
REPEAT_DAYS = 30


def build_flows(connection: duckdb.DuckDBPyConnection) -> None:
    """`network_flow`: each payment from the view of each customer in it, but not what a customer moves between own accounts."""
    outside = "payer_customer IS DISTINCT FROM payee_customer"
    connection.execute(f"""
        CREATE OR REPLACE TEMP VIEW network_flow AS
        SELECT payee_customer AS customer, true AS incoming, payee AS account, payer AS other, payer_customer AS other_customer,
               payment, paid_at, cents
        FROM network_payment WHERE payee_customer IS NOT NULL AND {outside}
        UNION ALL
        SELECT payer_customer, false, payer, payee, payee_customer, payment, paid_at, cents
        FROM network_payment WHERE payer_customer IS NOT NULL AND {outside}
    """)


def build_degrees(connection: duckdb.DuckDBPyConnection, on: date, limits: NetworkLimits) -> None:
    """`network_degree`: distinct payers and payees per window, and how many of them are new in it."""
    columns = []
    for name, side in (("payers", "incoming"), ("payees", "NOT incoming")):
        for days in DEGREE_DAYS:
            columns.append(f"count(*) FILTER ({side} AND newest >= {start_of(on, days)}) AS {name}_{days}d")
        for days in NEW_DAYS:
            new = f"count(*) FILTER ({side} AND oldest >= {start_of(on, days)})"
            known = f"(SELECT min(paid_at) FROM network_payment) < {start_of(on, days + limits.least_known_days)}"
            columns.append(f"CASE WHEN {known} THEN {new} END AS new_{name}_{days}d")
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_degree AS
        SELECT customer, {", ".join(columns)}
        FROM network_customer
        LEFT JOIN (
            SELECT customer, incoming, other, min(paid_at) AS oldest, max(paid_at) AS newest FROM network_flow GROUP BY ALL
        ) USING (customer)
        GROUP BY customer
    """)


def build_repeats(connection: duckdb.DuckDBPyConnection, on: date) -> None:
    """`network_repeat`: the most payments of one amount on one day into, and out of, one account of the customer."""
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_repeat AS
        SELECT customer, max(times) FILTER (incoming) AS equal_in_30d, max(times) FILTER (NOT incoming) AS equal_out_30d
        FROM (
            SELECT customer, account, incoming, cents, {day_of("paid_at")} AS day, count(*) AS times
            FROM network_flow
            WHERE paid_at >= {start_of(on, REPEAT_DAYS)} AND paid_at < {end_of(on)} AND cents IS NOT NULL
            GROUP BY ALL
        )
        GROUP BY customer
    """)
