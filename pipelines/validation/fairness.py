"""Fairness on the favourable outcome: who is approved (or raises no alert), by protected group.

Groups are compared with the best group: the one with the highest favourable rate of those large enough to judge. The
formulas, where they come from and how to read them: docs/fairness.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipelines import features
from pipelines.contracts import DataFault, EvidenceMissing, Value
from pipelines.evaluation.metrics import Labels, Scores, auc
from pipelines.settings import Settings
from pipelines.spec import Fairness, Measuring
from pipelines.training.rows import Mask
from pipelines.validation import proportions, protected
from pipelines.validation.candidate import Candidate
from pipelines.validation.measurement import Measurement
from pipelines.validation.proportions import Interval, Share
from pipelines.validation.protected import Groups

GROUP_METRICS = (
    "adverse_impact_ratio",
    "significant_adverse_impact",
    "equal_opportunity_difference",
    "group_calibration_ratio",
    "group_auc",
)


_MOST_GROUPS = 200  # more are values of persons rather than groups, and would be named one by one


class Estimate(Value):
    """A number with the ends of its confidence interval."""

    value: float
    low: float
    high: float


class Group(Value):
    """One group of at least the smallest size. Counts and rates only.

    Attributes:
        name: as `sex=female`, and `sex=female & age=under 25` for a combination.
        favourable: of the rows, those with the favourable outcome.
        impact: favourable rate over that of the best group.
        p_value, test: two-sided, of no difference to the best group; None for the best group itself.
        non_events, favourable_non_events: rows that did not default (or were cleared), and how many of them were favoured.
        opportunity: favourable rate of the non-events less that of the best group; None with too few non-events.
        calibration: events observed over the sum of their probabilities; None where nothing was predicted.
        auc: None with one class only.
    """

    name: str
    rows: int
    favourable: int
    impact: Estimate
    p_value: float | None
    test: str | None
    significant: bool
    non_events: int
    favourable_non_events: int
    opportunity: Estimate | None
    events: int
    expected_events: float
    calibration: Estimate | None
    auc: float | None

    @property
    def rate(self) -> float:
        """The favourable rate."""
        return self.favourable / self.rows


class Grouping(Value):
    """The groups of one attribute, or of a combination.

    Attributes:
        name: as `sex`, or `sex & age`.
        known: rows whose group is known.
        best: group compared with; None where nothing could be assessed.
        small: groups below the smallest size, by name alone.
        reason: why nothing could be assessed.
    """

    name: str
    known: int
    known_share: float
    best: str | None = None
    groups: tuple[Group, ...] = ()
    small: tuple[str, ...] = ()
    reason: str | None = None


class FairnessTable(Value):
    """Fairness of one version on its judged rows.

    Attributes:
        favourable_share: share of rows with the favourable outcome; equal scores are treated equally, so it may differ a
            little from the share asked for.
        prohibited: features that carry a prohibited basis, by their names or those of their source columns.
        untraced: why `prohibited` is not known.
        reason: why no group could be assessed at all.
    """

    model: str
    version: int
    rows: int
    favourable_share: float
    min_group: int | None
    significance: float | None
    confidence: float
    groupings: tuple[Grouping, ...] = ()
    prohibited: tuple[str, ...] | None = None
    untraced: str | None = None
    reason: str | None = None


class FairnessInputs(Protocol):
    """What the gate gets; a part of what every gate gets."""

    @property
    def settings(self) -> Settings: ...
    @property
    def candidate(self) -> Candidate: ...
    @property
    def measuring(self) -> Measuring: ...


@dataclass(frozen=True)
class Outcomes:
    """The judged rows as arrays of one length: outcome, probability of the event, and whether the row is favoured."""

    label: Labels
    probability: Scores
    favourable: Mask


def assess(settings: Settings, candidate: Candidate, measuring: Measuring) -> FairnessTable:
    """Join the protected attributes to the judged rows and compare the groups. What cannot be assessed says why.

    Raises:
        Blocked: the database login may not read protected attributes.
        ConnectionBroken: the database or the lake did not answer.
    """
    outcomes = outcomes_of(candidate.judged.label, candidate.probability, measuring.approved_share)
    fairness = measuring.fairness
    table = FairnessTable(
        model=candidate.model.name,
        version=candidate.version,
        rows=len(candidate.judged),
        favourable_share=float(outcomes.favourable.mean()) if len(candidate.judged) else 0.0,
        min_group=None if fairness is None else fairness.min_group,
        significance=None if fairness is None else fairness.significance,
        confidence=measuring.confidence,
    )
    if fairness is None:
        absent = "the policy has no section measuring.fairness"
        return table.model_copy(update={"reason": absent, "untraced": absent})
    found: dict[str, object]
    try:
        found = {"prohibited": prohibited_features(settings, candidate, fairness)}
    except DataFault as untraced:
        found = {"untraced": f"the features cannot be traced to columns: {untraced}"}
    table = table.model_copy(update=found)
    try:
        groups = protected.membership(settings, candidate, fairness).groups
    except EvidenceMissing as missing:
        return table.model_copy(update={"reason": str(missing)})
    compared = tuple(
        compare(name, members, outcomes, fairness, measuring.confidence)
        for name, members in _groupings(groups, fairness)
    )
    return table.model_copy(update={"groupings": compared})


def measure(inputs: FairnessInputs) -> Iterator[Measurement]:
    """What the fairness gate measures, by group; docs/fairness.md lists the metrics. Raises as assess does."""
    table = assess(inputs.settings, inputs.candidate, inputs.measuring)
    yield from measurements(table)


def outcomes_of(label: Labels, probability: Scores, share: float) -> Outcomes:
    """The rows with the lowest probabilities are favoured: as many as the share asks for, and all that score the same as the
    last of them, because equal scores are treated equally."""
    label, probability = np.asarray(label), np.asarray(probability, np.float64)
    if not len(label):
        return Outcomes(label, probability, np.zeros(0, bool))
    last = min(len(label), max(1, round(share * len(label)))) - 1
    return Outcomes(label, probability, probability <= np.partition(probability, last)[last])


def compare(name: str, members: Groups, outcomes: Outcomes, fairness: Fairness, confidence: float) -> Grouping:
    """Compare the groups of one attribute. `members` is the group of each row, None where it is not known."""
    known = np.array([member is not None for member in members], bool)
    grouping = Grouping(name=name, known=int(known.sum()), known_share=float(known.mean()) if len(known) else 0.0)
    if grouping.known_share < fairness.min_known_share:
        return grouping.model_copy(
            update={
                "reason": f"known for {grouping.known_share:.1%} of the rows, of which {fairness.min_known_share:.0%} are needed"
            }
        )
    if not np.isfinite(outcomes.probability).all():
        return grouping.model_copy(update={"reason": "a score is not a finite number"})
    counted = _counted(members[known], outcomes, known)
    if len(counted) > _MOST_GROUPS:
        return grouping.model_copy(update={"reason": f"{len(counted)} different values are no groups: give it bands"})
    large = [group for group in counted if group.rows >= fairness.min_group]
    grouping = grouping.model_copy(update={"small": tuple(c.name for c in counted if c not in large)})
    if reason := _unusable(large, counted, fairness):
        return grouping.model_copy(update={"reason": reason})
    best = max(large, key=lambda group: group.favoured.rate)
    fair = [group for group in large if group.non_events >= fairness.min_group]
    fairest = max(fair, key=lambda group: group.opportunity.rate) if len(fair) > 1 else None
    judged = tuple(_judged(group, best, fairest if group in fair else None, fairness, confidence) for group in large)
    return grouping.model_copy(update={"best": best.name, "groups": judged})


def measurements(table: FairnessTable) -> Iterator[Measurement]:
    """The table as measurements, each with what it was measured on."""
    if table.reason is not None:
        yield from (
            Measurement(metric=metric, value=None, evidence=table.reason)
            for metric in ("assessed_groups", *GROUP_METRICS)
        )
    yield _prohibited(table)
    for grouping in table.groupings:
        yield from _of_grouping(table, grouping)


def prohibited_features(settings: Settings, candidate: Candidate, fairness: Fairness) -> tuple[str, ...]:
    """Features that have a prohibited word in their name or in that of a column they are made of.

    Protected columns never reach the lake, so what is found here came in under another source or another name.
    """
    made_of = features.source_columns(settings, candidate.model)
    return tuple(
        feature
        for feature in candidate.model.feature_names
        if any(
            _says(name, word)
            for name in (feature, *(column for _, column in made_of[feature]))
            for word in fairness.prohibited_inputs
        )
    )


def _says(name: str, word: str) -> bool:
    return f"_{word}_" in f"_{name.lower()}_"


@dataclass(frozen=True)
class _Counted:
    name: str
    rows: int
    favourable: int
    non_events: int
    favourable_non_events: int
    expected_events: float
    auc: float | None

    @property
    def favoured(self) -> Share:
        return Share(self.favourable, self.rows)

    @property
    def opportunity(self) -> Share:
        return Share(self.favourable_non_events, self.non_events)

    @property
    def observed(self) -> Share:
        return Share(self.rows - self.non_events, self.rows)


def _counted(members: Groups, outcomes: Outcomes, known: Mask) -> list[_Counted]:
    from fairlearn.metrics import MetricFrame, count

    probability = outcomes.probability[known]
    frame = MetricFrame(
        metrics={
            "rows": count,
            "favourable": lambda label, favoured: int(favoured.sum()),
            "non_events": lambda label, favoured: int((label == 0).sum()),
            "favourable_non_events": lambda label, favoured: int(favoured[label == 0].sum()),
            "expected_events": lambda label, favoured, probability: float(probability.sum()),
            "auc": lambda label, favoured, probability: _auc(label, probability),
        },
        y_true=outcomes.label[known],
        y_pred=outcomes.favourable[known].astype(np.int8),
        sensitive_features=members.astype(str),
        sample_params={name: {"probability": probability} for name in ("expected_events", "auc")},
    )
    return [
        _Counted(
            name=str(name),
            rows=int(row["rows"]),
            favourable=int(row["favourable"]),
            non_events=int(row["non_events"]),
            favourable_non_events=int(row["favourable_non_events"]),
            expected_events=float(row["expected_events"]),
            auc=None if np.isnan(row["auc"]) else float(row["auc"]),
        )
        for name, row in frame.by_group.iterrows()
    ]


def _auc(label: Labels, probability: Scores) -> float:
    try:
        return auc(label, probability)
    except EvidenceMissing:
        return float("nan")


def _unusable(large: Sequence[_Counted], counted: Sequence[_Counted], fairness: Fairness) -> str | None:
    """Why these groups cannot be compared, if they cannot."""
    if len(large) < 2:
        return f"{len(large)} of {len(counted)} groups has {fairness.min_group} rows or more; two are needed to compare"
    if not any(group.favourable for group in large):
        return "nobody has the favourable outcome"
    if all(group.favourable == group.rows for group in counted):
        return "everybody has the favourable outcome: the scores tell nobody apart"
    return None


def _judged(group: _Counted, best: _Counted, fairest: _Counted | None, fairness: Fairness, confidence: float) -> Group:
    impact, test = Interval(1.0, 1.0, 1.0), None
    if group is not best:
        impact = proportions.ratio(group.favoured, best.favoured, confidence)
        test = proportions.significance(group.favoured, best.favoured)
    return Group(
        name=group.name,
        rows=group.rows,
        favourable=group.favourable,
        impact=_estimate(impact),
        p_value=test and test.p_value,
        test=test and test.test,
        significant=test is not None and test.p_value < fairness.significance,
        non_events=group.non_events,
        favourable_non_events=group.favourable_non_events,
        opportunity=None if fairest is None else _opportunity(group, fairest, confidence),
        events=group.observed.hits,
        expected_events=group.expected_events,
        calibration=_calibration(group, confidence),
        auc=group.auc,
    )


def _opportunity(group: _Counted, fairest: _Counted, confidence: float) -> Estimate:
    if group is fairest:
        return Estimate(value=0.0, low=0.0, high=0.0)
    return _estimate(proportions.difference(group.opportunity, fairest.opportunity, confidence))


def _calibration(group: _Counted, confidence: float) -> Estimate | None:
    predicted = group.expected_events / group.rows
    if predicted <= 0:
        return None
    return _estimate(Interval(*(end / predicted for end in proportions.exact(group.observed, confidence))))


def _estimate(interval: Interval) -> Estimate:
    return Estimate(value=interval.value, low=interval.low, high=interval.high)


def _groupings(groups: dict[str, Groups], fairness: Fairness) -> Iterator[tuple[str, Groups]]:
    """Each attribute and each combination by the name it has in results, with the group of each row."""
    label = {name: protected.label_of(name, attribute) for name, attribute in fairness.attributes.items()}
    for name, members in groups.items():
        yield label[name], members
    for names in fairness.intersections:
        rows = zip(*(groups[name] for name in names), strict=True)
        combined = [None if None in parts else " & ".join(parts) for parts in rows]
        yield " & ".join(label[name] for name in names), np.array(combined, object)


def _prohibited(table: FairnessTable) -> Measurement:
    if table.prohibited is None:
        return Measurement(metric="prohibited_inputs", value=None, evidence=table.untraced or "not looked for")
    found = ", ".join(table.prohibited) or "none"
    return Measurement(
        metric="prohibited_inputs",
        value=float(len(table.prohibited)),
        evidence=f"features named after a prohibited basis, or made of a column that is: {found}",
    )


def _of_grouping(table: FairnessTable, grouping: Grouping) -> Iterator[Measurement]:
    small = f"; not judged, fewer than {table.min_group} rows: {', '.join(grouping.small)}" if grouping.small else ""
    yield Measurement(
        metric="assessed_groups",
        segment=grouping.name,
        value=float(len(grouping.groups)) if grouping.reason is None else None,
        evidence=f"{grouping.reason or f'best group {grouping.best}'}; known for {grouping.known} of {table.rows} rows{small}",
    )
    if grouping.reason is not None:
        yield from (
            Measurement(metric=metric, segment=grouping.name, value=None, evidence=grouping.reason)
            for metric in GROUP_METRICS
        )
    elif all(group.opportunity is None for group in grouping.groups):
        reason = f"fewer than two groups have {table.min_group} rows without the event"
        yield Measurement(metric="equal_opportunity_difference", segment=grouping.name, value=None, evidence=reason)
    for group in grouping.groups:
        yield from _of_group(grouping, group)


def _of_group(grouping: Grouping, group: Group) -> Iterator[Measurement]:
    best = next(g for g in grouping.groups if g.name == grouping.best)
    counts = f"favourable {group.favourable} of {group.rows}"
    if group is not best:
        counts += f", in {best.name} {best.favourable} of {best.rows}; {group.test}, two-sided p = {group.p_value:.2g}"
    impact = group.impact
    yield _measured("adverse_impact_ratio", group, impact, counts)
    shortfall = Estimate(value=_shortfall(group, best), low=1 - impact.high, high=1 - impact.low)
    yield _measured("significant_adverse_impact", group, shortfall, f"{_in_words(group)}; {counts}")
    if group.opportunity is not None:
        text = f"favourable {group.favourable_non_events} of {group.non_events} without the event"
        yield _measured("equal_opportunity_difference", group, group.opportunity, text)
    text = f"{group.events} events in {group.rows} rows, {group.expected_events:.1f} predicted"
    yield _measured("group_calibration_ratio", group, group.calibration, text)
    text = f"{group.events} events in {group.rows} rows"
    yield Measurement(metric="group_auc", segment=group.name, value=group.auc, evidence=text)


def _shortfall(group: Group, best: Group) -> float:
    """1 - impact where the difference is significant, else 0; in whole numbers, so that four fifths leave exactly 0.2."""
    if not group.significant:
        return 0.0
    whole = group.rows * best.favourable
    return (whole - group.favourable * best.rows) / whole


def _in_words(group: Group) -> str:
    if group.test is None:
        return "the group compared with"
    return "a significant difference" if group.significant else "no significant difference, so no shortfall is counted"


def _measured(metric: str, group: Group, estimate: Estimate | None, evidence: str) -> Measurement:
    if estimate is None:
        return Measurement(metric=metric, segment=group.name, value=None, evidence=evidence)
    return Measurement(
        metric=metric,
        segment=group.name,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        evidence=evidence,
    )
