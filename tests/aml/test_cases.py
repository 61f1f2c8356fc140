"""Cases: the way through the states, two people at once, and four eyes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from aml_night import ANNA, BERT, DAY, MODEL, OLGA, Row, evidence, publish_scores, token

from pipelines import database
from pipelines.aml import cases as desk
from pipelines.aml.alerts import raise_alerts
from pipelines.contracts import Blocked, DataFault, VigilError
from pipelines.settings import Settings


@pytest.fixture
def raised(bank: Settings) -> Settings:
    raise_alerts(bank, MODEL, DAY, evidence())
    return bank


def case_of(settings: Settings, name: str) -> int:
    found = database.rows(settings, "SELECT case_no FROM vigil.alert WHERE token = :token", token=token(name))
    return int(found[-1]["case_no"])


def reviewed(settings: Settings, name: str, by: str = ANNA) -> int:
    """The case of a customer, in review by a person."""
    case_no = case_of(settings, name)
    desk.assign(settings, case_no, by, by=by)
    desk.start(settings, case_no, by=by)
    return case_no


def test_a_case_goes_its_way_and_tells_who_did_what(raised: Settings) -> None:
    case_no = reviewed(raised, "ann")
    closed = desk.close(raised, case_no, "valuable", by=BERT, note="Money of a mule.")
    assert (closed.state, closed.outcome, closed.version) == ("closed", "valuable", 4)
    again = desk.reopen(raised, case_no, by=ANNA, note="New information.")
    assert (again.state, again.outcome, again.assignee) == ("assigned", None, ANNA)
    story = desk.case_file(raised, case_no).events
    assert [(e.action, e.by, e.state) for e in story] == [
        ("opened", "vigil", "new"),
        ("assigned", ANNA, "assigned"),
        ("started", ANNA, "in_review"),
        ("closed", BERT, "closed"),
        ("reopened", ANNA, "assigned"),
    ]
    assert story[3].note == "Money of a mule."


@pytest.mark.parametrize(
    ("act", "possible"),
    [
        (lambda s, n: desk.start(s, n, by=ANNA), "Possible now: assign."),
        (lambda s, n: desk.close(s, n, "valuable", by=ANNA), "Possible now: assign."),
        (lambda s, n: desk.reopen(s, n, by=ANNA, note="why"), "Possible now: assign."),
    ],
)
def test_what_is_not_possible_names_what_is(
    raised: Settings, act: Callable[[Settings, int], object], possible: str
) -> None:
    case_no = case_of(raised, "ann")
    with pytest.raises(DataFault, match=r"is new .* is not possible") as refused:
        act(raised, case_no)
    assert possible in str(refused.value)
    assert desk.case_file(raised, case_no).case.version == 1


def test_of_two_people_at_once_one_wins_and_the_other_is_told(raised: Settings) -> None:
    case_no = case_of(raised, "ann")

    def take(who: str) -> object:
        try:
            return desk.assign(raised, case_no, who, by=who, seen=1)
        except VigilError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(take, (ANNA, BERT)))
    [winner] = [d for d in done if isinstance(d, desk.Case)]
    [told] = [d for d in done if isinstance(d, Blocked)]
    assert f"{winner.assignee} was faster" in str(told)
    assert desk.case_file(raised, case_no).case == winner


def test_a_case_is_not_taken_over_unawares(raised: Settings) -> None:
    case_no = case_of(raised, "ann")
    desk.assign(raised, case_no, ANNA, by=OLGA)
    with pytest.raises(Blocked, match=rf"is with {ANNA} .*--seen 2"):
        desk.assign(raised, case_no, BERT, by=BERT)
    assert desk.assign(raised, case_no, BERT, by=BERT, seen=2).assignee == BERT
    with pytest.raises(Blocked, match=f"assigned to {BERT}"):
        desk.start(raised, case_no, by=ANNA)


def test_a_false_positive_over_the_score_needs_a_second_person(raised: Settings) -> None:
    case_no = reviewed(raised, "ann")
    proposed = desk.close(raised, case_no, "false_positive", by=ANNA)
    assert (proposed.state, proposed.proposed, proposed.outcome) == ("in_review", "false_positive", None)
    with pytest.raises(Blocked, match="second person"):
        desk.close(raised, case_no, "false_positive", by="Anna@Bank.example")
    closed = desk.close(raised, case_no, "false_positive", by=BERT)
    assert (closed.state, closed.outcome) == ("closed", "false_positive")


def test_under_the_score_one_person_is_enough(raised: Settings) -> None:
    publish_scores(raised, [Row("low", 0.2)], DAY.replace(day=30))
    raise_alerts(raised, MODEL, DAY.replace(day=30), evidence())
    case_no = reviewed(raised, "low")
    assert desk.close(raised, case_no, "false_positive", by=ANNA).state == "closed"


def test_a_person_has_a_name_and_a_note_tells_of_no_report(raised: Settings) -> None:
    case_no = case_of(raised, "ann")
    with pytest.raises(DataFault, match="is no person"):
        desk.assign(raised, case_no, "root", by=ANNA)
    reviewed(raised, "ann")
    with pytest.raises(DataFault, match="must not speak of"):
        desk.close(raised, case_no, "valuable", by=ANNA, note="SAR filed on Monday")
    with pytest.raises(DataFault, match="there is no case 999"):
        desk.case_file(raised, 999)


def test_the_reviewer_does_not_see_on_which_side_of_the_line_an_alert_was(raised: Settings) -> None:
    found = database.rows(raised, "SELECT token, kind, case_no FROM vigil.alert")
    for row in found:
        shown = desk.case_file(raised, row["case_no"]).model_dump_json()
        for told in ("probability", "rank", "above", "below", "budget", "drawn"):
            assert told not in shown, (row["kind"], told)
    with database.transaction(raised) as connection:
        database.execute(connection, "SET LOCAL ROLE vigil_investigator")
        with pytest.raises(Exception, match="permission denied for table alert"):
            database.execute(connection, "SELECT kind FROM vigil.alert")


def test_a_touched_alert_stays_when_its_batch_is_corrected(raised: Settings) -> None:
    case_no = case_of(raised, "ann")
    desk.assign(raised, case_no, ANNA, by=ANNA)
    publish_scores(raised, [Row("ann", 0.9, "cash_in; corridor"), Row("bob", 0.8, "cash_in")], batch="b")
    made = raise_alerts(raised, MODEL, DAY, evidence())
    assert (made.kept, made.withdrawn, made.carried, made.raised) == (1, 5, 1, 1)
    shown = desk.case_file(raised, case_no)
    assert [alert.mark for alert in shown.alerts] == ["kept"]
    assert shown.case.state == "assigned"


def test_customers_of_one_scheme_are_one_case(bank: Settings) -> None:
    made = raise_alerts(bank, MODEL, DAY, evidence({"s1": ("cycle", ["ann-1", "bob-1"], ["a4", "b1"])}))
    assert (made.cases_new, made.links_refused) == (5, 0)
    assert case_of(bank, "ann") == case_of(bank, "bob") != case_of(bank, "cid")
    shown = desk.case_file(bank, case_of(bank, "ann"))
    assert (shown.case.customers, shown.case.alerts) == (2, 2)
