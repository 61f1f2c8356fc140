"""Which version is champion and which are challengers.

The journal says which version is champion and by which permit; the registry's alias only follows. Journal, alias, permit and
the digest of the version's files must agree, or nothing is scored.
"""

from __future__ import annotations

import re
from typing import Literal

from pipelines import mlflow_store
from pipelines.contracts import Blocked, Value
from pipelines.registry.permits import (
    Permit,
    Role,
    champions_permit,
    permit_for,
    permit_numbered,
    require_permit,
)
from pipelines.registry.standing import Standing, standing
from pipelines.settings import Settings
from pipelines.spec import Model, load_policy

CHAMPION: Role = "champion"
CHALLENGER: Role = "challenger"
DIGEST_TAG = "vigil.artefact_digest"
CHALLENGER_ALIAS = re.compile(rf"{CHALLENGER}(_\d+)?")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class RegisteredVersion(Value):
    """A version that may be used: what the registry holds, and the permit that allows it."""

    model: str
    version: int
    run_id: str
    artefact_digest: str
    permit: Permit


def champion(settings: Settings, model: Model) -> RegisteredVersion:
    """The version whose scores are published.

    Raises:
        Blocked: the model has no champion or is retired; the journal is not as it was written; the alias is not at the
            version the journal names; its files or its permit are not those the journal names; or the permit has expired
            and the policy does not say `warn`.
        ConnectionBroken: the registry or the database did not answer; that is never taken for "no champion".
    """
    aliases = mlflow_store.get_aliases(settings, model.name)
    said = standing(settings, model.name)
    number = _require_agreeing(settings, model, said, aliases.get(CHAMPION))
    permit = permit_numbered(settings, said.permit_no or 0) if said else None
    found = _permitted(settings, model, number, permit, CHAMPION, expired=_when_expired(settings, model))
    if said is None or found.permit.digest != said.permit_digest:
        raise Blocked(
            f"model {model.name}: permit {found.permit.permit_no} is no longer the one that its journal entry recorded. "
            f"Nothing is scored. {whom_to_ask(model)} Run: python -m pipelines registry verify"
        )
    return found


def challengers(settings: Settings, model: Model) -> tuple[RegisteredVersion, ...]:
    """The versions scored in the shadow of the champion: aliases `challenger`, `challenger_2`, … by version.

    Raises Blocked when one of them has no valid permit: unverified files are not loaded, not even in the shadow.
    """
    aliases = mlflow_store.get_aliases(settings, model.name)
    numbers = sorted({number for alias, number in aliases.items() if CHALLENGER_ALIAS.fullmatch(alias)})
    return tuple(
        _permitted(settings, model, number, permit_for(settings, model.name, number), CHALLENGER) for number in numbers
    )


def stored_digest(model: Model, stored: mlflow_store.StoredVersion) -> str:
    """Digest of its files that the registry's version claims. Raises Blocked when it claims none."""
    digest = stored.tags.get(DIGEST_TAG, "")
    if not _DIGEST.fullmatch(digest):
        raise Blocked(
            f"model {model.name}: version {stored.version} carries no digest of its files (tag {DIGEST_TAG}), so nothing "
            f"can be verified before it is loaded. Train a version: python -m pipelines train --model {model.name}"
        )
    return digest


def whom_to_ask(model: Model) -> str:
    """The end of a message that stops scoring."""
    return f"Ask {model.owner} (owner) and {model.validator} (validator). The last published scores are still served."


def _permitted(
    settings: Settings,
    model: Model,
    number: int,
    permit: Permit | None,
    role: Role,
    *,
    expired: Literal["stop", "warn"] = "stop",
) -> RegisteredVersion:
    stored = mlflow_store.version(settings, model.name, number)
    digest = stored_digest(model, stored)
    valid = require_permit(settings, model, permit, number, digest, role, expired=expired)
    return RegisteredVersion(
        model=model.name, version=number, run_id=stored.run_id, artefact_digest=digest, permit=valid
    )


def _when_expired(settings: Settings, model: Model) -> Literal["stop", "warn"]:
    review = load_policy(settings.policies, model.policy).review
    return "stop" if review is None else review.expired_permit


def _require_agreeing(settings: Settings, model: Model, said: Standing | None, alias: int | None) -> int:
    """The champion by the journal, when the alias is at it."""
    if said is None:
        raise Blocked(_never_champion(settings, model, alias))
    if said.version is None:
        raise Blocked(
            f"model {model.name} is retired: {said.by} retired it on {said.since:%Y-%m-%d} ({said.reason}; journal entry "
            f"{said.entry_no}). A retired model does not score; a new approval and promotion bring it back. "
            f"{whom_to_ask(model)}"
        )
    if alias != said.version:
        found = (
            f"alias `{CHAMPION}` is gone; someone removed it or deleted the version"
            if alias is None
            else f"alias `{CHAMPION}` is at version {alias}; someone moved it by hand"
        )
        raise Blocked(
            f"model {model.name}: the journal says version {said.version} is champion (entry {said.entry_no}, "
            f"{said.kind} {said.since:%Y-%m-%d %H:%M} UTC), but the registry's {found}. Nothing is scored. "
            f"{whom_to_ask(model)} "
            f"To put the alias back as the journal says: python -m pipelines registry align --model {model.name}"
        )
    return said.version


def _never_champion(settings: Settings, model: Model, alias: int | None) -> str:
    start = f"model {model.name} has no champion"
    permit = champions_permit(settings, model.name)
    if permit is not None and permit.kind == "bootstrap":
        return (
            f"{start} in the journal, though permit {permit.permit_no} was given for version {permit.version} before there "
            f"was one. To write it down: python -m pipelines bootstrap --model {model.name} with the same --versions. "
            f"{whom_to_ask(model)}"
        )
    if permit is not None:
        return (
            f"{start}: version {permit.version} was approved (permit {permit.permit_no}) but never promoted. "
            f"Run: python -m pipelines registry promote --model {model.name} --version {permit.version} --expect none --by …"
        )
    if alias is not None:
        return (
            f"{start}: the journal names none, but the registry's alias `{CHAMPION}` is at version {alias}: its alias was "
            f"set by hand. {whom_to_ask(model)}"
        )
    return (
        f"{start}: no version was ever approved. For a demo: python -m pipelines bootstrap --model {model.name}; "
        f"elsewhere ask {model.owner} (owner) and {model.validator} (validator) to approve one."
    )
