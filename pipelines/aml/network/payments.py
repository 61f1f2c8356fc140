"""Payments between accounts, from booked transactions: each once, in the order of time, as integers.

A payment between two accounts of the bank is booked twice, as a debit of the payer and a credit of the payee. Of equal
bookings (payer, payee, amount, currency, moment) the debits and credits are matched one to one, so n debits and m credits
are max(n, m) payments.

Accounts, customers and payments get numbers, because ten million tokens of 32 letters are 1 GB of memory at every step.
Amounts are whole cents, so that a sum does not depend on the order in which threads add.
"""

from __future__ import annotations

from datetime import date

import duckdb

from pipelines.aml.network.window import end_of, start_of
from pipelines.spec.network import NetworkLimits

_TOKENS = ("transaction_token", "account_token", "counterparty_token")


def build_payments(connection: duckdb.DuckDBPyConnection, on: date, limits: NetworkLimits) -> None:
    """Make the temporary tables and views of the payments known at the end of a business date.

    * `network_payment`: payment (number, ascending by paid_at and transaction token), token, payer, payee (account numbers),
      payer_customer, payee_customer (customer numbers, null without), paid_at, cents (null in an unknown currency),
      cross_border, cash.
    * `network_account`: account, account_token, customer, own (the bank keeps it). `network_customer`: customer, its token.
    * `network_twin`: payment and the token of its second booking.
    * `network_count`: what was left out, and why: reason, rows.
    * `payments`: the same for people, with tokens and amounts.
    """
    _see(connection, on, limits)
    _number_accounts(connection)
    _number_currencies(connection, limits)
    _number_bookings(connection, limits)
    _drop_second_bookings(connection)
    _count_what_was_left_out(connection, on)
    _show(connection)


def _see(connection: duckdb.DuckDBPyConnection, on: date, limits: NetworkLimits) -> None:
    """`network_seen`: bookings of the window with a fault or null; `network_once`: those without, each token once."""
    no_token = " OR ".join(f"{column} IS NULL" for column in _TOKENS)
    connection.execute(f"""
        CREATE OR REPLACE TEMP VIEW network_seen AS
        SELECT *, CASE
            WHEN {no_token} THEN 'null_token'
            WHEN minor IS NULL OR minor <= 0 THEN 'amount_not_positive'
            WHEN debit IS NULL THEN 'unknown_direction'
            WHEN account_token = counterparty_token THEN 'self_transfer'
        END AS fault
        FROM (
            SELECT {", ".join(_TOKENS)}, customer_token, CAST(booked_at AS TIMESTAMPTZ) AS paid_at,
                   TRY_CAST(round(CAST(amount AS DOUBLE) * 100) AS BIGINT) AS minor,
                   coalesce(currency, '') AS currency, coalesce(country, '') AS country, coalesce(channel, '') AS channel,
                   CASE direction WHEN 'debit' THEN true WHEN 'credit' THEN false END AS debit
            FROM transactions
        )
        WHERE paid_at >= {start_of(on, limits.known_days)} AND paid_at < {end_of(on)}
    """)
    # Two tokens may share a hash, one token never has two: rows whose hash is alone need no comparison of tokens.
    connection.execute("""
        CREATE OR REPLACE TEMP TABLE network_repeated AS
        SELECT hash(transaction_token) AS hashed FROM network_seen WHERE fault IS NULL GROUP BY hashed HAVING count(*) > 1
    """)
    connection.execute(f"CREATE OR REPLACE TEMP VIEW network_once AS {_once(connection)}")


def _once(connection: duckdb.DuckDBPyConnection) -> str:
    """Of the rows of one token the one booked first; where equally early, one that does not depend on their order."""
    valid = "SELECT * EXCLUDE fault FROM network_seen WHERE fault IS NULL"
    if connection.execute("FROM network_repeated LIMIT 1").fetchone() is None:
        return valid
    return f"""
        {valid} AND hash(transaction_token) NOT IN (SELECT hashed FROM network_repeated)
        UNION ALL
        SELECT * FROM ({valid} AND hash(transaction_token) IN (SELECT hashed FROM network_repeated))
        QUALIFY row_number() OVER (
            PARTITION BY transaction_token
            ORDER BY paid_at, account_token, counterparty_token, minor, debit, currency, customer_token, country, channel
        ) = 1
    """


def _number_accounts(connection: duckdb.DuckDBPyConnection) -> None:
    """An account belongs to the customer of its newest row that names one."""
    connection.execute("""
        CREATE OR REPLACE TEMP TABLE network_owner AS
        SELECT account_token,
               max_by(customer_token, (newest, customer_token)) FILTER (customer_token IS NOT NULL) AS customer_token
        FROM (
            SELECT account_token, customer_token, max(paid_at) AS newest
            FROM network_seen WHERE account_token IS NOT NULL GROUP BY ALL
        )
        GROUP BY account_token
    """)
    connection.execute("""
        CREATE OR REPLACE TEMP TABLE network_customer AS
        SELECT CAST(row_number() OVER (ORDER BY customer_token) AS INTEGER) AS customer, customer_token
        FROM (SELECT DISTINCT customer_token FROM network_owner WHERE customer_token IS NOT NULL)
    """)
    connection.execute("""
        CREATE OR REPLACE TEMP TABLE network_account AS
        SELECT CAST(row_number() OVER (ORDER BY account_token) AS INTEGER) AS account, account_token,
               customer, o.account_token IS NOT NULL AS own
        FROM (
            SELECT account_token FROM network_owner
            UNION
            SELECT DISTINCT counterparty_token FROM network_seen WHERE fault IS NULL
        )
        LEFT JOIN network_owner o USING (account_token)
        LEFT JOIN network_customer USING (customer_token)
    """)


