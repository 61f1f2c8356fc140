"""What stops a version of an example: its report and the table of docs/examples.md must say the same."""

from __future__ import annotations

import re

import pytest

from pipelines.contracts import GateReport
from pipelines.settings import REPOSITORY
from pipelines.validation.pages import observed


def require_page_says(report: GateReport) -> None:
    """Fails unless the page names the very rules that block the version, with their figures, or says that it passes."""
    said = _rows_of_the_page(f"{report.model} {report.version}")
    found = [[f"{v.gate}.{v.metric}", v.segment, observed(v), v.limit] for v in report.blocking] or [
        ["passes", "", "", ""]
    ]
    assert [[row[i] for i in (0, 1, 3)] for row in said] == [[row[i] for i in (0, 1, 3)] for row in found]
    for ours, theirs in zip(said, found, strict=True):
        assert _numbers(ours[2]) == pytest.approx(_numbers(theirs[2]), abs=0.0006), (ours, theirs)


def _rows_of_the_page(version: str) -> list[list[str]]:
    """Rule, segment, what was observed and limit, of each row of the table about the version."""
    page = (REPOSITORY / "docs" / "examples.md").read_text()
    rows = [
        [cell.strip(" `") for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| `")
    ]
    return [cells for name, *cells in rows if name == version]


def _numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?[\d.]+", text)]
