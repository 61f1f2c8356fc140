"""The features of the transfer network, one row per customer."""

from __future__ import annotations

from datetime import date

import duckdb

from pipelines.aml.network.chains import build_chains
from pipelines.aml.network.degrees import build_degrees, build_flows, build_repeats
from pipelines.aml.network.exposure import build_exposure
from pipelines.aml.network.fans import SIDES, build_fans
from pipelines.aml.network.passing import build_passing, build_passing_features
from pipelines.aml.network.payments import build_payments
from pipelines.aml.network.schemes import build_schemes
from pipelines.aml.network.window import start_of
from pipelines.spec.network import NetworkLimits

# Feature: kind of scheme and part in it that the customer's account has.
_MEMBERSHIPS = {
    "fan_in_hub": ("fan_in", "hub"),
    "fan_in_payer": ("fan_in", "payer"),
    "fan_out_hub": ("fan_out", "hub"),
    "fan_out_payee": ("fan_out", "payee"),
    "gather_scatter_hub": ("gather_scatter", "hub"),
    "scatter_gather_source": ("scatter_gather", "source"),
    "scatter_gather_middle": ("scatter_gather", "middle"),
    "scatter_gather_sink": ("scatter_gather", "sink"),
    "pass_through_middle": ("pass_through", "middle"),
}

FEATURES: dict[str, str] = {
    **{f"{side}_{days}d": "integer" for side in ("payers", "payees") for days in (7, 30, 90)},
    **{f"new_{side}_{days}d": "integer" for side in ("payers", "payees") for days in (7, 30)},
    "fan_in_peak": "integer",
    "fan_in_peak_share": "float",
    "fan_out_peak": "integer",
    "fan_out_peak_share": "float",
    "pass_through_share_7d": "float",
    "pass_through_share_30d": "float",
    "pass_through_share_90d": "float",
    "pass_through_amount_30d": "float",
    "dwell_hours_p10": "float",
    "dwell_hours_p50": "float",
    "dwell_hours_p90": "float",
    "equal_in_30d": "integer",
    "equal_out_30d": "integer",
    "cycles": "integer",
    "cycle_longest": "integer",
    "cycle_amount": "float",
    **dict.fromkeys(_MEMBERSHIPS, "integer"),
    "exposed_payments_1": "integer",
    "exposed_share_1": "float",
    "exposed_amount_1": "float",
    "exposed_payments_2": "integer",
    "exposed_share_2": "float",
    "exposed_amount_2": "float",
    "touches_bounded_hub": "boolean",
    "touches_unknown_currency": "boolean",
}

# A count of things that did not happen is zero; a share or a time of nothing is absent.
_ZERO_WHEN_NONE = (
    *(name for name in FEATURES if name.startswith(("payers_", "payees_"))),
    *("fan_in_peak", "fan_out_peak", "equal_in_30d", "equal_out_30d", "cycles", "cycle_longest", "cycle_amount"),
    *("pass_through_amount_30d", *_MEMBERSHIPS),
)
_TYPES = {"integer": "BIGINT", "float": "DOUBLE", "boolean": "BOOLEAN"}


def find_schemes(connection: duckdb.DuckDBPyConnection, on: date, limits: NetworkLimits) -> None:
    """Make the temporary tables `scheme`, `scheme_member` and `scheme_payment` of a business date, and `bounded_hub`.

    See `pipelines.aml.network` for their columns.

    Raises:
        DataFault: the limits are not in force on the date, or allow fewer chains than there are.
    """
    limits.require_in_force(on)
    build_payments(connection, on, limits)
    build_flows(connection)
    build_fans(connection, on, limits)
    build_passing(connection, on, limits)
    build_chains(connection, on, limits)
    build_schemes(connection, limits)


def customer_features(connection: duckdb.DuckDBPyConnection, on: date, limits: NetworkLimits) -> str:
    """SQL giving customer_token and FEATURES on a business date, for every customer with a booking in the history.

    Makes the temporary tables of `find_schemes` too.

    Raises:
        DataFault: as find_schemes.
    """
    find_schemes(connection, on, limits)
    build_degrees(connection, on, limits)
    build_repeats(connection, on)
    build_passing_features(connection, on)
    build_exposure(connection, on, limits)
    _build_memberships(connection)
    _build_bounds(connection, on, limits)
    return _all_features(connection)


def _build_memberships(connection: duckdb.DuckDBPyConnection) -> None:
    counts = ", ".join(
        f"count(DISTINCT scheme_id) FILTER (kind = '{kind}' AND part = '{part}') AS {name}"
        for name, (kind, part) in _MEMBERSHIPS.items()
    )
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_membership AS
        SELECT customer, count(DISTINCT scheme_id) FILTER (kind = 'cycle') AS cycles,
               max(accounts) FILTER (kind = 'cycle') AS cycle_longest,
               max(amount) FILTER (kind = 'cycle') AS cycle_amount, {counts}
        FROM scheme_member JOIN scheme USING (scheme_id) JOIN network_account USING (account_token)
        WHERE customer IS NOT NULL
        GROUP BY customer
    """)
    for side in SIDES:
        connection.execute(f"""
            CREATE OR REPLACE TEMP TABLE network_peak_{side} AS
            SELECT customer, max(parties) AS fan_{side}_peak,
                   max_by(cents / of_cents, (parties, cents / of_cents)) AS fan_{side}_peak_share
            FROM network_fan_{side} JOIN network_account ON hub = account
            WHERE customer IS NOT NULL
            GROUP BY customer
        """)


def _build_bounds(connection: duckdb.DuckDBPyConnection, on: date, limits: NetworkLimits) -> None:
    """Customers whose network was not looked through completely, so that nobody takes a zero for the truth."""
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_bound AS
        SELECT customer, bool_or(payment IN (SELECT payment FROM network_beyond)) AS touches_bounded_hub,
               bool_or(cents IS NULL) AS touches_unknown_currency
        FROM network_flow
        WHERE paid_at >= {start_of(on, limits.lookback_days)}
        GROUP BY customer
    """)


def _all_features(connection: duckdb.DuckDBPyConnection) -> str:
    tables = ("degree", "peak_in", "peak_out", "pass_through", "repeat", "membership", "exposure", "bound")
    columns = []
    for name, kind in FEATURES.items():
        value = f"coalesce({name}, 0)" if name in _ZERO_WHEN_NONE else name
        value = f"coalesce({name}, false)" if kind == "boolean" else value
        columns.append(f"CAST({value} AS {_TYPES[kind]}) AS {name}")
    joins = " ".join(f"LEFT JOIN network_{table} USING (customer)" for table in tables)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_feature AS
        SELECT customer_token, {", ".join(columns)} FROM network_customer {joins} ORDER BY customer
    """)
    return "SELECT * FROM network_feature"
