"""A published batch of an AML model, written as scoring publishes it, with transactions, segments and a planted scheme."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import yaml
from small_night import MODEL as SMALL

from pipelines import database
from pipelines.aml.found import FoundInTransactions, Rule
from pipelines.contracts import fingerprint
from pipelines.lake import Lake
from pipelines.settings import REPOSITORY, Settings
from pipelines.spec import Model

DAY = date(2026, 6, 29)
ANNA, BERT, OLGA = "anna@bank.example", "bert@bank.example", "olga@bank.example"

MODEL: Model = SMALL.model_copy(
    update={
        "name": "watched",
        "domain": "aml",
        "policy": "watched",
        "entity": "customer",
        "population": "customer_snapshots",
        "sources": ("customer_snapshots", "transactions"),
    }
)

TYPOLOGIES = {
    "cash_in": Rule(name="cash_in", title="Cash paid in just under the threshold", evidence="channel = 'branch'"),
    "corridor": Rule(name="corridor", title="Payments to a high-risk corridor", evidence="country = 'SY'"),
    "dormant": Rule(name="dormant", title="A dormant account wakes"),
}

SCORES = pa.schema(
    [
        ("customer_token", pa.string()),
        ("probability", pa.float64()),
        ("route", pa.string()),
        ("review_reason", pa.string()),
        ("part_supervised", pa.float64()),
        ("part_anomaly", pa.float64()),
        ("part_typologies", pa.float64()),
        ("typologies_met", pa.string()),
        ("batch_id", pa.string()),
        ("model_version", pa.int64()),
        ("business_date", pa.date32()),
    ]
)


@dataclass(frozen=True)
class Row:
    """One customer's published score."""

    name: str
    probability: float
    met: str = ""
    review: str | None = None
    parts: tuple[float | None, ...] = (0.5, 0.3, 0.2)


NIGHT = [
    Row("ann", 0.9, "cash_in; corridor"),
    Row("bob", 0.8, "cash_in"),
    Row("cid", 0.7),
    Row("dan", 0.6, "dormant"),
    Row("eve", 0.5),
    Row("fay", 0.4),
    Row("gus", 0.3, review="income missing"),
    *(Row(f"quiet {i}", 0.01 + i / 1000) for i in range(20)),
]


