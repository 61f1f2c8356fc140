"""Whether entries are a chain, and if not, which one is the first that is wrong and what was done to it.

No database and no store: entries and anchored hashes in, a fault out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from pipelines.contracts import Value
from pipelines.registry.journal import GENESIS, Entry, hash_of

What = Literal["edited", "deleted", "inserted", "reordered", "truncated", "rewritten", "anchor", "evidence"]


class Fault(Value):
    """The first entry that is not what was written, and what was done to it.

    Attributes:
        what: `anchor` is a changed or unreadable anchor of a sound entry; `evidence` a permit, gate report, answer or
            evidence pack that is not the one the entry recorded.
    """

    entry_no: int
    what: What
    message: str


def break_of(entries: Sequence[Entry]) -> Fault | None:
    """The first place where entries, in the order of their numbers, do not follow each other."""
    previous = GENESIS
    for index, entry in enumerate(entries):
        if entry.entry_no != index + 1 or entry.previous_hash != previous or not _is_sound(entry):
            return _named(entries, index)
        previous = entry.hash
    return None


def departure(entries: Sequence[Entry], anchored: Mapping[int, str]) -> Fault | None:
    """The first entry that is not the one whose hash was anchored. The entries are a chain."""
    held = {entry.entry_no: entry.hash for entry in entries}
    for number in sorted(anchored):
        if number not in held:
            return _truncated(held, max(anchored))
        if held[number] != anchored[number]:
            return _rewritten(number, held, anchored)
    return None


def first(faults: Iterable[Fault | None]) -> Fault | None:
    """The fault of the lowest entry; of two faults of one entry the first given."""
    return min((fault for fault in faults if fault), key=lambda fault: fault.entry_no, default=None)


def _is_sound(entry: Entry) -> bool:
    return entry.hash == _hash_as(entry, entry.entry_no)


def _hash_as(entry: Entry, number: int) -> str:
    return hash_of(entry.previous_hash, number, entry.at, entry.model, entry.kind, entry.payload)


def _named(entries: Sequence[Entry], index: int) -> Fault:
    """What happened at the first place that does not fit."""
    number, entry = index + 1, entries[index]
    if entry.entry_no != number:
        return _gap(entries, index)
    if _is_sound(entry):
        return _recomputed(number)
    written_as = _written_as(entry, entries)
    is_elsewhere = any(_written_as(later, entries) == number for later in entries[index + 1 :])
    if written_as is None:
        if is_elsewhere:
            return Fault(
                entry_no=number, what="inserted", message=f"entry {number} was inserted; the later ones were renumbered"
            )
        return Fault(
            entry_no=number, what="edited", message=f"entry {number} was edited: its content does not give its hash"
        )
    if written_as < number:
        told = f"entry {written_as} was inserted: what stood there is now entry {number}"
        return Fault(entry_no=written_as, what="inserted", message=told)
    if is_elsewhere:
        told = f"entries were reordered: entry {number} is what was written as entry {written_as}"
        return Fault(entry_no=number, what="reordered", message=told)
    return Fault(
        entry_no=number,
        what="deleted",
        message=f"entry {number} was deleted: in its place is what was written as entry {written_as}",
    )


def _gap(entries: Sequence[Entry], index: int) -> Fault:
    number, entry = index + 1, entries[index]
    before = entries[index - 1].hash if index else GENESIS
    if _is_sound(entry) and entry.previous_hash != before:
        return Fault(
            entry_no=number,
            what="deleted",
            message=f"entry {number} was deleted; the next one there is entry {entry.entry_no}",
        )
    told = f"entry {entry.entry_no} was inserted: the journal ends at entry {index}"
    return Fault(entry_no=entry.entry_no, what="inserted", message=told)


def _recomputed(number: int) -> Fault:
    if number == 1:
        return Fault(entry_no=1, what="rewritten", message="entry 1 does not begin the chain of a journal")
    return Fault(
        entry_no=number - 1,
        what="edited",
        message=f"entry {number - 1} was edited and its hash made to fit: entry {number} follows another one",
    )


def _written_as(entry: Entry, entries: Sequence[Entry]) -> int | None:
    """The number an entry had when its hash was made; None when no number gives its hash."""
    highest = max(len(entries), entries[-1].entry_no) + 1
    return next((n for n in range(1, highest + 1) if _hash_as(entry, n) == entry.hash), None)


def _truncated(held: Mapping[int, str], last_anchored: int) -> Fault:
    missing = len(held) + 1
    kept = f"the journal ends at entry {len(held)}" if held else "the journal is empty"
    return Fault(
        entry_no=missing,
        what="truncated",
        message=f"entry {missing} is gone: {kept}, but entries up to {last_anchored} are anchored outside the database",
    )


def _rewritten(number: int, held: Mapping[int, str], anchored: Mapping[int, str]) -> Fault:
    # A chain that agrees further on agreed here too: then it is the anchor that was changed.
    if any(held.get(later) == told for later, told in anchored.items() if later > number):
        told = f"the anchor of entry {number} was changed: the anchors after it agree with the journal"
        return Fault(entry_no=number, what="anchor", message=told)
    how = "wholly" if number == 1 else f"from entry {number} on"
    return Fault(
        entry_no=number,
        what="rewritten",
        message=f"entry {number} is not the one that was anchored: the journal was rewritten {how}",
    )
