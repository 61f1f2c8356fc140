"""Pictures and tables of a model's result."""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from pipelines.contracts import EvidenceMissing
from pipelines.evaluation.leakage import LeakageVerdict
from pipelines.evaluation.report import Evidence, write_report

VERDICT = LeakageVerdict(model="m", as_of=date(2026, 1, 1), rows=1, features=("a",), findings=())


def evidence(rows: int = 500) -> Evidence:
    random = np.random.default_rng(0)
    probability = random.beta(1, 6, rows)
    label = (random.random(rows) < probability).astype(np.int8)
    days = np.sort(random.choice(np.array(["2026-01-31", "2026-02-28"], "datetime64[D]"), rows))
    return Evidence({"auc": 0.7}, days, label, probability)


def test_the_same_evidence_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_report(tmp_path / name, "catboost", evidence(), VERDICT, {"a": 1.0, "b": 3.0})
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
        assert path.stat().st_size > 0
    with (tmp_path / "one" / "months.csv").open() as file:
        months = list(csv.DictReader(file))
    assert [m["month"] for m in months] == ["2026-01-01", "2026-02-01"]
    assert sum(int(m["rows"]) for m in months) == 500
    with (tmp_path / "one" / "importance.csv").open() as file:
        assert [r["feature"] for r in csv.DictReader(file)] == ["b", "a"]


def test_evidence_without_an_event_is_missing(tmp_path: Path) -> None:
    made = evidence()
    empty = Evidence(made.metrics, made.event_date, np.zeros_like(made.label), made.probability)
    with pytest.raises(EvidenceMissing, match="one class"):
        write_report(tmp_path, "t", empty, VERDICT, {})
