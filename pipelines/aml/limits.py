"""The alert limits in force, and the proof that a change to them was replayed before it went live."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from pipelines import database
from pipelines.contracts import Blocked, fingerprint
from pipelines.settings import Settings
from pipelines.spec import AlertLimits, Model, Policy, load_policy


def policy_of(settings: Settings, model: Model, on: date) -> Policy:
    """The model's policy, in force on the date."""
    return load_policy(settings.policies, model.policy).require_in_force(on)


def limits_of(policy: Policy, model: Model) -> AlertLimits:
    """The alerts section. Raises Blocked when there is none: without limits nothing says which scores matter."""
    if policy.alerts is None:
        raise Blocked(
            f"model {model.name}: policy {policy.policy} {policy.version} has no section `alerts`, so no score becomes an "
            "alert. Nothing was raised. Add it (docs/aml.md lists every key), or name a policy that has it."
        )
    return policy.alerts


def digest_of(limits: AlertLimits) -> str:
    """Content of the section, whatever replay it cites; a section that only moved in its file is the same."""
    return fingerprint(limits.model_dump_json(exclude={"replay"}))


def require_replayed(connection: database.Connection, model: Model, policy: Policy, limits: AlertLimits) -> None:
    """Let the model's first section pass, an unchanged one, or one that cites the replay of exactly this change.

    Raises:
        Blocked: it changed since the last alerts without a new version, or without such a replay.
    """
    last = in_force(connection, model.name)
    now = digest_of(limits)
    if last is None or last["limits_digest"] == now:
        return
    subject = (
        f"model {model.name}: the alerts section of policy {policy.policy} {policy.version} is not the one of the last "
        f"alerts ({last['policy']} {last['policy_version']})"
    )
    if (last["policy"], last["policy_version"]) == (policy.policy, policy.version):
        raise Blocked(f"{subject}, but has the same version. Nothing was raised. Give the changed pack a new version.")
    remedy = (
        f"Nothing was raised. Run: python -m pipelines replay --model {model.name} --by YOU --from DATE --to DATE, and put "
        "the number it prints into the section as `replay:`."
    )
    if limits.replay is None:
        raise Blocked(f"{subject}, and cites no replay that shows what the change does. {remedy}")
    cited = database.execute(
        connection,
        "SELECT before_digest, after_digest FROM vigil.replay WHERE replay_no = :no AND model = :model",
        no=limits.replay,
        model=model.name,
    )
    if not cited:
        raise Blocked(f"{subject}, and cites replay {limits.replay}, which this model does not have. {remedy}")
    if (cited[0]["before_digest"], cited[0]["after_digest"]) != (last["limits_digest"], now):
        raise Blocked(f"{subject}, and cites replay {limits.replay}, which was made for another change. {remedy}")


def in_force(connection: database.Connection, model: str) -> Mapping[str, Any] | None:
    """Policy, version, limits and digest of the model's last alerts; None before the first."""
    found = database.execute(
        connection,
        "SELECT policy, policy_version, limits, limits_digest FROM vigil.alert_run WHERE model = :model "
        "ORDER BY run_no DESC LIMIT 1",
        model=model,
    )
    return found[0] if found else None
