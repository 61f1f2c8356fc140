"""Permits: what may be loaded and used, bound to the digest of its files, for a limited time. They are only ever added.

MLflow keeps no history of aliases and takes any change from anyone, so an alias decides nothing here: the permit does.
Who may ask for one is the approval step's business; the only kind known so far is the bootstrap of a demo.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pipelines import database
from pipelines.contracts import Blocked, Value
from pipelines.settings import Settings
from pipelines.spec import Model

Role = Literal["champion", "challenger"]


class PermitRequest(Value):
    """One permission to use one version of a model, whose files have exactly this digest, in one role.

    Attributes:
        policy, policy_version: rule pack in force when it was given.
        kind: how it came about; `bootstrap` is the first champion of an empty demo registry, `gates` lets a challenger be
            scored in the shadow, `approval` is a person's.
        gate_run_no, gate_digest: the report of the gates it rests on; None for a bootstrap.
    """

    model: str
    version: int
    role: Role
    artefact_digest: str
    policy: str
    policy_version: str
    kind: Literal["bootstrap", "gates", "approval"]
    reason: str
    gate_run_no: int | None = None
    gate_digest: str | None = None


_REQUESTED = ", ".join(PermitRequest.model_fields)
_SELECT = f"SELECT {_REQUESTED}, permit_no, granted_at, expires, expires <= now() AS expired FROM vigil.permit"


class Permit(PermitRequest):
    """A permission as given. `expired` is by the database's clock, at the time it was read."""

    permit_no: int
    granted_at: datetime
    expires: datetime
    expired: bool


def champion_permit(settings: Settings, model: str) -> Permit | None:
    """The newest permit for a champion of the model. It replaces all earlier ones, even when it has expired."""
    newest = f"{_SELECT} WHERE model = :model AND role = 'champion' ORDER BY permit_no DESC LIMIT 1"
    return _first(database.rows(settings, newest, model=model))


def permit_for(settings: Settings, model: str, version: int) -> Permit | None:
    """The newest permit of one version, in whatever role."""
    newest = f"{_SELECT} WHERE model = :model AND version = :version ORDER BY permit_no DESC LIMIT 1"
    return _first(database.rows(settings, newest, model=model, version=version))


def permits_of(connection: database.Connection, model: str) -> list[Permit]:
    """All permits of a model, oldest first, as the caller's transaction sees them."""
    found = database.execute(connection, f"{_SELECT} WHERE model = :model ORDER BY permit_no", model=model)
    return [Permit.model_validate(row) for row in found]


def grant(connection: database.Connection, requests: Iterable[PermitRequest], *, valid_days: int) -> None:
    """Add permits inside the caller's transaction."""
    values = ", ".join(f":{name}" for name in PermitRequest.model_fields)
    for request in requests:
        database.execute(
            connection,
            f"INSERT INTO vigil.permit ({_REQUESTED}, expires) VALUES ({values}, now() + :days * interval '1 day')",
            **request.model_dump(),
            days=valid_days,
        )


def require_permit(model: Model, permit: Permit | None, version: int, artefact_digest: str, role: Role) -> Permit:
    """Return the permit when it covers this version and these files now.

    Raises:
        Blocked: there is none, it names another version or other files, or it has expired; says which, and whom to ask.
    """
    subject = f"model {model.name}: version {version} may not be used as {role}"
    remedy = f"Ask {model.owner} (owner) and {model.validator} (validator). The last published scores are still served."
    if permit is None:
        raise Blocked(f"{subject}: it was never given a permit; its alias was set by hand. {remedy}")
    differing = _differences(permit, version, artefact_digest)
    if differing:
        raise Blocked(f"{subject}: permit {permit.permit_no} of {permit.granted_at:%Y-%m-%d} {differing}. {remedy}")
    if permit.expired:
        raise Blocked(f"{subject}: permit {permit.permit_no} expired on {permit.expires:%Y-%m-%d}. {remedy}")
    return permit


def _differences(permit: Permit, version: int, artefact_digest: str) -> str:
    found = []
    if permit.version != version:
        found.append(f"names version {permit.version}, the registry's alias version {version}")
    if permit.artefact_digest != artefact_digest:
        found.append(f"names files {permit.artefact_digest[:12]}…, the registry's version {artefact_digest[:12]}…")
    return " and ".join(found)


def _first(found: Sequence[Mapping[str, Any]]) -> Permit | None:
    return Permit.model_validate(found[0]) if found else None
