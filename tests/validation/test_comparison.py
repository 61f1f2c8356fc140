"""A comparison of scores written by hand, where every count is known beforehand."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from two_models import card, measuring, sides

from pipelines.contracts import EvidenceMissing
from pipelines.settings import Settings
from pipelines.training.contributions import Contributions
from pipelines.validation import page
from pipelines.validation.comparison import Comparison, compare
from pipelines.validation.nights import Known, Night
from pipelines.validation.shift import agreement, by_band, by_segment

#         a     b     c     d     e     f     g     h     i     j
LABEL = [0, 0, 0, 1, 0, 1, 0, 1, 1, 0]
OURS = [0.05, 0.10, 0.15, 0.60, 0.20, 0.55, 0.25, 0.70, 0.80, 0.50]
THEIRS = [0.05, 0.10, 0.15, 0.20, 0.60, 0.25, 0.55, 0.70, 0.80, 0.50]


def compared(settings: Settings, both, **keys) -> Comparison:
    candidate, opponent = both
    return compare(settings, candidate.model, candidate, opponent, measuring(**keys))


def random_scores(rows: int = 4_000, seed: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, a score that knows much about them and one that knows little."""
    random = np.random.default_rng(seed)
    risk = random.normal(size=rows)
    label = (random.random(rows) < 1 / (1 + np.exp(2 - 1.5 * risk))).astype(np.int8)
    good = 1 / (1 + np.exp(2 - 1.4 * risk))
    poor = 1 / (1 + np.exp(1.6 - 0.3 * risk - 0.5 * random.normal(size=rows)))
    return label, good, poor


def test_the_swap_set_is_who_only_one_approves(settings: Settings) -> None:
    """At 60% six rows are approved: a, b, c, e, g, j by the candidate; a, b, c, d, f, j by the opponent."""
    found = compared(settings, sides(LABEL, OURS, THEIRS), approved_share=0.6).equal_approval
    assert (found.share, found.approved) == (0.6, 6)
    swapped = found.swap_set
    assert (swapped.both.rows, swapped.both.events, swapped.both.bad_rate) == (4, 0, 0)
    assert (swapped.only_candidate.rows, swapped.only_candidate.events) == (2, 0)
    assert (swapped.only_opponent.rows, swapped.only_opponent.events, swapped.only_opponent.bad_rate) == (2, 2, 1)
    assert (swapped.neither.rows, swapped.neither.events) == (2, 2)
    assert swapped.difference is not None
    assert swapped.difference.value == -1
    assert -1 <= swapped.difference.low < swapped.difference.high < 0.1
    bad, loss, at_cut = found.measures
    assert (bad.candidate.value, bad.opponent.value) == (0, pytest.approx(2 / 6))
    assert bad.difference.value == pytest.approx(-2 / 6)
    assert loss.candidate.value == pytest.approx(0.05 + 0.10 + 0.15 + 0.20 + 0.25 + 0.50)
    assert loss.opponent.value == pytest.approx(0.05 + 0.10 + 0.15 + 0.20 + 0.25 + 0.50)
    assert found.loss_of == "accounts"
    assert (at_cut.candidate.value, at_cut.opponent.value) == (0.6, 0.6)


def test_the_expected_loss_is_in_money_where_the_rows_have_an_exposure(settings: Settings) -> None:
    exposure = np.array([100.0, 200, 300, 400, 500, 600, 700, 800, 900, 1000])
    both = sides(LABEL, OURS, THEIRS, columns={"exposure": exposure})
    found = compared(settings, both, approved_share=0.6).equal_approval
    assert found.loss_of == "exposure"
    loss = found.measures[1]
    assert loss.candidate.value == pytest.approx(0.05 * 100 + 0.1 * 200 + 0.15 * 300 + 0.2 * 500 + 0.25 * 700 + 500)
    assert loss.opponent.value == pytest.approx(0.05 * 100 + 0.1 * 200 + 0.15 * 300 + 0.2 * 400 + 0.25 * 600 + 500)


def test_at_the_opponents_cut_the_candidate_approves_what_lies_below(settings: Settings) -> None:
    """Everyone's risk doubled: as many are approved at equal approval, fewer at the champion's cut-off of 0.50."""
    both = sides(LABEL, np.minimum(2 * np.array(THEIRS), 1).tolist(), THEIRS)
    found = compared(settings, both, approved_share=0.6).equal_approval
    bad, _, at_cut = found.measures
    assert bad.difference.value == 0
    assert (at_cut.candidate.value, at_cut.opponent.value) == (0.5, 0.6)


def test_a_model_that_expects_less_loss_is_not_called_better(settings: Settings) -> None:
    label, good, _ = random_scores(1_000)
    found = compared(settings, sides(label, good / 2, good))
    loss = found.measure("expected_loss")
    assert loss.difference.high < 0
    assert page.better(loss) == ""
    assert page.better(found.measure("brier")) == "opponent"


