"""Groups compared on the favourable outcome: what is judged, what is only named, and what cannot be assessed."""

from __future__ import annotations

import numpy as np
import pytest
from judged_rows import FAIRNESS, MEASURING, group, measured, table_of

from pipelines.validation.fairness import GROUP_METRICS, FairnessTable, compare, measurements, outcomes_of


def holds(table: FairnessTable, segment: str) -> bool:
    """The four-fifths rule with its test of significance, as the packs ask it."""
    return measured(table, "significant_adverse_impact")[segment].value <= 0.20


def test_a_denial_ratio_of_0484_is_a_pass_where_approvals_stand_at_0872():
    table = table_of(group("sex=female", 1000, 779), group("sex=male", 1000, 893))
    denied = {"female": 1000 - 779, "male": 1000 - 893}
    assert round(denied["male"] / denied["female"], 3) == 0.484
    ratio = measured(table, "adverse_impact_ratio")["sex=female"]
    assert round(ratio.value, 3) == 0.872
    assert ratio.low < 0.872 < ratio.high
    assert "favourable 779 of 1000, in sex=male 893 of 1000" in ratio.evidence
    assert "two-proportion z test" in ratio.evidence
    assert holds(table, "sex=female")


def test_below_four_fifths_and_significant_is_adverse_impact():
    table = table_of(group("sex=female", 1000, 600), group("sex=male", 1000, 893))
    assert not holds(table, "sex=female")
    shortfall = measured(table, "significant_adverse_impact")["sex=female"]
    assert shortfall.value == pytest.approx(1 - 600 / 893)
    assert shortfall.low < shortfall.value < shortfall.high


def test_exactly_four_fifths_holds():
    table = table_of(group("sex=female", 1000, 720), group("sex=male", 1000, 900))
    assert measured(table, "adverse_impact_ratio")["sex=female"].value == 0.8
    assert measured(table, "significant_adverse_impact")["sex=female"].value == 0.2


def test_below_four_fifths_by_chance_is_shown_and_not_counted():
    table = table_of(group("sex=female", 100, 15), group("sex=male", 100, 20))
    ratio = measured(table, "adverse_impact_ratio")["sex=female"]
    assert ratio.value == 0.75
    shortfall = measured(table, "significant_adverse_impact")["sex=female"]
    assert shortfall.value == 0
    assert "no significant difference, so no shortfall is counted" in shortfall.evidence


def test_the_test_is_two_sided():
    # One-sided this difference would be significant: p = 0.038.
    table = table_of(group("sex=female", 200, 130), group("sex=male", 200, 147))
    [female] = [g for g in table.groupings[0].groups if g.name == "sex=female"]
    assert female.p_value == pytest.approx(0.0663, abs=1e-3)
    assert not female.significant


def test_few_expected_rows_are_tested_exactly():
    table = table_of(group("sex=female", 100, 94), group("sex=male", 100, 100))
    assert "Fisher's exact test" in measured(table, "adverse_impact_ratio")["sex=female"].evidence


@pytest.mark.parametrize(
    ("groups", "reason"),
    [
        ([("sex=female", 1000, 900)], "1 of 1 groups has 100 rows or more; two are needed"),
        ([("sex=female", 1000, 900), ("sex=male", 99, 1)], "1 of 2 groups has 100 rows or more; two are needed"),
        ([("sex=female", 500, 400), ("sex=male", 500, 400), (None, 300, 300)], "known for 76.9% of the rows"),
        ([("sex=female", 500, 0), ("sex=male", 500, 0)], "nobody has the favourable outcome"),
        ([("sex=female", 500, 500), ("sex=male", 500, 500)], "the scores tell nobody apart"),
    ],
)
def test_what_cannot_be_compared_is_not_assessable_and_never_one(groups, reason):
    table = table_of(*(group(*g) for g in groups))
    for metric in ("assessed_groups", *GROUP_METRICS):
        [found] = measured(table, metric).values()
        assert found.value is None, metric
        assert reason in found.evidence


def test_a_small_group_is_named_and_nothing_more_is_said_of_it():
    table = table_of(group("sex=female", 500, 400), group("sex=male", 500, 450), group("sex=unknown", 7, 7))
    assert table.groupings[0].best == "sex=male"  # not the small group, of which everybody is favoured
    assert set(measured(table, "adverse_impact_ratio")) == {"sex=female", "sex=male"}
    [assessed] = measured(table, "assessed_groups").values()
    assert assessed.value == 2
    assert assessed.evidence.endswith("not judged, fewer than 100 rows: sex=unknown")
    assert "7" not in assessed.evidence.replace("1007", "")


