"""What decides the alerts, the limits and the typology pack, and the proof that a change was replayed before it went live."""

from __future__ import annotations

from datetime import date

from pipelines import database
from pipelines.contracts import Blocked, Value, fingerprint
from pipelines.settings import Settings
from pipelines.spec import AlertLimits, Model, Policy, load_policy


class InForce(Value):
    """What decided the model's last alerts.

    Attributes:
        typologies: pack, version and digest that the newest alerts with a pack were made with; None when none were. A version
            without a pack in between does not make the bank forget which one was last replayed.
    """

    policy: str
    policy_version: str
    limits: AlertLimits
    typologies: str | None


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


def digest_of(limits: AlertLimits, typologies: str | None = None) -> str:
    """Content of the section, whatever replay it cites, and of the typology pack; a section that only moved is the same."""
    section = fingerprint(limits.model_dump_json(exclude={"replay"}))
    return section if typologies is None else fingerprint(section, _content(typologies))


def named(typologies: str) -> str:
    """Pack and version for people, without the digest."""
    return typologies.rpartition(" ")[0]


def require_replayed(
    connection: database.Connection, model: Model, policy: Policy, limits: AlertLimits, typologies: str | None
) -> None:
    """Let the first section and pack of a model pass, unchanged ones, or a section that cites the replay of exactly this
    change.

    To cite a replay needs no new version of the policy: the number is evidence, not a limit.

    Args:
        typologies: pack, version and digest that the scores were made with. None, of a version without, changes no pack.

    Raises:
        Blocked: section or pack changed since the last alerts without a new version, or without such a replay.
    """
    last = in_force(connection, model.name)
    if last is None:
        return
    pack = typologies if last.typologies and typologies else last.typologies
    before, after = digest_of(last.limits, last.typologies), digest_of(limits, pack)
    if before == after:
        return
    subject = f"model {model.name}: {_difference(last, policy, limits, pack)}"
    _require_new_versions(subject, last, policy, limits, pack)
    remedy = _remedy(connection, model, last, limits, pack)
    if limits.replay is None:
        raise Blocked(f"{subject}, and the section cites no replay that shows what the change does. {remedy}")
    cited = database.execute(
        connection,
        "SELECT before_digest, after_digest FROM vigil.replay WHERE replay_no = :no AND model = :model",
        no=limits.replay,
        model=model.name,
    )
    if not cited:
        raise Blocked(
            f"{subject}, and the section cites replay {limits.replay}, which this model does not have. {remedy}"
        )
    if (cited[0]["before_digest"], cited[0]["after_digest"]) != (before, after):
        raise Blocked(f"{subject}, and the section cites replay {limits.replay}, made for another change. {remedy}")


def in_force(connection: database.Connection, model: str) -> InForce | None:
    """What decided the model's last alerts; None before the first."""
    found = database.execute(
        connection,
        "SELECT policy, policy_version, limits, (SELECT typologies FROM vigil.alert_run WHERE model = :model "
        "AND typologies IS NOT NULL ORDER BY run_no DESC LIMIT 1) AS typologies FROM vigil.alert_run WHERE model = :model "
        "ORDER BY run_no DESC LIMIT 1",
        model=model,
    )
    return InForce(**dict(found[0]) | {"limits": AlertLimits.model_validate(found[0]["limits"])}) if found else None


def _content(typologies: str) -> str:
    return typologies.rpartition(" ")[2]


def _difference(last: InForce, policy: Policy, limits: AlertLimits, pack: str | None) -> str:
    found = []
    if pack != last.typologies and pack and last.typologies:
        found.append(
            f"the typology pack changed: the scores were made with {named(pack)}, those of the last alerts with "
            f"{named(last.typologies)}"
        )
    if digest_of(limits) != digest_of(last.limits):
        found.append(
            f"the alerts section of policy {policy.policy} {policy.version} is not the one of the last alerts "
            f"({last.policy} {last.policy_version})"
        )
    return ", and ".join(found)


def _require_new_versions(subject: str, last: InForce, policy: Policy, limits: AlertLimits, pack: str | None) -> None:
    """A change under the old version could not be told apart by whoever reads the records later."""
    same_policy = (last.policy, last.policy_version) == (policy.policy, policy.version)
    if same_policy and digest_of(limits) != digest_of(last.limits):
        raise Blocked(
            f"{subject}, but the policy has the same version. Nothing was raised. Give the changed policy a new version."
        )
    if pack and last.typologies and pack != last.typologies and named(pack) == named(last.typologies):
        raise Blocked(
            f"{subject}: the same version with other content ({_content(last.typologies)[:12]} -> {_content(pack)[:12]}). "
            "Nothing was raised; the scores stay published. Give the changed pack a new version and train with it."
        )


def _remedy(connection: database.Connection, model: Model, last: InForce, limits: AlertLimits, pack: str | None) -> str:
    """The command that makes the replay, over up to 30 days before the last alerts that the pack in force decided."""
    first, newest = database.execute(
        connection,
        "SELECT greatest(min(business_date), max(business_date) - 29) AS first, max(business_date) AS newest "
        "FROM vigil.alert_run WHERE model = :model AND typologies IS NOT DISTINCT FROM CAST(:pack AS text)",
        model=model.name,
        pack=last.typologies,
    )[0].values()
    command = f"python -m pipelines replay --model {model.name} --by YOU --from {first} --to {newest}"
    if pack is None or pack == last.typologies:
        return f"Nothing was raised. Run: {command}, and put the number it prints into the section as `replay:`."
    file = f"policies/{pack.partition(' ')[0]}.yaml"
    kept = " The policy keeps its version." if digest_of(limits) == digest_of(last.limits) else ""
    return (
        f"Nothing was raised; the scores stay published. Run: {command} --typologies {file} (the file as {named(pack)} has "
        f"it), and put the number it prints into the section as `replay:`.{kept}"
    )
