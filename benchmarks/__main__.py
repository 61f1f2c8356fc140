"""`python -m benchmarks`: measure every step in one run; write results.json and the table in benchmarks/README.md.

Each step is a module here with `measure(rows) -> list[Measurement]` and is listed in STEPS with what it must hold.
`--check` exits 1 when a step does not hold its ratio.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.harness import Measurement

FOLDER = Path(__file__).parent
STEPS = ("sample_bank", "quality", "point_in_time", "psi", "scoring", "reasons", "combined", "publish", "network")
NIGHT = "whole night, one model"
# What is measured for itself: the night is that of a model of one part, and does not ask for reasons.
NOT_OF_THE_NIGHT = (
    "sample bank",
    "reasons for every row",
    "isolation forest score",
    "combined score",
    "transfer network",
)
BEGIN, END = "<!-- table: make bench -->", "<!-- end of table -->"

# From the speed table of the design: largest ours/raw, smallest usual/ours.
HOLD: dict[str, tuple[float | None, float | None]] = {
    "sample bank": (None, None),
    "60 checks in GX": (2.0, None),
    "point-in-time join": (1.5, None),
    "PSI, everyone": (1.0, None),
    "CatBoost score": (1 / 0.9, None),
    "reasons for every row": (None, 10.0),
    "isolation forest score": (1.0, None),
    "combined score": (1.5, None),
    "publish scores to Postgres": (1.5, None),
    "transfer network": (None, 2.0),
    NIGHT: (1.5, 10.0),
}


def main() -> int:
    options = _options()
    measured: list[Measurement] = []
    for step in options.only or STEPS:
        print(f"{step}: measuring at {options.rows:,} rows …", file=sys.stderr, flush=True)
        measured += importlib.import_module(f"benchmarks.{step}").measure(options.rows)
    if not options.only:
        measured.append(_night(measured))
    table = _table(measured)
    print(table)
    if not options.only:
        (FOLDER / "results.json").write_text(json.dumps([asdict(m) for m in measured], indent=2) + "\n")
        _put_into_readme(table)
    missed = [m.step for m in measured if not _holds(m)]
    if missed:
        print(f"not held: {', '.join(missed)}", file=sys.stderr)
    return 1 if options.check and missed else 0


def _night(measured: list[Measurement]) -> Measurement:
    """The night's steps added up, each way for itself."""
    steps = [m for m in measured if m.step in HOLD and m.step not in NOT_OF_THE_NIGHT]
    return Measurement(
        step=NIGHT,
        rows=steps[0].rows,
        columns=max(m.columns for m in steps),
        raw_s=sum(m.raw_s for m in steps),
        ours_s=sum(m.ours_s for m in steps),
        usual_s=sum(m.usual_s or 0.0 for m in steps),
        peak_mb=max(m.peak_mb for m in steps),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of every step (default 1,000,000)")
    parser.add_argument("--only", nargs="*", choices=STEPS, help="these steps only; writes no file")
    parser.add_argument("--check", action="store_true", help="exit 1 when a step does not hold its ratio")
    return parser.parse_args()


def _holds(measurement: Measurement) -> bool:
    most, least = HOLD[measurement.step]
    if most is not None and measurement.ours_s > most * measurement.raw_s:
        return False
    return least is None or (measurement.usual_s is not None and measurement.usual_s >= least * measurement.ours_s)


def _table(measured: list[Measurement]) -> str:
    lines = [
        "| step | rows x columns | raw limit, s | ours, s | usual way, s | ours / raw | usual / ours | peak MB | hold | held |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for m in measured:
        usual, gain = ("", "") if m.usual_s is None else (f"{m.usual_s:.2f}", f"{m.usual_s / m.ours_s:.1f}")
        lines.append(
            f"| {m.step} | {m.rows:,} x {m.columns} | {m.raw_s:.2f} | {m.ours_s:.2f} | {usual} "
            f"| {m.ours_s / m.raw_s:.2f} | {gain} | {m.peak_mb:,.0f} | {_limit(m.step)} | {_held(m)} |"
        )
    return "\n".join(lines)


def _held(measurement: Measurement) -> str:
    if HOLD[measurement.step] == (None, None):
        return ""
    return "yes" if _holds(measurement) else "no"


def _limit(step: str) -> str:
    most, least = HOLD[step]
    parts = [] if most is None else [f"<= {most:.2f} raw"]
    return ", ".join(parts + ([] if least is None else [f">= {least:.0f}x usual"]))


def _put_into_readme(table: str) -> None:
    page = FOLDER / "README.md"
    before, rest = page.read_text().split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    sys.exit(main())
