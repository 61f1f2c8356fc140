"""Reports: one role sees them; nobody else can tell, from states, counts, times or the catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from aml_night import ANNA, DAY, MODEL, OLGA, evidence, token
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from pipelines import database
from pipelines.aml import cases as desk
from pipelines.aml.alerts import raise_alerts
from pipelines.aml.desk import acting
from pipelines.aml.lines import lines
from pipelines.contracts import Blocked, DataFault
from pipelines.ingest.protected import READER
from pipelines.settings import REPOSITORY, Settings

INVESTIGATOR, OFFICER = "vigil_investigator", "vigil_sar_officer"


@pytest.fixture
def two_closed(bank: Settings) -> tuple[Settings, int, int]:
    """A bank with two closed cases: one with a report, one that was only valuable."""
    raise_alerts(bank, MODEL, DAY, evidence())
    numbers = []
    for name, outcome in (("ann", "sar_filed"), ("bob", "valuable")):
        [row] = database.rows(bank, "SELECT case_no FROM vigil.alert WHERE token = :token", token=token(name))
        desk.assign(bank, row["case_no"], ANNA, by=ANNA)
        desk.start(bank, row["case_no"], by=ANNA)
        reference = "FIU-1" if outcome == "sar_filed" else ""
        desk.close(bank, row["case_no"], outcome, by=OLGA, note="Layering through five accounts.", reference=reference)
        numbers.append(row["case_no"])
    return bank, numbers[0], numbers[1]


@contextmanager
def logged_in(settings: Settings, login: str, *roles: str) -> Iterator[Settings]:
    """The settings with a login of its own that is a member of these roles and no superuser."""
    admin = create_engine(settings.database_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE ROLE {login} LOGIN PASSWORD 'x'"))
        for role in roles:
            connection.execute(text(f"GRANT {role} TO {login}"))
    url = make_url(settings.database_url).set(username=login, password="x").render_as_string(hide_password=False)
    try:
        yield settings.model_copy(update={"database_url": url})
    finally:
        database.engine(url).dispose()
        with admin.connect() as connection:
            connection.execute(text(f"DROP ROLE {login}"))
        admin.dispose()


def seen_as(settings: Settings, role: str, statement: str) -> list[dict[str, object]]:
    with database.transaction(settings) as connection:
        database.execute(connection, f"SET LOCAL ROLE {role}")
        return [dict(row) for row in database.execute(connection, statement)]


def test_officers_see_the_report_and_investigators_a_valuable_case(two_closed: tuple[Settings, int, int]) -> None:
    bank, filed, valuable = two_closed
    assert desk.case_file(bank, filed, officer=True).case.outcome == "sar_filed"
    assert desk.case_file(bank, valuable, officer=True).case.outcome == "valuable"
    shown = [desk.case_file(bank, number) for number in (filed, valuable)]
    assert [s.case.outcome for s in shown] == ["valuable", "valuable"]
    stories = [[(e.action, e.state, e.outcome, e.by, e.note) for e in s.events] for s in shown]
    assert stories[0] == stories[1], "the note too: a closing without one would tell"
    assert stories[0][-1][-1] == "Layering through five accounts."
    listed = desk.cases(bank, MODEL.name, state="closed")
    assert {c.outcome for c in listed} == {"valuable"}
    closed = [case.outcome for case in desk.cases(bank, MODEL.name, state="closed", officer=True)]
    assert sorted(closed) == ["sar_filed", "valuable"]


def test_a_report_needs_its_reference_and_the_note_does_not_hold_it(bank: Settings) -> None:
    raise_alerts(bank, MODEL, DAY, evidence())
    [row] = database.rows(bank, "SELECT case_no FROM vigil.alert WHERE token = :token", token=token("ann"))
    number = row["case_no"]
    desk.assign(bank, number, ANNA, by=ANNA)
    desk.start(bank, number, by=ANNA)
    for outcome, reference in (("sar_filed", " "), ("valuable", "FIU-1")):
        with pytest.raises(DataFault, match="sar_filed needs the report's --reference"):
            desk.close(bank, number, outcome, by=OLGA, reference=reference)
    with pytest.raises(DataFault, match="holds the report's reference"):
        desk.close(bank, number, "sar_filed", by=OLGA, note="See FIU-1.", reference="FIU-1")
    assert desk.case_file(bank, number).case.state == "in_review"


def test_a_report_stays_known_to_officers_when_its_case_is_opened_again(two_closed: tuple[Settings, int, int]) -> None:
    bank, filed, _ = two_closed
    desk.reopen(bank, filed, by=ANNA, note="New payments.")
    desk.start(bank, filed, by=ANNA)
    desk.close(bank, filed, "valuable", by=ANNA)
    told = desk.case_file(bank, filed, officer=True)
    assert [e.outcome for e in told.events if e.action == "closed"] == ["sar_filed", "valuable"]
    reports = lines(bank, MODEL, DAY, DAY, officer=True).reports
    assert reports is not None
    assert reports[0].filed.productive == 1
    assert "sar" not in desk.case_file(bank, filed).model_dump_json()


@pytest.mark.parametrize("statement", ["SELECT * FROM sar.closing", "SELECT * FROM sar.case_now", "TABLE sar.closing"])
def test_an_investigator_may_not_read_the_schema(two_closed: tuple[Settings, int, int], statement: str) -> None:
    with pytest.raises(Exception, match="permission denied"):
        seen_as(two_closed[0], INVESTIGATOR, statement)
    if "case_now" in statement:
        assert [
            row["filed"] for row in seen_as(two_closed[0], OFFICER, f"{statement} WHERE state = 'closed' ORDER BY 1")
        ]


def test_an_investigator_can_only_leave_a_row_that_says_nothing(two_closed: tuple[Settings, int, int]) -> None:
    bank = two_closed[0]
    with pytest.raises(Exception, match="row-level security"):
        seen_as(bank, INVESTIGATOR, "INSERT INTO sar.closing VALUES (1, 99, true, '')")
    with pytest.raises(Exception, match="row-level security"):
        seen_as(bank, INVESTIGATOR, "INSERT INTO sar.closing VALUES (1, 99, false, 'FIU-2')")
    for statement in ("UPDATE sar.closing SET filed = false", "DELETE FROM sar.closing"):
        with pytest.raises(Exception, match="permission denied"):
            seen_as(bank, INVESTIGATOR, statement)
        with pytest.raises(Exception, match="append-only"):
            seen_as(bank, OFFICER, statement)


def test_the_catalogue_says_nothing(two_closed: tuple[Settings, int, int]) -> None:
    """Every closing leaves one row of one width, so that row counts, sizes and inserts are those of closings."""
    bank = two_closed[0]
    rows = seen_as(bank, OFFICER, "SELECT pg_column_size(c.*) AS width FROM sar.closing c")
    closings = database.rows(bank, "SELECT count(*) AS n FROM vigil.case_event WHERE action = 'closed'")[0]["n"]
    assert len(rows) == closings == 2
    assert len({row["width"] for row in rows}) == 1


def test_a_login_of_the_desk_works_and_cannot_file(bank: Settings) -> None:
    raise_alerts(bank, MODEL, DAY, evidence())
    [row] = database.rows(bank, "SELECT case_no FROM vigil.alert WHERE token = :token", token=token("ann"))
    number = row["case_no"]
    with logged_in(bank, "desk_login", INVESTIGATOR) as ours:
        desk.assign(ours, number, ANNA, by=ANNA)
        desk.start(ours, number, by=ANNA)
        with pytest.raises(Blocked, match=f"desk_login is no member of the role {OFFICER}"):
            desk.close(ours, number, "sar_filed", by=ANNA, reference="FIU-2")
        with pytest.raises(Blocked, match=OFFICER):
            desk.cases(ours, MODEL.name, officer=True)
        with pytest.raises(Exception, match="permission denied"):
            database.rows(ours, "SELECT probability FROM vigil.alert")
    with logged_in(bank, "officer_login", OFFICER) as theirs:
        desk.close(theirs, number, "sar_filed", by=OLGA, reference="FIU-2")
        assert desk.case_file(theirs, number, officer=True).case.outcome == "sar_filed"
    assert desk.case_file(bank, number).case.outcome == "valuable"
    logins = database.rows(bank, "SELECT DISTINCT login FROM vigil.case_event WHERE by <> 'vigil' ORDER BY 1")
    assert [r["login"] for r in logins] == ["desk_login", "officer_login"]


def test_a_login_outside_the_desk_sees_nothing(two_closed: tuple[Settings, int, int]) -> None:
    with logged_in(two_closed[0], "stranger") as outside:
        with pytest.raises(Blocked, match=f"no member of the role {INVESTIGATOR}"):
            desk.cases(outside, MODEL.name)
        with pytest.raises(Exception, match="permission denied"):
            database.rows(outside, "SELECT * FROM sar.closing")


def test_a_bank_without_a_superuser_can_migrate(bank: Settings) -> None:
    """The login that migrates may make roles but is no superuser; afterwards it is no officer."""
    admin = create_engine(bank.database_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE ROLE house LOGIN PASSWORD 'x'"))
        connection.execute(
            text(f"GRANT {INVESTIGATOR}, {OFFICER}, {READER} TO house WITH ADMIN OPTION, SET FALSE, INHERIT FALSE")
        )
        connection.execute(text("CREATE DATABASE plain OWNER house"))
    url = make_url(bank.database_url).set(username="house", password="x", database="plain")
    plain = bank.model_copy(update={"database_url": url.render_as_string(hide_password=False)})
    try:
        database.migrate(plain)
        assert desk.cases(plain, MODEL.name) == []
        with pytest.raises(Exception, match="permission denied"):
            database.rows(plain, "SELECT * FROM sar.closing")
        with pytest.raises(Blocked, match=OFFICER), acting(plain, officer=True):
            pass
    finally:
        database.engine(plain.database_url).dispose()
        with admin.connect() as connection:
            connection.execute(text("DROP DATABASE plain WITH (FORCE)"))
            connection.execute(text("DROP OWNED BY house"))
            connection.execute(text("DROP ROLE house"))
        admin.dispose()


def test_nothing_of_a_report_is_in_other_tables_in_the_lake_or_in_any_file(
    two_closed: tuple[Settings, int, int],
) -> None:
    bank = two_closed[0]
    names = database.rows(
        bank, "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'vigil' ORDER BY 1"
    )
    told = " ".join(str(database.rows(bank, f"SELECT * FROM vigil.{row['name']}")) for row in names)
    assert "valuable" in told
    assert not re.search(r"FIU-1|sar_filed|\bfiled\b", told)
    assert not [p for p in bank.home.rglob("*") if p.is_file() and b"FIU-1" in p.read_bytes()]


def test_reports_are_named_in_no_other_part_of_the_house() -> None:
    """Features, labels, scoring, training, sources and exports cannot use what they do not read."""
    files = [
        p for folder in ("pipelines", "feature_repo", "dags", "plugins") for p in (REPOSITORY / folder).rglob("*.py")
    ]
    readers = {p.name for p in files if re.search(r"\bsar\.(closing|case_now)\b", p.read_text())}
    namers = {str(p.relative_to(REPOSITORY)) for p in files if "sar_filed" in p.read_text()}
    assert readers == {"sar.py", "0006_aml.py"}
    assert namers <= {f"pipelines/aml/{name}.py" for name in ("sar", "cases", "desk")} | {"pipelines/cli/aml.py"}