def test_the_best_group_is_the_one_with_the_highest_favourable_rate_and_stands_at_one():
    table = table_of(group("a=1", 300, 150), group("a=2", 300, 240), group("a=3", 300, 200), name="a")
    assert table.groupings[0].best == "a=2"
    ratios = {name: found.value for name, found in measured(table, "adverse_impact_ratio").items()}
    assert ratios == {"a=1": 150 / 240, "a=2": 1.0, "a=3": 200 / 240}


def test_equal_opportunity_is_among_those_without_the_event():
    # Both sexes are approved alike; among good customers women are approved less, as more of the denied women are good.
    label = np.array([0] * 400 + [1] * 0 + [0] * 100 + [0] * 400 + [1] * 100, np.int8)
    favourable = np.array(([True] * 400 + [False] * 100) * 2)
    outcomes = outcomes_of(label, np.where(favourable, 0.05, 0.3), 0.8)
    assert (outcomes.favourable == favourable).all()
    members = np.array(["sex=female"] * 500 + ["sex=male"] * 500, object)
    grouping = compare("sex", members, outcomes, FAIRNESS, 0.95)
    female, male = grouping.groups
    assert female.impact.value == male.impact.value == 1.0
    assert female.opportunity.value == pytest.approx(400 / 500 - 400 / 400)
    assert female.opportunity.low < -0.2 < female.opportunity.high < -0.15
    assert male.opportunity.value == 0


def test_calibration_and_auc_are_of_the_group():
    random = np.random.default_rng(3)
    probability = random.uniform(0.02, 0.4, 6000)
    truth = np.where(np.arange(6000) < 3000, probability, probability / 2)  # the second group is overstated twofold
    outcomes = outcomes_of((random.random(6000) < truth).astype(np.int8), probability, 0.9)
    members = np.array(["sex=female"] * 3000 + ["sex=male"] * 3000, object)
    female, male = compare("sex", members, outcomes, FAIRNESS, 0.95).groups
    assert female.calibration.low < 1 < female.calibration.high
    assert male.calibration.high < 0.75
    assert male.calibration.value == pytest.approx(male.events / male.expected_events)
    assert 0.6 < female.auc < 0.8


def test_without_events_the_auc_of_a_group_is_not_assessable():
    table = table_of(group("sex=female", 200, 150), group("sex=male", 200, 180, events=20))
    assert measured(table, "group_auc")["sex=female"].value is None
    assert measured(table, "group_auc")["sex=male"].value is not None


def test_opportunity_is_not_judged_on_few_rows_without_the_event():
    table = table_of(group("a=1", 200, 150), group("a=2", 200, 150), group("a=3", 150, 100, events=60), name="a")
    assert set(measured(table, "equal_opportunity_difference")) == {"a=1", "a=2"}


def test_opportunity_of_one_group_alone_is_not_assessable():
    table = table_of(group("sex=female", 200, 150), group("sex=male", 150, 100, events=60))
    [found] = measured(table, "equal_opportunity_difference").values()
    assert found.segment == "sex"
    assert found.value is None
    assert "fewer than two groups have 100 rows without the event" in found.evidence


def test_equal_scores_are_treated_equally():
    outcomes = outcomes_of(np.zeros(10), np.array([0.1] * 6 + [0.2] * 4), 0.5)
    assert outcomes.favourable.tolist() == [True] * 6 + [False] * 4


def test_a_score_that_is_no_number_is_not_assessable():
    members = np.array(["sex=female"] * 200 + ["sex=male"] * 200, object)
    outcomes = outcomes_of(np.zeros(400), np.full(400, np.nan), 0.9)
    assert compare("sex", members, outcomes, FAIRNESS, 0.95).reason == "a score is not a finite number"


def test_a_policy_without_the_section_is_not_assessable():
    table = FairnessTable(
        model="small",
        version=1,
        rows=10,
        favourable_share=0.9,
        min_group=None,
        significance=None,
        confidence=MEASURING.confidence,
        reason="the policy has no section measuring.fairness",
    )
    found = list(measurements(table))
    assert {m.metric for m in found} == {"assessed_groups", "prohibited_inputs", *GROUP_METRICS}
    assert [m.value for m in found] == [None] * len(found)
