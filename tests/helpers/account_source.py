"""A small source `accounts` for tests of ingest and quality: its contract, its rows, and deliveries in any shape."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import ingest, lake, quality
from pipelines.contracts import Manifest
from pipelines.settings import Settings
from pipelines.spec import Contract

DAY = date(2026, 6, 30)
DAY_BEFORE = date(2026, 6, 29)

CONTRACT: dict[str, Any] = {
    "source": "accounts",
    "description": "Open accounts.",
    "owner": "data@bank.example",
    "location": {"kind": "files", "path": "accounts/{business_date}.parquet", "format": "parquet"},
    "business_date": {"column": "snapshot_date", "cadence": "day"},
    "key": ["account_id"],
    "columns": {
        "account_id": {"type": "string", "token": "account"},
        "customer_id": {"type": "string", "token": "customer"},
        "snapshot_date": {"type": "date"},
        "product": {"type": "string", "allowed": ["card", "loan"]},
        "balance": {"type": "float", "min": -100, "max": 100_000},
        "days_past_due": {"type": "integer", "min": 0},
        "income": {"type": "float", "nullable": True},
        "updated_at": {"type": "timestamp", "nullable": True},
        "active": {"type": "boolean"},
    },
    "max_quarantined_fraction": 0.1,
    "totals": ["balance"],
}


def contract(**changed: Any) -> Contract:
    """The contract with some of its keys changed; `columns` and `location` are merged, a column of None is left out."""
    raw = {**CONTRACT, **changed}
    columns = {**CONTRACT["columns"], **changed.get("columns", {})}
    raw["columns"] = {name: column for name, column in columns.items() if column is not None}
    if changed.get("location", {}).get("kind", "files") == "files":
        raw["location"] = {**CONTRACT["location"], **changed.get("location", {})}
    return Contract.model_validate(raw)


def csv_contract(**location: Any) -> Contract:
    """The contract of the same source delivered as CSV."""
    return contract(location={"path": "accounts/{business_date}.csv", "format": "csv", **location})


def rows(count: int = 100, day: date = DAY, **columns: Any) -> pa.Table:
    """`count` good rows; a keyword replaces a whole column."""
    good: dict[str, Any] = {
        "account_id": [f"A{i:06d}" for i in range(count)],
        "customer_id": [f"C{i // 2:06d}" for i in range(count)],
        "snapshot_date": pa.array([day] * count, pa.date32()),
        "product": ["card" if i % 3 else "loan" for i in range(count)],
        "balance": [i + 0.25 + (DAY - day).days for i in range(count)],
        "days_past_due": pa.array([i % 5 for i in range(count)], pa.int64()),
        "income": [None if i % 10 == 0 else 1000.0 + i for i in range(count)],
        "updated_at": pa.array([None] * count, pa.timestamp("us", "UTC")),
        "active": [True] * count,
    }
    return pa.table({**good, **columns})


def with_values(table: pa.Table, column: str, values: Mapping[int, Any]) -> pa.Table:
    """The table with single values of one column changed."""
    changed = table[column].to_pylist()
    for at, value in values.items():
        changed[at] = value
    position = table.schema.get_field_index(column)
    return table.set_column(position, column, pa.array(changed, table.schema.field(column).type))


def deliver(settings: Settings, table: pa.Table, day: date = DAY) -> Path:
    """Write the rows where the contract looks for the Parquet file of a date."""
    path = settings.sources / "accounts" / f"{day}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def deliver_bytes(settings: Settings, content: bytes, suffix: str = "csv", day: date = DAY) -> Path:
    """Write these bytes where the contract looks for the file of a date."""
    path = settings.sources / "accounts" / f"{day}.{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def csv_text(table: pa.Table, delimiter: str = ",") -> str:
    """The rows as CSV with a header, dates in ISO."""
    lines = [delimiter.join(table.column_names)]
    for row in table.to_pylist():
        lines.append(delimiter.join("" if value is None else str(value) for value in row.values()))
    return "\n".join(lines) + "\n"


def night(settings: Settings, contract: Contract, day: date = DAY) -> Manifest:
    """Land, check and publish."""
    ingest.land(settings, contract, day)
    quality.check_source(settings, contract, day)
    return ingest.publish(settings, contract, day)


def lake_rows(settings: Settings, table: str, day: date = DAY) -> list[dict[str, Any]]:
    """The rows of a lake table on a date, in one order whatever the file's; none when the table does not exist."""
    house = lake.Lake(settings)
    if house.version(table) is None:
        return []
    connection = lake.connect(settings)
    house.scan(connection, "wanted", table, dates=[day])
    return connection.sql("SELECT * FROM wanted ORDER BY ALL").to_arrow_table().to_pylist()


def lake_version(settings: Settings, table: str = "source/accounts") -> int | None:
    return lake.Lake(settings).version(table)
