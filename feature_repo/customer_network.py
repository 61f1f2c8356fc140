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
EXPOSURE = [name for name in network.FEATURES if name.startswith("exposed_")]
COUNTS = [
    name
    for name, kind in network.FEATURES.items()
    if kind == "integer" and name not in (*EXPOSURE, "cycles", "cycle_longest")
]
AMOUNTS = ["pass_through_amount_30d"]
OF_CYCLES = ["cycles", "cycle_longest", "cycle_amount"]


@computed_view(
    entity="customer",
    sources=("customer_snapshots", "transactions", "investigations"),
    ttl_days=40,
    history_days=LIMITS.known_days,
    features=network.FEATURES,
    code=(network, POLICIES / "aml_network.yaml"),
)
def customer_network(connection: duckdb.DuckDBPyConnection, business_date: date) -> str:
    """The network features of each customer present on the business date; who has no payments touches nobody.

    Exposure stays absent for everybody when the investigations known by then do not reach back far enough to tell. Cycles
    stay absent for whom none was found while not all could be followed: through a hub, or for want of an amount.
    """
    found = network.customer_features(connection, business_date, LIMITS)
    known = "EXISTS (SELECT 1 FROM found WHERE exposed_payments_1 IS NOT NULL)"
    unfollowed = "found.touches_bounded_hub OR found.touches_unknown_currency"
    none_found = f"CASE WHEN NOT coalesce({unfollowed}, false) THEN 0 END"
    nothing = (
        [f"coalesce(nullif({name}, 0), {none_found}) AS {name}" for name in OF_CYCLES]
        + [f"coalesce({name}, 0) AS {name}" for name in (*COUNTS, *AMOUNTS)]
        + [f"coalesce({name}, CASE WHEN {known} THEN 0 END) AS {name}" for name in EXPOSURE]
        + [f"coalesce({name}, false) AS {name}" for name, kind in network.FEATURES.items() if kind == "boolean"]
    )
    return (
        f"WITH found AS ({found}) SELECT customer_token, found.* EXCLUDE (customer_token) REPLACE ({', '.join(nothing)}) "
        f"FROM customer_snapshots LEFT JOIN found USING (customer_token) WHERE business_date = DATE '{business_date}'"
    )
