"""Who acts at the desk: a person by name, in a role of the database that sees only what it may.

The role is taken on for the length of one transaction. So even a login that could see more reads and writes through the
views and grants of the role; a login that is no member of it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines import database
from pipelines.contracts import DataFault
from pipelines.settings import Settings

INVESTIGATOR, OFFICER = "vigil_investigator", "vigil_sar_officer"
_TELLS = re.compile(r"\bsars?\b|\bstrs?\b|suspicious (activity|transaction) report", re.IGNORECASE)


@contextmanager
def acting(settings: Settings, *, officer: bool = False) -> Iterator[database.Connection]:
    """A transaction in the role of an investigator, or of a SAR officer. Raises Blocked when the login may not."""
    role = OFFICER if officer else INVESTIGATOR
    with database.transaction(settings) as connection:
        database.take_role(connection, role)
        yield connection


def readable_by_all(text: str) -> str:
    """A note or reason as everybody at the desk reads it. Raises DataFault when it tells of a report."""
    if _TELLS.search(text):
        raise DataFault(
            "a note is read by everybody at the desk and must not speak of a suspicious activity report. Nothing was "
            "changed. Leave it out; officers record a report with `case close --outcome sar_filed`."
        )
    return text.strip()
