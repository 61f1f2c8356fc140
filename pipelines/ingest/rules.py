"""The row rules of a contract as SQL: how a delivered value becomes a typed one, and which rule a bad one breaks.

A reason is `<column>:<rule>`, `key:<rule>` or `row:<rule>`. The first broken rule in the contract's order of columns is the
row's reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

from pipelines.spec import Column, Contract

COLUMN_REASONS = {
    "type": "the value does not parse as the type",
    "null": "there is no value, and the column is not nullable",
    "not_finite": "NaN or infinity",
    "below_min": "below `min`",
    "above_max": "above `max`",
    "not_allowed": "not among `allowed`: a new category",
    "future": "after the business date; for a timestamp, by more than a day",
    "wrong_date": "before the business date by more than `reaches_back_days`, in a file of one date",
}
KEY_REASONS = {
    "duplicate": "the same row again; the first one stays",
    "collision": "the same key with another content; all of them go",
}

_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_WHOLE = frozenset(_INTEGERS) | {f"U{name}" for name in _INTEGERS}
_TIMESTAMPS = ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS")
_EARLIEST, _LATEST = (
    "1000-01-01",
    "9999-12-30",
)  # outside it dates mean "infinity" or nothing, and Python cannot hold them


def parsed(column: Column, raw: str, kind: str) -> str:
    """SQL for the typed value of `raw`, a column of DuckDB type `kind`; null where it does not parse.

    An id is trimmed text, ready to become a token. Nothing is rounded: 1.5 is no integer, and 10:30 no date.
    """
    if column.token:
        return _id(column, raw, kind)
    return _PARSERS[column.type](column, raw, kind)


def reason(contract: Contract, business_date: date, *, dates_are_judged: bool) -> str:
    """SQL for the first broken rule of a row of `raw_<column>` and `value_<column>`, null when there is none."""
    cases = []
    for name, column in contract.columns.items():
        cases += [f"WHEN {test} THEN '{name}:{rule}'" for test, rule in _broken(name, column)]
        if name == contract.business_date.column and dates_are_judged:
            cases += _outside(name, column, contract, business_date)
        elif column.type == "timestamp" and not column.may_be_future:
            limit = business_date + timedelta(days=2)  # the end of the business date, and a day for time zones
            cases.append(f"WHEN {value(name)} >= TIMESTAMPTZ '{limit} 00:00:00+00' THEN '{name}:future'")
    return f"CASE {' '.join(cases)} END"


def value(name: str) -> str:
    return f'"value_{name}"'


def raw(name: str) -> str:
    return f'"raw_{name}"'


def day_of(name: str, column: Column) -> str:
    """SQL for the UTC date of a parsed date or timestamp column."""
    return value(name) if column.type == "date" else f"CAST({value(name)} AT TIME ZONE 'UTC' AS DATE)"


def period(contract: Contract, business_date: date) -> tuple[date, date]:
    """First and last day whose rows belong to a business date."""
    if contract.business_date.cadence == "month":
        return business_date.replace(day=1), business_date
    return business_date - timedelta(days=contract.business_date.reaches_back_days), business_date


def shown(column: Column, typed: str, text: str | None) -> str:
    """SQL for a value of a quarantined row as a person may see it.

    A value is shown as it came when it is a number, a date, a boolean or one of `allowed`. Digits of any other text become
    9: a row whose fields have moved can have an id anywhere. Ids are tokens.
    """
    if column.token:
        return typed
    if column.type == "string":
        if not column.allowed:
            return _masked(typed)
        return f"CASE WHEN {_among(typed, column.allowed)} THEN {typed} ELSE {_masked(typed)} END"
    as_text = f"CAST({typed} AS VARCHAR)"
    return as_text if text is None else f"coalesce({as_text}, {_masked(f'CAST({text} AS VARCHAR)')})"


def _broken(name: str, column: Column) -> Iterator[tuple[str, str]]:
    blank = f" AND trim(CAST({raw(name)} AS VARCHAR)) <> ''" if column.token else ""
    yield f"{value(name)} IS NULL AND {raw(name)} IS NOT NULL{blank}", "type"
    if not column.nullable:
        yield f"{value(name)} IS NULL", "null"
    if column.type == "float":
        yield f"NOT isfinite({value(name)})", "not_finite"
    if column.min is not None:
        yield f"{value(name)} < {column.min!r}", "below_min"
    if column.max is not None:
        yield f"{value(name)} > {column.max!r}", "above_max"
    if column.allowed is not None:
        yield f"{value(name)} IS NOT NULL AND NOT {_among(value(name), column.allowed)}", "not_allowed"


def _outside(name: str, column: Column, contract: Contract, business_date: date) -> list[str]:
    first, last = period(contract, business_date)
    day = day_of(name, column)
    return [
        f"WHEN {day} IS NULL THEN '{name}:null'",
        f"WHEN {day} > DATE '{last}' THEN '{name}:future'",
        f"WHEN {day} < DATE '{first}' THEN '{name}:wrong_date'",
    ]


def _among(text: str, allowed: tuple[str, ...]) -> str:
    listed = ", ".join("'" + a.replace("'", "''") + "'" for a in allowed)
    return f"{text} IN ({listed})"


def _masked(text: str) -> str:
    return f"translate({text}, '012345678', '999999999')"


def _id(column: Column, raw: str, kind: str) -> str:
    if column.type == "integer":
        return f"CAST({_integer(column, raw, kind)} AS VARCHAR)"
    # A number where text is agreed has lost its leading zeros: another customer's id, or nobody's.
    return f"nullif(trim({raw}), '')" if kind == "VARCHAR" else "CAST(NULL AS VARCHAR)"


def _string(column: Column, raw: str, kind: str) -> str:
    return raw if kind == "VARCHAR" else f"CAST({raw} AS VARCHAR)" if kind in _WHOLE else "CAST(NULL AS VARCHAR)"


def _number(column: Column, raw: str, kind: str) -> str | None:
    """The delivered number, cleaned where it is text; None when the delivered type is no number."""
    if kind == "VARCHAR":
        bare = f"translate({raw}, {_literal(column.strip)}, '')" if column.strip else raw
        return f"CASE WHEN NOT contains({bare}, '_') THEN trim({bare}) END"  # DuckDB would read 1_000 as 1000
    return raw if kind in _WHOLE or kind in ("FLOAT", "DOUBLE") or kind.startswith("DECIMAL") else None


def _integer(column: Column, raw: str, kind: str) -> str:
    number = _number(column, raw, kind)
    if number is None:
        return "CAST(NULL AS BIGINT)"
    if kind in _WHOLE:
        return f"TRY_CAST({number} AS BIGINT)"
    whole = f"TRY_CAST({number} AS BIGINT)"
    return f"CASE WHEN TRY_CAST({number} AS DOUBLE) = {whole} THEN {whole} END"  # a cast alone would round


def _float(column: Column, raw: str, kind: str) -> str:
    number = _number(column, raw, kind)
    return "CAST(NULL AS DOUBLE)" if number is None else f"TRY_CAST({number} AS DOUBLE)"


def _boolean(column: Column, raw: str, kind: str) -> str:
    if kind in ("VARCHAR", "BOOLEAN"):
        return f"TRY_CAST({raw} AS BOOLEAN)"
    return f"CASE {raw} WHEN 0 THEN false WHEN 1 THEN true END" if kind in _WHOLE else "CAST(NULL AS BOOLEAN)"


def _date(column: Column, raw: str, kind: str) -> str:
    if kind == "DATE":
        return f"CASE WHEN {raw} BETWEEN DATE '{_EARLIEST}' AND DATE '{_LATEST}' THEN {raw} END"
    moment = _moment(column, raw, kind)
    return f"CASE WHEN date_trunc('day', {moment}) = {moment} THEN CAST({moment} AS DATE) END"


def _timestamp(column: Column, raw: str, kind: str) -> str:
    if kind == "VARCHAR" and not column.format:
        aware = f"TRY_CAST(trim({raw}) AS TIMESTAMPTZ)"
        return f"CASE WHEN {aware} BETWEEN TIMESTAMPTZ '{_EARLIEST}' AND TIMESTAMPTZ '{_LATEST}' THEN {aware} END"
    if kind == "TIMESTAMP WITH TIME ZONE":
        return raw
    return f"({_moment(column, raw, kind)} AT TIME ZONE 'UTC')"


def _moment(column: Column, raw: str, kind: str) -> str:
    """The delivered date or time as a TIMESTAMP in UTC."""
    if kind == "VARCHAR":
        text = f"trim({raw})"
        if column.format:
            found = f"CAST(try_strptime({text}, {_literal(column.format)}) AS TIMESTAMP)"
        else:
            found = f"TRY_CAST({text} AS TIMESTAMP)"
    elif kind == "DATE" or kind in _TIMESTAMPS:
        found = f"CAST({raw} AS TIMESTAMP)"
    elif kind == "TIMESTAMP WITH TIME ZONE":
        found = f"({raw} AT TIME ZONE 'UTC')"
    else:
        return "CAST(NULL AS TIMESTAMP)"
    return f"CASE WHEN {found} BETWEEN TIMESTAMP '{_EARLIEST}' AND TIMESTAMP '{_LATEST}' THEN {found} END"


def _literal(text: str | None) -> str:
    return "'" + (text or "").replace("'", "''") + "'"


_PARSERS = {
    "string": _string,
    "integer": _integer,
    "float": _float,
    "boolean": _boolean,
    "date": _date,
    "timestamp": _timestamp,
}
