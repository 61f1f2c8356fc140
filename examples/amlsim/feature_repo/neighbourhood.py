"""What the accounts do that an account pays or is paid by, and whether they repeat payments.

A payment is repeated when the same payer pays the same payee the same amount more than once on one day. A repeater is an
account on either side of one.
"""

from __future__ import annotations

from datetime import date

import duckdb

from pipelines.features.definitions import computed_view

FEATURES = {
    "pays_back": "integer",
    "payees_of_payers": "float",
    "payers_of_payees": "float",
    "payees_of_widest_payer": "integer",
    "repeating_payers": "integer",
    "days_since_repeated": "integer",
    "payers_that_repeat": "integer",
    "payers_repeated_to": "integer",
    "payees_that_repeat": "integer",
    "payees_repeated_to": "integer",
    "repeaters_share": "float",
    "repeaters_near": "float",
    "repeaters_two_steps": "float",
}


@computed_view(entity="account", sources=("accounts", "payments_made"), ttl_days=7, history_days=112, features=FEATURES)
def neighbourhood(connection: duckdb.DuckDBPyConnection, business_date: date) -> str:
    """The accounts one and two payments away, over sixteen weeks."""
    return QUERY.format(today=f"DATE '{business_date}'")


QUERY = """
WITH paid AS MATERIALIZED (
    SELECT account_token AS payer, counterparty_token AS payee, {today} - booked_on AS days_ago, amount, count(*) AS times
    FROM payments_made GROUP BY ALL
),
payers AS (
    SELECT payee AS account_token,
        count(DISTINCT payer) AS payers_16w,
        count(DISTINCT payer) FILTER (times > 1) AS repeating_payers,
        min(days_ago) FILTER (times > 1) AS days_since_repeated
    FROM paid GROUP BY ALL
),
payees AS (
    SELECT payer AS account_token,
        count(DISTINCT payee) AS payees_16w,
        count(DISTINCT payee) FILTER (times > 1) AS repeated_payees
    FROM paid GROUP BY ALL
),
seen AS MATERIALIZED (
    SELECT account_token, coalesce(payers_16w, 0) AS payers_16w, coalesce(payees_16w, 0) AS payees_16w,
        coalesce(repeating_payers, 0) > 0 AS repeated_to, coalesce(repeated_payees, 0) > 0 AS repeats
    FROM payers FULL JOIN payees USING (account_token)
),
relation AS MATERIALIZED (
    SELECT DISTINCT payer AS account_token, payee AS other, 'payee' AS side FROM paid
    UNION ALL SELECT DISTINCT payee, payer, 'payer' FROM paid
),
neighbours AS MATERIALIZED (
    SELECT relation.account_token,
        count(*) AS relations,
        count(*) - count(DISTINCT other) AS pays_back,
        avg(payees_16w) FILTER (side = 'payer') AS payees_of_payers,
        avg(payers_16w) FILTER (side = 'payee') AS payers_of_payees,
        max(payees_16w) FILTER (side = 'payer') AS payees_of_widest_payer,
        count(*) FILTER (side = 'payer' AND repeats) AS payers_that_repeat,
        count(*) FILTER (side = 'payer' AND repeated_to) AS payers_repeated_to,
        count(*) FILTER (side = 'payee' AND repeats) AS payees_that_repeat,
        count(*) FILTER (side = 'payee' AND repeated_to) AS payees_repeated_to,
        avg(CAST(repeats OR repeated_to AS INTEGER)) AS repeaters_share
    FROM relation JOIN seen ON seen.account_token = relation.other GROUP BY ALL
),
-- A repeater counts for less the more relations it has: to be paid by an account that pays everybody says little.
near AS MATERIALIZED (
    SELECT relation.account_token, sum(CAST(repeats OR repeated_to AS INTEGER) / relations) AS repeaters_near
    FROM relation JOIN seen ON seen.account_token = relation.other
        JOIN neighbours ON neighbours.account_token = relation.other
    GROUP BY ALL
),
two_steps AS (
    SELECT relation.account_token, sum(repeaters_near / relations) AS repeaters_two_steps
    FROM relation JOIN near ON near.account_token = relation.other
        JOIN neighbours ON neighbours.account_token = relation.other
    GROUP BY ALL
)
SELECT
    account_token,
    coalesce(pays_back, 0) AS pays_back,
    payees_of_payers,
    payers_of_payees,
    coalesce(payees_of_widest_payer, 0) AS payees_of_widest_payer,
    coalesce(repeating_payers, 0) AS repeating_payers,
    days_since_repeated,
    coalesce(payers_that_repeat, 0) AS payers_that_repeat,
    coalesce(payers_repeated_to, 0) AS payers_repeated_to,
    coalesce(payees_that_repeat, 0) AS payees_that_repeat,
    coalesce(payees_repeated_to, 0) AS payees_repeated_to,
    coalesce(repeaters_share, 0) AS repeaters_share,
    coalesce(repeaters_near, 0) AS repeaters_near,
    coalesce(repeaters_two_steps, 0) AS repeaters_two_steps
FROM (SELECT account_token FROM accounts WHERE business_date = {today})
    LEFT JOIN payers USING (account_token)
    LEFT JOIN payees USING (account_token)
    LEFT JOIN neighbours USING (account_token)
    LEFT JOIN near USING (account_token)
    LEFT JOIN two_steps USING (account_token)
"""
