"""What a batch is made from, pinned once. The batch id is the content address of all of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property

from pipelines import features, ingest, quality, registry
from pipelines.contracts import Blocked, FeatureSnapshot, fingerprint
from pipelines.registry import RegisteredVersion
from pipelines.registry.oversight import require_reviewed
from pipelines.settings import Settings
from pipelines.spec import Model, Policy, load_policy


@dataclass(frozen=True)
class BatchInputs:
    """Everything that decides a batch's rows and counts. Equal inputs are the same batch, with the same id.

    Attributes:
        rows_in: rows of the population's source that landed for the business date.
        rows_quarantined: those of them that broke the source's contract.
    """

    model: Model
    business_date: date
    policy: Policy
    champion: RegisteredVersion
    snapshot: FeatureSnapshot
    rows_in: int
    rows_quarantined: int

    @cached_property
    def batch_id(self) -> str:
        """Content address: the same on every machine and in every run with these inputs."""
        rules = [f"{name} {feature.missing} {feature.categorical}" for name, feature in self.model.feature.items()]
        return fingerprint(
            self.model.name,
            self.business_date,
            self.champion.artefact_digest,
            self.snapshot.content_digest,
            self.policy.version,
            self.rows_in,
            self.rows_quarantined,
            *rules,
        )


def pin(settings: Settings, model: Model, business_date: date) -> BatchInputs:
    """Take the champion, its permit, the checked features and the landing counts as they are now.

    Raises:
        Blocked: the model's review is overdue and its policy says `stop`, no permitted champion, no features, features that
            were not checked or did not pass, or features older than the last publication of their population.
        DataFault: the model's policy is not in force on the date.
    """
    policy = load_policy(settings.policies, model.policy).require_in_force(business_date, "scoring")
    require_reviewed(settings, model, policy, datetime.now(UTC).date())
    champion = registry.champion(settings, model)
    snapshot = _checked_features(settings, model, business_date)
    landed = ingest.manifest(settings, model.population, business_date)
    again = f"Run: {_command('features', model, business_date)}"
    if landed is None:
        raise Blocked(
            f"model {model.name} on {business_date}: its population {model.population} was never published. {again}"
        )
    if landed.lake_version > snapshot.source_versions[model.population]:
        raise Blocked(
            f"model {model.name} on {business_date}: its population {model.population} was published again after its "
            f"features were built. Nothing was scored. {again}"
        )
    return BatchInputs(
        model=model,
        business_date=business_date,
        policy=policy,
        champion=champion,
        snapshot=snapshot,
        rows_in=landed.rows_in,
        rows_quarantined=landed.rows_quarantined,
    )


def _checked_features(settings: Settings, model: Model, business_date: date) -> FeatureSnapshot:
    snapshot = features.snapshot(settings, model, business_date)
    subject = f"model {model.name} on {business_date}"
    remedy = f"Nothing was scored. Run: {_command('features', model, business_date)}"
    if snapshot is None:
        raise Blocked(f"{subject}: no features were built. {remedy}")
    verdict = quality.last_verdict(settings, snapshot.table, business_date)
    if verdict is None or verdict.lake_version != snapshot.lake_version:
        raise Blocked(f"{subject}: its features (version {snapshot.lake_version}) were not checked. {remedy}")
    if not verdict.passed:
        raise Blocked(f"{subject}: its features did not pass: {verdict.reasons}. See {verdict.data_docs}. {remedy}")
    return snapshot


def _command(step: str, model: Model, business_date: date) -> str:
    return f"python -m pipelines {step} --model {model.name} --date {business_date}"
