"""The sample bank: simulated block by block, written as one Parquet file per source and business date."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipelines.contracts import DataFault, Value
from pipelines.sample_bank.block import Block
from pipelines.sample_bank.dates import Calendar
from pipelines.sample_bank.tally import Tally
from pipelines.sample_bank.truth import Downturn, Truth
from pipelines.sample_bank.writer import BankWriter

NAME = "sample_bank"
PLANTED = "planted.json"
BLOCK_CUSTOMERS = 10_000
"""Customers simulated together, at most. Part of the content: another size would be another bank."""

LARGEST_BANK = 999_999_999


class Planted(Value):
    """What `generate` planted: arguments, truth, and exact counts.

    Attributes:
        rows: rows written, dirty ones included, by source and business date.
        dirty: rows spoiled or repeated, by source, business date and kind.
        events: defaults, charge-offs among them, and repayments, by month of the event (YYYY-MM), reported or not.
        laundering: rows of the tables in truth/ by typology, customers who launder, and look-alikes by what they do.
    """

    customers: int
    seed: int
    end: date
    months: int
    nights: int
    downturn: date | None
    business_dates: tuple[date, ...]
    truth: dict[str, Any]
    rows: dict[str, dict[date, int]]
    dirty: dict[str, dict[date, dict[str, int]]]
    events: dict[str, dict[str, int]]
    laundering: dict[str, dict[str, int]]


def generate(
    folder: Path,
    *,
    customers: int = 20_000,
    seed: int = 20230731,
    end: date = date(2026, 6, 30),
    months: int = 36,
    nights: int = 5,
    downturn: date | None = date(2026, 3, 1),
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Planted:
    """Write the bank to `<folder>/sample_bank/<source>/<business date>.parquet` and what is planted to planted.json.

    `folder` is where source contracts start (VIGIL_SOURCES). The same arguments give the same bytes, whatever `workers`
    (threads, by default one per core up to 4). An earlier sample bank in the folder is replaced when the new one is
    complete, and not before. `progress` is told blocks done and blocks in all.

    Raises:
        DataFault: an argument out of range, or something else than a sample bank in the way.
    """
    calendar = _checked(customers, seed, Calendar(end, months, nights))
    target, building = folder / NAME, folder / f".{NAME}.building"
    _require_replaceable(target)
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    truth = Truth(downturn=Downturn(starts=downturn))
    try:
        tally = _simulate(building, customers, seed, calendar, truth, workers or min(os.cpu_count() or 1, 4), progress)
    except BaseException:
        shutil.rmtree(building)
        raise
    planted = Planted(
        customers=customers,
        seed=seed,
        end=end,
        months=months,
        nights=nights,
        downturn=downturn,
        business_dates=calendar.business_dates,
        truth=truth.as_dict(),
        rows=tally.rows,
        dirty=tally.dirty,
        events=tally.events,
        laundering=tally.laundering,
    )
    (building / PLANTED).write_text(json.dumps(planted.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")
    _replace(target, building)
    return planted


def read_planted(folder: Path) -> Planted:
    """What was planted in the bank that `generate(folder)` wrote. Raises DataFault when there is none, or one of another
    version of Vigil."""
    path = folder / NAME / PLANTED
    if not path.is_file():
        raise DataFault(f"no sample bank in {folder}: {PLANTED} is not there. Generate one first.")
    try:
        return Planted.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError:
        raise DataFault(
            f"{path} was written by another version: its bank lacks some sources. Generate it again."
        ) from None


def _checked(customers: int, seed: int, calendar: Calendar) -> Calendar:
    if not 1 <= customers <= LARGEST_BANK:
        raise DataFault(f"customers is {customers}; a sample bank has 1 to {LARGEST_BANK}.")
    if not 0 <= seed < 2**63:
        raise DataFault(f"seed is {seed}; it must be from 0 to 2**63 - 1.")
    if not 1 <= calendar.months <= 120 or not 1 <= calendar.nights <= 28:
        raise DataFault(f"months is {calendar.months}, nights is {calendar.nights}; allowed are 1-120 and 1-28.")
    return calendar


def _require_replaceable(target: Path) -> None:
    if target.exists() and any(target.iterdir()) and not (target / PLANTED).is_file():
        raise DataFault(
            f"{target} is not empty and holds no {PLANTED}, so it may not be a sample bank. Nothing was touched. "
            "Choose another folder or move its content away."
        )


def _replace(target: Path, by: Path) -> None:
    old = target.with_name(f".{NAME}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    by.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _simulate(
    building: Path,
    customers: int,
    seed: int,
    calendar: Calendar,
    truth: Truth,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> Tally:
    bounds = _blocks(customers)
    total = Tally()
    with BankWriter(building) as writer, ThreadPoolExecutor(workers) as pool:

        def live(block: int) -> Tally:
            first, end = bounds[block], bounds[block + 1]
            try:
                return Block(seed, block, first, end - first, calendar, truth).write(writer)
            except BaseException:
                writer.give_up()
                raise

        for done, tally in enumerate(pool.map(live, range(len(bounds) - 1)), start=1):
            total.add(tally)
            if progress:
                progress(done, len(bounds) - 1)
    return total


def _blocks(customers: int) -> list[int]:
    """Number of the first customer of each block, and of none after the last. Blocks are of one size and, beyond the
    first, even in number, so that two cores end together."""
    blocks = -(-customers // BLOCK_CUSTOMERS)
    blocks += blocks % 2 if blocks > 1 else 0
    return [block * customers // blocks for block in range(blocks + 1)]
