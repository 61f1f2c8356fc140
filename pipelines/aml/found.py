"""Evidence out of the lake's transactions: typology filters and the network's schemes over the days up to the alert."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import duckdb
import pyarrow as pa

from pipelines.aml.evidence import Edge, Found, Member, Met, Scheme, Total, Transaction
from pipelines.contracts import Blocked, Value
from pipelines.lake import Lake, connect
from pipelines.settings import Settings
from pipelines.spec import Model
from pipelines.spec.alerting import EvidenceLimits

Network = Callable[[duckdb.DuckDBPyConnection, date], None]
Grouped = Mapping[str, list[dict[str, Any]]]

_OPTIONAL = ("counterparty_token", "customer_token", "currency", "channel", "country", "direction")
_SCHEMELESS = """
    CREATE TEMP TABLE scheme (scheme_id VARCHAR, kind VARCHAR, payments BIGINT, amount DOUBLE, first_at TIMESTAMPTZ,
                              last_at TIMESTAMPTZ);
    CREATE TEMP TABLE scheme_member (scheme_id VARCHAR, account_token VARCHAR, part VARCHAR);
    CREATE TEMP TABLE scheme_payment (scheme_id VARCHAR, transaction_token VARCHAR)"""
_NO_HUBS = "CREATE TEMP TABLE IF NOT EXISTS bounded_hub (account_token VARCHAR)"


class Rule(Value):
    """A typology as people read it; `evidence` is a SQL condition on transactions that singles out what it rests on."""

    name: str
    title: str
    evidence: str | None = None


@dataclass(frozen=True)
class FoundInTransactions:
    """Evidence for customers of a model.

    Attributes:
        typologies: by name; one that is not here is named without its transactions.
        network: fills the tables scheme, scheme_member and scheme_payment from the view `transactions`; None: no schemes.
    """

    model: Model
    typologies: Mapping[str, Rule] = field(default_factory=dict)
    network: Network | None = None

    def find(
        self, settings: Settings, limits: EvidenceLimits, business_date: date, asked: Mapping[str, tuple[str, ...]]
    ) -> Mapping[str, Found]:
        """See `Evidence`."""
        if not asked:
            return {}
        after = business_date - timedelta(days=limits.days)
        with connect(settings) as connection:
            _transactions(settings, connection, limits.source, after, business_date)
            self._schemes(connection, business_date)
            self._mark(connection, asked)
            tables = {name: _by_token(connection, query) for name, query in _queries(limits).items()}
        return {token: self._found(token, met, after, business_date, tables) for token, met in asked.items()}

    def _schemes(self, connection: duckdb.DuckDBPyConnection, on: date) -> None:
        if self.network is None:
            connection.execute(_SCHEMELESS)
        else:
            self.network(connection, on)
        connection.execute(_NO_HUBS)

    def _mark(self, connection: duckdb.DuckDBPyConnection, asked: Mapping[str, tuple[str, ...]]) -> None:
        """Tables `mine` (bookings of the customers), `touched` (their schemes) and `mark` (why a booking is evidence)."""
        pairs = [(token, name) for token, met in asked.items() for name in met]
        connection.register("customer", pa.table({"token": pa.array(list(asked), pa.string())}))
        typed = [pa.array([p[i] for p in pairs], pa.string()) for i in (0, 1)]
        connection.register("asked", pa.table(typed, names=["token", "typology"]))
        connection.execute(
            f"""CREATE TEMP TABLE mine AS SELECT t.{self.model.token} AS token, t.* FROM transactions t
            WHERE t.{self.model.token} IN (SELECT token FROM customer)"""
        )
        connection.execute(_TOUCHED)
        for typology in self.typologies.values():
            if typology.evidence is not None:
                connection.execute(
                    f"""INSERT INTO mark SELECT token, transaction_token, $name, 'typology' FROM mine
                    WHERE token IN (SELECT token FROM asked WHERE typology = $name) AND ({typology.evidence})""",
                    {"name": typology.name},
                )

    def _found(
        self, token: str, met: tuple[str, ...], after: date, up_to: date, tables: Mapping[str, Grouped]
    ) -> Found:
        def of(name: str) -> list[dict[str, Any]]:
            return tables[name].get(token, [])

        return Found(
            token=token,
            after=after,
            up_to=up_to,
            transactions=tuple(Transaction.model_validate(row) for row in of("transactions")),
            transactions_total=sum(row["transactions"] for row in of("totals")),
            totals=tuple(Total.model_validate(row) for row in of("totals")),
            typologies=tuple(self._met(name, of("marked")) for name in met),
            schemes=tuple(Scheme.model_validate(row) for row in of("schemes")),
            members=tuple(Member.model_validate(row) for row in of("members")),
            edges=tuple(Edge.model_validate(row) for row in of("edges")),
            edges_total=sum(row["edges"] for row in of("edges_total")),
            notes=tuple(_notes(of("totals"), of("hubs"))),
        )

    def _met(self, name: str, marked: list[dict[str, Any]]) -> Met:
        typology = self.typologies.get(name)
        title = typology.title if typology else name
        rests_on: dict[str, Any] = next((row for row in marked if row["name"] == name), {})
        note = ""
        if typology is None or typology.evidence is None:
            note = "the rule looks at the customer as a whole; no single transactions are singled out"
        elif not rests_on:
            note = "no transaction of the window shows it any more"
        return Met.model_validate(
            {"title": title, "note": note, "transactions": 0, "amount": 0, "first_at": None, "last_at": None}
            | rests_on
            | {"name": name}
        )


def _transactions(
    settings: Settings, connection: duckdb.DuckDBPyConnection, source: str, after: date, up_to: date
) -> None:
    """The view `transactions` of what was booked in (after, up_to], with every column that evidence needs."""
    lake, table = Lake(settings), f"source/{source}"
    if lake.version(table) is None:
        raise Blocked(
            f"no transactions in the lake ({table}), so no alert could say why it was raised. Nothing was raised. "
            f"Run: python -m pipelines ingest --source {source} --date {up_to}"
        )
    held = lake.slice(table, after, up_to)
    lake.scan(connection, "all transactions", table, version=held.version, dates=held.dates)
    there = {row[0] for row in connection.execute('DESCRIBE "all transactions"').fetchall()}
    absent = "".join(f", CAST(NULL AS VARCHAR) AS {name}" for name in _OPTIONAL if name not in there)
    connection.execute(
        f"""CREATE TEMP VIEW transactions AS SELECT *{absent} FROM "all transactions"
        WHERE booked_at >= TIMESTAMPTZ '{after + timedelta(days=1)} 00:00:00Z'
          AND booked_at < TIMESTAMPTZ '{up_to + timedelta(days=1)} 00:00:00Z'"""
    )


_TOUCHED = """
    CREATE TEMP TABLE touched AS
        SELECT DISTINCT m.token, s.scheme_id FROM scheme_member s JOIN mine m USING (account_token);
    CREATE TEMP TABLE mark (token VARCHAR, transaction_token VARCHAR, name VARCHAR, kind VARCHAR);
    INSERT INTO mark SELECT DISTINCT m.token, m.transaction_token, 'scheme ' || s.kind, 'scheme'
        FROM mine m JOIN scheme_payment USING (transaction_token) JOIN scheme s USING (scheme_id)"""

_MONEY = "CAST(amount AS DECIMAL(18, 2))"

_LEGS = f"""
    SELECT token, direction, currency, booked_at, {_MONEY} AS amount, coalesce(of_scheme, false) AS of_scheme,
           CASE direction WHEN 'credit' THEN counterparty_token ELSE account_token END AS payer,
           CASE direction WHEN 'credit' THEN account_token ELSE counterparty_token END AS payee
    FROM (
        SELECT * FROM mine
        UNION
        SELECT touched.token, t.* FROM touched JOIN scheme_payment USING (scheme_id) JOIN transactions t
        USING (transaction_token))
    LEFT JOIN (
        SELECT DISTINCT token, transaction_token, true AS of_scheme FROM touched JOIN scheme_payment USING (scheme_id))
    USING (token, transaction_token)
    WHERE counterparty_token IS NOT NULL"""

# A payment between two accounts of the bank is booked at both; the greater of the two counts is the number of payments.
_EDGES = f"""
    SELECT token, payer, payee, currency, CAST(sum(times) AS BIGINT) AS payments, sum(times * amount) AS amount,
           min(booked_at) AS first_at, max(booked_at) AS last_at, bool_or(of_scheme) AS of_scheme
    FROM (
        SELECT token, payer, payee, currency, amount, booked_at, bool_or(of_scheme) AS of_scheme,
               greatest(count(*) FILTER (direction = 'credit'), count(*) FILTER (direction IS DISTINCT FROM 'credit'))
               AS times
        FROM ({_LEGS}) GROUP BY ALL)
    GROUP BY ALL"""


def _queries(limits: EvidenceLimits) -> dict[str, str]:
    """What is read per customer, each in an order that depends on its content alone."""
    listed_edges = f"""SELECT * FROM ({_EDGES})
        QUALIFY row_number() OVER (
            PARTITION BY token ORDER BY of_scheme DESC, amount DESC, payer, payee, currency
        ) <= {limits.edges}"""
    return {
        "transactions": f"""
            SELECT token, transaction_token, booked_at, direction, {_MONEY} AS amount, currency, channel, country,
                   account_token, counterparty_token, why
            FROM mine LEFT JOIN (
                SELECT token, transaction_token, list(DISTINCT name ORDER BY name) AS why FROM mark GROUP BY ALL)
            USING (token, transaction_token)
            QUALIFY row_number() OVER (
                PARTITION BY token ORDER BY why IS NULL, amount DESC, booked_at, transaction_token
            ) <= {limits.transactions}
            ORDER BY token, booked_at, transaction_token""",
        "totals": f"""
            SELECT token, direction, currency, count(*) AS transactions, sum({_MONEY}) AS amount
            FROM mine GROUP BY ALL ORDER BY ALL""",
        "marked": f"""
            SELECT token, name, count(*) AS transactions, sum({_MONEY}) AS amount, min(booked_at) AS first_at,
                   max(booked_at) AS last_at
            FROM mark JOIN mine USING (token, transaction_token) WHERE kind = 'typology' GROUP BY ALL ORDER BY ALL""",
        "schemes": """
            SELECT touched.token, scheme_id, s.kind, payments, CAST(amount AS DECIMAL(18, 2)) AS amount, first_at, last_at,
                   (SELECT list(DISTINCT m.account_token ORDER BY m.account_token) FROM scheme_member m
                    WHERE m.scheme_id = s.scheme_id) AS accounts
            FROM touched JOIN scheme s USING (scheme_id) ORDER BY touched.token, scheme_id""",
        "edges": f"{listed_edges} ORDER BY token, first_at, payer, payee, currency",
        "edges_total": f"SELECT token, count(*) AS edges FROM ({_EDGES}) GROUP BY ALL",
        "hubs": """
            SELECT token, count(DISTINCT hub) AS hubs
            FROM (SELECT token, unnest([account_token, counterparty_token]) AS hub FROM mine)
            WHERE hub IN (SELECT account_token FROM bounded_hub) GROUP BY ALL""",
        "members": f"""
            WITH listed AS ({listed_edges}),
                 part AS (
                     SELECT touched.token, account_token, string_agg(DISTINCT part, ', ' ORDER BY part) AS part
                     FROM touched JOIN scheme_member USING (scheme_id) GROUP BY ALL),
                 account AS (
                     SELECT token, payer AS account_token FROM listed UNION SELECT token, payee FROM listed
                     UNION SELECT token, account_token FROM part)
            SELECT token, account_token, part,
                   (token, account_token) IN (SELECT DISTINCT (token, account_token) FROM mine) AS own
            FROM account LEFT JOIN part USING (token, account_token) ORDER BY token, own DESC, account_token""",
    }


def _by_token(connection: duckdb.DuckDBPyConnection, query: str) -> Grouped:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in connection.sql(query).to_arrow_table().to_pylist():
        token = row.pop("token")
        found[token].append({name: _plain(value) for name, value in row.items() if (name, value) != ("why", None)})
    return found


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _notes(totals: list[dict[str, Any]], hubs: list[dict[str, Any]]) -> Iterator[str]:
    if not totals:
        yield "no transaction of the customer was booked in the window"
    if hubs:
        yield f"{hubs[0]['hubs']} account(s) touched are hubs where chains were not followed; schemes through them are not shown"
