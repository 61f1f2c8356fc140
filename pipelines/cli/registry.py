"""The registry by hand: who is champion and why, promote, roll back, retire, and verify the record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli import output
from pipelines.cli.app import ModelName, chosen_model, machine, shared
from pipelines.cli.registry_app import registry_app
from pipelines.contracts import Blocked, DataFault, Value

if TYPE_CHECKING:
    from pipelines.registry import Record

By = Annotated[str, typer.Option("--by", metavar="EMAIL", help="Who does this: a person's e-mail address.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, in a sentence.")]

_ENTRY_COLUMNS = ("entry_no", "at", "model", "kind", "version", "by", "hash")
_HASH_SHOWN = 12
_TIME = "%Y-%m-%d %H:%M:%S"


@registry_app.command()
def verify() -> None:
    """Verify the journal, its anchors, and the permits, gate reports and answers it refers to; 3 when something is wrong."""
    from pipelines import registry

    with machine() as settings:
        found = registry.verify(settings)
    _say(found, found.message if found.ok else f"first bad entry: {found.first_bad}, {found.what}")
    for fault in found.faults:
        output.note(f"  {fault.what}: {fault.message}")
    if not found.ok:
        raise Blocked(
            f"the registry's journal is not as it was written. First bad entry: {found.first_bad} ({found.what}): "
            f"{found.message}. Nothing was changed. See docs/registry.md, section Verify."
        )


@registry_app.command()
def anchor() -> None:
    """Put the anchors that are missing outside the database, and the head of today. Safe to repeat."""
    from pipelines import registry

    with machine() as settings:
        done = registry.anchor(settings)
        place = f"; the head of {done.day} is {done.head_object}" if done.head_object else ""
        _say(done, f"{done.put} anchors put, up to entry {done.head}{place}")


@registry_app.command()
def journal(
    model: Annotated[str | None, typer.Option("--model", help="Only entries of this model.")] = None,
    most: Annotated[int, typer.Option(min=1, help="Newest entries to show at most.")] = 50,
) -> None:
    """List the journal's entries, newest last; with --json all that each says."""
    from pipelines import registry

    with machine() as settings:
        found = registry.entries(settings, model)[-most:]
    rows = output.as_rows(found)
    if not shared.as_json:
        rows = [_told(row, entry.facts) for row, entry in zip(rows, found, strict=True)]
    output.show_rows("journal", _ENTRY_COLUMNS, rows)


@registry_app.command()
def champion(
    model: ModelName = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="ISO 8601 with its zone: 2026-06-30T02:00+02:00.")
    ] = None,
) -> None:
    """Who is or was champion, who approved it, on what evidence."""
    from pipelines import registry

    with machine() as settings:
        found = registry.champion_at(settings, chosen_model(settings, model).name, _moment(at))
    _say(found, "\n".join(_record(found)))


@registry_app.command()
def promote(
    version: Annotated[int, typer.Option("--version", min=1, help="The approved version.")],
    expect: Annotated[str, typer.Option("--expect", help="Version that is champion now, or none.")],
    by: By,
    model: ModelName = None,
) -> None:
    """Make an approved version champion, with its evidence pack, if the champion is still the expected one. Safe to repeat."""
    from pipelines import registry
    from pipelines.validation.documents import evidence_pack

    with machine() as settings:
        chosen = chosen_model(settings, model)
        expected = _expected(expect)
        evidence = evidence_pack(settings, chosen, version).digest
        done = registry.promote(settings, chosen, version, expected_champion=expected, evidence_digest=evidence, by=by)
    how = "was champion already" if done.already else "is champion"
    _say(
        done,
        f"{done.model}: version {done.version} {how}, by permit {done.permit_no} and journal entry {done.entry_no}",
    )


