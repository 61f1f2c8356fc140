"""The leakage check: refuses a training set in which a feature knows what came after the event.

Four questions, each answered by name with a reason a person can act on:

1. Lineage: does the feature come from a column whose contract says `known: later`, and not when it becomes known?
2. Time: does it come from a date column that holds dates after the row's own business date? A due date does so honestly;
   then a person writes `known: at_event` beside that column.
3. Statistics: is it stronger than an honest feature can be, alone or as a ratio to another, or does a group of rows
   (evaluation/groups.py) hold practically only events, or none?
4. Is it constant? Then it is not the feature somebody thinks it is.

The first two cannot be waived; a statistical suspicion can, by a reason in the model file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from enum import StrEnum
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import betaincinv

from pipelines.contracts import Blocked, Value
from pipelines.evaluation import metrics
from pipelines.evaluation.groups import Group, category_groups, category_rates, number_groups
from pipelines.evaluation.metrics import Labels, Scores
from pipelines.lake import PARTITION, Lake, connect
from pipelines.settings import Settings
from pipelines.spec import Contract, Feature, Model, TrainingLimits

SourceColumn = tuple[str, str]
Lineage = Mapping[str, frozenset[SourceColumn]]

_MOST_OF_A_CLASS = 10_000
_FEWEST_OF_A_CLASS = 50
_WIDE = 0.05


class Suspicion(StrEnum):
    """What spoke against a feature."""

    KNOWN_LATER = "known later"
    DATED_LATER = "dated later"
    TOO_STRONG = "too strong"
    CONSTANT = "constant"


_STATISTICAL = (Suspicion.TOO_STRONG, Suspicion.CONSTANT)
_WAIVER = (
    " Whoever answers for the model and finds a suspicion of strength unfounded writes the reason beside the feature, as "
    "`leakage_waiver` (docs/training.md)."
)


class Finding(Value):
    """One reason against one feature. `waiver` is the model file's reason why it is unfounded."""

    feature: str
    suspicion: Suspicion
    reason: str
    waiver: str | None = None


class LeakageVerdict(Value):
    """What the check looked at and found."""

    model: str
    as_of: date
    rows: int
    features: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def blocking(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.waiver is None)

    @property
    def passed(self) -> bool:
        return bool(self.features) and not self.blocking

    def require_passed(self) -> None:
        """Raises Blocked with every feature and reason unless the check passed."""
        if self.passed:
            return
        reasons = "\n".join(f"  {f.feature}: {f.reason}" for f in self.blocking) or "  no feature was checked"
        raise Blocked(
            f"model {self.model} as of {self.as_of}: features know what came after the event.\n{reasons}\n"
            f"Nothing was trained. Remove them from models/{self.model}.yaml; columns filled in later are `known: later` in "
            f"expectations/.{_WAIVER if any(f.suspicion in _STATISTICAL for f in self.blocking) else ''}"
        )


def judge(
    model: Model,
    as_of: date,
    features: pa.Table,
    label: Labels,
    limits: TrainingLimits,
    *,
    lineage: Lineage,
    contracts: Mapping[str, Contract],
    dated_later: Mapping[SourceColumn, int],
) -> LeakageVerdict:
    """Ask all four questions about every feature of the model.

    Args:
        features: numbers and strings by feature name, one row per event.
        label: 1 for the event.
        lineage: per feature the (source, lake column) pairs it comes from.
        contracts: of every source in the lineage.
        dated_later: rows per (source, lake column) whose date lies after their business date.
    """
    found = [
        *known_later(model.feature_names, lineage, contracts),
        *_dated_later(model.feature_names, lineage, contracts, dated_later),
        *_statistics(model.feature, features, label, limits),
    ]
    return LeakageVerdict(
        model=model.name, as_of=as_of, rows=len(label), features=model.feature_names, findings=tuple(found)
    )


