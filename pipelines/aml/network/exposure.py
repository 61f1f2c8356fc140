"""Payments with people who were found suspicious, directly and through one account between. What was not yet reported on
the business date is not known. The customer's own finding does not count: it would be the label."""

from __future__ import annotations

from datetime import date

import duckdb

from pipelines.aml.network.window import start_of
from pipelines.spec.network import NetworkLimits

HOPS = (1, 2)


def build_exposure(connection: duckdb.DuckDBPyConnection, on: date, limits: NetworkLimits) -> None:
    """`network_exposure`: customer; number, share and amount of payments at either hop.

    All null when the connection has no relation `investigations`: no exposure and not knowing are two things.
    """
    if not _has(connection, "investigations"):
        nothing = ", ".join(
            f"CAST(NULL AS BIGINT) AS exposed_payments_{hop}, CAST(NULL AS DOUBLE) AS exposed_share_{hop}, "
            f"CAST(NULL AS DOUBLE) AS exposed_amount_{hop}"
            for hop in HOPS
        )
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE network_exposure AS SELECT customer, {nothing} FROM network_customer"
        )
        return
    _find_neighbours(connection, on, limits)
    columns = ", ".join(
        f"count(*) FILTER (hop = {hop}) AS exposed_payments_{hop}, "
        f"count(*) FILTER (hop = {hop}) / nullif(count(payment), 0) AS exposed_share_{hop}, "
        f"coalesce(sum(cents) FILTER (hop = {hop}), 0) / 100.0 AS exposed_amount_{hop}"
        for hop in HOPS
    )
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_exposure AS
        SELECT customer, {columns}
        FROM network_customer
        LEFT JOIN (
            SELECT f.customer, payment, cents, CASE
                WHEN other_customer IN (FROM network_suspicious) THEN 1
                WHEN n.suspects > 1 OR n.suspect <> f.customer THEN 2
            END AS hop
            FROM network_flow f LEFT JOIN network_near_suspicious n ON f.other = n.account
            WHERE paid_at >= {start_of(on, limits.lookback_days)}
        ) USING (customer)
        GROUP BY customer
    """)


def _find_neighbours(connection: duckdb.DuckDBPyConnection, on: date, limits: NetworkLimits) -> None:
    """`network_near_suspicious`: accounts that paid with suspicious customers: how many, and one of them."""
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_suspicious AS
        SELECT DISTINCT customer FROM investigations JOIN network_customer USING (customer_token)
        WHERE outcome = 'suspicious' AND CAST(reported_on AS DATE) <= DATE '{on.isoformat()}'
    """)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_near_suspicious AS
        WITH recent AS (FROM network_payment WHERE paid_at >= {start_of(on, limits.lookback_days)}),
        near AS (
            SELECT payer AS account, payer_customer AS owner, payee_customer AS suspect FROM recent
            WHERE payee_customer IN (FROM network_suspicious)
            UNION
            SELECT payee, payee_customer, payer_customer FROM recent WHERE payer_customer IN (FROM network_suspicious)
        ),
        suspected AS (
            SELECT account, count(*) AS suspects, min(suspect) AS suspect
            FROM near WHERE owner IS DISTINCT FROM suspect GROUP BY account
        ),
        counterparties AS (
            SELECT account, count(DISTINCT other) AS others
            FROM (SELECT payer AS account, payee AS other FROM recent UNION ALL SELECT payee, payer FROM recent)
            SEMI JOIN suspected USING (account)
            GROUP BY account
        )
        SELECT account, suspects, suspect FROM suspected JOIN counterparties USING (account)
        WHERE others <= {limits.exposure.max_counterparties}
    """)


def _has(connection: duckdb.DuckDBPyConnection, relation: str) -> bool:
    found = connection.execute(
        "SELECT count(*) FROM information_schema.tables WHERE table_name = ?", [relation]
    ).fetchone()
    return bool(found and found[0])
