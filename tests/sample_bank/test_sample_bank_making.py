"""How the bank is made: the same arguments give the same bytes, whatever the machine does meanwhile."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from hashlib import file_digest
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.contracts import DataFault
from pipelines.sample_bank import NAME, bank, generate, read_planted
from pipelines.sample_bank.bank import BLOCK_CUSTOMERS
from pipelines.sample_bank.block import Block

SHORT = {"months": 2, "nights": 2, "downturn": date(2026, 6, 1)}


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            found[str(path.relative_to(folder))] = file_digest(file, "sha256").hexdigest()
    return found


def test_the_same_arguments_give_the_same_bytes_on_one_thread_and_on_three(tmp_path: Path) -> None:
    for name, workers in (("one", 1), ("three", 3), ("again", 3)):
        generate(tmp_path / name, customers=3 * BLOCK_CUSTOMERS + 500, workers=workers, **SHORT)
    one = digests(tmp_path / "one")
    by_date, at_month_ends, truth, planted = 6 * 3, 2, 4, 1
    assert len(one) == by_date + at_month_ends + truth + planted
    assert digests(tmp_path / "three") == one
    assert digests(tmp_path / "again") == one


def test_blocks_are_of_one_size_and_share_out_evenly_over_two_cores() -> None:
    assert bank._blocks(BLOCK_CUSTOMERS) == [0, BLOCK_CUSTOMERS]
    for customers in (1, BLOCK_CUSTOMERS + 1, 27_933, 9 * BLOCK_CUSTOMERS - 1):
        bounds = bank._blocks(customers)
        sizes = {end - first for first, end in itertools.pairwise(bounds)}
        assert (bounds[0], bounds[-1]) == (0, customers)
        assert max(sizes) <= BLOCK_CUSTOMERS
        assert max(sizes) - min(sizes) <= 1
        assert len(bounds) == 2 or len(bounds) % 2 == 1


def test_a_block_does_not_depend_on_how_many_follow(tmp_path: Path) -> None:
    generate(tmp_path / "small", customers=BLOCK_CUSTOMERS, **SHORT)
    generate(tmp_path / "large", customers=2 * BLOCK_CUSTOMERS, **SHORT)
    for path in sorted((tmp_path / "small").rglob("*.parquet")):
        large = pq.read_table(tmp_path / "large" / path.relative_to(tmp_path / "small"))
        small = pq.read_table(path)
        assert large.slice(0, len(small)).equals(small), path.name


def test_another_seed_is_another_bank(tmp_path: Path) -> None:
    generate(tmp_path / "a", customers=300, seed=1, **SHORT)
    generate(tmp_path / "b", customers=300, seed=2, **SHORT)
    a, b = digests(tmp_path / "a"), digests(tmp_path / "b")
    assert a.keys() == b.keys()
    full = {path for path in a if "snapshots" in path or "/transactions/" in path}
    assert len(full) == 9
    assert not [path for path in full if a[path] == b[path]]


def test_the_downturn_leaves_the_months_before_it_as_they_were(tmp_path: Path) -> None:
    for name, downturn in (("with", date(2026, 5, 1)), ("without", None)):
        generate(tmp_path / name, customers=400, months=4, nights=1, downturn=downturn)
    before = f"{NAME}/account_snapshots/2026-04-30.parquet"
    after = f"{NAME}/account_snapshots/2026-06-30.parquet"
    with_it, without = digests(tmp_path / "with"), digests(tmp_path / "without")
    assert with_it[before] == without[before]
    assert with_it[after] != without[after]


def test_business_dates_are_month_ends_and_the_last_nights(tmp_path: Path) -> None:
    planted = generate(tmp_path, customers=20, months=36, nights=5)
    dates = planted.business_dates
    assert (dates[0], dates[34], len(dates)) == (date(2023, 7, 31), date(2026, 5, 31), 40)
    assert dates[35:] == tuple(date(2026, 6, day) for day in range(26, 31))
    files = {path.stem for path in (tmp_path / NAME / "account_snapshots").iterdir()}
    assert files == {day.isoformat() for day in dates}


def test_the_bank_may_end_inside_a_month(tmp_path: Path) -> None:
    planted = generate(tmp_path, customers=50, end=date(2026, 3, 2), months=3, nights=4)
    assert planted.business_dates == tuple(
        map(date.fromisoformat, ("2026-01-31", "2026-02-27", "2026-02-28", "2026-03-01", "2026-03-02"))
    )
    assert read_planted(tmp_path) == planted


def test_an_earlier_bank_is_replaced_as_a_whole(tmp_path: Path) -> None:
    generate(tmp_path, customers=50, months=4, nights=1)
    generate(tmp_path, customers=60, months=2, nights=1)
    assert read_planted(tmp_path).customers == 60
    assert len(list((tmp_path / NAME / "outcomes").iterdir())) == 2


def test_a_bank_of_another_version_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "planted.json").write_text('{"customers": 1}')
    with pytest.raises(DataFault, match="Generate it again"):
        read_planted(tmp_path)


def test_what_is_no_sample_bank_is_not_touched(tmp_path: Path) -> None:
    precious = tmp_path / NAME / "precious.csv"
    precious.parent.mkdir()
    precious.write_text("a,b\n")
    with pytest.raises(DataFault, match="Nothing was touched"):
        generate(tmp_path, customers=10)
    assert precious.read_text() == "a,b\n"


@pytest.mark.parametrize(
    "wrong", [{"customers": 0}, {"customers": 10**9}, {"seed": -1}, {"months": 0}, {"months": 121}, {"nights": 0}]
)
def test_arguments_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(DataFault, match=str(next(iter(wrong.values())))):
        generate(tmp_path, **wrong)
    assert not list(tmp_path.iterdir())


def test_a_block_that_fails_tells_why_and_leaves_the_earlier_bank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate(tmp_path, customers=50, **SHORT)
    before = digests(tmp_path)

    def fails_late(self: Block, writer: object) -> None:
        if self._block == 1:
            raise OSError("no space left on device")
        return write(self, writer)

    write: Callable[..., None] = Block.write
    monkeypatch.setattr(Block, "write", fails_late)
    with pytest.raises(OSError, match="no space left"):
        generate(tmp_path, customers=4 * BLOCK_CUSTOMERS, workers=2, **SHORT)
    assert digests(tmp_path) == before


def test_progress_is_told_per_block(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    generate(tmp_path, customers=BLOCK_CUSTOMERS + 1, progress=lambda done, of: told.append((done, of)), **SHORT)
    assert told == [(1, 2), (2, 2)]


def test_memory_does_not_grow_with_the_bank(tmp_path: Path) -> None:
    small, large = (_peak_mb(tmp_path, customers) for customers in (2 * BLOCK_CUSTOMERS, 16 * BLOCK_CUSTOMERS))
    assert large < small + 60, f"{small:.0f} MB for 20,000 customers, {large:.0f} MB for 160,000"


def _peak_mb(folder: Path, customers: int) -> float:
    """Peak memory in MB of a process of its own that makes a bank of one month."""
    program = (
        "import resource, sys; from pathlib import Path; from pipelines.sample_bank import generate;"
        f"generate(Path(sys.argv[1]), customers={customers}, months=1, nights=1, workers=2);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_the_smallest_bank_is_complete(tmp_path: Path) -> None:
    planted = generate(tmp_path, customers=1, months=2, nights=2)
    for source in (
        "account_snapshots",
        "customer_snapshots",
        "transactions",
        "outcomes",
        "investigations",
        "protected_attributes",
    ):
        for day in planted.business_dates:
            assert pq.read_metadata(tmp_path / bank.NAME / source / f"{day}.parquet").num_columns > 2
