"""One delivery inside DuckDB: typed, judged row by row, keys compared. Nothing leaves it before all of it is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import chain
from math import fsum

import duckdb
import pyarrow as pa

from pipelines.contracts import fingerprint
from pipelines.ingest import reading, rules
from pipelines.ingest.deliveries import Delivery
from pipelines.ingest.reading import LINE, REJECTED, Opened
from pipelines.lake import PARTITION
from pipelines.spec import Contract
from pipelines.tokens import SqlTokens

_KEYS = "bad_keys"


@dataclass(frozen=True)
class Counts:
    """Rows of the delivery that belong to the business date, and what became of them."""

    rows_in: int
    reasons: dict[str, int]

    @property
    def quarantined(self) -> int:
        return sum(self.reasons.values())

    @property
    def good(self) -> int:
        return self.rows_in - self.quarantined

    @property
    def quarantined_fraction(self) -> float:
        return self.quarantined / self.rows_in if self.rows_in else 0.0


class Staged:
    """The rows of one delivery that belong to one business date, in tables of a DuckDB connection.

    `staged` holds every row with its typed values and the rule it breaks; `rejected_lines` what could not be split into
    fields; `bad_keys` the lines whose key comes more than once.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        contract: Contract,
        delivery: Delivery,
        business_date: date,
        tokens: SqlTokens,
    ) -> None:
        self._connection = connection
        self._contract = contract
        self.delivery = delivery
        self._business_date = business_date
        self.opened: Opened = reading.open_delivery(connection, contract, delivery)
        typed = self._typed(tokens)
        connection.execute(f"CREATE OR REPLACE TEMP VIEW parsed AS SELECT {typed} FROM raw")
        self._judge(typed)
        self._compare_keys()
        self.counts = self._count()

    @property
    def names(self) -> dict[str, str]:
        """Lake name of every column, by contract name."""
        return {name: self._contract.lake_name(name) for name in self._contract.columns}

    @property
    def lake_columns(self) -> list[str]:
        """Contract names of the columns that may enter the lake."""
        return [name for name, column in self._contract.columns.items() if not column.protected]

    def good(self, columns: list[str]) -> str:
        """Query for the good rows in file order, with these contract columns under their lake names."""
        listed = ", ".join(f'{rules.value(c)} AS "{self.names[c]}"' for c in columns)
        return (
            f"SELECT {listed}, DATE '{self._business_date}' AS {PARTITION} FROM staged "
            f"WHERE reason IS NULL AND {LINE} NOT IN (SELECT {LINE} FROM {_KEYS}) ORDER BY {LINE}"
        )

    def quarantine(self) -> str:
        """Query for the quarantined rows: source_line, reason, the row as JSON in `content`, without ids and protected values."""
        of_keys = self._json(dict.fromkeys(self._contract.columns))
        return (
            f"SELECT source_line, reason, content, DATE '{self._business_date}' AS {PARTITION} FROM ("
            f"SELECT {LINE} AS source_line, reason, content FROM staged WHERE reason IS NOT NULL "
            f"UNION ALL SELECT {LINE}, k.reason, {of_keys} FROM staged JOIN {_KEYS} k USING ({LINE}) "
            f"UNION ALL SELECT {LINE}, reason, '{{}}' FROM {REJECTED}) ORDER BY source_line"
        )

    def content(self) -> str:
        """Digest of the rows of this date, whatever their order and lines: what a file of all dates says of one date."""
        columns = ", ".join(rules.value(name) for name in self._contract.columns)
        row = f"CAST(row({columns}, reason, content) AS VARCHAR)"
        found = self._connection.execute(
            f"SELECT count(*), sum(md5_number_lower({row})::HUGEINT), sum(md5_number_upper({row})::HUGEINT) FROM staged"
        ).fetchall()
        return fingerprint(*found[0], self._connection.execute(f"SELECT count(*) FROM {REJECTED}").fetchall())

    def totals(self, columns: tuple[str, ...]) -> dict[str, float]:
        """Exact sum of each column over the good rows (math.fsum: rounded once, at the end)."""
        return {name: self._sum(f"SELECT {self.names[name]} FROM ({self.good([name])})") for name in columns}

    def delivered_totals(self, columns: tuple[str, ...]) -> dict[str, float]:
        """Exact sum of each column over every row delivered that has a number there, quarantined ones included."""
        return {
            name: self._sum(f"SELECT {rules.value(name)} FROM staged WHERE isfinite({rules.value(name)}::DOUBLE)")
            for name in columns
        }

    def failed_columns(self) -> list[str]:
        """Columns that hold values and whose every value does not parse: retyped, not dirty."""
        if not self._contract.columns:
            return []
        tests = ", ".join(
            f"bool_and({rules.value(n)} IS NULL) FILTER ({rules.raw(n)} IS NOT NULL)" for n in self._contract.columns
        )
        found = self._connection.execute(f"SELECT {tests} FROM parsed").fetchall()[0]
        return [name for name, failed in zip(self._contract.columns, found, strict=True) if failed]

    def dates_delivered(self) -> list[date]:
        """Dates of the business-date column over the rows that have a readable one, ascending; none without column."""
        name = self._contract.business_date.column
        return [] if name is None else _distinct_days(self._connection, self.delivery, self._contract, name, "parsed")

    def _typed(self, tokens: SqlTokens) -> str:
        """SQL for a row of `raw`: line, and every column as delivered and typed, ids as tokens."""
        parts = [LINE]
        for name, column in self._contract.columns.items():
            typed = rules.parsed(column, f'"{name}"', self.opened.types[name])
            if column.token:
                typed = tokens.expression(column.token, typed)
            parts += [f'"{name}" AS {rules.raw(name)}', f"{typed} AS {rules.value(name)}"]
        return ", ".join(parts)

    def _judge(self, typed: str) -> None:
        whole = self.delivery.whole
        judged = whole and self._contract.business_date.cadence != "once"
        reason = rules.reason(self._contract, self._business_date, dates_are_judged=judged)
        values = ", ".join(rules.value(name) for name in self._contract.columns)
        shown = self._json({name: rules.raw(name) for name in self._contract.columns})
        rows = "raw" if whole else self._cut_out()
        reading.guarded(
            self._connection,
            self.delivery,
            f"CREATE OR REPLACE TEMP TABLE staged AS SELECT {LINE}, {values}, reason, "
            f"CASE WHEN reason IS NOT NULL THEN {shown} END AS content "
            f"FROM (SELECT *, {reason} AS reason FROM (SELECT {typed} FROM {rows}))",
        )
        reading.keep_rejects(self._connection, self.delivery)
        if not whole and not self._takes_undated:
            self._connection.execute(f"DELETE FROM {REJECTED}")
        self._number_lines()

    def _cut_out(self) -> str:
        """A table of the date's rows out of a file of all dates, as delivered: a token costs more than reading a row, so
        the rows of other dates are put aside first."""
        name = self._contract.business_date.column
        assert name is not None
        typed = rules.parsed(self._contract.columns[name], f'"{name}"', self.opened.types[name])
        dated = f"(SELECT *, {typed} AS {rules.value(name)} FROM raw)"
        reading.guarded(
            self._connection,
            self.delivery,
            f"CREATE OR REPLACE TEMP TABLE cut_out AS SELECT * EXCLUDE ({rules.value(name)}) FROM {dated} "
            f"WHERE {self._belongs()}",
        )
        return "cut_out"

    def _belongs(self) -> str:
        """Which rows of a file of all dates are this date's. Rows without a readable date go with the newest date."""
        name = self._contract.business_date.column
        assert name is not None
        first, last = rules.period(self._contract, self._business_date)
        day = rules.day_of(name, self._contract.columns[name])
        undated = f" OR {day} IS NULL" if self._takes_undated else ""
        return f"({day} BETWEEN DATE '{first}' AND DATE '{last}'{undated})"

    @cached_property
    def _takes_undated(self) -> bool:
        dates = self.dates_delivered()
        return bool(dates) and dates[-1] <= self._business_date

    def _number_lines(self) -> None:
        """Count the rejected lines in: DuckDB numbers only the rows it could read."""
        if not self._connection.execute(f"SELECT 1 FROM {REJECTED} LIMIT 1").fetchall():
            return
        self._connection.execute(
            f"UPDATE staged SET {LINE} = {LINE} + before.skipped FROM (SELECT s.{LINE} AS at, r.skipped FROM staged s "
            f"ASOF JOIN (SELECT row_number() OVER (ORDER BY {LINE}) AS skipped, {LINE} - skipped AS kept "
            f"FROM {REJECTED}) r ON s.{LINE} > r.kept) before WHERE staged.{LINE} = before.at"
        )

    def _compare_keys(self) -> None:
        """Rows that repeat a key: of identical rows the first stays; rows that differ all go, none is chosen."""
        keys = ", ".join(rules.value(name) for name in self._contract.key)
        everything = ", ".join(rules.value(name) for name in self._contract.columns)
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_KEYS} AS WITH repeated AS (SELECT {keys} FROM staged WHERE reason IS NULL "
            f"GROUP BY ALL HAVING count(*) > 1), "
            f"members AS (SELECT {LINE}, {keys}, row({everything}) AS everything FROM staged "
            f"SEMI JOIN repeated USING ({keys}) WHERE reason IS NULL), "
            f"judged AS (SELECT {LINE}, row_number() OVER (PARTITION BY {keys} ORDER BY {LINE}) AS place, "
            f"min(everything) OVER (PARTITION BY {keys}) = max(everything) OVER (PARTITION BY {keys}) AS same FROM members) "
            f"SELECT {LINE}, CASE WHEN same THEN 'key:duplicate' ELSE 'key:collision' END AS reason "
            "FROM judged WHERE NOT same OR place > 1"
        )

    def _count(self) -> Counts:
        rows = self._connection.execute(
            f"SELECT (SELECT count(*) FROM staged) + (SELECT count(*) FROM {REJECTED})"
        ).fetchall()[0][0]
        reasons = self._connection.execute(
            f"SELECT reason, count(*) FROM (SELECT reason FROM staged WHERE reason IS NOT NULL UNION ALL "
            f"SELECT reason FROM {_KEYS} UNION ALL SELECT reason FROM {REJECTED}) GROUP BY reason "
            "ORDER BY count(*) DESC, reason"
        ).fetchall()
        return Counts(rows, dict(reasons))

    def _json(self, texts: dict[str, str | None]) -> str:
        """SQL for a row as JSON; `texts` gives the delivered text of a column that may not have parsed."""
        pairs = [
            f"'{self.names[name]}', {rules.shown(self._contract.columns[name], rules.value(name), texts[name])}"
            for name in self.lake_columns
        ]
        return f"CAST(json_object({', '.join(pairs)}) AS VARCHAR)"

    def _sum(self, query: str) -> float:
        return fsum(chain.from_iterable(_numbers(self._connection.sql(query).to_arrow_reader(1 << 17))))


