"""docs/onboarding.md, followed to the letter: its files written where it says, its commands run in its order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from pipelines.settings import REPOSITORY
from pipelines.spec import Model

PAGE = (REPOSITORY / "docs" / "onboarding.md").read_text()
BLOCK = re.compile(r"(?:^`(?P<file>[^`\n]+)`\n\n)?^```(?P<language>\w+)\n(?P<body>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Walk:
    """What the commands of the page printed, and where they wrote."""

    folder: Path
    said: str

    def lines(self, containing: str) -> list[str]:
        return [line for line in self.said.splitlines() if containing in line]


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """The whole page as one shell script, in an empty folder, stopped by the first command that fails."""
    folder = tmp_path_factory.mktemp("onboarding")
    script = "set -euo pipefail\n" + "".join(_as_shell(block) for block in BLOCK.finditer(PAGE))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VIGIL_")}
    environment = kept | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "200"}
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return Walk(folder, done.stdout)


def _as_shell(block: re.Match[str]) -> str:
    if block["language"] == "bash":
        return block["body"]
    assert block["file"], f"the page does not say where this goes: {block['body'][:60]}"
    return f"cat > {block['file']} <<'END_OF_FILE'\n{block['body']}END_OF_FILE\n"


def test_every_month_is_taken_in_and_nothing_is_lost(walk: Walk) -> None:
    published = [line for line in walk.lines("consumer_loans: ") if "published" in line]
    months = {line.split()[0] for line in published}
    assert len(months) == 12
    assert sum(int(re.search(r"([\d,]+) rows in", line)[1].replace(",", "")) for line in published[:12]) == 4800
    assert all(line.endswith("+ 0 quarantined") for line in published)


def test_both_algorithms_are_registered_and_rank(walk: Walk) -> None:
    aucs = [float(found) for found in re.findall(r'"auc": ([\d.]+)', walk.said)]
    assert len(aucs) == 2
    assert min(aucs) > 0.65


def test_the_nights_are_published(walk: Walk) -> None:
    batches = walk.lines(" is published, ")
    assert [line.split()[0] for line in batches] == ["2025-06-30", "2025-05-31"]


def test_ids_and_protected_values_are_nowhere_in_the_lake(walk: Walk) -> None:
    import duckdb

    files = f"{walk.folder}/trial/lake/source/consumer_loans/**/*.parquet"
    columns = [row[0] for row in duckdb.sql(f"DESCRIBE SELECT * FROM read_parquet('{files}')").fetchall()]
    assert "loan_token" in columns
    assert not {"loan_no", "sex"} & set(columns)


def test_the_page_lists_every_key_of_the_model_file() -> None:
    missing = [key for key in _keys(Model) if not re.search(rf"`(\w+\.)*{key}`", PAGE)]
    assert missing == [], f"docs/onboarding.md, last table: add {missing}"


def test_the_errors_the_page_explains_are_those_the_code_says() -> None:
    table = PAGE[PAGE.index("| it says |") : PAGE.index("## Every key")]
    quoted = [text for row in table.splitlines()[2:] if row for text in re.findall(r"`([^`]+)`", row.split(" | ")[0])]
    assert len(quoted) > 15
    code = " ".join(path.read_text() for path in (REPOSITORY / "pipelines").rglob("*.py"))
    code += "Extra inputs are not permitted"  # pydantic says this one
    said = re.sub(r"\{[^{}\n]*\}", "…", re.sub(r'"\s*f?"', "", code))
    unknown = [text for text in quoted if not all(part.strip() in said for part in re.split("…|<column>|<rule>", text))]
    assert unknown == [], "docs/onboarding.md, 'When it stops': no error says this"


def _keys(kind: type[BaseModel]) -> set[str]:
    found: set[str] = set()
    for name, field in kind.model_fields.items():
        inner = _models_in(field.annotation)
        found |= set().union(*map(_keys, inner)) if inner else {name}
    return found


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]
