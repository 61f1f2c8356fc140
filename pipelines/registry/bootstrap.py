"""How the first champion of a demo gets there. Every later one needs a person's approval."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines import database, mlflow_store
from pipelines.contracts import Blocked, DataFault
from pipelines.registry import journal
from pipelines.registry.anchors import journalled, require_agreeing_head
from pipelines.registry.artefacts import fetch_verified
from pipelines.registry.permits import Permit, PermitRequest, grant, permits_of
from pipelines.registry.standing import standing_in
from pipelines.registry.versions import CHALLENGER, CHAMPION, stored_digest
from pipelines.settings import Settings
from pipelines.spec import Model, load_policy

VALID_DAYS = 365


def bootstrap(settings: Settings, model: Model, versions: Sequence[int]) -> None:
    """Install the first champion of an empty demo registry: the first of `versions`; the others become challengers.

    Empty means that the model has neither a permit nor a champion alias. Called again with the same versions, it finishes
    what a killed call left undone, and writes the journal entry of permits that were given before there was a journal.

    Raises:
        Blocked: the environment is not demo, the registry is not empty, or a version's files are not what it claims.
        DataFault: no versions, one named twice, or one the registry does not hold.
    """
    _require_demo(settings, model)
    if not versions or len(set(versions)) != len(versions):
        raise DataFault(f"model {model.name}: name each version once, the champion first; got {list(versions)}.")
    wanted = _requests(settings, model, versions)
    aliases = mlflow_store.get_aliases(settings, model.name)
    require_agreeing_head(settings)
    with journalled(settings) as connection:
        database.lock(connection, f"permit {model.name}")
        held: Sequence[Permit] = permits_of(connection, model.name)
        if held and [_subject(p) for p in held] != [_subject(w) for w in wanted]:
            raise Blocked(_not_empty(model, f"permits were granted before, for versions {[p.version for p in held]}"))
        if CHAMPION in aliases and (not held or aliases[CHAMPION] != versions[0]):
            raise Blocked(_not_empty(model, f"version {aliases[CHAMPION]} is its champion already"))
        journal.alone(connection)
        said = standing_in(connection, model.name)
        if said is not None and said.kind != "bootstrap":
            raise Blocked(
                _not_empty(model, f"it was {said.kind} after its bootstrap, by journal entry {said.entry_no}")
            )
        held = held or grant(connection, wanted, valid_days=VALID_DAYS)
        if said is None:
            journal.append(connection, model.name, "bootstrap", _payload(held))
    for number, alias in reversed(list(zip(versions, _aliases(len(versions)), strict=True))):
        mlflow_store.set_alias(settings, model.name, alias, number)


def _require_demo(settings: Settings, model: Model) -> None:
    if settings.environment not in ("demo", "sandbox"):
        raise Blocked(
            f"model {model.name}: a bootstrap permit exists in the demo environment and in a sandbox only; this is "
            f"{settings.environment}. A first champion needs the approval of {model.owner} and {model.validator}."
        )


def _requests(settings: Settings, model: Model, versions: Sequence[int]) -> list[PermitRequest]:
    policy = load_policy(settings.policies, model.policy)
    requests: list[PermitRequest] = []
    for number in versions:
        stored = mlflow_store.version(settings, model.name, number)
        digest = stored_digest(model, stored)
        fetch_verified(settings, stored, digest)
        requests.append(
            PermitRequest(
                model=model.name,
                version=number,
                role=CHALLENGER if requests else CHAMPION,
                artefact_digest=digest,
                policy=policy.policy,
                policy_version=policy.version,
                kind="bootstrap",
                reason="first versions of an empty demo registry",
            )
        )
    return requests


def _payload(held: Sequence[Permit]) -> dict[str, object]:
    first, *others = held
    return {
        "version": first.version,
        "artefact_digest": first.artefact_digest,
        "permit_no": first.permit_no,
        "permit_digest": first.digest,
        "policy_version": first.policy_version,
        "challengers": [
            {"version": other.version, "permit_no": other.permit_no, "permit_digest": other.digest} for other in others
        ],
    }


def _subject(permit: PermitRequest) -> tuple[int, str, str]:
    return permit.version, permit.artefact_digest, permit.role


def _aliases(count: int) -> list[str]:
    return [CHAMPION, CHALLENGER, *(f"{CHALLENGER}_{n}" for n in range(2, count))][:count]


def _not_empty(model: Model, found: str) -> str:
    return (
        f"model {model.name}: the registry is not empty ({found}), so no bootstrap permit is given. Nothing was changed. "
        f"Ask {model.owner} (owner) and {model.validator} (validator) to approve a version."
    )