def dates_in(connection: duckdb.DuckDBPyConnection, contract: Contract, delivery: Delivery) -> list[date]:
    """Distinct dates of the business-date column of a delivery, ascending. Raises Unreadable."""
    name = contract.business_date.column
    assert name is not None
    opened = reading.open_delivery(connection, contract, delivery)
    typed = rules.parsed(contract.columns[name], f'"{name}"', opened.types[name])
    dates = f"(SELECT {typed} AS {rules.value(name)} FROM raw)"
    return _distinct_days(connection, delivery, contract, name, dates)


def _distinct_days(
    connection: duckdb.DuckDBPyConnection, delivery: Delivery, contract: Contract, name: str, rows: str
) -> list[date]:
    day = rules.day_of(name, contract.columns[name])
    reading.guarded(
        connection,
        delivery,
        f"CREATE OR REPLACE TEMP TABLE days AS SELECT DISTINCT {day} AS day FROM {rows} WHERE {day} IS NOT NULL",
    )
    return [row[0] for row in connection.execute("SELECT day FROM days ORDER BY day").fetchall()]


def _numbers(reader: pa.RecordBatchReader) -> Iterator[list[float]]:
    for batch in reader:
        yield batch.column(0).drop_null().to_numpy(zero_copy_only=False).tolist()
