"""Rules against measurements: what is absent, NaN or not asked for never passes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest
from judged_lender import ON, with_rules

from pipelines.contracts import Blocked, ConnectionBroken, DataFault, EvidenceMissing, GateVerdict, Verdict
from pipelines.spec import GATES, Rule
from pipelines.validation.gates.engine import MEASURES, verdicts_of
from pipelines.validation.gates.inputs import Inputs
from pipelines.validation.measurement import Measurement
from pipelines.validation.pages import observed


def rule(**changed: Any) -> Rule:
    return Rule(**{"gate": "latency", "metric": "p99_ms", "at_most": 10, "source": "the house's own"} | changed)


def measured(**changed: Any) -> Measurement:
    return Measurement(**{"metric": "p99_ms", "value": 5.0, "low": 4.0, "high": 6.0, "evidence": "measured"} | changed)


def judged(inputs: Inputs, rules: list[Rule], found: Any, **changed: Any) -> list[GateVerdict]:
    """Verdicts on the latency gate, where `found` is what it measures, or raises."""

    def measure(_: Inputs) -> Iterator[Measurement]:
        for item in found:
            if isinstance(item, Exception):
                raise item
            yield item

    everything = verdicts_of(with_rules(inputs, *rules, **changed), {"latency": measure})
    return [v for v in everything if v.gate == "latency"]


def blocks(verdict: GateVerdict) -> bool:
    return verdict.effect == "block" and verdict.verdict is not Verdict.PASS


def test_a_number_within_the_limit_passes_and_the_verdict_says_by_which_rule(inputs: Inputs) -> None:
    [verdict] = judged(inputs, [rule()], [measured(value=10.0)])
    assert verdict.verdict is Verdict.PASS
    assert (verdict.rule, verdict.policy, verdict.policy_version) == ("house/latency.p99_ms", "house", "7")
    assert (verdict.source, verdict.limit, verdict.observed) == ("the house's own", "at most 10", 10.0)
    assert judged(inputs, [rule()], [measured(value=10.1)])[0].verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("value", "ends", "shown"),
    [
        (30_000.0, (None, None), "30000"),  # rows are counted, not measured
        (0.38451, (0.23054, 0.59636), "0.3845 [0.2305, 0.5964]"),
        (9_999.0, (12_345.6, 2e9), "9999 [12346, 2e+09]"),
    ],
)
def test_a_person_reads_four_digits_and_counts_in_full(
    inputs: Inputs, value: float, ends: tuple[float | None, float | None], shown: str
) -> None:
    [verdict] = judged(inputs, [rule()], [measured(value=value, low=ends[0], high=ends[1])])
    assert observed(verdict) == shown


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("limit", [{"at_most": 10}, {"at_most": None, "at_least": 10}], ids=["at most", "at least"])
def test_what_is_no_number_blocks(inputs: Inputs, value: float | None, limit: dict[str, Any]) -> None:
    [verdict] = judged(inputs, [rule(**limit)], [measured(value=value, evidence="why not")])
    assert verdict.verdict is Verdict.NOT_ASSESSABLE
    assert verdict.observed is None
    assert verdict.evidence == "why not"
    assert blocks(verdict)


@pytest.mark.parametrize("low", [None, float("nan")])
def test_a_bound_that_was_asked_for_and_is_absent_blocks(inputs: Inputs, low: float | None) -> None:
    [verdict] = judged(inputs, [rule(bound="low")], [measured(low=low)])
    assert verdict.verdict is Verdict.NOT_ASSESSABLE
    assert "the low end" in verdict.evidence


@pytest.mark.parametrize(
    ("role", "limits"), [("champion", ["at most 1"]), ("benchmark", ["at most 2"]), (None, ["at most 1", "at most 2"])]
)
def test_a_rule_is_applied_against_the_opponent_it_names_and_without_one_every_rule_blocks(
    inputs: Inputs, role: str | None, limits: list[str]
) -> None:
    rules = [
        rule(gate="champion", metric="auc_difference", at_most=limit, against=[against])
        for limit, against in ((1, "champion"), (2, "benchmark"))
    ]
    opponent: Any = SimpleNamespace(role=role) if role else None
    measures = {"champion": lambda _: [measured(metric="auc_difference", value=1.5)] if role else []}
    found = [v for v in verdicts_of(with_rules(inputs, *rules, opponent=opponent), measures) if v.gate == "champion"]
    assert [v.limit for v in found] == limits
    assert [blocks(v) for v in found] == {"champion": [True], "benchmark": [False], None: [True, True]}[role]


def test_only_rules_of_the_champion_gate_are_against_somebody() -> None:
    with pytest.raises(ValueError, match="only rules of the gate champion"):
        rule(against=["champion"])


def test_the_bound_that_the_rule_names_must_hold(inputs: Inputs) -> None:
    found = [measured(value=9.0, low=8.0, high=11.0)]
    assert [judged(inputs, [rule(bound=b)], found)[0].verdict for b in ("value", "low", "high")] == [
        Verdict.PASS,
        Verdict.PASS,
        Verdict.FAIL,
    ]


def test_a_metric_that_was_not_measured_blocks(inputs: Inputs) -> None:
    [verdict] = judged(inputs, [rule(metric="p50_ms")], [measured()])
    assert verdict.verdict is Verdict.NOT_ASSESSABLE
    assert verdict.evidence == "not measured; have p99_ms"
    assert blocks(verdict)


@pytest.mark.parametrize("refusal", [EvidenceMissing("one class"), Blocked("no"), DataFault("wrong")])
def test_a_gate_that_refuses_half_way_has_measured_nothing(inputs: Inputs, refusal: Exception) -> None:
    [verdict] = judged(inputs, [rule()], [measured(segment="first"), refusal])
    assert verdict.verdict is Verdict.NOT_ASSESSABLE
    assert verdict.evidence == str(refusal)


def test_an_outage_is_no_verdict(inputs: Inputs) -> None:
    with pytest.raises(ConnectionBroken):
        judged(inputs, [rule()], [ConnectionBroken("gone")])


def test_a_number_measured_twice_blocks(inputs: Inputs) -> None:
    [verdict] = judged(inputs, [rule()], [measured(value=1.0), measured(value=99.0)])
    assert verdict.verdict is Verdict.NOT_ASSESSABLE


def test_each_segment_has_a_verdict_of_its_own(inputs: Inputs) -> None:
    verdicts = judged(inputs, [rule()], [measured(segment="a"), measured(segment="b", value=99.0)])
    assert [(v.segment, v.verdict) for v in verdicts] == [("a", Verdict.PASS), ("b", Verdict.FAIL)]


def test_a_rule_that_records_does_not_block(inputs: Inputs) -> None:
    [verdict] = judged(inputs, [rule(effect="record")], [measured(value=99.0)])
    assert verdict.verdict is Verdict.FAIL
    assert not blocks(verdict)


def test_every_gate_without_a_rule_blocks(inputs: Inputs) -> None:
    verdicts = verdicts_of(with_rules(inputs))
    assert [v.gate for v in verdicts] == list(GATES)
    assert all(blocks(v) and "no rule in force" in v.evidence for v in verdicts)


def test_a_gate_that_nothing_measures_blocks(inputs: Inputs) -> None:
    [verdict] = [v for v in verdicts_of(with_rules(inputs, rule()), {}) if v.gate == "latency"]
    assert blocks(verdict)


def test_a_rule_holds_from_its_first_to_its_last_day(inputs: Inputs) -> None:
    dated = rule(in_force_from=date(2026, 7, 21), in_force_to=date(2026, 12, 31))
    for on, in_force in ((date(2026, 7, 20), False), (date(2026, 7, 21), True), (ON, True), (date(2027, 1, 1), False)):
        [verdict] = judged(inputs, [dated], [measured()], judged_on=on)
        assert (verdict.metric == "p99_ms") is in_force, on


def test_a_rule_for_another_use_or_tier_is_not_applied(inputs: Inputs) -> None:
    for other in (rule(uses=("aml",)), rule(tiers=(3,))):
        [verdict] = judged(inputs, [other], [measured()])
        assert "no rule in force" in verdict.evidence


def test_a_measured_gate_is_named_as_rules_name_it() -> None:
    assert set(MEASURES) <= set(GATES)