@dataclass(frozen=True)
class SchemesByHand:
    """Schemes as the network search would leave them: kind, account names and transaction names by scheme."""

    schemes: Mapping[str, tuple[str, Sequence[str], Sequence[str]]] = field(default_factory=dict)

    def __call__(self, connection: duckdb.DuckDBPyConnection, on: date) -> None:
        connection.execute(
            "CREATE TEMP TABLE scheme (scheme_id VARCHAR, kind VARCHAR, accounts BIGINT, payments BIGINT, amount DOUBLE, "
            "first_at TIMESTAMPTZ, last_at TIMESTAMPTZ);"
            "CREATE TEMP TABLE scheme_member (scheme_id VARCHAR, account_token VARCHAR, part VARCHAR);"
            "CREATE TEMP TABLE scheme_payment (scheme_id VARCHAR, transaction_token VARCHAR)"
        )
        at = datetime(on.year, on.month, on.day, tzinfo=UTC)
        for scheme_id, (kind, accounts, payments) in self.schemes.items():
            row = [scheme_id, kind, len(accounts), len(payments), 100.0, at - timedelta(days=3), at]
            connection.execute("INSERT INTO scheme VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            for name in accounts:
                connection.execute("INSERT INTO scheme_member VALUES (?, ?, 'member')", [scheme_id, token(name)])
            for name in payments:
                connection.execute("INSERT INTO scheme_payment VALUES (?, ?)", [scheme_id, token(name)])


def token(name: str) -> str:
    """The token of a customer, account or transaction by its name in a test."""
    return hashlib.md5(name.encode()).hexdigest()


def watched(settings: Settings, **alerts: Any) -> Settings:
    """The settings with a project folder that holds the policy of the model; `alerts` changes keys of its section."""
    project = settings.home / "project"
    (project / "policies").mkdir(parents=True, exist_ok=True)
    write_policy(project, **alerts)
    return settings.model_copy(update={"project": project})


def write_policy(project: Path, version: str = "1", **alerts: Any) -> None:
    """The repository's own policy under the model's name; a key of None is left out, `alerts=None` leaves out all."""
    policy = yaml.safe_load((REPOSITORY / "policies" / "internal_aml.yaml").read_text())
    section = policy["alerts"] | {"budget": 3, "least_score": 0.05} | alerts
    section["evidence"] = {key: value for key, value in section["evidence"].items() if key != "network"}
    section["below_the_line"] = {"seed": 7, "band": 5, "sample": 2, "sample_per_typology": 0} | alerts.get(
        "below_the_line", {}
    )
    policy |= {"policy": MODEL.policy, "version": version}
    policy["alerts"] = {key: value for key, value in section.items() if value is not None}
    if alerts.get("alerts", True) is None:
        del policy["alerts"]
    (project / "policies" / f"{MODEL.policy}.yaml").write_text(yaml.safe_dump(policy))


def evidence(schemes: Mapping[str, tuple[str, Sequence[str], Sequence[str]]] | None = None) -> FoundInTransactions:
    """Evidence from the lake's transactions with the schemes given."""
    return FoundInTransactions(MODEL, TYPOLOGIES, SchemesByHand(schemes or {}))


def publish_scores(
    settings: Settings,
    rows: Iterable[Row],
    day: date = DAY,
    *,
    batch: str = "a",
    rejected: Mapping[str, str] | None = None,
    typologies: str | None = None,
) -> str:
    """Make these rows what readers see of the day; returns the batch id. The same batch again moves only the pointer."""
    listed, refused = list(rows), rejected or {}
    batch_id = fingerprint(MODEL.name, day, batch)
    version = Lake(settings).replace_date(f"scores/{MODEL.name}", day, score_table(listed, day, batch_id))
    if refused:
        table = pa.table(
            {
                "customer_token": [token(name) for name in refused],
                "reason": list(refused.values()),
                "batch_id": pa.repeat(batch_id, len(refused)),
                "business_date": pa.repeat(day, len(refused)),
            }
        )
        Lake(settings).replace_date(f"rejected/{MODEL.name}", day, table)
    with database.transaction(settings) as connection:
        database.execute(
            connection,
            "INSERT INTO vigil.batch (batch_id, state, model, business_date, model_version, artefact_digest, policy, "
            "policy_version, rows_in, rows_scored, rows_rejected, rows_quarantined, rows_review, reject_reasons, "
            "review_reasons, digest, feature_snapshot, staged, typologies) VALUES (:id, 'published', :model, :day, 1, 'a', "
            ":policy, '1', :rows, :scored, :rejected, 0, :review, '{}', '{}', 'd', '{}', 's', :typologies) "
            "ON CONFLICT (batch_id) DO NOTHING",
            id=batch_id,
            model=MODEL.name,
            day=day,
            policy=MODEL.policy,
            rows=len(listed) + len(refused),
            scored=len(listed),
            rejected=len(refused),
            review=sum(row.review is not None for row in listed),
            typologies=typologies,
        )
        database.execute(
            connection,
            "INSERT INTO vigil.published (model, business_date, batch_no, lake_version) "
            "SELECT model, business_date, batch_no, :version FROM vigil.batch WHERE batch_id = :id "
            "ON CONFLICT (model, business_date) DO UPDATE SET batch_no = excluded.batch_no, "
            "lake_version = excluded.lake_version",
            id=batch_id,
            version=version,
        )
    return batch_id


def score_table(rows: Sequence[Row], day: date, batch_id: str) -> pa.Table:
    listed = [
        {
            "customer_token": token(row.name),
            "probability": row.probability,
            "route": "review" if row.review else "scored",
            "review_reason": row.review,
            **dict(zip(("part_supervised", "part_anomaly", "part_typologies"), row.parts, strict=True)),
            "typologies_met": row.met,
            "batch_id": batch_id,
            "model_version": 1,
            "business_date": day,
        }
        for row in rows
    ]
    return pa.Table.from_pylist(sorted(listed, key=lambda r: r["customer_token"]), SCORES)


TRANSACTIONS = pa.schema(
    [
        ("transaction_token", pa.string()),
        ("account_token", pa.string()),
        ("counterparty_token", pa.string()),
        ("customer_token", pa.string()),
        ("booked_at", pa.timestamp("us", "UTC")),
        ("amount", pa.float64()),
        ("currency", pa.string()),
        ("channel", pa.string()),
        ("country", pa.string()),
        ("direction", pa.string()),
        ("business_date", pa.date32()),
    ]
)


def pay(name: str, customer: str | None, other: str | None, amount: float, **changed: Any) -> dict[str, Any]:
    """A booking on the account `<customer>-1`; `other` is the counterparty's account by name."""
    made = {
        "transaction_token": token(name),
        "account_token": token(changed.pop("account", f"{customer}-1")),
        "counterparty_token": None if other is None else token(other),
        "customer_token": None if customer is None else token(customer),
        "booked_at": datetime(2026, 6, 20, 12, tzinfo=UTC),
        "amount": amount,
        "currency": "EUR",
        "channel": "transfer",
        "country": "DE",
        "direction": "debit",
    }
    return made | changed


def book(settings: Settings, bookings: Iterable[Mapping[str, Any]], day: date = DAY) -> None:
    """Put these bookings into the lake as the file of a business date."""
    rows = [{**b, "business_date": day} for b in bookings]
    Lake(settings).replace_date("source/transactions", day, pa.Table.from_pylist(rows, TRANSACTIONS))


def divide(settings: Settings, segment: Mapping[str, str], day: date = DAY) -> None:
    """Put customers into segments."""
    table = pa.table(
        {
            "customer_token": [token(name) for name in segment],
            "segment": list(segment.values()),
            "business_date": pa.repeat(day, len(segment)),
        }
    )
    Lake(settings).replace_date("source/customer_snapshots", day, table)


def everything(settings: Settings) -> str:
    """All rows the desk has, without times and logins, as one text that is equal when they are."""
    tables = (
        *(
            "alert_run",
            "aml_case",
            "alert",
            "alert_evidence",
            "alert_scheme",
            "alert_held",
            "alert_below",
            "alert_event",
        ),
        *("case_event", "suppression", "suppression_revocation"),
    )
    kept = {}
    for table in tables:
        found = database.rows(settings, f"SELECT * FROM vigil.{table}")
        rows = [{k: v for k, v in row.items() if k not in ("at", "login", "raised_at")} for row in found]
        kept[table] = sorted(json.dumps(row, default=str, sort_keys=True) for row in rows)
    return json.dumps(kept, indent=1)
