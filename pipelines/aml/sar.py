"""Suspicious activity reports: that one was filed is known to the role vigil_sar_officer alone.

Outside this module and the schema `sar` a case with a report is a case closed as valuable. Every closing leaves one
sealed row of fixed width, filed or not, so that neither counts, sizes nor times of the schema say anything. Nothing here
is written to the lake, to a log, to XCom or to a record of a replay, and no feature or label can be made of it.
"""

from __future__ import annotations

from typing import Literal

from pipelines import database
from pipelines.contracts import DataFault

FALSE_POSITIVE: Literal["false_positive"] = "false_positive"
VALUABLE: Literal["valuable"] = "valuable"
SAR_FILED: Literal["sar_filed"] = "sar_filed"

Outcome = Literal["false_positive", "valuable", "sar_filed"]

_LONGEST = 64
_OFFICERS_TABLE = """(SELECT case_no, model, business_date, seq, state, action, assignee, by, at, proposed,
    CASE WHEN filed THEN 'sar_filed' ELSE outcome END AS outcome FROM sar.case_now)"""


def seal(connection: database.Connection, case_no: int, seq: int, *, filed: bool, reference: str) -> None:
    """Leave the row of a closing. An investigator's role can only leave one that says nothing was filed."""
    if len(reference) > _LONGEST:
        raise DataFault(f"the reference has {len(reference)} characters; {_LONGEST} is the most. Nothing was changed.")
    database.execute(
        connection,
        "INSERT INTO sar.closing (case_no, seq, filed, reference) VALUES (:case_no, :seq, :filed, :reference)",
        case_no=case_no,
        seq=seq,
        filed=filed,
        reference=reference,
    )


def cases_table(officer: bool) -> str:
    """Where the cases are read from: as everybody sees them, or with the reports."""
    return _OFFICERS_TABLE if officer else "vigil.case_now"


def filed_cases(connection: database.Connection, model: str) -> set[int]:
    """Cases of a model for which a report was ever filed, reopened or not, in an officer's transaction."""
    found = database.execute(
        connection,
        "SELECT DISTINCT case_no FROM sar.closing JOIN vigil.case_now USING (case_no) WHERE filed AND model = :model",
        model=model,
    )
    return {row["case_no"] for row in found}


def filed_closings(connection: database.Connection, case_no: int) -> set[int]:
    """Versions of a case at which it was closed with a report, in an officer's transaction."""
    found = database.execute(connection, "SELECT seq FROM sar.closing WHERE filed AND case_no = :no", no=case_no)
    return {row["seq"] for row in found}
