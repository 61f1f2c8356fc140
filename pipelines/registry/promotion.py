"""Promotion: a permitted version becomes champion if the champion is still the one it was compared with.

The journal entry is the promotion; the alias follows. Killed in between, the same call again finishes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines import database, mlflow_store
from pipelines.contracts import Blocked, Value
from pipelines.registry import journal
from pipelines.registry.alignment import align
from pipelines.registry.anchors import journalled, require_agreeing_head
from pipelines.registry.permits import (
    Permit,
    gate_report,
    newest_gate_run,
    permit_for,
    permit_numbered,
    request_numbered,
    require_permit,
)
from pipelines.registry.persons import person
from pipelines.registry.soundness import require_sound
from pipelines.registry.standing import Standing, newest_of, standings, verified
from pipelines.registry.versions import CHAMPION, stored_digest
from pipelines.settings import Settings
from pipelines.spec import Model


class Promotion(Value):
    """A version that is champion now.

    Attributes:
        already: the entry was there before this call, which only made the alias follow.
    """

    model: str
    version: int
    previous_champion: int | None
    permit_no: int
    entry_no: int
    by: str
    already: bool


def promote(
    settings: Settings,
    model: Model,
    version: int,
    *,
    expected_champion: int | None,
    by: str,
    permit_no: int | None = None,
    evidence_digest: str | None = None,
) -> Promotion:
    """Make the version champion. Nothing an earlier step reported is trusted: permit and files are verified here.

    Safe to repeat: a promotion that was written is finished, never written twice.

    Args:
        expected_champion: version it was approved against; None when there was none.
        by: e-mail address of the person, or of who runs the release.
        permit_no: by default the newest permit of the version as champion.
        evidence_digest: of its evidence pack; by default the newest pack recorded for the version.

    Raises:
        Blocked: no valid permit for these files, a later judgement that did not pass, files that do not verify, another
            champion than expected (which is recorded as a conflict), a permit already used up, or a journal that is not as it
            was written.
        DataFault: the registry does not hold the version.
        ConnectionBroken: the database or the registry did not answer; running again is safe.
    """
    who = person(by)
    permit = _permit(settings, model, version, permit_no)
    require_sound(settings, model, version)
    require_agreeing_head(settings)
    facts = {
        "version": version,
        "artefact_digest": permit.artefact_digest,
        "permit_no": permit.permit_no,
        "permit_digest": permit.digest,
        "policy_version": permit.policy_version,
        **_grounds(settings, permit),
        "evidence_digest": evidence_digest or _newest_pack(settings, model.name, version),
        "expected_champion": expected_champion,
        "by": who,
    }
    written = _compare_and_set(settings, model, permit, facts)
    align(settings, model)
    return Promotion(
        model=model.name,
        version=version,
        previous_champion=written.previous,
        permit_no=permit.permit_no,
        entry_no=written.entry_no,
        by=written.by,
        already=written.already,
    )


class _Written(Value):
    """The entry of a promotion, by this call or an earlier one."""

    entry_no: int
    previous: int | None
    by: str
    already: bool


def _compare_and_set(settings: Settings, model: Model, permit: Permit, facts: Mapping[str, Any]) -> _Written:
    """Write the promotion if the champion is the expected one and the one it was approved against, else the conflict; nothing
    when it was written before."""
    expected = facts["expected_champion"]
    request = None if permit.request_no is None else request_numbered(settings, permit.request_no)
    approved_against = expected if request is None else request.expected_champion
    with journalled(settings) as connection:
        journal.alone(connection)
        held = standings(verified(connection), model.name)
        now = newest_of(held)
        champion = now.version if now else None
        used = _use_of(permit, held)
        if used is not None:
            _require_standing(model, used, now, permit)
            return _Written(entry_no=used.entry_no, previous=used.previous, by=used.by, already=True)
        if champion == expected == approved_against:
            entry = journal.append(connection, model.name, "promoted", facts)
            return _Written(entry_no=entry.entry_no, previous=champion, by=facts["by"], already=False)
        actual = {"actual_champion": champion, "actual_entry": now.entry_no if now else None}
        entry = journal.append(
            connection, model.name, "conflict", {**facts, **actual, "approved_against": approved_against}
        )
    wanted = approved_against if champion == expected else expected
    raise Blocked(_conflict(model, permit.version, wanted, now, entry.entry_no))


def _use_of(permit: Permit, held: Sequence[Standing]) -> Standing | None:
    """The entry that made the permit's version champion. A rollback to it is no second use."""
    return next((one for one in held if one.permit_no == permit.permit_no and one.kind != "rolled_back"), None)


