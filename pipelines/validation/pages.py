"""A report of the gates as files: `gates.json` as it was digested, `gates.html` for people. Nothing is fetched from a network."""

from __future__ import annotations

from functools import cache
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, PackageLoader, Template

from pipelines.contracts import GateReport, GateVerdict
from pipelines.lake import local_folder


def write(folder: Path, report: GateReport) -> None:
    """Write `gates.json` and `gates.html`; equal reports give equal bytes."""
    local_folder(folder)
    (folder / "gates.json").write_text(report.model_dump_json(), encoding="utf-8")
    sections = [(gate, list(verdicts)) for gate, verdicts in groupby(report.verdicts, key=lambda verdict: verdict.gate)]
    page = _template("gates").render(report=report, sections=sections, observed=observed)
    (folder / "gates.html").write_text(page, encoding="utf-8")


def observed(verdict: GateVerdict) -> str:
    """The measure with its interval, as people read it: `0.8312 [0.8201, 0.8420]`; `-` where there is none."""
    if verdict.observed is None:
        return "-"
    ends = (verdict.low, verdict.high)
    between = "" if None in ends else " [" + ", ".join(_told(end) for end in ends if end is not None) + "]"
    return f"{_told(verdict.observed)}{between}"


def _told(number: float) -> str:
    """Four digits, and a count in full: `30000`, not `3e+04`."""
    return f"{number:.0f}" if 1e4 <= abs(number) < 1e9 else f"{number:.4g}"


@cache
def _template(name: str) -> Template:
    environment = Environment(loader=PackageLoader("pipelines.validation"), autoescape=True, trim_blocks=True)
    return environment.get_template(f"{name}.html")
