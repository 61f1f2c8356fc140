"""The journal: every change of what may be used, as a chain of hashes that only grows.

An entry's hash covers the hash of the entry before it, so changing one entry breaks all that follow. Entry numbers have no
gaps. Whoever may write to the database could write the whole chain anew; the anchors outside it (anchors.py) show that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal

from pipelines import database
from pipelines.contracts import Value, fingerprint
from pipelines.registry.moments import Moment
from pipelines.settings import Settings

Kind = Literal[
    "bootstrap",
    "gates_passed",
    "gates_failed",
    "requested",
    "approved",
    "refused",
    "timed_out",
    "promoted",
    "conflict",
    "rolled_back",
    "retired",
    "reviewed",
    "imported",
    "import_refused",
    "rehearsed",
]
GENESIS = fingerprint("vigil journal", 1)
_LOCK = "journal"
_SELECT = "SELECT entry_no, at, model, kind, payload, previous_hash, hash FROM vigil.journal"


class Entry(Value):
    """One entry as it is stored. Nothing is said here about whether it is the one that was written.

    Attributes:
        payload: canonical JSON, the text that was hashed.
    """

    entry_no: int
    at: Moment
    model: str
    kind: str
    payload: str
    previous_hash: str
    hash: str

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The payload as it was given."""
        found: dict[str, Any] = json.loads(self.payload)
        return found


def append(connection: database.Connection, model: str, kind: Kind, payload: Mapping[str, Any]) -> Entry:
    """Add an entry inside the caller's transaction, which holds the journal alone from here to its end.

    Use `anchors.journalled(settings)` for the transaction, so that the entry is put outside the database as well.

    Args:
        payload: plain JSON types. A number of a permit, gate run or request goes with the digest of what it refers to
            (`permit_no` and `permit_digest`, `gate_run_no` and `gate_digest`, `request_no` and `approval_digest`):
            verification compares them.
    """
    alone(connection)
    newest = f"{_SELECT} ORDER BY entry_no DESC LIMIT 1"
    found = [Entry.model_validate(row) for row in database.execute(connection, newest)]
    number, previous = (found[0].entry_no + 1, found[0].hash) if found else (1, GENESIS)
    [now] = database.execute(connection, "SELECT clock_timestamp() AS now")
    at = max([now["now"], *(entry.at for entry in found)])  # a clock set back does not turn the order of entries round
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"), allow_nan=False)
    entry = Entry(
        entry_no=number,
        at=at,
        model=model,
        kind=kind,
        payload=text,
        previous_hash=previous,
        hash=hash_of(previous, number, at, model, kind, text),
    )
    columns = Entry.model_fields
    database.execute(
        connection,
        f"INSERT INTO vigil.journal ({', '.join(columns)}) VALUES ({', '.join(f':{name}' for name in columns)})",
        **entry.model_dump(),
    )
    return entry


def alone(connection: database.Connection) -> None:
    """Wait until nobody else writes to the journal, and keep it so until the caller's transaction ends."""
    database.lock(connection, _LOCK)


def hash_of(previous_hash: str, entry_no: int, at: datetime, model: str, kind: str, payload: str) -> str:
    """Hash of an entry: SHA-256 over its parts, each with its length before it, so that no two entries share an encoding."""
    moment = at.astimezone(UTC).isoformat(timespec="microseconds")
    return fingerprint(previous_hash, entry_no, moment, model, kind, payload)


def entries(settings: Settings, model: str | None = None) -> tuple[Entry, ...]:
    """All entries, or those of a model, oldest first. They are not verified."""
    chosen = "" if model is None else " WHERE model = :model"
    found = database.rows(settings, f"{_SELECT}{chosen} ORDER BY entry_no", model=model)
    return tuple(Entry.model_validate(row) for row in found)


def read(connection: database.Connection) -> tuple[Entry, ...]:
    """All entries as the caller's transaction sees them."""
    found = database.execute(connection, f"{_SELECT} ORDER BY entry_no")
    return tuple(Entry.model_validate(row) for row in found)


def newest(settings: Settings, most: int, *, below: int | None = None, above: int = 0) -> tuple[Entry, ...]:
    """The last entries, newest first; with numbers under `below` when it is given, and over `above`."""
    found = database.rows(
        settings,
        f"{_SELECT} WHERE entry_no > :above AND (CAST(:below AS bigint) IS NULL OR entry_no < :below) "
        "ORDER BY entry_no DESC LIMIT :most",
        above=above,
        below=below,
        most=most,
    )
    return tuple(Entry.model_validate(row) for row in found)


def of_model(found: Iterable[Entry], model: str) -> tuple[Entry, ...]:
    """Those of one model."""
    return tuple(entry for entry in found if entry.model == model)
