"""A small bank for tests of the transfer network: payments are typed in, and booked as the lake holds them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa

from pipelines.aml.network import FEATURES, customer_features, find_schemes
from pipelines.settings import REPOSITORY
from pipelines.spec import NetworkLimits, load_network_limits

ON = date(2026, 6, 30)
STAMP = pa.timestamp("us", "UTC")
TRANSACTIONS = pa.schema(
    [
        *(
            (name, pa.string())
            for name in ("transaction_token", "account_token", "counterparty_token", "customer_token")
        ),
        ("booked_at", STAMP),
        ("amount", pa.float64()),
        *((name, pa.string()) for name in ("currency", "channel", "country", "direction")),
        ("business_date", pa.date32()),
    ]
)
INVESTIGATIONS = pa.schema([("customer_token", pa.string()), ("outcome", pa.string()), ("reported_on", pa.date32())])


def limits(**changes: Any) -> NetworkLimits:
    """The bank's own limits; a change names a key, or a section and its changed keys."""
    values = load_network_limits(REPOSITORY / "policies", "aml_network").model_dump()
    for name, value in changes.items():
        values[name] = {**values[name], **value} if isinstance(value, dict) and name != "currencies" else value
    return NetworkLimits.model_validate(values)


def moment(day: float) -> datetime:
    """`day` days before the end of the business date; 0.5 is noon of the business date."""
    return datetime(ON.year, ON.month, ON.day, tzinfo=UTC) + timedelta(days=1) - timedelta(days=day)


class Bank:
    """Accounts named by one capital letter and anything after belong to customer `c<account>`; others are elsewhere."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.found: list[dict[str, Any]] = []

    def pay(self, payer: str, payee: str, amount: float, day: float, **changes: Any) -> str:
        """One payment, `day` days before the end of the business date, booked at each account of the bank.

        Returns the token of its first booking."""
        start = len(self.rows)
        for account, other, direction in ((payer, payee, "debit"), (payee, payer, "credit")):
            if account[0].isupper():
                self.book(account, other, amount, day, direction, **changes)
        return self.rows[start]["transaction_token"]

    def book(self, account: str, other: str, amount: float, day: float, direction: str, **changes: Any) -> None:
        row = {
            "transaction_token": f"t{len(self.rows):05}",
            "account_token": account,
            "counterparty_token": other,
            "customer_token": f"c{account}",
            "booked_at": moment(day),
            "amount": amount,
            "currency": "EUR",
            "channel": "transfer",
            "country": "DE",
            "direction": direction,
            "business_date": ON,
        }
        self.rows.append(row | changes)

    def find(self, customer: str, reported_on: date, outcome: str = "suspicious") -> None:
        self.found.append({"customer_token": customer, "outcome": outcome, "reported_on": reported_on})

    def connect(self, rows: Iterable[dict[str, Any]] | None = None, threads: int = 2) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(config={"threads": threads})
        connection.execute("SET TimeZone = 'UTC'")
        table = pa.Table.from_pylist(list(self.rows if rows is None else rows), schema=TRANSACTIONS)
        connection.register("transactions", table)
        if self.found:
            connection.register("investigations", pa.Table.from_pylist(self.found, schema=INVESTIGATIONS))
        return connection

    def features(self, on: date = ON, under: NetworkLimits | None = None, **how: Any) -> dict[str, dict[str, Any]]:
        """The features by customer token."""
        with self.connect(**how) as connection:
            table = connection.sql(customer_features(connection, on, under or limits())).to_arrow_table()
        assert table.column_names == ["customer_token", *FEATURES]
        return {row.pop("customer_token"): row for row in table.to_pylist()}

    def schemes(self, on: date = ON, under: NetworkLimits | None = None, **how: Any) -> list[Scheme]:
        """The schemes, in order, with members and transactions."""
        with self.connect(**how) as connection:
            find_schemes(connection, on, under or limits())
            return [Scheme(connection, row) for row in read(connection, "scheme")]


class Scheme:
    """One scheme with its accounts by part and its transaction tokens."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, row: dict[str, Any]) -> None:
        self.row = row
        self.kind, self.scheme_id, self.amount = row["kind"], row["scheme_id"], row["amount"]
        mine = [m for m in read(connection, "scheme_member") if m["scheme_id"] == self.scheme_id]
        self.parts = {
            part: sorted(m["account_token"] for m in mine if m["part"] == part) for part in {m["part"] for m in mine}
        }
        self.tokens = [
            p["transaction_token"] for p in read(connection, "scheme_payment") if p["scheme_id"] == self.scheme_id
        ]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scheme) and vars(self) == vars(other)

    __hash__ = None


def read(connection: duckdb.DuckDBPyConnection, table: str) -> list[dict[str, Any]]:
    return connection.sql(f"FROM {table}").to_arrow_table().to_pylist()
