"""Raising alerts: what becomes of each published row, once, with evidence."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import pytest
from aml_night import (
    DAY,
    MODEL,
    NIGHT,
    Row,
    book,
    everything,
    evidence,
    pay,
    publish_scores,
    token,
    watched,
    write_policy,
)

from pipelines import database
from pipelines.aml.alerts import raise_alerts
from pipelines.contracts import Blocked, DataFault
from pipelines.settings import Settings

NEXT = DAY + timedelta(days=1)


def alerts(settings: Settings, day: date = DAY) -> dict[str, str]:
    """Kind by token of the alerts of a day that were not withdrawn."""
    found = database.rows(
        settings,
        "SELECT token, kind FROM vigil.alert a WHERE business_date = :day AND NOT EXISTS ("
        "SELECT FROM vigil.alert_event e WHERE e.alert_id = a.alert_id AND action = 'withdrawn')",
        day=day,
    )
    return {row["token"]: row["kind"] for row in found}


def test_every_row_becomes_one_thing_and_a_row_in_review_is_never_dropped(bank: Settings) -> None:
    made = raise_alerts(bank, MODEL, DAY, evidence())
    assert (made.raised, made.review_items, made.sampled, made.quiet, made.budget_used) == (3, 1, 2, 21, 1.0)
    assert (made.rows_scored, made.line, made.cases_new) == (27, 0.7, 6)
    kinds = alerts(bank)
    assert {kinds[token(name)] for name in ("ann", "bob", "cid")} == {"above"}
    assert kinds[token("gus")] == "review"
    assert sorted(kinds.values()) == ["above"] * 3 + ["below"] * 2 + ["review"]


def test_an_input_that_everybody_lacks_is_one_fault_and_not_an_alert_for_each(bank: Settings) -> None:
    lacking = [Row(row.name, row.probability, row.met, "income missing; age missing") for row in NIGHT]
    publish_scores(bank, [*lacking[:-1], Row("one", 0.2, review="age missing")], NEXT)
    before = everything(bank)
    write_policy(bank.project, max_review_items=20)
    with pytest.raises(
        Blocked, match=r"24 rows need review, allowed are 20 a night \(age missing: 24, income missing: 23;"
    ) as told:
        raise_alerts(bank, MODEL, NEXT, evidence())
    assert f"python -m pipelines night --model {MODEL.name} --date {NEXT}" in str(told.value)
    assert everything(bank) == before
    write_policy(bank.project, max_review_items=24)
    assert raise_alerts(bank, MODEL, NEXT, evidence()).review_items == 24


def test_the_same_again_changes_nothing(bank: Settings) -> None:
    first = raise_alerts(bank, MODEL, DAY, evidence())
    before = everything(bank)
    again = raise_alerts(bank, MODEL, DAY, evidence())
    assert again == first.model_copy(update={"already_raised": True})
    assert everything(bank) == before


def test_three_at_the_same_time_raise_once(bank: Settings) -> None:
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda _: raise_alerts(bank, MODEL, DAY, evidence()), range(3)))
    assert sorted(m.already_raised for m in made) == [False, True, True]
    assert len({m.model_copy(update={"already_raised": True}).model_dump_json() for m in made}) == 1
    assert database.rows(bank, "SELECT count(*) AS n FROM vigil.alert") == [{"n": 6}]


def test_evidence_holds_what_caused_the_alert(bank: Settings) -> None:
    raise_alerts(bank, MODEL, DAY, evidence({"s1": ("fan_in", ["ann-1", "x-1"], ["a1"])}))
    [row] = database.rows(bank, "SELECT evidence FROM vigil.alert_blind WHERE token = :token", token=token("ann"))
    kept = row["evidence"]
    assert {t["transaction_token"] for t in kept["transactions"]} == {token(n) for n in ("a1", "a2", "a3", "a4")}
    why = {t["transaction_token"]: t["why"] for t in kept["transactions"]}
    assert why[token("a1")] == ["cash_in", "scheme fan_in"]
    totals = {(t["direction"], t["currency"]): (t["transactions"], t["amount"]) for t in kept["totals"]}
    assert totals == {("credit", "EUR"): (2, "10200.00"), ("debit", "EUR"): (2, "150.25")}
    met = {m["name"]: (m["title"], m["transactions"], m["amount"]) for m in kept["typologies"]}
    assert met["cash_in"] == ("Cash paid in just under the threshold", 1, "9500.00")
    assert met["corridor"][1:] == (1, "100.00")
    assert kept["schemes"][0]["accounts"] == sorted([token("ann-1"), token("x-1")])
    edges = {(e["payer"], e["payee"]): (e["payments"], e["amount"]) for e in kept["edges"]}
    assert edges[token("ann-1"), token("y-1")] == (2, "150.25")
    assert edges[token("bob-1"), token("ann-1")] == (1, "700.00")
    assert [(e["payer"], e["payee"]) for e in kept["edges"] if e["of_scheme"]] == [(token("x-1"), token("ann-1"))]
    own = {m["account_token"] for m in kept["members"] if m["own"]}
    assert own == {token("ann-1")}
    assert kept["share_of_parts"] == {"anomaly": 0.3, "supervised": 0.5, "typologies": 0.2}


def test_lists_are_cut_and_totals_are_not(bare: Settings) -> None:
    book(bare, [pay(f"p{i}", "ann", f"z-{i}", 1 + i) for i in range(300)])
    publish_scores(bare, [Row("ann", 0.9)])
    raise_alerts(bare, MODEL, DAY, evidence())
    [row] = database.rows(bare, "SELECT evidence FROM vigil.alert_evidence")
    kept = row["evidence"]
    assert (len(kept["transactions"]), kept["transactions_total"]) == (60, 300)
    assert (len(kept["edges"]), kept["edges_total"]) == (120, 300)
    assert kept["totals"][0]["amount"] == f"{sum(range(1, 301))}.00"


def test_what_was_booked_later_is_no_evidence(bare: Settings) -> None:
    book(bare, [pay("later", "ann", "z-1", 1)], NEXT)
    publish_scores(bare, [Row("ann", 0.9)])
    raise_alerts(bare, MODEL, DAY, evidence())
    [row] = database.rows(bare, "SELECT evidence FROM vigil.alert_evidence")
    assert token("later") not in str(row["evidence"])


def test_an_open_alert_is_not_raised_again_unless_something_is_new(bank: Settings) -> None:
    raise_alerts(bank, MODEL, DAY, evidence())
    rows = [
        Row("ann", 0.9, "cash_in; corridor"),
        Row("bob", 0.8, "cash_in; dormant"),  # a new typology
        Row("cid", 0.85),  # odds from 2.3 to 5.7
        Row("hal", 0.65),
        Row("gus", 0.3, review="income missing"),
    ]
    publish_scores(bank, rows, NEXT)
    made = raise_alerts(bank, MODEL, NEXT, evidence())
    assert (made.raised, made.carried, made.review_items) == (3, 2, 0)
    assert set(alerts(bank, NEXT)) == {token(name) for name in ("bob", "cid", "hal")}
    assert (made.cases_joined, made.cases_new) == (2, 1)
    held = database.rows(bank, "SELECT token, why, alert_id FROM vigil.alert_held WHERE run_no = :no", no=made.run_no)
    assert {row["token"]: row["why"] for row in held} == {token("ann"): "open", token("gus"): "open"}
    assert all(row["alert_id"] for row in held)


def test_a_corrected_batch_withdraws_what_nobody_touched(bank: Settings) -> None:
    raise_alerts(bank, MODEL, DAY, evidence())
    publish_scores(bank, [Row("cid", 0.9), Row("dan", 0.8), Row("zoe", 0.7)], batch="b")
    made = raise_alerts(bank, MODEL, DAY, evidence())
    assert (made.attempt, made.withdrawn, made.kept, made.raised) == (2, 6, 0, 3)
    assert set(alerts(bank)) == {token(name) for name in ("cid", "dan", "zoe")}
    states = database.rows(bank, "SELECT state, count(*) AS n FROM vigil.case_now GROUP BY 1")
    assert {row["state"]: row["n"] for row in states}["withdrawn"] >= 4
    before = everything(bank)
    assert raise_alerts(bank, MODEL, DAY, evidence()).already_raised
    assert everything(bank) == before


def test_a_correction_taken_back_is_a_third_attempt(bank: Settings) -> None:
    raise_alerts(bank, MODEL, DAY, evidence())
    publish_scores(bank, [Row("cid", 0.9)], batch="b")
    raise_alerts(bank, MODEL, DAY, evidence())
    publish_scores(bank, NIGHT, batch="a")
    made = raise_alerts(bank, MODEL, DAY, evidence())
    assert (made.attempt, made.withdrawn, made.raised) == (3, 1, 3)


def test_rejected_rows_and_absent_parts_are_looked_at(bare: Settings) -> None:
    rows = [Row("ann", 0.9), Row("bob", 0.1, parts=(0.1, None, 0.2)), Row("cid", 0.01)]
    publish_scores(bare, rows, rejected={"dan": "utilisation missing"})
    made = raise_alerts(bare, MODEL, DAY, evidence())
    assert made.rows_rejected == 1
    found = database.rows(bare, "SELECT token, kind, review_reason FROM vigil.alert WHERE review_reason IS NOT NULL")
    assert {row["token"]: row["review_reason"] for row in found} == {
        token("bob"): "part_anomaly missing",
        token("dan"): "not scored: utilisation missing",
    }


def test_a_threshold_instead_of_a_budget(bank: Settings) -> None:
    write_policy(bank.project, budget=None, least_score=None, threshold=0.55)
    made = raise_alerts(bank, MODEL, DAY, evidence())
    assert (made.raised, made.budget_used, made.line) == (4, None, 0.6)


def test_nothing_is_raised_without_policy_scores_or_transactions(bare: Settings) -> None:
    with pytest.raises(Blocked, match="no scores were published"):
        raise_alerts(bare, MODEL, DAY, evidence())
    publish_scores(bare, [Row("ann", 0.9)])
    write_policy(bare.project, alerts=None)
    with pytest.raises(Blocked, match="has no section `alerts`"):
        raise_alerts(bare, MODEL, DAY, evidence())


def test_transactions_that_are_not_there_block(settings: Settings) -> None:
    made = watched(settings)
    publish_scores(made, [Row("ann", 0.9)])
    with pytest.raises(Blocked, match="no transactions in the lake"):
        raise_alerts(made, MODEL, DAY, evidence())
    assert database.rows(made, "SELECT count(*) AS n FROM vigil.alert_run") == [{"n": 0}]


def test_rows_that_are_not_the_batch_s_are_refused(bank: Settings) -> None:
    with database.transaction(bank) as connection:
        database.execute(connection, "UPDATE vigil.batch SET rows_scored = 26, rows_in = 26, rows_review = 0")
    with pytest.raises(DataFault, match="not those of batch"):
        raise_alerts(bank, MODEL, DAY, evidence())


def test_nothing_of_an_alert_can_be_changed(bank: Settings) -> None:
    raise_alerts(bank, MODEL, DAY, evidence())
    for statement in ("DELETE FROM vigil.alert", "UPDATE vigil.case_event SET state = 'closed'"):
        with pytest.raises(Exception, match="append-only"):
            database.rows(bank, statement + " RETURNING 1")
