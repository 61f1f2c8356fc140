"""The packs of jurisdictions: the same measurements judged on two days differ by what the law changed between them."""

from __future__ import annotations

from datetime import date
from functools import cache

import pytest
from judged_rows import group, measured, table_of
from small_night import MODEL

from pipelines.contracts import GateVerdict
from pipelines.settings import REPOSITORY
from pipelines.spec import Policy, StampedRule, load_policy
from pipelines.validation.fairness import FairnessTable, measurements
from pipelines.validation.gates.engine import verdicts_of
from pipelines.validation.gates.inputs import Inputs

PACKS = ("us-federal", "us-nj", "eu-ai-act", "uk-ss1-23")
BEFORE, AFTER = date(2026, 7, 20), date(2026, 7, 21)
ADVERSE, EVEN = 600, 779


@cache
def judged(favourable: int) -> FairnessTable:
    """1000 women of whom so many are favoured, and 1000 men of whom 893 are."""
    return table_of(group("sex=female", 1000, favourable), group("sex=male", 1000, 893))


def pack(name: str) -> Policy:
    return load_policy(REPOSITORY / "policies", name)


def fairness_rules(policy: Policy, on: date, domain: str = "credit") -> list[StampedRule]:
    return [rule for rule in policy.rules_for(domain, 1, on) if rule.gate == "fairness"]


def broken(policy: Policy, on: date, favourable: int = ADVERSE) -> dict[str, str]:
    """What the rules about adverse impact of a day say of the measurements: source of each that does not hold, and its effect."""
    found = measured(judged(favourable), "significant_adverse_impact")
    return {
        rule.source: rule.effect
        for rule in fairness_rules(policy, on)
        if rule.metric == "significant_adverse_impact" and not all(rule.holds(m.value) for m in found.values())
    }


def test_the_end_of_the_effects_test_is_the_only_difference_between_the_days():
    federal = pack("us-federal")
    before, after = broken(federal, BEFORE), broken(federal, AFTER)
    [ended] = before.keys() - after.keys()
    [begun] = after.keys() - before.keys()
    assert "1002.6(a)" in ended
    assert before[ended] == "block"
    assert "2026-07804" in begun
    assert after[begun] == "record"
    assert "block" not in after.values()
    kept = {rule.source for rule in fairness_rules(federal, BEFORE)} & {
        rule.source for rule in fairness_rules(federal, AFTER)
    }
    everything = {rule.source for day in (BEFORE, AFTER) for rule in fairness_rules(federal, day)}
    assert everything - kept == {ended, begun}


def judged_by_the_engine(name: str, on: date) -> dict[tuple[str, str, str], GateVerdict]:
    """The verdicts of the fairness gate on the same measurements, by rule, source and segment."""
    policy = pack(name)
    inputs = Inputs(
        settings=None,
        model=MODEL.model_copy(update={"domain": "credit", "tier": 1}),
        policy=policy,
        measuring=policy.measuring,
        candidate=None,
        opponent=None,
        comparison=None,
        judged_on=on,
    )
    verdicts = verdicts_of(inputs, {"fairness": lambda _: measurements(judged(ADVERSE))})
    return {(v.rule, v.source, v.segment): v for v in verdicts if v.gate == "fairness"}


def test_the_engine_says_the_same_of_both_days_but_for_what_the_law_changed():
    before, after = (judged_by_the_engine("us-federal", day) for day in (BEFORE, AFTER))
    assert all(before[key] == after[key] for key in before.keys() & after.keys())
    changed = [before[key] for key in before.keys() - after.keys()] + [
        after[key] for key in after.keys() - before.keys()
    ]
    assert {v.rule for v in changed} == {"us-federal/fairness.significant_adverse_impact"}
    assert {(v.segment, v.verdict.value, v.effect) for v in changed} == {
        ("sex=female", "fail", "block"),
        ("sex=female", "fail", "record"),
        ("sex=male", "pass", "block"),
        ("sex=male", "pass", "record"),
    }
    nj_before, nj_after = (
        {key: v for key, v in judged_by_the_engine("us-nj", day).items() if v.policy == "us-nj"}
        for day in (BEFORE, AFTER)
    )
    assert nj_before == nj_after
    assert [v.effect for v in nj_before.values() if v.verdict.value == "fail"] == ["block"]


def test_new_jersey_blocks_on_both_days():
    for day in (BEFORE, AFTER):
        blocking = [source for source, effect in broken(pack("us-nj"), day).items() if effect == "block"]
        assert any("N.J.S.A. 10:5-12" in source for source in blocking)
    assert not any("N.J.S.A." in source for source in broken(pack("us-nj"), date(2025, 12, 14)))


@pytest.mark.parametrize("name", PACKS)
@pytest.mark.parametrize("day", [BEFORE, AFTER, date(2027, 12, 2)])
def test_a_pass_on_approvals_blocks_under_no_pack(name: str, day: date):
    assert not broken(pack(name), day, EVEN)


def test_the_ai_act_blocks_from_the_day_it_applies():
    policy = pack("eu-ai-act")
    assert set(broken(policy, date(2027, 12, 1)).values()) == {"record"}
    assert "block" in broken(policy, date(2027, 12, 2)).values()


@pytest.mark.parametrize("name", PACKS)
def test_what_cannot_be_assessed_blocks_credit_under_every_pack(name: str):
    for day in (BEFORE, AFTER):
        rules = fairness_rules(pack(name).require_in_force(day), day)
        assert any(rule.metric == "assessed_groups" and rule.effect == "block" for rule in rules)
        assert any(rule.metric == "prohibited_inputs" and rule.effect == "block" for rule in rules)


@pytest.mark.parametrize("name", PACKS)
@pytest.mark.parametrize("domain", ["aml", "fraud"])
def test_laws_of_lending_are_not_applied_to_other_uses(name: str, domain: str):
    rules = fairness_rules(pack(name), AFTER, domain)
    assert not [rule for rule in rules if rule.pack != "internal"]


@pytest.mark.parametrize("name", PACKS)
def test_a_pack_inherits_the_banks_own_sections_and_says_so_in_its_version(name: str):
    policy, internal = pack(name), pack("internal")
    assert policy.measuring == internal.measuring
    assert policy.approvals == internal.approvals
    assert policy.version.endswith(f"internal-{internal.version}")
    assert set(internal.rules) <= set(policy.rules)


def test_sr_26_2_takes_the_place_of_sr_11_7_without_changing_a_limit():
    last, first = (pack("us-federal").rules_for("credit", 1, day) for day in (date(2026, 4, 16), date(2026, 4, 17)))

    def limits(rules: tuple[StampedRule, ...], guidance: str) -> set[tuple[str, str, str]]:
        return {(rule.gate, rule.metric, rule.limit) for rule in rules if rule.source.startswith(guidance)}

    assert limits(last, "SR 11-7") == limits(first, "SR 26-2")
    assert len(limits(first, "SR 26-2")) == 4
    assert not limits(last, "SR 26-2")
    assert not limits(first, "SR 11-7")
    assert {rule.effect for rule in first if rule.source.startswith("SR 26-2")} == {"record"}
    for domain in ("aml", "fraud"):
        rules = pack("us-federal").rules_for(domain, 1, date(2026, 4, 17))
        assert any(rule.source.startswith("SR 26-2") for rule in rules)
