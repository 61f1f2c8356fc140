"""Measurements set against the rules in force. Closed by default: what was not measured, or is no number, never passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import isfinite

from pipelines.contracts import Blocked, DataFault, GateVerdict, Verdict
from pipelines.spec import GATES, Gate, StampedRule
from pipelines.validation import fairness
from pipelines.validation.gates import (
    artefact,
    calibration,
    champion,
    data_quality,
    discrimination,
    explainability,
    latency,
    leakage,
    monotonicity,
    robustness,
    stability,
    stress,
)
from pipelines.validation.gates.inputs import Inputs
from pipelines.validation.measurement import Measurement

Measure = Callable[[Inputs], Iterable[Measurement]]

MEASURES: dict[Gate, Measure] = {
    "discrimination": discrimination.measure,
    "calibration": calibration.measure,
    "stability": stability.measure,
    "champion": champion.measure,
    "leakage": leakage.measure,
    "data_quality": data_quality.measure,
    "monotonicity": monotonicity.measure,
    "robustness": robustness.measure,
    "stress": stress.measure,
    "fairness": fairness.measure,
    "explainability": explainability.measure,
    "latency": latency.measure,
    "artefact": artefact.measure,
}


def verdicts_of(inputs: Inputs, measures: Mapping[Gate, Measure] | None = None) -> tuple[GateVerdict, ...]:
    """The verdicts of every gate: one for each rule in force and each segment it was measured for, at least one for a gate.

    Where nothing could be compared, the rules against any opponent apply, and what they ask for was not measured.
    A gate that refuses half way has measured nothing: a rule might otherwise pass on the segments that came first.
    """
    known = MEASURES if measures is None else measures
    in_force = [rule for rule in _rules(inputs) if inputs.opponent is None or inputs.opponent.role in rule.against]
    found: list[GateVerdict] = []
    for gate in GATES:
        rules = [rule for rule in in_force if rule.gate == gate]
        if rules:
            measured, refusal = _measured(inputs, gate, known.get(gate))
            found += [verdict for rule in rules for verdict in _applied(rule, measured, refusal)]
        else:
            found.append(_without_rules(inputs, gate))
    return tuple(found)


def measured_once(inputs: Inputs) -> dict[Gate, Measure]:
    """Measures that remember what they found of these inputs, to be judged by several days' rules."""

    def remembering(measure: Measure) -> Measure:
        found: list[tuple[Measurement, ...]] = []

        def remembered(_: Inputs) -> Iterable[Measurement]:
            if not found:
                found.append(tuple(measure(inputs)))
            return found[0]

        return remembered

    return {gate: remembering(measure) for gate, measure in MEASURES.items()}


def _rules(inputs: Inputs) -> tuple[StampedRule, ...]:
    return inputs.policy.rules_for(inputs.model.domain, inputs.model.tier, inputs.judged_on)


def _measured(inputs: Inputs, gate: Gate, measure: Measure | None) -> tuple[Sequence[Measurement], str]:
    """What the gate measured, and why it measured nothing."""
    if measure is None:
        return (), f"nothing here measures {gate}"
    try:
        measured = tuple(measure(inputs))
    except (Blocked, DataFault) as reason:
        return (), str(reason)
    twice = [name for name, count in Counter((m.metric, m.segment) for m in measured).items() if count > 1]
    if twice:
        return (), f"measured more than once, so nobody knows which holds: {twice}"
    return measured, ""


def _applied(rule: StampedRule, measured: Sequence[Measurement], refusal: str) -> Iterator[GateVerdict]:
    """One verdict for each segment that the rule's metric was measured for, or one that says that it was not."""
    matching = [m for m in measured if m.metric == rule.metric]
    if not matching:
        have = ", ".join(sorted({m.metric for m in measured})) or "nothing"
        yield _verdict(
            rule, Measurement(metric=rule.metric, value=None, evidence=refusal or f"not measured; have {have}")
        )
    for measurement in matching:
        yield _verdict(rule, measurement)


def _verdict(rule: StampedRule, measured: Measurement) -> GateVerdict:
    asked = {"value": measured.value, "low": measured.low, "high": measured.high}[rule.bound]
    verdict, evidence = Verdict.NOT_ASSESSABLE, measured.evidence
    if _number(measured.value) is None or asked is None or not isfinite(asked):
        if _number(measured.value) is not None:
            evidence = f"the {rule.bound} end of the interval, which must hold, was not computed; {evidence}"
    else:
        verdict = Verdict.PASS if rule.holds(asked) else Verdict.FAIL
    return GateVerdict(
        gate=rule.gate,
        metric=rule.metric,
        segment=measured.segment,
        observed=_number(measured.value),
        low=_number(measured.low),
        high=_number(measured.high),
        limit=rule.limit if rule.bound == "value" else f"{rule.bound} end {rule.limit}",
        verdict=verdict,
        effect=rule.effect,
        evidence=evidence,
        rule=rule.name,
        policy=rule.pack,
        policy_version=rule.pack_version,
        source=rule.source,
    )


def _without_rules(inputs: Inputs, gate: Gate) -> GateVerdict:
    policy, model = inputs.policy, inputs.model
    return GateVerdict(
        gate=gate,
        metric="rules",
        segment="",
        observed=None,
        low=None,
        high=None,
        limit="at least one rule",
        verdict=Verdict.NOT_ASSESSABLE,
        effect="block",
        evidence=f"no rule in force says what {gate} must hold for {model.domain} models of tier {model.tier} on "
        f"{inputs.judged_on}",
        rule=f"{policy.policy}/{gate}",
        policy=policy.policy,
        policy_version=policy.version,
        source="closed by default: a gate that asks for nothing has not been passed",
    )


def _number(value: float | None) -> float | None:
    """A finite number, or nothing: NaN in a report would read as if something had been measured."""
    return value if value is not None and isfinite(value) else None
