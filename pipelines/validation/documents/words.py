"""How values are written in the pack: numbers, times and digests, the same in HTML and PDF."""

from __future__ import annotations

from datetime import UTC, datetime
from math import isfinite
from typing import Any

from pipelines.validation.documents.blocks import Table

NONE = "–"
_LONGEST_LIST = 60
_SIDES = ("candidate", "opponent")  # in this order in whatever a comparison gives for both


def moment(at: datetime | None) -> str:
    """A time in UTC."""
    return NONE if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many significant digits; whole numbers with thousands apart."""
    if value is None or not isfinite(value):
        return NONE
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 1 else f"{value:.{digits}g}"


def interval(value: float | None, low: float | None, high: float | None) -> str:
    """A measure with its confidence interval where it has one."""
    if value is None:
        return NONE
    return number(value) if low is None or high is None else f"{number(value)} [{number(low)}, {number(high)}]"


def spaced(name: str) -> str:
    """A name of the code as words."""
    return name.replace("_", " ")


def told(value: Any) -> str:
    """Any plain JSON value."""
    match value:
        case None | "":
            return NONE
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return number(value)
        case list():
            return ", ".join(told(one) for one in value) or NONE
        case dict():
            if _is_interval(value):
                return interval(value["value"], value["low"], value["high"])
            return ", ".join(f"{spaced(name)} {told(one)}" for name, one in value.items()) or NONE
    return str(value)


def tables_of(document: dict[str, Any], title: str = "Overview") -> tuple[Table, ...]:
    """A JSON document as tables: what is plain in the first one, then one for each list of records and each part."""
    plain = tuple((spaced(name), told(value)) for name, value in document.items() if not _is_part(value))
    found = [Table(title, ("", "value"), plain, (1, 3))] if plain else []
    for name, value in document.items():
        heading = spaced(name).capitalize() if title == "Overview" else f"{title}: {spaced(name)}"
        if _is_records(value):
            found.append(_listed(heading, value))
        elif _is_part(value) and isinstance(value, dict):
            found += tables_of(value, heading)
        elif _is_part(value):
            sides = _SIDES if len(value) == len(_SIDES) and document.keys() >= set(_SIDES) else range(1, len(value) + 1)
            found += [_listed(f"{heading}, {side}", records) for side, records in zip(sides, value, strict=True)]
    return tuple(found)


def counted(count: int, noun: str) -> str:
    """How many of something: `1 request`, `2 requests`."""
    ending = "" if count == 1 else "ies" if noun.endswith("y") else "s"
    return f"{count:,} {noun.removesuffix('y') if ending == 'ies' else noun}{ending}"


def _listed(title: str, records: list[dict[str, Any]]) -> Table:
    columns = tuple(records[0])
    rows = tuple(tuple(told(row.get(column)) for column in columns) for row in records[:_LONGEST_LIST])
    left_out = len(records) - len(rows)
    shown = f"{title} (the first {len(rows)} of {len(records)})" if left_out else title
    return Table(shown, tuple(spaced(column) for column in columns), rows)


def _is_part(value: Any) -> bool:
    """Whether a value is shown as tables of its own."""
    if isinstance(value, dict):
        return any(_is_part(one) or (isinstance(one, dict) and one and not _is_interval(one)) for one in value.values())
    return _is_records(value) or (isinstance(value, list) and bool(value) and all(_is_records(one) for one in value))


def _is_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _is_interval(value: dict[str, Any]) -> bool:
    return {"value", "low", "high"} <= value.keys()