def count_dated_later(
    settings: Settings, contracts: Iterable[Contract], as_of: date, columns: Iterable[SourceColumn]
) -> dict[SourceColumn, int]:
    """For the date and timestamp columns among `columns`: rows up to `as_of` with a date after their business date."""
    lake, asked = Lake(settings), set(columns)
    counted: dict[SourceColumn, int] = {}
    with connect(settings) as connection:
        for contract in contracts:
            table = f"source/{contract.source}"
            dated = [c for c in _date_columns(contract) if (contract.source, c) in asked]
            if not dated:
                continue
            lake.scan(connection, contract.source, table, dates=[d for d in lake.dates(table) if d <= as_of])
            later = ", ".join(f'count(*) FILTER (CAST("{c}" AS DATE) > {PARTITION})' for c in dated)
            (counts,) = connection.execute(f'SELECT {later} FROM "{contract.source}"').fetchall()
            counted |= {(contract.source, c): int(n) for c, n in zip(dated, counts, strict=True)}
    return counted


def _date_columns(contract: Contract) -> list[str]:
    """Date columns of the lake table but the business date itself."""
    own = contract.business_date.column
    return [n for n, c in contract.columns.items() if c.type in ("date", "timestamp") and n != own and not c.protected]


def known_later(names: Iterable[str], lineage: Lineage, contracts: Mapping[str, Contract]) -> Iterator[Finding]:
    """A finding for each feature that comes from a column marked `known: later`. Needs no data.

    A column with `delay_days` is none: whatever a feature was made of, its view was shown only values that old.
    """
    for name in names:
        marked = sorted(
            f"{source}.{contract_column}"
            for source, column in lineage.get(name, ())
            for contract_column, declared in contracts[source].columns.items()
            if declared.known == "later" and declared.delay_days is None
            if contracts[source].lake_name(contract_column) == column
        )
        if marked:
            reason = f"comes from {', '.join(marked)}, known only after the event (`known: later` in expectations/)"
            yield Finding(feature=name, suspicion=Suspicion.KNOWN_LATER, reason=reason)


def _dated_later(
    names: Iterable[str], lineage: Lineage, contracts: Mapping[str, Contract], counts: Mapping[SourceColumn, int]
) -> Iterator[Finding]:
    for name in names:
        for source, column in sorted(lineage.get(name, ())):
            rows = counts.get((source, column), 0)
            if rows and not _promised(contracts[source], column):
                reason = (
                    f"comes from {source}.{column}, which in {rows} rows holds a date after the row's business date; if that "
                    f"date is known beforehand (a due date), write `known: at_event` beside it in expectations/{source}.yaml"
                )
                yield Finding(feature=name, suspicion=Suspicion.DATED_LATER, reason=reason)


def _promised(contract: Contract, column: str) -> bool:
    """Whether a person wrote beside the column that its dates may be known beforehand; the default is no promise."""
    declared = contract.columns.get(column)
    return declared is not None and (declared.may_be_future or "known" in declared.model_fields_set)


def _statistics(
    features: Mapping[str, Feature], table: pa.Table, label: Labels, limits: TrainingLimits
) -> Iterator[Finding]:
    reasons: dict[str, tuple[Suspicion, str]] = {}
    strengths: dict[str, float] = {}
    for name, feature in features.items():
        if pc.count_distinct(table[name], mode="all").as_py() < 2:
            reasons[name] = (Suspicion.CONSTANT, f"has the same value in all {len(label)} rows")
            continue
        strengths[name], reason = _alone(table[name], label, feature.categorical, limits)
        if reason:
            reasons[name] = (Suspicion.TOO_STRONG, reason)
    honest = [n for n in features if n not in reasons and not features[n].categorical]
    for name, reason in _ratios(table, label, honest, strengths, limits.max_auc_of_one_feature):
        reasons.setdefault(name, (Suspicion.TOO_STRONG, reason))
    for name, (suspicion, reason) in reasons.items():
        yield Finding(feature=name, suspicion=suspicion, reason=reason, waiver=features[name].leakage_waiver)


