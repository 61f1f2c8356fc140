"""Above and below the line: the draw, the yields with exact bounds, and what is missed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from aml_night import ANNA, BERT, DAY, MODEL, OLGA, Row, divide, evidence, publish_scores, token, write_policy
from scipy.stats import binomtest

from pipelines import database
from pipelines.aml import cases as desk
from pipelines.aml.alerts import raise_alerts
from pipelines.aml.bounds import yield_of
from pipelines.aml.lines import lines
from pipelines.contracts import Blocked, DataFault
from pipelines.settings import Settings

NEXT = DAY + timedelta(days=1)


@pytest.mark.parametrize(("known", "productive"), [(0, 0), (1, 0), (1, 1), (12, 3), (12, 12), (200, 1)])
def test_bounds_are_those_of_clopper_and_pearson(known: int, productive: int) -> None:
    made = yield_of(known, productive, 0.95)
    if not known:
        assert (made.rate, made.at_least, made.at_most) == (None, 0.0, 1.0)
        return
    exact = binomtest(productive, known).proportion_ci(0.95, method="exact")
    assert (made.at_least, made.at_most) == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_more_productive_than_known_is_an_error() -> None:
    with pytest.raises(ValueError, match="3 productive of 2"):
        yield_of(2, 3, 0.95)


def closed(settings: Settings, name_or_token: str, outcome: str) -> None:
    """Take the newest case of a customer to its outcome."""
    found = database.rows(
        settings,
        "SELECT case_no FROM vigil.alert WHERE token IN (:name, :token) ORDER BY run_no DESC",
        name=name_or_token,
        token=token(name_or_token),
    )
    case_no = found[0]["case_no"]
    desk.assign(settings, case_no, ANNA, by=ANNA)
    desk.start(settings, case_no, by=ANNA)
    for person in (ANNA, BERT) if outcome == "false_positive" else (OLGA,):
        if desk.case_file(settings, case_no).case.state == "in_review":
            desk.close(settings, case_no, outcome, by=person, reference="FIU-1" if outcome == "sar_filed" else "")


def drawn(settings: Settings) -> list[str]:
    found = database.rows(settings, "SELECT token FROM vigil.alert_below WHERE drawn ORDER BY token")
    return [row["token"] for row in found]


def test_the_draw_is_the_same_for_the_same_seed_and_another_for_another(bank: Settings) -> None:
    write_policy(bank.project, below_the_line={"band": 20, "sample": 5})
    raise_alerts(bank, MODEL, DAY, evidence())
    first = drawn(bank)
    assert len(first) == 5
    with database.transaction(bank) as connection:
        for table in ("alert_scheme", "alert_evidence", "alert_below", "alert", "case_event", "aml_case", "alert_run"):
            database.execute(connection, f"ALTER TABLE vigil.{table} DISABLE TRIGGER USER; DELETE FROM vigil.{table}")
    write_policy(bank.project, below_the_line={"band": 20, "sample": 5, "seed": 8})
    raise_alerts(bank, MODEL, DAY, evidence())
    assert drawn(bank) != first


def test_yields_above_and_below_and_what_is_missed(bank: Settings) -> None:
    raise_alerts(bank, MODEL, DAY, evidence())
    closed(bank, "ann", "sar_filed")
    closed(bank, "bob", "false_positive")
    one, other = drawn(bank)
    closed(bank, one, "valuable")
    closed(bank, other, "false_positive")
    made = lines(bank, MODEL, DAY, NEXT)
    [everybody] = [s for s in made.segments if s.segment == "all"]
    assert (made.nights, everybody.above.customers, everybody.above.looked_at) == (1, 3, 3)
    assert (everybody.above.found.known, everybody.above.found.productive) == (2, 1)
    assert (everybody.below.customers, everybody.below.looked_at) == (5, 2)
    assert everybody.below.found == yield_of(2, 1, 0.95)
    bounds = yield_of(2, 1, 0.95)
    assert everybody.missed.model_dump() == pytest.approx(
        {"not_looked_at": 3, "expected": 1.5, "at_least": 3 * bounds.at_least, "at_most": 3 * bounds.at_most}
    )
    [private] = [s for s in made.segments if s.segment == "private"]
    assert (private.above.customers, private.below.customers, private.missed.expected) == (1, 0, None)
    assert made.reports is None


def test_only_officers_get_reports_by_segment(bank: Settings) -> None:
    raise_alerts(bank, MODEL, DAY, evidence())
    closed(bank, "ann", "sar_filed")
    closed(bank, "cid", "valuable")
    reports = lines(bank, MODEL, DAY, DAY, officer=True).reports
    assert reports is not None
    assert {r.segment: (r.alerted, r.filed.known, r.filed.productive) for r in reports} == {
        "all": (3, 2, 1),
        "mass": (2, 2, 1),
        "private": (1, 0, 0),
    }
    assert "sar" not in lines(bank, MODEL, DAY, DAY).model_dump_json().lower()


def test_without_closed_cases_the_bound_is_everybody(bank: Settings) -> None:
    raise_alerts(bank, MODEL, DAY, evidence())
    missed = lines(bank, MODEL, DAY, DAY).segments[0].missed
    assert (missed.not_looked_at, missed.expected, missed.at_least, missed.at_most) == (3, None, 0.0, 3.0)


def test_below_a_typology_are_those_who_meet_it_and_were_not_alerted(bank: Settings) -> None:
    write_policy(bank.project, below_the_line={"sample_per_typology": 1, "sample": 0 + 1, "band": 5})
    raise_alerts(bank, MODEL, DAY, evidence())
    made = lines(bank, MODEL, DAY, DAY, typology="dormant").segments[0]
    assert (made.above.customers, made.below.customers, made.below.looked_at) == (0, 1, 1)
    assert lines(bank, MODEL, DAY, DAY, typology="cash_in").segments[0].above.customers == 2
    with pytest.raises(DataFault, match="nobody met typology 'cashin'"):
        lines(bank, MODEL, DAY, DAY, typology="cashin")


def test_a_threshold_counts_only_scores_from_there_on(bank: Settings) -> None:
    raise_alerts(bank, MODEL, DAY, evidence())
    made = lines(bank, MODEL, DAY, DAY, threshold=0.45).segments[0]
    assert (made.above.customers, made.below.customers) == (3, 2)
    assert lines(bank, MODEL, DAY, DAY, threshold=0.75).segments[0].above.customers == 2


def test_a_customer_counts_once_and_above_wins(bank: Settings) -> None:
    raise_alerts(bank, MODEL, DAY, evidence())
    divide(bank, {"dan": "mass"}, NEXT)
    publish_scores(bank, [Row("dan", 0.9), Row("eve", 0.5), Row("fay", 0.4)], NEXT)
    raise_alerts(bank, MODEL, NEXT, evidence())
    made = lines(bank, MODEL, DAY, NEXT).segments[0]
    assert made.above.customers + made.below.customers == len(
        {row["token"] for row in database.rows(bank, "SELECT token FROM vigil.alert_below UNION SELECT token FROM "
                                               "vigil.alert WHERE kind = 'above'")}
    )  # fmt: skip


def test_no_night_is_no_line(bank: Settings) -> None:
    with pytest.raises(Blocked, match="no alerts were raised"):
        lines(bank, MODEL, DAY, DAY)
