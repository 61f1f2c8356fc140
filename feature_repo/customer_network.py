"""What the network of payments says about a customer: whom the customer pays and is paid by, in which patterns, and how near
to customers an investigation found suspicious before the business date.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb

from pipelines.aml import network
from pipelines.features.definitions import computed_view
from pipelines.spec import load_network_limits

POLICIES = Path(__file__).resolve().parents[1] / "policies"
LIMITS = load_network_limits(POLICIES, "aml_network")
NOT_COUNTED = ("_share", "dwell_", "pass_through_share")
"""Parts of the names of what is a share or a time: of nothing there is none."""
UNFOLLOWED = "touches_bounded_hub OR touches_unknown_currency"


@computed_view(
    entity="customer",
    sources=("customer_snapshots", "transactions", "investigations"),
    ttl_days=40,
    history_days=LIMITS.known_days,
    features=network.FEATURES,
    code=(network, POLICIES / "aml_network.yaml"),
)
def customer_network(connection: duckdb.DuckDBPyConnection, business_date: date) -> str:
    """The network features of each customer present on the business date.

    Who has no payments has zero of everything that is counted. What cannot be counted for anybody, because the history or
    the investigations known by then do not reach back far enough, stays absent for everybody; and so do the cycles of whom
    not all payments could be followed, through a hub or for want of an amount, when none was found.
    """
    found = network.customer_features(connection, business_date, LIMITS)
    columns = ", ".join(_of_everybody(name, kind) for name, kind in network.FEATURES.items())
    return (
        f"WITH found AS ({found}) SELECT customer_token, {columns} "
        f"FROM customer_snapshots LEFT JOIN found USING (customer_token) WHERE business_date = DATE '{business_date}'"
    )


def _of_everybody(name: str, kind: str) -> str:
    if kind == "boolean":
        return f"coalesce({name}, false) AS {name}"
    if any(part in name for part in NOT_COUNTED):
        return name
    if name.startswith("cycle"):
        return f"coalesce(nullif({name}, 0), CASE WHEN NOT coalesce({UNFOLLOWED}, false) THEN 0 END) AS {name}"
    return f"coalesce({name}, CASE WHEN (SELECT count({name}) > 0 FROM found) THEN 0 END) AS {name}"