def _number_currencies(connection: duckdb.DuckDBPyConnection, limits: NetworkLimits) -> None:
    rates = " ".join(f"WHEN '{_quoted(name)}' THEN {rate!r}" for name, rate in limits.currencies.items())
    connection.execute("""
        CREATE OR REPLACE TEMP TABLE network_tally AS
        SELECT currency, fault, count(*) AS rows FROM network_seen GROUP BY ALL
    """)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_currency AS
        SELECT CAST(row_number() OVER (ORDER BY currency) AS SMALLINT) AS currency_number, currency,
               CAST(CASE currency {rates} END AS DOUBLE) AS rate
        FROM network_tally WHERE fault IS NULL
    """)


def _number_bookings(connection: duckdb.DuckDBPyConnection, limits: NetworkLimits) -> None:
    cash = ", ".join(f"'{_quoted(channel)}'" for channel in limits.cash_channels) or "NULL"
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_payment AS
        SELECT row_number() OVER () AS payment, *
        FROM (
            SELECT b.transaction_token AS token, b.debit, mine.own AND theirs.own AS internal,
                   CASE WHEN b.debit THEN mine.account ELSE theirs.account END AS payer,
                   CASE WHEN b.debit THEN theirs.account ELSE mine.account END AS payee,
                   CASE WHEN b.debit THEN mine.customer ELSE theirs.customer END AS payer_customer,
                   CASE WHEN b.debit THEN theirs.customer ELSE mine.customer END AS payee_customer,
                   b.paid_at, b.minor, currency_number, TRY_CAST(round(b.minor * rate) AS BIGINT) AS cents,
                   b.country <> '{_quoted(limits.home_country)}' AS cross_border, b.channel IN ({cash}) AS cash
            FROM network_once b
            JOIN network_account mine ON b.account_token = mine.account_token
            JOIN network_account theirs ON b.counterparty_token = theirs.account_token
            JOIN network_currency USING (currency)
            ORDER BY b.paid_at, b.transaction_token
        )
    """)


def _drop_second_bookings(connection: duckdb.DuckDBPyConnection) -> None:
    """Keep the debit of each matched pair, and remember the token of its credit as evidence."""
    same = "payer, payee, minor, currency_number, paid_at"
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_both_sides AS
        SELECT {same}, count(*) FILTER (debit) AS debits, count(*) FILTER (NOT debit) AS credits,
               min(payment) FILTER (debit) AS first_debit, min(payment) FILTER (NOT debit) AS first_credit
        FROM network_payment WHERE internal GROUP BY ALL HAVING debits > 0 AND credits > 0
    """)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_pair AS
        WITH several AS (
            SELECT {same}, payment, debit, row_number() OVER (PARTITION BY {same}, debit ORDER BY payment) AS place
            FROM network_payment
            SEMI JOIN (FROM network_both_sides WHERE debits > 1 OR credits > 1) USING ({same})
        )
        SELECT first_debit AS payment, first_credit AS second FROM network_both_sides WHERE debits = 1 AND credits = 1
        UNION ALL
        SELECT d.payment, c.payment FROM (FROM several WHERE debit) d JOIN (FROM several WHERE NOT debit) c USING ({same}, place)
    """)
    connection.execute("""
        CREATE OR REPLACE TEMP TABLE network_twin AS
        SELECT pair.payment, token FROM network_pair pair JOIN network_payment p ON pair.second = p.payment
    """)
    connection.execute("DELETE FROM network_payment WHERE payment IN (SELECT second FROM network_pair)")
    connection.execute("DROP TABLE network_both_sides; DROP TABLE network_pair; DROP TABLE network_repeated")


def _count_what_was_left_out(connection: duckdb.DuckDBPyConnection, on: date) -> None:
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_count AS
        SELECT reason, CAST(rows AS BIGINT) AS rows FROM (
        SELECT 'booked_later' AS reason, count(*) AS rows FROM transactions WHERE booked_at >= {end_of(on)}
        UNION ALL SELECT 'never_booked', count(*) FROM transactions WHERE booked_at IS NULL
        UNION ALL SELECT fault, sum(rows) FROM network_tally WHERE fault IS NOT NULL GROUP BY fault
        UNION ALL SELECT 'repeated_token', (SELECT coalesce(sum(rows), 0) FROM network_tally WHERE fault IS NULL)
            - (SELECT count(*) FROM network_payment) - (SELECT count(*) FROM network_twin)
        UNION ALL SELECT 'second_booking', count(*) FROM network_twin
        UNION ALL SELECT 'unknown_currency', count(*) FROM network_payment WHERE cents IS NULL
        UNION ALL SELECT 'payments', count(*) FROM network_payment
        ) ORDER BY reason
    """)


def _show(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("""
        CREATE OR REPLACE TEMP VIEW payments AS
        SELECT p.token AS payment_id, a.account_token AS payer, b.account_token AS payee, p.cents / 100.0 AS amount,
               p.paid_at, p.cross_border, p.cash
        FROM network_payment p
        JOIN network_account a ON p.payer = a.account JOIN network_account b ON p.payee = b.account
    """)


def _quoted(text: str) -> str:
    return text.replace("'", "''")