def _permit(settings: Settings, model: Model, version: int, permit_no: int | None) -> Permit:
    stored = mlflow_store.version(settings, model.name, version)
    found = (
        permit_for(settings, model.name, version, CHAMPION)
        if permit_no is None
        else permit_numbered(settings, permit_no)
    )
    if found is None or found.model != model.name:
        raise Blocked(
            f"model {model.name}: version {version} has no permit as champion"
            f"{'' if permit_no is None else f' numbered {permit_no}'}. Nothing was changed. It needs its gates passed and "
            "the approval of the validators that the policy names for its tier; see docs/approval.md."
        )
    valid = require_permit(settings, model, found, version, stored_digest(model, stored), CHAMPION)
    _require_no_later_failure(settings, model, valid)
    return valid


def _require_no_later_failure(settings: Settings, model: Model, permit: Permit) -> None:
    """A version whose newest judgement failed is not let in on an earlier one that passed."""
    newest = newest_gate_run(settings, model.name, permit.version)
    if newest is None or permit.gate_run_no is None or newest == permit.gate_run_no:
        return
    report = gate_report(settings, newest)
    if report is None or not report.passed:
        raise Blocked(
            f"model {model.name}: version {permit.version} was judged again after permit {permit.permit_no} was given, and gate "
            f"run {newest} did not pass. Nothing was changed. What failed: python -m pipelines judge --model {model.name} "
            f"--version {permit.version} --no-record"
        )


def _grounds(settings: Settings, permit: Permit) -> dict[str, Any]:
    """What the permit rests on, with digests that verification compares."""
    if permit.gate_run_no is None:
        return {}
    grounds: dict[str, Any] = {"gate_run_no": permit.gate_run_no, "gate_digest": permit.gate_digest}
    if permit.request_no is not None:
        request = request_numbered(settings, permit.request_no)
        grounds |= {"request_no": permit.request_no, "approval_digest": request.digest if request else None}
    return grounds


def _newest_pack(settings: Settings, model: str, version: int) -> str | None:
    found = database.rows(
        settings,
        "SELECT digest FROM vigil.evidence_pack WHERE model = :model AND version = :version ORDER BY pack_no DESC LIMIT 1",
        model=model,
        version=version,
    )
    return found[0]["digest"] if found else None


def _require_standing(model: Model, used: Standing, now: Standing | None, permit: Permit) -> None:
    if now is None or now.entry_no != used.entry_no:
        since = f"entry {now.entry_no} ({now.kind} {now.since:%Y-%m-%d})" if now else "nothing"
        raise Blocked(
            f"model {model.name}: permit {permit.permit_no} was used before, by journal entry {used.entry_no}, and "
            f"{since} followed. Nothing was changed. A version that was replaced needs a new approval to come back."
        )


def _conflict(model: Model, version: int, expected: int | None, now: Standing | None, entry_no: int) -> str:
    actual = "there is none" if now is None or now.version is None else f"version {now.version} is"
    since = f" since {now.since:%Y-%m-%d %H:%M} UTC (journal entry {now.entry_no}, {now.kind})" if now else ""
    wanted = "no champion was expected" if expected is None else f"version {expected} was expected to be champion"
    return (
        f"model {model.name}: version {version} was not promoted: {wanted}, but {actual}{since}. It was approved against "
        f"another champion than it would replace. The champion was not changed; the conflict is journal entry {entry_no}. "
        "Judge it against the champion there is now, and have that approved."
    )
