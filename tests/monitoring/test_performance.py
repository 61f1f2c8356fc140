"""Published scores against what happened: known rows only, judged rows only, and a team that finds nobody twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from small_night import MODEL

from pipelines import features, scoring
from pipelines.contracts import DataFault, PublishedBatch
from pipelines.evaluation import metrics
from pipelines.lake import PARTITION, Lake
from pipelines.monitoring.performance import NightPerformance, RangePerformance, performance
from pipelines.settings import Settings

FIRST, SECOND, UNPUBLISHED = date(2026, 6, 1), date(2026, 6, 2), date(2026, 6, 3)
AS_OF = date(2026, 6, 30)
SCORES = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
OWNERS = "aabbcc"  # two accounts each
HAPPENED = {FIRST: [1, 0, 0, 1, 0, 0], SECOND: [0, 1, 0, 0, 1, 0]}

Measure = Callable[..., tuple[tuple[NightPerformance, ...], RangePerformance]]


def tokens() -> list[str]:
    return [f"{n:032x}" for n in range(len(SCORES))]


def labels(judged: list[bool], known: int) -> pa.Table:
    rows = [
        (token, on, label, j) for on in HAPPENED for token, label, j in zip(tokens(), HAPPENED[on], judged, strict=True)
    ]
    rows = [row for row in rows if row[1] == FIRST or tokens().index(row[0]) < known]
    columns = zip(*rows, strict=True)
    return pa.table(dict(zip(("account_token", "event_date", "label", "judged"), map(list, columns), strict=True)))


@pytest.fixture
def measure(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Measure:
    """Two published nights of six accounts of three customers; `known`: labels of the second night that have arrived."""
    lake, seen = Lake(settings), {}
    for on in HAPPENED:
        scores = pa.table(
            {"account_token": tokens(), "probability": SCORES, "batch_id": ["b"] * 6, PARTITION: [on] * 6}
        )
        owners = [f"{ord(owner):032x}" for owner in OWNERS]
        people = pa.table({"account_token": tokens(), "customer_token": owners, PARTITION: [on] * 6})
        lake.replace_date("source/accounts", on, people)
        seen[on] = PublishedBatch(
            model="small",
            business_date=on,
            batch_id="b",
            model_version=3,
            digest="d",
            rows_scored=6,
            published_at=datetime(2026, 6, 3, tzinfo=UTC),
            lake_version=lake.replace_date("scores/small", on, scores),
            already_published=True,
        )
    monkeypatch.setattr(scoring, "published", lambda settings, model, on: seen.get(on))

    def run(judged: list[bool] | None = None, known: int = 6, top: int = 2, by: str | None = None):
        monkeypatch.setattr(features, "known_labels", lambda *asked: labels(judged or [True] * 6, known))
        return performance(settings, MODEL, [FIRST, SECOND, UNPUBLISHED], AS_OF, top=top, by=by)

    return run


def test_each_night_and_all_of_them_together(measure: Measure) -> None:
    nights, together = measure()
    assert [(n.business_date, n.scored, n.known, n.judged, n.events) for n in nights] == [
        (FIRST, 6, 6, 6, 2),
        (SECOND, 6, 6, 6, 2),
    ]
    assert [n.auc for n in nights] == [6 / 8, 4 / 8]
    assert together.auc == pytest.approx(metrics.auc(HAPPENED[FIRST] + HAPPENED[SECOND], SCORES * 2))
    assert (together.nights, together.scored, together.events, nights[0].version) == (2, 12, 4, 3)


def test_an_outcome_that_has_not_arrived_counts_as_nothing(measure: Measure) -> None:
    nights, together = measure(known=1)
    assert (nights[1].scored, nights[1].known, nights[1].events) == (6, 1, 0)
    assert (nights[1].auc, nights[1].average_precision) == (None, None), "one class only: not a number, and not zero"
    assert together.known == 7
    assert together.auc is not None
    nights, together = measure(known=0)
    assert (nights[1].known, nights[1].top_precision) == (0, None)
    assert together.top_precision == nights[0].top_precision


def test_rows_that_are_not_judged_count_in_no_measure(measure: Measure) -> None:
    nights, together = measure(judged=[False, True, True, True, True, True])
    assert (nights[0].known, nights[0].judged, nights[0].events) == (6, 5, 1)
    assert together.judged == 10


def test_the_top_is_of_rows_or_of_whoever_is_looked_at_and_nobody_is_found_twice(measure: Measure) -> None:
    nights, together = measure(top=2)
    assert [n.top_precision for n in nights] == [0.5, 0.5], (
        "the account found on the first night is not looked at again"
    )
    assert together.top_precision == 0.5
    nights, _ = measure(top=1, by="customer")
    assert [n.top_precision for n in nights] == [1.0, 0.0], "customer a was found, b comes next and is clean"


def test_an_entity_the_population_does_not_carry_and_dates_never_published(
    measure: Measure, settings: Settings
) -> None:
    with pytest.raises(DataFault, match="carries no shop_token"):
        measure(by="shop")
    with pytest.raises(DataFault, match="nothing is published"):
        performance(settings, MODEL, [UNPUBLISHED], AS_OF, top=1)
