"""Whether the ids of a source exist in another one, as of the business date."""

from __future__ import annotations

from datetime import date

from duckdb import DuckDBPyConnection

from pipelines import lake
from pipelines.contracts import Check
from pipelines.settings import Settings
from pipelines.spec import Reference

Part = tuple[str, date]


def reference_check(
    settings: Settings, duck: DuckDBPyConnection, table: str, reference: Reference, business_date: date
) -> Check:
    """The share of rows whose token is known to the other source on or before the business date.

    What the other source landed for the same date counts: a night judges all its sources before it publishes any. Not
    assessable (`passed` is None) when the other source has nothing by then, or no row has a token.
    """
    token = f"{reference.token}_token"
    name = f"{token}: known in {reference.source}"
    expected = f"At least {reference.min_fraction:.2%} of the rows."

    def check(passed: bool | None, observed: str) -> Check:
        return Check(name=name, severity=reference.severity, passed=passed, observed=observed, expected=expected)

    house = lake.Lake(settings)
    parts = _newest_first(house, reference.source, business_date)
    if not parts:
        return check(None, f"not assessable: {reference.source} has no rows by {business_date}")
    rows, known = _count_known(house, duck, table, token, parts)
    if rows == 0:
        return check(None, "not assessable: no row has a token")
    return check(known / rows >= reference.min_fraction, f"{known:,} of {rows:,} rows")


def _newest_first(house: lake.Lake, source: str, business_date: date) -> list[Part]:
    """The date's landing if there is one, then every published date before it, newest first."""
    published = [d for d in reversed(house.dates(f"source/{source}")) if d <= business_date]
    if business_date in house.dates(f"landing/{source}"):
        return [
            (f"landing/{source}", business_date),
            *((f"source/{source}", d) for d in published if d < business_date),
        ]
    return [(f"source/{source}", d) for d in published]


def _count_known(
    house: lake.Lake, duck: DuckDBPyConnection, table: str, token: str, parts: list[Part]
) -> tuple[int, int]:
    """Rows with a token, and those of them whose token is known. Most are in the newest part; only the rest is looked for
    in the older ones."""
    (newest, day), older = parts[0], parts[1:]
    house.scan(duck, "newest_reference", newest, dates=[day])
    duck.execute(
        f"CREATE OR REPLACE TEMP TABLE absent AS SELECT {token}, count(*) AS rows FROM {table} "
        f"WHERE {token} IS NOT NULL AND {token} NOT IN (SELECT {token} FROM newest_reference WHERE {token} IS NOT NULL) "
        f"GROUP BY {token}"
    )
    if older:
        house.scan(duck, "older_reference", older[0][0], dates=[on for _, on in older])
        duck.execute(f"DELETE FROM absent WHERE {token} IN (SELECT {token} FROM older_reference)")
    rows = _number(duck, f"SELECT count({token}) FROM {table}")
    return rows, rows - _number(duck, "SELECT coalesce(sum(rows), 0) FROM absent")


def _number(duck: DuckDBPyConnection, query: str) -> int:
    return int(duck.execute(query).fetchall()[0][0])
