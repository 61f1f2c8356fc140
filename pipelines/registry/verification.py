"""Verification of the journal: the chain, the chain against its anchors both ways, and what the entries refer to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.contracts import Value
from pipelines.registry import anchors, chain, journal
from pipelines.registry.chain import Fault, What
from pipelines.registry.evidence import Tampered, recorded_place, verify_pack
from pipelines.registry.journal import Entry
from pipelines.registry.permits import gate_report, permit_numbered, request_numbered
from pipelines.settings import Settings


class Verification(Value):
    """What was found.

    Attributes:
        ok: nothing is wrong.
        entries: in the journal.
        head_hash: of the last one; empty when there is none.
        anchored: entries whose anchor agrees.
        not_anchored: entries without an anchor, which the daily anchoring puts; a cut or a change of these cannot be seen.
        first_bad: number of the first entry that is wrong, or is gone.
        what, message: what was done to it.
        faults: all that could be told apart, by entry.
    """

    ok: bool
    entries: int
    head_hash: str
    anchored: int
    not_anchored: int
    first_bad: int | None
    what: What | None
    message: str
    faults: tuple[Fault, ...]


def verify(settings: Settings) -> Verification:
    """Verify the whole journal. Raises ConnectionBroken when the database or the anchors' store did not answer."""
    found = journal.entries(settings)
    kept = anchors.read(settings)
    faults = sorted(_faults(settings, found, kept), key=lambda fault: fault.entry_no)
    first = faults[0] if faults else None
    agreeing = sum(kept.hashes.get(entry.entry_no) == entry.hash for entry in found)
    bare = sum(entry.entry_no not in kept.hashes for entry in found)
    return Verification(
        ok=first is None,
        entries=len(found),
        head_hash=found[-1].hash if found else "",
        anchored=agreeing,
        not_anchored=bare,
        first_bad=first.entry_no if first else None,
        what=first.what if first else None,
        message=first.message if first else _sound(len(found), bare),
        faults=tuple(faults),
    )


def _sound(entries: int, bare: int) -> str:
    told = f"{entries} entries are as they were written"
    if not bare:
        return f"{told}, and each agrees with its anchor outside the database"
    return f"{told}, as far as it can be told: {bare} are not anchored. Run: python -m pipelines registry anchor"


def _faults(settings: Settings, found: tuple[Entry, ...], kept: anchors.Kept) -> Iterator[Fault]:
    broken = chain.break_of(found)
    sound = found if broken is None else found[: broken.entry_no - 1]
    anchored = {n: digest for n, digest in kept.hashes.items() if broken is None or n < broken.entry_no}
    for fault in (broken, chain.departure(sound, anchored)):
        if fault is not None:
            yield fault
    for number, why in kept.faults.items():
        yield Fault(entry_no=number, what="anchor", message=why)
    seen: dict[tuple[str, int], str | None] = {}
    for entry in sound:
        for message in (*_changed_evidence(settings, entry.facts, seen), *_changed_pack(settings, entry)):
            yield Fault(entry_no=entry.entry_no, what="evidence", message=f"entry {entry.entry_no}: {message}")


def _changed_evidence(
    settings: Settings, facts: Mapping[str, Any], seen: dict[tuple[str, int], str | None]
) -> Iterator[str]:
    """What the entry refers to and is no longer as it was recorded. `seen` keeps digests that several entries refer to."""
    for number_key, digest_key, told in _REFERENCES:
        number, recorded = facts.get(number_key), facts.get(digest_key)
        if number is None or recorded is None:
            continue
        if (number_key, number) not in seen:
            seen[number_key, number] = _digest_now(settings, number_key, number)
        actual = seen[number_key, number]
        if actual != recorded:
            yield f"{told} {number} is {'not there any more' if actual is None else 'no longer the one it recorded'}"
    for other in facts.get("challengers", ()):
        yield from _changed_evidence(settings, other, seen)


def _changed_pack(settings: Settings, entry: Entry) -> Iterator[str]:
    """Why the evidence pack that the entry names proves nothing any more."""
    digest = entry.facts.get("evidence_digest")
    if digest is None:
        return
    place = recorded_place(settings, entry.model, entry.facts["version"], digest)
    if place is None:
        yield f"evidence pack {digest[:12]}… is not recorded any more"
        return
    try:
        verify_pack(place, digest)
    except Tampered as why:
        yield str(why)


_REFERENCES = (
    ("permit_no", "permit_digest", "permit"),
    ("gate_run_no", "gate_digest", "the report of gate run"),
    ("request_no", "approval_digest", "approval request"),
)


def _digest_now(settings: Settings, key: str, number: int) -> str | None:
    if key == "permit_no":
        permit = permit_numbered(settings, number)
        return permit.digest if permit else None
    if key == "gate_run_no":
        report = gate_report(settings, number)
        return report.digest if report else None
    request = request_numbered(settings, number)
    return request.digest if request else None
