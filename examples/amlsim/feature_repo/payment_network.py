"""The bank's own features of the transfer network, on payments of another shape."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb

from pipelines.aml import network
from pipelines.features.definitions import computed_view
from pipelines.spec import load_network_limits
from pipelines.spec import network as network_limits

LIMITS = Path(__file__).parents[1] / "policies" / "amlsim_network.yaml"
HISTORY_DAYS = 112
USED = (
    *("payers_7d", "payers_30d", "payers_90d", "payees_7d", "payees_30d", "payees_90d"),
    *("fan_in_peak", "fan_in_peak_share", "fan_out_peak", "fan_out_peak_share"),
    *("pass_through_share_30d", "pass_through_share_90d", "dwell_hours_p50"),
    *("equal_in_30d", "equal_out_30d", "cycles", "fan_in_payer", "fan_out_payee"),
)

# Each payment is booked at the payer and at the payee, as in a bank, and every account is a customer of its own. No currency,
# country or channel is stated: all have the same. The day is all that is known of the moment.
BOOKINGS = """
CREATE TEMP VIEW transactions AS
SELECT transaction_token || suffix AS transaction_token, account_token, counterparty_token, account_token AS customer_token,
    CAST(booked_on AS TIMESTAMPTZ) AS booked_at, amount, 'EUR' AS currency, 'DE' AS country, 'transfer' AS channel, direction
FROM (
    SELECT *, 'debit' AS direction, 'd' AS suffix FROM payments_made
    UNION ALL
    SELECT * REPLACE (counterparty_token AS account_token, account_token AS counterparty_token), 'credit', 'c'
    FROM payments_made
)
"""


@computed_view(
    entity="account",
    sources=("accounts", "payments_made"),
    ttl_days=7,
    history_days=HISTORY_DAYS,
    features={name: network.FEATURES[name] for name in USED},
    code=(network, network_limits, LIMITS),
)
def payment_network(connection: duckdb.DuckDBPyConnection, business_date: date) -> str:
    """Degrees, fan bursts, pass-through, equal payments and cycles, of the open accounts with a payment in the history."""
    connection.execute(BOOKINGS)
    found = network.customer_features(connection, business_date, load_network_limits(LIMITS.parent, LIMITS.stem))
    return f"""
        SELECT account_token, {", ".join(USED)}
        FROM accounts LEFT JOIN ({found}) ON account_token = customer_token
        WHERE business_date = DATE '{business_date}'
    """
