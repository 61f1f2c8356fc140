"""docs/gates.md names every key of the sections it lists and every gate, and every rule asks for a metric that is named there."""

from __future__ import annotations

import re

import pytest
import yaml
from pydantic import BaseModel

from pipelines.settings import REPOSITORY
from pipelines.spec import (
    GATES,
    Approvals,
    Approvers,
    Fairness,
    Measuring,
    ProtectedAttribute,
    Review,
    Rule,
    Scenario,
    Shift,
)

PAGE = (REPOSITORY / "docs" / "gates.md").read_text(encoding="utf-8")
SECTIONS: dict[str, list[type[BaseModel]]] = {
    "`rules`": [Rule],
    "`measuring`": [Measuring, Scenario, Shift, Fairness, ProtectedAttribute],
    "`approvals`": [Approvals, Approvers],
    "`review`": [Review],
}


def table(heading: str) -> list[list[str]]:
    section = re.split(r"\n##+ ", PAGE.split(f"\n### {heading}\n")[1])[0]
    return [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")][2:]


def names(cells: list[str]) -> set[str]:
    return set(re.findall(r"`([a-z_0-9]+)`", " ".join(cells)))


@pytest.mark.parametrize("heading", SECTIONS)
def test_a_section_names_every_key(heading: str) -> None:
    keys = {field for part in SECTIONS[heading] for field in part.model_fields}
    assert keys <= names([cell for row in table(heading) for cell in row])
    assert names([row[0] for row in table(heading)]) <= keys


@pytest.mark.parametrize("gate", GATES)
def test_every_gate_is_described(gate: str) -> None:
    assert f"\n### {gate}\n" in PAGE


@pytest.mark.parametrize("path", sorted((REPOSITORY / "policies").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_rule_asks_for_a_metric_that_the_page_explains(path) -> None:
    for rule in yaml.safe_load(path.read_text()).get("rules", []):
        assert rule["metric"] in names([row[0] for row in table(rule["gate"])]), rule
