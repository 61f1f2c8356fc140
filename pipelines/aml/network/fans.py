"""Fan-in and fan-out bursts, and gather-scatter: the two at one hub, one after the other.

The number of distinct accounts in every window of days is exact: an account counts from a day it paid until the window
has left that day behind, or until the next day it paid. Sums of these comings and goings give the count of each day.
"""

from __future__ import annotations

from datetime import date

import duckdb

from pipelines.aml.network.window import day_of, start_of
from pipelines.spec.network import NetworkLimits

SIDES = {"in": ("payee", "payer"), "out": ("payer", "payee")}


def build_fans(connection: duckdb.DuckDBPyConnection, on: date, limits: NetworkLimits) -> None:
    """For each side: `network_fan_<side>`, the fullest window of every account, and `network_full_<side>`, all full windows.

    `network_fan_<side>`: hub, last_day, parties, cents in the window, of_cents over the whole lookback.
    """
    small = round(limits.fans.small_amount * 100)
    connection.execute(f"""
        CREATE OR REPLACE TEMP VIEW network_small AS
        SELECT payment, payer, payee, cents, {day_of("paid_at")} AS day
        FROM network_payment WHERE paid_at >= {start_of(on, limits.lookback_days)} AND cents <= {small}
    """)
    for side in SIDES:
        _build_side(connection, side, limits)
    _build_gather_scatter(connection, limits)


def _build_side(connection: duckdb.DuckDBPyConnection, side: str, limits: NetworkLimits) -> None:
    hub, other = SIDES[side]
    days = limits.fans.days
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_level AS
        WITH active AS (SELECT DISTINCT {hub} AS hub, {other} AS other, day FROM network_small),
        spans AS (
            SELECT hub, day, least(day + {days}, lead(day) OVER (PARTITION BY hub, other ORDER BY day)) AS until FROM active
        ),
        steps AS (
            SELECT hub, day, sum(step) AS step, bool_or(step > 0) AS active
            FROM (SELECT hub, day, 1 AS step FROM spans UNION ALL SELECT hub, until, -1 FROM spans)
            GROUP BY ALL
        )
        SELECT hub, day, CAST(sum(step) OVER (PARTITION BY hub ORDER BY day) AS BIGINT) AS parties, active FROM steps
    """)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_full_{side} AS
        SELECT hub, day AS last_day, parties FROM network_level
        WHERE active AND parties >= {limits.fans.least_parties}
    """)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_fan_{side} AS
        WITH peak AS (
            SELECT hub, max(parties) AS parties, max_by(day, (parties, -day)) AS last_day FROM network_level GROUP BY hub
        )
        SELECT hub, any_value(last_day) AS last_day, any_value(parties) AS parties,
               sum(cents) FILTER ({_in_window("day", "last_day", days)}) AS cents, sum(cents) AS of_cents
        FROM network_small s JOIN peak ON s.{hub} = peak.hub
        GROUP BY hub
    """)
    connection.execute("DROP TABLE network_level")


def _in_window(day: str, last_day: str, days: int) -> str:
    return f"{day} > {last_day} - {days} AND {day} <= {last_day}"


def _build_gather_scatter(connection: duckdb.DuckDBPyConnection, limits: NetworkLimits) -> None:
    """`network_gather_scatter`: hub, gathered_day and scattered_day (last days of the two windows), gathered (cents).

    Of all pairs of windows that qualify the one with most accounts, the earliest of several.
    """
    fans = limits.fans
    for side, (hub, _) in SIDES.items():
        connection.execute(f"""
            CREATE OR REPLACE TEMP TABLE network_window_{side} AS
            WITH daily AS (
                SELECT {hub} AS hub, day, sum(cents) AS cents, min(payment) AS first, max(payment) AS last
                FROM network_small
                WHERE {hub} IN (SELECT hub FROM network_full_in INTERSECT SELECT hub FROM network_full_out)
                GROUP BY ALL
            )
            SELECT hub, w.last_day, w.parties, sum(cents) AS cents, min(first) AS first, max(last) AS last
            FROM network_full_{side} w JOIN daily d USING (hub)
            WHERE {_in_window("d.day", "w.last_day", fans.days)}
            GROUP BY ALL
        """)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_gather_scatter AS
        SELECT i.hub, i.last_day AS gathered_day, o.last_day AS scattered_day, i.cents AS gathered
        FROM network_window_in i
        JOIN network_window_out o ON i.hub = o.hub AND o.last_day BETWEEN i.last_day AND i.last_day + {fans.scatter_days}
        JOIN network_fan_in all_in ON i.hub = all_in.hub
        JOIN network_fan_out all_out ON i.hub = all_out.hub
        WHERE i.first < o.first AND i.last < o.last
            AND i.cents >= {fans.least_share} * all_in.of_cents
            AND o.cents >= {fans.least_share} * all_out.of_cents
            AND o.cents >= {fans.scatter_least_share} * i.cents
        QUALIFY row_number() OVER (PARTITION BY i.hub ORDER BY i.parties + o.parties DESC, i.last_day, o.last_day) = 1
    """)
    connection.execute("DROP TABLE network_window_in; DROP TABLE network_window_out")