def _alone(
    column: pa.ChunkedArray, label: Labels, categorical: bool, limits: TrainingLimits
) -> tuple[float, str | None]:
    """AUC of the feature alone, and the reason against it if there is one."""
    least = limits.pure_group_min_rows
    if categorical:
        strength = metrics.auc(label, category_rates(column, label, least))
        groups = category_groups(column, label, least)
    else:
        values = column.to_numpy().astype(np.float64)
        strength = _auc_either_way(values, label)
        groups = number_groups(values, label, least)
    if strength > limits.max_auc_of_one_feature:
        return (
            strength,
            f"alone tells events apart with AUC {strength:.3f}; the policy allows {limits.max_auc_of_one_feature}",
        )
    everyone = Group("all rows", len(label), int(label.sum()))
    pure = next((reason for group in groups if (reason := _purity(group, everyone, limits))), None)
    return strength, pure


def _purity(group: Group, everyone: Group, limits: TrainingLimits) -> str | None:
    """Why a group is too pure to be honest, by the exact binomial bound of Clopper and Pearson (1934); None if it is not."""
    everywhere = _odds(everyone.events, everyone.rows - everyone.events)
    others = group.rows - group.events
    at_least = betaincinv(group.events, others + 1, 1 - limits.pure_group_confidence) if group.events else 0.0
    at_most = betaincinv(group.events + 1, others, limits.pure_group_confidence) if others else 1.0
    only_events = (
        at_least >= limits.pure_group_min_rate
        and _odds(group.events, others) >= limits.pure_group_odds * everywhere
        and at_least / (1 - at_least) >= limits.pure_group_odds_at_bound * everywhere
    )
    no_events = (
        group.rows >= _WIDE * everyone.rows
        and at_most <= 1 - limits.pure_group_min_rate
        and _odds(group.events, others) <= everywhere / limits.pure_group_odds
        and at_most / (1 - at_most) <= everywhere / limits.pure_group_odds_at_bound
    )
    if not (only_events or no_events):
        return None
    return (
        f"{group.description}: {group.events} of {group.rows} rows are events, against "
        f"{everyone.events / everyone.rows:.1%} of all rows; no honest feature is that certain"
    )


def _odds(events: int, others: int) -> float:
    return events / others if others else float("inf")


def _ratios(
    table: pa.Table, label: Labels, names: list[str], strengths: Mapping[str, float], limit: float
) -> Iterator[tuple[str, str]]:
    """Pairs whose ratio alone is stronger than the limit: what was paid back, over what was lent. The stronger is named."""
    chosen = _balanced(label)
    values = {n: table[n].take(pa.array(chosen)).to_numpy().astype(np.float64) for n in names}
    for one, other in combinations(names, 2):
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = values[one] / values[other]
        ratio[~np.isfinite(ratio)] = np.nan
        strength = _auc_either_way(ratio, label[chosen])
        if strength > limit:
            stronger, partner = sorted((one, other), key=lambda n: -strengths[n])
            yield (
                stronger,
                f"as a ratio with {partner} tells events apart with AUC {strength:.3f}; the policy allows {limit}",
            )


def _balanced(label: Labels) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Rows spread evenly over each class, at most so many of each: an AUC does not depend on how common events are."""
    parts = [np.flatnonzero(label == outcome) for outcome in (0, 1)]
    spread = [part[np.linspace(0, len(part) - 1, min(len(part), _MOST_OF_A_CLASS)).astype(int)] for part in parts]
    return np.sort(np.concatenate(spread))


def _auc_either_way(values: Scores, label: Labels) -> float:
    """AUC over the rows with a value, whichever direction is the right one; 0.5 with too few of a class to say."""
    present = ~np.isnan(values)
    hits = label[present]
    if min(hits.sum(), len(hits) - hits.sum()) < _FEWEST_OF_A_CLASS:
        return 0.5
    area = metrics.auc(hits, values[present])
    return max(area, 1 - area)