@registry_app.command()
def rollback(
    reason: Reason,
    by: By,
    model: ModelName = None,
    expect: Annotated[
        int | None, typer.Option("--expect", min=1, help="Version to roll back from; refused when another is champion.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say where it would go.")] = False,
) -> None:
    """Go back to the last approved champion that still verifies."""
    from pipelines import registry

    with machine() as settings:
        chosen = chosen_model(settings, model)
        done = registry.rollback(settings, chosen, reason=reason, by=by, expected_champion=expect, dry_run=dry_run)
    how = "would be rolled back" if done.entry_no is None else "rolled back"
    entry = "" if done.entry_no is None else f" (journal entry {done.entry_no})"
    _say(done, f"{done.model}: {how} from version {done.from_version} to version {done.to_version}{entry}")
    for passed in done.passed_over:
        output.note(f"passed over: {passed}")
    if done.entry_no is not None:
        output.note(
            "Published scores stay as they are; the next night, or a date that is scored again, uses this version."
        )


@registry_app.command()
def retire(reason: Reason, by: By, model: ModelName = None) -> None:
    """Take a model out of use: it no longer scores until a version is approved and promoted again."""
    from pipelines import registry

    with machine() as settings:
        done = registry.retire(settings, chosen_model(settings, model), reason=reason, by=by)
    how = "was retired already" if done.already else "is retired"
    _say(done, f"{done.model} {how}, by {done.by} ({done.reason}; journal entry {done.entry_no})")


@registry_app.command()
def align(model: ModelName = None) -> None:
    """Put the aliases in MLflow back as the journal says."""
    from pipelines import registry

    with machine() as settings:
        done = registry.align(settings, chosen_model(settings, model))
    at = "no champion" if done.champion is None else f"champion is version {done.champion}"
    _say(done, f"{done.model}: {at}; {'; '.join(done.changes) or 'the aliases were as the journal says'}")


def _say(value: Value, text: str) -> None:
    """The record, or for a person the text."""
    if shared.as_json:
        output.show(value)
    else:
        print(text)


def _told(row: dict[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """An entry as a line: about which version, and by whom."""
    answered = ", ".join(answer["person"] for answer in facts.get("answers", ()))
    by = answered or facts.get("by") or facts.get("person") or facts.get("requester")
    return row | {"version": facts.get("version"), "by": by, "hash": row["hash"][:_HASH_SHOWN]}


def _record(found: Record) -> Iterator[str]:
    """Who, since when, by whom, on what, one fact to a line."""
    if found.entry_no is None:
        yield f"{found.model}: no champion yet on {found.at:{_TIME}} UTC"
        return
    state = "retired" if found.version is None else f"champion is version {found.version}"
    until = f" until {found.until:{_TIME}} UTC" if found.until else ""
    by = f" by {found.by}" if found.by else ""
    yield f"{found.model}: {state} since {found.since:{_TIME}} UTC{until} (journal entry {found.entry_no}, {found.kind}{by})"
    if found.reason:
        yield f"  reason: {found.reason}"
    if found.permit_no is not None:
        expires = f"expires {found.permit_expires:%Y-%m-%d}"
        yield f"  permit {found.permit_no} ({found.permit_kind}, {expires}) under policy {found.policy} {found.policy_version}"
        yield f"  files {found.artefact_digest}"
    if found.gate_run_no is not None:
        yield f"  gate run {found.gate_run_no}, report {found.gate_digest}"
    if found.request_no is not None:
        yield f"  approval {found.request_no}, asked for by {found.requester}"
    for answer in found.approvals:
        note = f": {answer.note}" if answer.note else ""
        yield f"  {answer.answer} by {answer.person} ({answer.role}) on {answer.answered_at:{_TIME}} UTC{note}"
    yield f"  evidence pack {found.evidence_digest or 'none'}"
    if found.permit_kind == "bootstrap":
        yield "  approved by nobody: the first versions of a demo enter by bootstrap"
    against = f"; approved against: {found.expected or 'none'}" if found.kind == "promoted" else ""
    yield f"  champion before: {found.previous or 'none'}{against}"


def _moment(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise DataFault(f"--at {text!r} is no time: write it as 2026-06-30T02:00+02:00.") from None
    if given.tzinfo is None:
        raise DataFault(f"--at {text!r} does not say in which zone: write it as {text}+02:00, or {text}Z for UTC.")
    return given


def _expected(text: str) -> int | None:
    if text == "none":
        return None
    if not text.isdigit():
        raise DataFault(f"--expect {text!r}: give the number of the version that is champion now, or none.")
    return int(text)
