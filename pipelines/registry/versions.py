"""Which version is champion and which are challengers.

The registry's alias says which version is meant; the newest permit says whether it may be. Both must agree, on the version
and on the digest of its files, or nothing is scored.
"""

from __future__ import annotations

import re

from pipelines import mlflow_store
from pipelines.contracts import Blocked, Value
from pipelines.registry.permits import Permit, Role, champion_permit, permit_for, require_permit
from pipelines.settings import Settings
from pipelines.spec import Model

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
        Blocked: the model has no champion; or its alias, its files and the newest permit do not agree; or that permit has
            expired.
        ConnectionBroken: the registry or the database did not answer; that is never taken for "no champion".
    """
    aliases = mlflow_store.get_aliases(settings, model.name)
    permit = champion_permit(settings, model.name)
    if CHAMPION not in aliases:
        raise Blocked(_no_champion(model, permit))
    return _permitted(settings, model, aliases[CHAMPION], permit, CHAMPION)


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


def _permitted(settings: Settings, model: Model, number: int, permit: Permit | None, role: Role) -> RegisteredVersion:
    stored = mlflow_store.version(settings, model.name, number)
    digest = stored_digest(model, stored)
    valid = require_permit(model, permit, number, digest, role)
    return RegisteredVersion(
        model=model.name, version=number, run_id=stored.run_id, artefact_digest=digest, permit=valid
    )


def _no_champion(model: Model, permit: Permit | None) -> str:
    if permit is None:
        return (
            f"model {model.name} has no champion: no version was ever approved. In the demo environment, train and "
            f"then run: python -m pipelines bootstrap --model {model.name}. Elsewhere ask {model.owner} (owner) and "
            f"{model.validator} (validator)."
        )
    return (
        f"model {model.name} has no champion: permit {permit.permit_no} names version {permit.version}, but the registry's "
        f"alias `{CHAMPION}` is gone; someone removed it or deleted the version. Ask {model.owner} (owner) and "
        f"{model.validator} (validator). The last published scores are still served."
    )