def test_equal_scores_at_the_cut_are_taken_in_the_order_of_the_token(settings: Settings) -> None:
    label, score = [1, 0, 1, 0], [0.5, 0.5, 0.5, 0.5]
    first = sides(label, score, score, tokens=[f"{n:032x}" for n in (3, 0, 2, 1)])
    found = compared(settings, first, approved_share=0.5).equal_approval
    assert found.measures[0].candidate.value == 0  # tokens 0 and 1 have no event
    other = sides(label, score, score, tokens=[f"{n:032x}" for n in (0, 3, 1, 2)])
    assert compared(settings, other, approved_share=0.5).equal_approval.measures[0].candidate.value == 1


def test_a_candidate_equal_to_the_champion_differs_in_nothing(settings: Settings) -> None:
    label, good, _ = random_scores(1_000)
    same = card({"utilisation": 1.0})
    utilisation = np.random.default_rng(1).normal(size=1_000)
    both = sides(label, good, good, our_card=same, their_card=same, columns={"utilisation": utilisation})
    found = compared(settings, both)
    for one in (*found.measures, *found.equal_approval.measures):
        assert (one.difference.value, one.difference.low, one.difference.high) == (0, 0, 0), one.measure
        assert one.candidate == one.opponent
        assert page.better(one) == ""
    swapped = found.equal_approval.swap_set
    assert (swapped.only_candidate.rows, swapped.only_opponent.rows, swapped.difference) == (0, 0, None)
    assert all((band.moved, band.up, band.down) == (0, 0, 0) for band in found.bands)
    assert found.calibration[0] == found.calibration[1]
    assert found.reasons is not None
    assert (found.reasons.same_first, found.reasons.overlap) == (1, 1)
    assert "both approve the same rows" in page.summary(found)


def test_a_better_and_a_worse_candidate_are_told_apart(settings: Settings) -> None:
    label, good, poor = random_scores()
    better, worse = compared(settings, sides(label, good, poor)), compared(settings, sides(label, poor, good))
    surely = ("auc", "gini", "ks", "average_precision", "brier", "lift_top_decile", "bad_rate")
    for name in surely:
        assert page.better(better.measure(name)) == "candidate", name
        assert page.better(worse.measure(name)) == "opponent", name
        one, back = better.measure(name).difference, worse.measure(name).difference
        assert (back.value, back.low, back.high) == pytest.approx((-one.value, -one.high, -one.low)), name
    assert better.measure("auc").difference.low > 0.05
    assert better.measure("gini").difference.value == pytest.approx(2 * better.measure("auc").difference.value)
    with pytest.raises(EvidenceMissing, match="profit was not compared"):
        better.measure("profit")


def test_rows_the_opponent_cannot_score_are_counted_and_not_compared(settings: Settings) -> None:
    label, good, poor = random_scores(500)
    matched = np.arange(500) % 5 != 0
    found = compared(settings, sides(label, good, poor[matched], matched=matched))
    alone = compared(settings, sides(label[matched], good[matched], poor[matched]))
    assert (found.rows, found.unmatched) == (400, 100)
    assert found.events == int(label[matched].sum())
    assert found.measures[:2] == alone.measures[:2]
    assert found.equal_approval.swap_set == alone.equal_approval.swap_set


@pytest.mark.parametrize(
    ("label", "matched", "message"),
    [([0] * 10, None, "one class only"), (LABEL, [False] * 10, "no rows to measure"), (LABEL, None, "not finite")],
)
def test_what_cannot_be_compared_is_missing_evidence(
    settings: Settings, label: list[int], matched: list[bool] | None, message: str
) -> None:
    theirs = [] if matched else [*THEIRS[:9], float("nan")] if message == "not finite" else THEIRS
    with pytest.raises(EvidenceMissing, match=message):
        compared(settings, sides(label, OURS, theirs, matched=matched))


def test_bands_are_tenths_of_the_opponents_score() -> None:
    label = np.array([0, 1] * 10, np.int8)
    theirs = np.linspace(0.05, 0.95, 20)
    ours = theirs.copy()
    ours[0], ours[19] = 0.96, 0.04  # the lowest becomes the highest and the reverse: all between move by one place
    lowest, *between, highest = by_band(label, ours, theirs)
    assert (lowest.rows, lowest.events, lowest.band, highest.band) == (2, 1, 1, 10)
    assert lowest.moved == pytest.approx((0.96 - 0.05) / 2)
    assert highest.moved == pytest.approx((0.04 - 0.95) / 2)
    assert (lowest.up, lowest.down) == (0.5, 0)
    assert (highest.up, highest.down) == (0, 0.5)
    assert all((band.up, band.down, band.moved) == (0, 0, 0) for band in between)


