"""The gate `champion`: what it measures, and that nothing to compare with is never a pass."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from two_models import measuring, sides

from pipelines.contracts import EvidenceMissing
from pipelines.settings import REPOSITORY, Settings
from pipelines.spec import load_policy
from pipelines.validation.comparison import compare
from pipelines.validation.gates import champion
from pipelines.validation.measurement import Measurement


def inputs(settings: Settings, **given: Any) -> Any:
    """What a gate is given, as far as this one looks at it."""
    label, good, poor = scores()
    candidate, opponent = sides(label, good, poor)
    whole = {"comparison": None, "opponent": opponent, "candidate": candidate, "model": candidate.model}
    return SimpleNamespace(settings=settings, measuring=measuring(), **(whole | given))


def scores(rows: int = 3_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(8)
    risk = random.normal(size=rows)
    label = (random.random(rows) < 1 / (1 + np.exp(2 - 1.5 * risk))).astype(np.int8)
    return label, 1 / (1 + np.exp(2 - 1.4 * risk)), 1 / (1 + np.exp(2 - 0.3 * risk - random.normal(size=rows)))


def by_metric(found: list[Measurement]) -> dict[tuple[str, str], Measurement]:
    return {(one.metric, one.segment): one for one in found}


def holds(found: list[Measurement], against: str = "champion") -> dict[str, bool]:
    """By metric, whether the repository's own rules hold."""
    rules = {
        rule.metric: rule
        for rule in load_policy(REPOSITORY / "policies", "internal").rules
        if rule.gate == "champion" and against in rule.against
    }
    return {
        one.metric: rules[one.metric].holds(
            {"value": one.value, "low": one.low, "high": one.high}[rules[one.metric].bound]
        )
        for one in found
    }


def test_every_difference_comes_with_its_interval_and_says_on_what(settings: Settings) -> None:
    given = inputs(settings)
    comparison = compare(settings, given.model, given.candidate, given.opponent, given.measuring)
    found = by_metric(list(champion.measure(inputs(settings, comparison=comparison))))
    assert set(found) == {
        *((f"{name}_difference", "") for name in ("auc", "bad_rate", "brier")),
        ("compared_share", ""),
        ("segment_auc_difference", "product=card"),
    }
    for name in ("auc", "bad_rate", "brier"):
        one, expected = found[f"{name}_difference", ""], comparison.measure(name).difference
        assert (one.value, one.low, one.high) == (expected.value, expected.low, expected.high)
        assert "version 2 less champion version 1 on 3000 rows" in one.evidence
        assert "had learnt from 0 of them" in one.evidence
    assert found["compared_share", ""].value == 1
    assert found["segment_auc_difference", "product=card"].value == found["auc_difference", ""].value


def test_without_a_comparison_it_is_made_here(settings: Settings) -> None:
    assert "auc_difference" in {one.metric for one in champion.measure(inputs(settings))}


def test_a_better_candidate_holds_every_rule_and_a_worse_one_breaks_them(settings: Settings) -> None:
    assert all(holds(list(champion.measure(inputs(settings)))).values())
    label, good, poor = scores()
    candidate, opponent = sides(label, poor, good)
    found = list(champion.measure(inputs(settings, candidate=candidate, opponent=opponent)))
    assert holds(found) == {
        "auc_difference": False,
        "bad_rate_difference": False,
        "brier_difference": False,
        "segment_auc_difference": False,
        "compared_share": True,
    }
    assert holds(found, "benchmark") == holds(found), "surely worse than a sibling blocks a first model too"


def test_too_few_rows_to_tell_do_not_pass_although_the_point_is_equal(settings: Settings) -> None:
    label, good, _ = scores(120)
    noisy = np.clip(good + np.random.default_rng(2).normal(0, 0.1, 120), 0.001, 0.999)
    candidate, opponent = sides(label, noisy, good)
    found = by_metric(list(champion.measure(inputs(settings, candidate=candidate, opponent=opponent))))
    area = found["auc_difference", ""]
    assert area.low is not None
    assert area.low < -0.01
    assert not holds([area])["auc_difference"]
    assert holds([area], "benchmark")["auc_difference"], "a first model replaces nobody"


def test_rows_left_out_are_a_measure_of_their_own(settings: Settings) -> None:
    label, good, poor = scores()
    matched = np.arange(3_000) % 10 != 0
    candidate, opponent = sides(label, good, poor[matched], matched=matched)
    found = by_metric(list(champion.measure(inputs(settings, candidate=candidate, opponent=opponent))))
    assert found["compared_share", ""].value == 0.9
    assert not holds([found["compared_share", ""]])["compared_share"]


def test_nothing_to_compare_with_is_missing_evidence(settings: Settings) -> None:
    """The model has no champion in this registry, and no sibling."""
    with pytest.raises(EvidenceMissing, match="no version was ever champion"):
        list(champion.measure(inputs(settings, opponent=None)))
