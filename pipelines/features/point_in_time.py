"""The point-in-time join: for every entity row, the features as they stood at that row's time.

One ASOF join per view, in DuckDB. Used for the nightly feature rows, the training set and Feast's offline store, so the
three cannot differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import duckdb

from pipelines.contracts import DataFault

EVENT_TIMESTAMP = "event_timestamp"
CREATED_TIMESTAMP = "created_timestamp"
_ROW = "__row"


@dataclass(frozen=True)
class JoinedView:
    """One feature view to join.

    Attributes:
        relation: name of a table or view in the DuckDB connection.
        keys: entity column to view column; all of them must be equal. A null key matches nothing.
        features: output name to view column.
        ttl: largest age of a feature row at the entity row's time, inclusive; None for no limit.
        created: column that decides between rows of one key and one event time; None when there is none.
    """

    relation: str
    keys: Mapping[str, str]
    features: Mapping[str, str]
    ttl: timedelta | None
    event: str = EVENT_TIMESTAMP
    created: str | None = CREATED_TIMESTAMP


def point_in_time_join(
    connection: duckdb.DuckDBPyConnection, entities: str, views: Sequence[JoinedView], *, at: str = EVENT_TIMESTAMP
) -> duckdb.DuckDBPyRelation:
    """The rows of the query `entities`, in their order and each exactly once, with the features known at column `at`.

    Of each view, an entity row gets the newest row of its key with `at - ttl <= event <= at`; of several with the same
    event time the one created last; of several created together the one with the largest hash of its features, so a rerun
    chooses the same. Without such a row its features are null. Nothing runs before the result is read.

    Raises:
        DataFault: two outputs have the same name, or an entity row has no time.
    """
    columns = connection.sql(entities).columns
    _check_names([*columns, *(feature for view in views for feature in view.features)])
    query = f"SELECT *, row_number() OVER () AS {_ROW} FROM ({entities})"
    for view in views:
        query = _joined(query, view, at)
    wanted = [*columns, *(feature for view in views for feature in view.features)]
    return connection.sql(f"SELECT {_listed(wanted)} FROM ({query}) ORDER BY {_ROW}")


def _joined(entities: str, view: JoinedView, at: str) -> str:
    # ASOF takes one inequality, so the order of rows is one struct: event time, created time, hash of the features.
    # The entity side holds the largest value of the last two: "whatever was created, up to this event time".
    features = [f"f.{_quoted(column)}" for column in view.features.values()]
    created = f"coalesce(CAST({_quoted(view.created)} AS TIMESTAMPTZ), '-infinity')" if view.created else "'-infinity'"
    own_hash = f"hash({_listed(view.features.values())})" if view.features else "0"
    order = _order(_quoted(view.event), f"CAST({created} AS TIMESTAMPTZ)", own_hash)
    limit = _order(_quoted(at), "CAST('infinity' AS TIMESTAMPTZ)", "18446744073709551615")
    alive = _alive(view, at)
    values = [
        f"{_when(alive, column)} AS {_quoted(name)}" for name, column in zip(view.features, features, strict=True)
    ]
    equal = " AND ".join(f"e.{_quoted(mine)} = f.{_quoted(theirs)}" for mine, theirs in view.keys.items())
    return (
        f"SELECT {', '.join(['e.* EXCLUDE (__limit)', *values])} "
        f"FROM (SELECT *, {limit} AS __limit FROM ({entities})) e "
        f"ASOF LEFT JOIN (SELECT *, {order} AS __order FROM {_quoted(view.relation)}) f "
        f"ON {equal} AND e.__limit >= f.__order"
    )


def _order(event: str, created: str, tie: str) -> str:
    return f"{{'event': CAST({event} AS TIMESTAMPTZ), 'created': {created}, 'tie': CAST({tie} AS UBIGINT)}}"


def _alive(view: JoinedView, at: str) -> str | None:
    if view.ttl is None:
        return None
    oldest = f"CAST(e.{_quoted(at)} AS TIMESTAMPTZ) - to_microseconds({view.ttl // timedelta(microseconds=1)})"
    return f"CAST(f.{_quoted(view.event)} AS TIMESTAMPTZ) >= {oldest}"


def _when(condition: str | None, column: str) -> str:
    return f"CASE WHEN {condition} THEN {column} END" if condition else column


def _check_names(names: Sequence[str]) -> None:
    twice = sorted(name for name, count in Counter(n.lower() for n in names).items() if count > 1)
    if twice:
        raise DataFault(f"point-in-time join: {', '.join(twice)} would appear twice. Rename the feature.")


def _listed(names: object) -> str:
    return ", ".join(_quoted(name) for name in names)  # type: ignore[attr-defined]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
