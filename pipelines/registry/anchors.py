"""Anchors: the hash of every entry, kept outside the database, where nothing is ever overwritten.

`<anchors>/entries/<number>.json` is put right after the commit of the entry, `<anchors>/heads/<date>.json` once a day. With
them a journal that was cut short or written anew from any entry on is found.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import ValidationError

from pipelines import database, objects
from pipelines.contracts import Blocked, ConnectionBroken, DataFault, Value, VigilError
from pipelines.registry import journal
from pipelines.registry.journal import Entry
from pipelines.settings import Settings

_BATCH = 100
_VERIFY = "Run: python -m pipelines registry verify"
_ENTRY = re.compile(r".*/entries/(\d+)\.json")
_log = logging.getLogger(__name__)


class Anchor(Value):
    """What is kept of an entry outside the database."""

    entry_no: int
    hash: str


class Anchored(Value):
    """What a daily anchoring did.

    Attributes:
        head: number of the last entry; 0 when there is none.
        put: anchors of entries that were missing.
        head_object: where the day's head is.
    """

    day: date
    head: int
    hash: str
    put: int
    head_object: str


class Kept(Value):
    """All anchors: hash by entry number, and by entry number what is wrong with an anchor itself."""

    hashes: dict[int, str]
    faults: dict[int, str]


@contextmanager
def journalled(settings: Settings) -> Iterator[database.Connection]:
    """A transaction whose journal entries are anchored as soon as it has committed; see `keep_up`."""
    with database.transaction(settings) as connection:
        yield connection
    keep_up(settings)


def keep_up(settings: Settings) -> None:
    """Anchor the newest entries. A store that does not answer undoes nothing: it is logged, and the next entry or the daily
    anchoring puts what is missing. An anchor of another entry is logged as an alarm and stays."""
    try:
        put_newest(settings)
    except Blocked as alarm:
        _log.critical("%s", alarm)
    except (VigilError, OSError) as error:
        _log.error(
            "the journal's newest entries stand, but could not be anchored outside the database (%s: %s). "
            "Once the store answers, run: python -m pipelines registry anchor",
            type(error).__name__,
            error,
        )


def put_newest(settings: Settings) -> int:
    """Anchor the newest entries, back to the first that is anchored already; returns how many were missing.

    Raises:
        Blocked: an anchor is of another entry than the journal's; it is not overwritten.
        ConnectionBroken: the store did not answer.
    """
    done, below = 0, None
    while batch := journal.newest(settings, _BATCH, below=below):
        for entry in batch:
            if not _put(settings, entry):
                return done
            done += 1
        below = batch[-1].entry_no
    return done


def require_agreeing_head(settings: Settings) -> None:
    """Raise Blocked when the newest entry's anchor is another entry's, or an entry after it was anchored: someone changed the
    journal. A store that does not answer is logged; it stops nothing."""
    try:
        found = journal.newest(settings, 1)
        head = found[0].entry_no if found else 0
        if objects.exists(_place(settings, head + 1)) and not journal.newest(settings, 1, above=head):
            raise _alarm(head + 1, "it was anchored, but the journal ends before it")
        if found and objects.exists(_place(settings, head)):
            _require_held(settings, found[0])
    except (ConnectionBroken, DataFault, OSError) as error:
        _log.error("the journal's head could not be compared with its anchor: %s", error)


def anchor(settings: Settings) -> Anchored:
    """Put every anchor that is missing, and the head of today under its date (UTC). Safe to repeat.

    Raises:
        Blocked: an anchor is of another entry than the journal's: it is not overwritten, and someone changed the journal.
        ConnectionBroken: the store did not answer; what was put stays.
    """
    found = journal.entries(settings)
    kept = read(settings)
    if kept.faults:
        raise _alarm(min(kept.faults), kept.faults[min(kept.faults)])
    missing = [entry for entry in found if entry.entry_no not in kept.hashes]
    put = sum(_put(settings, entry) for entry in missing)
    today = datetime.now(UTC).date()
    head = Anchor(entry_no=found[-1].entry_no, hash=found[-1].hash) if found else Anchor(entry_no=0, hash="")
    place = f"{settings.anchor_root}/heads/{today}.json"
    if found:
        objects.put_new(place, _written(head))
    _require_same(found, kept.hashes)
    return Anchored(day=today, head=head.entry_no, hash=head.hash, put=put, head_object=place if found else "")


def read(settings: Settings) -> Kept:
    """All anchors. Raises ConnectionBroken when the store does not answer: that is never taken for "no anchors"."""
    hashes: dict[int, str] = {}
    faults: dict[int, str] = {}
    contents = objects.read_under(f"{settings.anchor_root}/entries/")
    for uri, content in (contents | objects.read_under(f"{settings.anchor_root}/heads/")).items():
        named = _ENTRY.fullmatch(uri)
        try:
            found = Anchor.model_validate_json(content)
        except ValidationError:
            faults[int(named[1]) if named else 1] = f"{uri} is not readable as an anchor"
            continue
        if (named and int(named[1]) != found.entry_no) or hashes.setdefault(found.entry_no, found.hash) != found.hash:
            faults[found.entry_no] = f"{uri} contradicts its name or another anchor of entry {found.entry_no}"
    return Kept(hashes=hashes, faults=faults)


def _put(settings: Settings, entry: Entry) -> bool:
    """Put the anchor of an entry unless it is there; an anchor of another entry there is an alarm."""
    if objects.put_new(_place(settings, entry.entry_no), _written(Anchor(entry_no=entry.entry_no, hash=entry.hash))):
        return True
    _require_held(settings, entry)
    return False


def _require_held(settings: Settings, entry: Entry) -> None:
    place = _place(settings, entry.entry_no)
    with TemporaryDirectory() as scratch:
        content = objects.fetch(place, Path(scratch) / "anchor").read_bytes()
    try:
        held = Anchor.model_validate_json(content).hash
    except ValidationError:
        held = ""
    if held != entry.hash:
        raise _alarm(entry.entry_no, f"{place} is the anchor of another entry than the journal's")


def _place(settings: Settings, number: int) -> str:
    return f"{settings.anchor_root}/entries/{number:010}.json"


def _require_same(found: tuple[Entry, ...], hashes: Mapping[int, str]) -> None:
    held = {entry.entry_no: entry.hash for entry in found}
    for number in sorted(hashes):
        if held.get(number) != hashes[number]:
            raise _alarm(number, "the journal no longer holds the entry that was anchored")


def _alarm(number: int, why: str) -> Blocked:
    return Blocked(
        f"journal entry {number}: {why}. Nothing was overwritten. Someone changed the journal or its anchors. {_VERIFY}"
    )


def _written(anchor: Anchor) -> bytes:
    return json.dumps(anchor.model_dump(mode="json")).encode()
