"""Incidents: opened once, seen again, acknowledged, resolved, and opened again; nothing is ever changed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.exc import DBAPIError

from pipelines import database
from pipelines.contracts import DataFault
from pipelines.registry.incidents import Incident, acknowledge, incidents, recover, report, resolve
from pipelines.settings import Settings

ANNA = "Anna@bank.example"


def seen(settings: Settings, subject: str = "permit 7", model: str = "kept") -> Incident:
    with database.transaction(settings) as connection:
        return report(connection, model, "permit_expired", subject, severity=2, message="permit 7 expired")


def a_day_passes(settings: Settings) -> None:
    with database.transaction(settings) as connection:
        database.execute(connection, "ALTER TABLE vigil.incident_event DISABLE TRIGGER incident_event_append_only")
        database.execute(connection, "UPDATE vigil.incident_event SET at = at - interval '1 day'")
        database.execute(connection, "ALTER TABLE vigil.incident_event ENABLE TRIGGER incident_event_append_only")


def test_the_same_fault_is_one_incident_and_is_counted_once_a_day(settings: Settings) -> None:
    assert seen(settings).state == "open"
    assert seen(settings).times_seen == 1
    a_day_passes(settings)
    assert seen(settings).times_seen == 2
    seen(settings, subject="permit 8")
    seen(settings, model="other")
    assert [(i.model, i.subject) for i in incidents(settings)] == [
        ("other", "permit 7"),
        ("kept", "permit 8"),
        ("kept", "permit 7"),
    ]
    assert [i.model for i in incidents(settings, "other")] == ["other"]


def test_two_at_a_time_open_one(settings: Settings) -> None:
    with ThreadPoolExecutor(4) as pool:
        numbers = {i.incident_no for i in pool.map(lambda _: seen(settings), range(8))}
    assert len(numbers) == 1
    assert incidents(settings)[0].times_seen == 1


def test_a_person_acknowledges_and_resolves_and_what_is_still_wrong_opens_again(settings: Settings) -> None:
    number = seen(settings).incident_no
    told = acknowledge(settings, number, by=ANNA, note="asked for approval")
    assert (told.state, told.by, told.note) == ("acknowledged", "anna@bank.example", "asked for approval")
    a_day_passes(settings)
    assert seen(settings).state == "acknowledged"
    assert resolve(settings, number, by=ANNA, note="approved").state == "resolved"
    assert incidents(settings) == ()
    assert [i.state for i in incidents(settings, every=True)] == ["resolved"]
    for again in (acknowledge, resolve):
        with pytest.raises(DataFault, match=r"resolved by anna@bank.example"):
            again(settings, number, by=ANNA, note="again")
    assert (seen(settings).incident_no, seen(settings).state) == (number, "open")


def test_recovery_resolves_but_for_what_is_still_wrong(settings: Settings) -> None:
    seen(settings)
    seen(settings, subject="permit 8")
    with database.transaction(settings) as connection:
        gone = recover(connection, "kept", "permit_expired", note="a new permit", still=["permit 8"])
        assert [i.subject for i in gone] == ["permit 7"]
        assert recover(connection, "kept", "permit_expired", note="again", still=["permit 8"]) == ()
    assert [i.subject for i in incidents(settings)] == ["permit 8"]


@pytest.mark.parametrize("by", ["anna", "", "system:registry"])
def test_only_a_person_answers_and_says_why(settings: Settings, by: str) -> None:
    number = seen(settings).incident_no
    with pytest.raises(DataFault, match="no person"):
        acknowledge(settings, number, by=by)
    with pytest.raises(DataFault, match="reason"):
        resolve(settings, number, by=ANNA, note=" ")
    with pytest.raises(DataFault, match="no incident 99"):
        resolve(settings, 99, by=ANNA, note="x")
    assert incidents(settings)[0].state == "open"


@pytest.mark.parametrize(
    "statement",
    ["UPDATE vigil.incident SET message = 'x'", "DELETE FROM vigil.incident_event", "TRUNCATE vigil.incident CASCADE"],
)
def test_the_story_cannot_be_changed(settings: Settings, statement: str) -> None:
    seen(settings)
    with pytest.raises(DBAPIError, match="append-only"), database.transaction(settings) as connection:
        database.execute(connection, statement)
