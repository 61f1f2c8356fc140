"""How ingest speaks: what is wrong, for which source and date, what was not touched, and the command to run next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

from pipelines.contracts import DataFault
from pipelines.spec import Contract


class Unreadable(Exception):
    """A delivery as a whole cannot be used; the message says why, and `remedy` what to do. Holds no value of the file."""

    def __init__(self, problem: str, remedy: str = "Ask the sender for the file again.") -> None:
        super().__init__(problem)
        self.remedy = remedy


def sentence(contract: Contract, business_date: date | None, problem: str, remedy: str) -> str:
    """The four parts a person at night needs, in one paragraph."""
    when = f", business date {business_date}" if business_date else ""
    option = f" --date {business_date}" if business_date else ""
    return (
        f"source {contract.source}{when}: {problem} "
        f"Published rows were not touched; the last good ones are still served. {remedy} "
        f"Then run `python -m pipelines ingest --source {contract.source}{option}`."
    )


@contextmanager
def told(contract: Contract, business_date: date | None) -> Iterator[None]:
    """Turn Unreadable into a DataFault about this source and date."""
    try:
        yield
    except Unreadable as error:
        raise DataFault(sentence(contract, business_date, str(error), error.remedy)) from None