def test_segments_are_the_categories_of_ten_rows_and_more_and_small_ones_have_no_area() -> None:
    label, good, poor = random_scores(600)
    product = pa.array(["card"] * 400 + ["loan"] * 180 + [None] * 11 + ["lease"] * 9)
    label[580:] = 0
    card_, loan, absent = by_segment(pa.table({"product": product}), ("product",), label, good, poor, 0.95)
    assert [s.segment for s in (card_, loan, absent)] == ["product=card", "product=loan", "product=(absent)"]
    assert (card_.rows, loan.rows, absent.rows) == (400, 180, 11)
    assert card_.moved == pytest.approx((good - poor)[:400].mean())
    assert card_.auc_difference is not None
    assert card_.auc_difference.value > 0.05
    assert absent.auc_difference is None


def test_reasons_agree_by_name_whatever_their_place_among_the_features() -> None:
    ours = Contributions(0.0, np.array([[3.0, 2, 1], [3, 2, 1], [1, -1, -1], [-1, -1, -1]]), ("a", "b", "c"))
    theirs = Contributions(0.0, np.array([[1.0, 3, 2], [9, 0, 0], [0, 0, 5], [0, 0, 0]]), ("c", "a", "d"))
    found = agreement(ours, theirs)  # abc with adc; abc with c; a with d; nothing with nothing
    assert found.rows == 4
    assert found.same_first == 2 / 4
    assert found.overlap == pytest.approx((2 / 3 + 1 / 3 + 0 + 1) / 4)
    assert found.first_reasons == {"a": (3, 1), "c": (0, 1), "d": (0, 1)}


def test_reasons_are_compared_on_rows_that_both_refuse(settings: Settings) -> None:
    """Refused by both are h and i; the cards give utilisation and trend as reasons."""
    above = np.ones(10)
    both = sides(
        LABEL,
        OURS,
        THEIRS,
        columns={"utilisation": above, "trend": above},
        our_card=card({"utilisation": 2.0, "trend": 1.0}),
        their_card=card({"trend": 1.0}),
    )
    found = compared(settings, both, approved_share=0.6).reasons
    assert found is not None
    assert (found.rows, found.same_first, found.overlap) == (2, 0, 0.5)


def test_the_page_opens_offline_and_holds_no_clock_in_what_is_compared(settings: Settings, tmp_path) -> None:
    label, good, poor = random_scores(1_000)
    candidate, opponent = sides(label, good, poor, benchmark=True)
    found = compared(settings, (candidate, opponent))
    assert compared(settings, (candidate, opponent)) == found
    made = page.write(tmp_path / "page", candidate, opponent, found, measuring())
    html = made.read_text()
    assert "http" not in html
    assert html.count("data:image/png;base64,") == 4
    assert page.interval(found.measure("auc").difference, True) in html
    assert "never had a champion" in html
    assert f"{found.equal_approval.swap_set.only_candidate.rows}</td>" in html
    stored = (tmp_path / "page" / "comparison.json").read_text()
    assert Comparison.model_validate_json(stored) == found
    assert "p99" not in stored
    speeds = json.loads((tmp_path / "page" / "speed.json").read_text())
    assert set(speeds) == {"candidate", "opponent"}
    for one in speeds.values():
        assert 0 < one["p50_ms"] <= one["p99_ms"]
        assert one["cpu_seconds"] > 0
        assert (one["calls"], one["rows"]) == (20, 50)
    assert not set(candidate.tokens.to_pylist()) & set(html.split('"'))


def test_the_page_tells_of_each_night_what_changed_or_why_nothing_is_known(settings: Settings, tmp_path) -> None:
    label, good, poor = random_scores(500)
    both = sides(label, good, poor)
    whole = Night(
        business_date=date(2026, 6, 30),
        rows=1_234,
        candidate=(0.1,) * 7,
        opponent=(0.2,) * 7,
        psi=0.0321,
        rank_correlation=0.912,
        opponent_approved=0.9,
        candidate_approved=0.8876,
        newly_approved=11,
        newly_refused=29,
        known=Known(rows=777, events=55, candidate_auc=0.701, opponent_auc=None),
    )
    lacking = Night(business_date=date(2026, 6, 29), why_not="the night's rows have no income")
    found = compared(settings, both).model_copy(update={"nights": (whole, lacking)})
    html = page.write(tmp_path / "page", *both, found, measuring()).read_text()
    for said in ("2026-06-30", "1,234", "0.0321", "0.912", "88.76%", "29</td>", "777", "0.701", "have no income"):
        assert said in html


def test_the_summary_fits_into_a_form(settings: Settings) -> None:
    label, good, poor = random_scores(1_000)
    text = page.summary(compared(settings, sides(label, good, poor)))
    assert len(text.splitlines()) <= 30
    for said in ("version 2 (catboost) against champion version 1 (scorecard)", "| AUC |", "bad rate", "Swap set"):
        assert said in text
    assert "comparison/comparison.html" in text
