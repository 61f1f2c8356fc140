"""Policy packs: policies/<policy>.yaml. Limits are data, so that changing one is a review in version control."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Literal, Self, get_args

from pydantic import Field

from pipelines.spec.alerting import AlertLimits
from pipelines.spec.base import DatedPack, Fraction, PackName, Strict
from pipelines.spec.gates import Approvals, Domain, Measuring, Review, Rule, StampedRule, Tier

Section = Literal["training", "scoring", "alerts", "measuring", "approvals", "review"]


class TrainingLimits(Strict):
    """What a training set and a fresh model must hold before a version is registered.

    A feature stronger than any honest one is taken for a leak.

    Attributes:
        max_auc_of_one_feature: of one feature alone, or of the ratio of two.
        pure_group_min_rows: smallest group of rows (a category, a value, a range, absence) that is looked at.
        pure_group_confidence: of the exact binomial bound on a group's event rate.
        pure_group_min_rate: a group is pure when the bound on its event rate is above this, or on its rate of non-events.
        pure_group_odds: and its odds differ from those of all rows by this factor as observed,
        pure_group_odds_at_bound: and by this factor even at the bound.
    """

    min_rows: Annotated[int, Field(ge=1)]
    min_events: Annotated[int, Field(ge=1)]
    min_auc: Fraction
    max_auc_of_one_feature: Fraction
    pure_group_min_rows: Annotated[int, Field(ge=10)]
    pure_group_confidence: Fraction
    pure_group_min_rate: Fraction
    pure_group_odds: Annotated[float, Field(gt=1)]
    pure_group_odds_at_bound: Annotated[float, Field(gt=1)]


class ScoringLimits(Strict):
    """What a batch must hold before it is published."""

    max_rejected_fraction: Fraction
    psi_warning: Annotated[float, Field(gt=0)]
    psi_block: Annotated[float, Field(gt=0)]


class PolicyFile(DatedPack):
    """policies/<policy>.yaml as it is written. A section that is left out is that of the first pack in `inherits` that has it;
    rules are not replaced but added up, so a pack that inherits can only ask for more.

    `alerts` is needed by models whose scores become alerts.
    """

    inherits: tuple[PackName, ...] = ()
    training: TrainingLimits | None = None
    scoring: ScoringLimits | None = None
    alerts: AlertLimits | None = None
    measuring: Measuring | None = None
    approvals: Approvals | None = None
    review: Review | None = None
    rules: tuple[Rule, ...] = ()


class Policy(DatedPack):
    """A policy with everything it inherits. Limits are data; who may change them is a review in version control.

    Attributes:
        version: its own, and after it those of the packs it inherits from, so that a change anywhere is another version.
        packs: every pack it is put together from, itself first.
        stated_in: by section, the pack whose own it is.
        measuring, approvals, review: None where no pack has them; what needs one then blocks.
    """

    training: TrainingLimits
    scoring: ScoringLimits
    alerts: AlertLimits | None = None
    measuring: Measuring | None = None
    approvals: Approvals | None = None
    review: Review | None = None
    rules: tuple[StampedRule, ...] = ()
    packs: tuple[DatedPack, ...] = ()
    stated_in: dict[str, PackName] = Field(default_factory=dict)

    def require_in_force(self, on: date, section: Section | None = None) -> Self:
        """Return self, or raise DataFault when the pack or one it inherits from does not cover the date.

        Args:
            section: the only one that is asked. Then the pack whose own it is must cover the date, and no other that is
                inherited: data may be older than the bank's rules for judging what was made of it.
        """
        for pack in self.packs:
            if section is None or pack.policy == self.stated_in.get(section):
                pack.require_in_force(on)
        return super().require_in_force(on)

    def rules_for(self, domain: Domain, tier: Tier, on: date) -> tuple[StampedRule, ...]:
        """The rules in force on a day for models of a domain and tier, in the order of the packs."""
        return tuple(rule for rule in self.rules if rule.applies(domain, tier, on))


def resolve(lineage: Sequence[PolicyFile]) -> Policy:
    """Put a policy together from its file and those it inherits from, nearest first. Raises ValueError for a missing section."""
    own, *inherited = lineage
    stating = {
        name: pack for name in get_args(Section) for pack in reversed(lineage) if getattr(pack, name) is not None
    }
    absent = [name for name in ("training", "scoring") if name not in stating]
    if absent:
        raise ValueError(
            f"section {' and '.join(absent)} is missing, here and in what it inherits ({list(own.inherits)})"
        )
    return Policy(
        policy=own.policy,
        version="+".join([own.version, *(f"{pack.policy}-{pack.version}" for pack in inherited)]),
        description=own.description,
        in_force_from=own.in_force_from,
        in_force_to=own.in_force_to,
        rules=tuple(
            StampedRule(**rule.model_dump(), pack=pack.policy, pack_version=pack.version)
            for pack in reversed(lineage)
            for rule in pack.rules
        ),
        packs=tuple(DatedPack(**{name: getattr(pack, name) for name in DatedPack.model_fields}) for pack in lineage),
        stated_in={name: pack.policy for name, pack in stating.items()},
        **{name: getattr(pack, name) for name, pack in stating.items()},
    )
