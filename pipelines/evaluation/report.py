"""The evidence of one model: measures on rows it had not learnt from, as tables and pictures in a folder."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.contracts import Value
from pipelines.evaluation.leakage import LeakageVerdict
from pipelines.evaluation.metrics import Dates, Labels, Scores, by_month, calibration_by_decile


@dataclass(frozen=True)
class Evidence:
    """What a model said about judged rows, and what happened.

    Attributes:
        metrics: over all judged rows, or the mean over folds.
        event_date, label, probability: of each judged row, in one order.
    """

    metrics: dict[str, float]
    event_date: Dates
    label: Labels
    probability: Scores


def write_report(
    folder: Path, title: str, evidence: Evidence, leakage: LeakageVerdict, importance: dict[str, float]
) -> None:
    """Write pictures, months.csv, deciles.csv, importance.csv and leakage.json. Raises EvidenceMissing."""
    from pipelines.evaluation.plots import draw_all

    draw_all(folder, title, evidence.label, evidence.probability)
    _table(folder / "months.csv", _records(by_month(evidence.event_date, evidence.label, evidence.probability)))
    _table(folder / "deciles.csv", _records(calibration_by_decile(evidence.label, evidence.probability)))
    ranked = sorted(importance.items(), key=lambda item: (-item[1], item[0]))
    _table(folder / "importance.csv", [{"feature": name, "importance": value} for name, value in ranked])
    (folder / "leakage.json").write_text(json.dumps(leakage.model_dump(mode="json"), indent=1))


def _records(values: Sequence[Value]) -> list[dict[str, Any]]:
    return [value.model_dump(mode="json") for value in values]


def _table(path: Path, records: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]) if records else [])
        writer.writeheader()
        writer.writerows(records)
