"""Scorecard against the champion of examples/lending_club: real loans, judged out of time, and the published months of 2011."""

from __future__ import annotations

import pytest
from example_project import RunExample

from pipelines.evaluation import intervals, weighted
from pipelines.settings import REPOSITORY
from pipelines.spec import Measuring, load_model, load_policy
from pipelines.validation.candidate import Candidate, load_candidate
from pipelines.validation.comparison import Comparison, Paired, compare
from pipelines.validation.opponent import Opponent, load_opponent

pytestmark = pytest.mark.timeout(1800)  # the first test waits for the whole example

CHAMPION, CARD = 1, 2


@pytest.fixture(scope="module")
def measuring() -> Measuring:
    found = load_policy(REPOSITORY / "policies", "internal").measuring
    assert found is not None
    return found


@pytest.fixture(scope="module")
def sides(lending_club: RunExample) -> tuple[Candidate, Opponent]:
    settings = lending_club.machine.settings
    model = load_model(settings.models, "lending_club")
    candidate = load_candidate(settings, model, CARD)
    opponent = load_opponent(settings, model, candidate)
    assert opponent is not None
    return candidate, opponent


@pytest.fixture(scope="module")
def comparison(lending_club: RunExample, sides: tuple[Candidate, Opponent], measuring: Measuring) -> Comparison:
    candidate, opponent = sides
    return compare(lending_club.machine.settings, candidate.model, candidate, opponent, measuring)


def test_the_card_is_compared_with_the_champion_on_every_row_it_is_judged_on(
    comparison: Comparison, sides: tuple[Candidate, Opponent], lending_club: RunExample
) -> None:
    assert (comparison.candidate.version, comparison.candidate.algorithm) == (CARD, "scorecard")
    assert (comparison.opponent.version, comparison.opponent.role) == (CHAMPION, "champion")
    assert (comparison.rows, comparison.unmatched) == (len(sides[0].judged), 0)
    assert comparison.learnt_from == 0
    trained = {record["version"]: record["metrics"] for record in lending_club.records("train", "metrics")}
    for side, version in (("candidate", CARD), ("opponent", CHAMPION)):
        for name in ("auc", "gini", "ks", "average_precision", "brier", "calibration_error"):
            found = getattr(comparison.measure(name), side).value
            assert found == pytest.approx(trained[version][name], abs=1e-3 if name == "calibration_error" else 1e-9)


def test_delong_and_the_bootstrap_agree(
    comparison: Comparison, sides: tuple[Candidate, Opponent], measuring: Measuring
) -> None:
    rows = Paired(*sides)
    ours, theirs = weighted.auc(rows.label, rows.candidate), weighted.auc(rows.label, rows.opponent)
    drawn = intervals.bootstrap(
        rows.label,
        lambda weights: ours(weights) - theirs(weights),
        confidence=measuring.confidence,
        resamples=measuring.resamples,
        seed=measuring.seed,
    )
    by_delong = comparison.measure("auc").difference
    assert drawn.value == pytest.approx(by_delong.value, abs=1e-12)
    assert drawn.high - drawn.low == pytest.approx(by_delong.high - by_delong.low, rel=0.2)
    assert by_delong.low < by_delong.value < by_delong.high


def test_who_is_swapped_and_whose_reasons_agree(comparison: Comparison) -> None:
    swapped = comparison.equal_approval.swap_set
    groups = (swapped.both, swapped.only_candidate, swapped.only_opponent, swapped.neither)
    assert sum(group.rows for group in groups) == comparison.rows
    assert sum(group.events for group in groups) == comparison.events
    assert swapped.only_candidate.rows == swapped.only_opponent.rows > 50
    bad = comparison.equal_approval.measures[0]
    approved = swapped.both.rows + swapped.only_candidate.rows
    assert bad.candidate.value == pytest.approx((swapped.both.events + swapped.only_candidate.events) / approved)
    assert comparison.reasons is not None
    assert 0.2 < comparison.reasons.same_first < 1
    assert 0.3 < comparison.reasons.overlap < 1
    assert comparison.segments


def test_the_last_published_months_are_scored_by_both(
    comparison: Comparison, lending_club: RunExample, measuring: Measuring
) -> None:
    assert [night.business_date.isoformat() for night in comparison.nights] == [
        "2011-12-31",
        "2011-11-30",
        "2011-10-31",
    ]
    for night in comparison.nights:
        assert night.why_not == ""
        assert night.rows > 1_000
        assert night.opponent_approved == pytest.approx(measuring.approved_share, abs=0.01)
        assert night.rank_correlation is not None
        assert 0.7 < night.rank_correlation < 1
        moved = night.newly_approved - night.newly_refused
        assert night.candidate_approved == pytest.approx((night.opponent_approved or 0) + moved / night.rows)
        assert night.known is not None
        assert night.known.rows > 1_000
        assert night.known.opponent_auc is not None
        assert night.known.opponent_auc > 0.6
