"""Pass-through: money that leaves a customer's accounts soon after it came.

Incoming money waits in a queue and is forgotten after the limit; an outgoing payment takes the oldest money that waits.
No other way of matching gives a larger amount: all money may wait equally long, so the oldest is always the first to be
lost. A salary that lies for a month does not hide a payment that rushes through beside it.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import date

import duckdb
import numpy as np
import pyarrow as pa

from pipelines.aml.network.window import start_of
from pipelines.spec.network import NetworkLimits

WINDOWS = (7, 30, 90)
DWELL_QUANTILES = (0.1, 0.5, 0.9)
_BATCH_ROWS = 131_072
_COLUMNS = ("customer", "episode", "came", "left_by", "cents", "waited_us")

Flow = tuple[int, bool, int, int, int]
Piece = tuple[int, int, int, int, int, int]


def pieces(flows: Iterable[Flow], longest_us: int) -> Iterator[Piece]:
    """Match what leaves to what came.

    Args:
        flows: (customer, incoming, payment, microseconds, cents), all of one customer together, in the order of time.
        longest_us: money that waits longer has not passed through.

    Yields:
        (customer, episode, payment it came with, payment it left with, cents, microseconds it waited). A piece
        that came before the one before it left is of the same episode.
    """
    waiting: deque[list[int]] = deque()
    current, episode, last_left = None, 0, -1
    for customer, incoming, payment, moment, cents in flows:
        if customer != current:
            current, last_left = customer, -1
            waiting.clear()
        if incoming:
            waiting.append([payment, moment, cents])
            continue
        while cents and waiting:
            oldest = waiting[0]
            if moment - oldest[1] > longest_us:
                waiting.popleft()
                continue
            taken = min(cents, oldest[2])
            if oldest[0] > last_left:
                episode += 1
            last_left = payment
            yield customer, episode, oldest[0], payment, taken, moment - oldest[1]
            cents -= taken
            oldest[2] -= taken
            if not oldest[2]:
                waiting.popleft()


def build_passing(connection: duckdb.DuckDBPyConnection, on: date, limits: NetworkLimits) -> None:
    """`network_passed`: customer, episode, came and left_by (payments), cents and waited_us, of the lookback."""
    reader = connection.sql(f"""
        SELECT customer, incoming, payment, epoch_us(paid_at) AS moment, cents FROM network_flow
        WHERE paid_at >= {start_of(on, limits.lookback_days)} AND cents IS NOT NULL
        ORDER BY customer, payment
    """).to_arrow_reader(_BATCH_ROWS)
    found = array("q")
    for piece in pieces(_flows(reader), limits.pass_through.hours * 3_600_000_000):
        found.extend(piece)
    table = np.frombuffer(found, np.int64).reshape(-1, len(_COLUMNS))
    rows = pa.table({name: table[:, place] for place, name in enumerate(_COLUMNS)})
    connection.register("network_pieces", rows)
    connection.execute("CREATE OR REPLACE TEMP TABLE network_passed AS FROM network_pieces")
    connection.unregister("network_pieces")


def _flows(reader: pa.RecordBatchReader) -> Iterator[Flow]:
    for batch in reader:
        yield from zip(*(column.to_numpy(zero_copy_only=False).tolist() for column in batch.columns), strict=True)


def build_passing_features(connection: duckdb.DuckDBPyConnection, on: date) -> None:
    """`network_pass_through`: customer; share and amount that passed through per window, and how long it waited.

    Hours are quantiles over the money: half of what passed through in the lookback waited at most `dwell_hours_p50`.
    """
    shares = ", ".join(
        f"coalesce(passed_{days}d, 0) / nullif(came_{days}d, 0) AS pass_through_share_{days}d" for days in WINDOWS
    )
    per_window = {
        name: ", ".join(f"sum({column}) FILTER (paid_at >= {start_of(on, days)}) AS {name}_{days}d" for days in WINDOWS)
        for name, column in (("came", "cents"), ("passed", "w.cents"))
    }
    quantiles = ", ".join(
        f"min(waited_us) FILTER (reached >= {share} * passed) / 3600000000 AS dwell_hours_p{share * 100:.0f}"
        for share in DWELL_QUANTILES
    )
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE network_pass_through AS
        WITH came AS (SELECT customer, {per_window["came"]} FROM network_flow WHERE incoming GROUP BY customer),
        passed AS (
            SELECT customer, {per_window["passed"]}
            FROM network_passed w JOIN network_payment p ON w.came = p.payment GROUP BY customer
        ),
        waited AS (
            SELECT customer, {quantiles}
            FROM (
                SELECT customer, waited_us, sum(cents) OVER (PARTITION BY customer) AS passed,
                       sum(cents) OVER (PARTITION BY customer ORDER BY waited_us) AS reached
                FROM (SELECT customer, waited_us, sum(cents) AS cents FROM network_passed GROUP BY ALL)
            )
            GROUP BY customer
        )
        SELECT customer, {shares}, coalesce(passed_30d, 0) / 100.0 AS pass_through_amount_30d, waited.* EXCLUDE customer
        FROM came LEFT JOIN passed USING (customer) LEFT JOIN waited USING (customer)
    """)
