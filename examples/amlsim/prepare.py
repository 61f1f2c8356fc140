"""Write the deliveries of a bank from AMLSim's two files, which know steps only.

    python examples/amlsim/prepare.py FOLDER SOURCES

FOLDER holds 20K_cycle200_nodes.csv and 20K_cycle200_transactions.csv; SOURCES/amlsim/ gets payments_made.csv, accounts.csv
and turned.csv. Step n is the n-th day from Monday 2025-01-06 on. The bank delivers by week: the business date is its Sunday,
the day on which 7 divides the step.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from pathlib import Path

BEFORE_THE_FIRST_DAY = date(2025, 1, 5)
FIRST_WEEK = 4  # with fewer days behind it an account has hardly paid anybody
LAST_WEEK = 21  # the last whole one of the 149 days

Row = tuple[object, ...]


def main(folder: Path, sources: Path) -> None:
    """Read both files, write the three sources."""
    nodes = _read(folder / "20K_cycle200_nodes.csv")
    payments = _read(folder / "20K_cycle200_transactions.csv")
    target = sources / "amlsim"
    target.mkdir(parents=True, exist_ok=True)
    header = ("week_ending", "transaction_id", "payer_id", "payee_id", "amount", "booked_on")
    _write(target / "payments_made.csv", header, _payments_made(payments))
    _write(target / "accounts.csv", ("week_ending", "account_id"), _accounts(nodes))
    _write(target / "turned.csv", ("week_ending", "account_id", "turned_on"), _turned(nodes))


def day(step: int) -> date:
    """The day of a step."""
    return BEFORE_THE_FIRST_DAY + timedelta(days=step)


def delivered(step: int) -> date:
    """The Sunday on or after the day of a step."""
    return day(-(-step // 7) * 7)


def _payments_made(payments: Iterable[dict[str, str]]) -> Iterator[Row]:
    """Every payment. The number of its line stands for an id: equal payments of one day cannot be told apart without."""
    for line, payment in enumerate(payments, start=2):
        step = int(payment["time"])
        yield delivered(step), line, payment["sourceNodeId"], payment["targetNodeId"], payment["value"], day(step)


def _accounts(nodes: list[dict[str, str]]) -> Iterator[Row]:
    """The open accounts of each Sunday. An account is closed the day it turns: of no other day of its discovery is known."""
    for week in range(FIRST_WEEK, LAST_WEEK + 1):
        for node in nodes:
            turned = int(node["fraudStep"])
            if turned < 0 or turned > 7 * week:
                yield day(7 * week), node["nodeid"]


def _turned(nodes: list[dict[str, str]]) -> Iterator[Row]:
    """The accounts called fraud, in the week they turned. Those without a day come last, with the last payments."""
    for node in nodes:
        if node["isFraud"] == "1":
            step = int(node["fraudStep"])
            yield (delivered(step), node["nodeid"], day(step)) if step > 0 else (delivered(149), node["nodeid"], "")


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _write(path: Path, header: Row, rows: Iterable[Row]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
