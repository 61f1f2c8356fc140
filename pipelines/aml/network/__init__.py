"""The network of payments between accounts: features per customer and schemes for investigators, exact and point in time.

    limits = load_network_limits(settings.policies, "aml_network")
    sql = customer_features(connection, business_date, limits)   # customer_token and FEATURES
    find_schemes(connection, business_date, limits)              # tables scheme, scheme_member, scheme_payment

The connection (DuckDB, TimeZone UTC) holds a relation `transactions` with the lake's columns, and may hold
`investigations`. Nothing booked after the end of the business date is seen; earlier rows are cut by the windows of the
limits, so give at least `limits.known_days` days of history for a full answer. Results are the same, to the bit, for any
order of rows and any number of threads.

Both functions make temporary tables and views (all of them replaced by the next call):

* `scheme`: scheme_id, kind, accounts, payments, amount, first_at, last_at; kind is one of KINDS
* `scheme_member`: scheme_id, account_token, part (hub, payer, payee, source, middle, sink or member)
* `scheme_payment`: scheme_id, transaction_token; both bookings of a payment between two accounts of the bank
* `payments`: payment_id (a transaction token), payer, payee, amount, paid_at, cross_border, cash; each payment once
* `bounded_hub`: account_token, cells, payments_in, payments_out, links: where chains were not followed
* `network_count`: reason, rows: what was left out and why

docs/aml_network.md defines every feature and scheme. Bounded hubs and unknown currencies never lower a score: their
customers carry `touches_bounded_hub` and `touches_unknown_currency`.
"""

from pipelines.aml.network.features import FEATURES, customer_features, find_schemes
from pipelines.aml.network.payments import build_payments
from pipelines.aml.network.schemes import KINDS

__all__ = ["FEATURES", "KINDS", "build_payments", "customer_features", "find_schemes"]
