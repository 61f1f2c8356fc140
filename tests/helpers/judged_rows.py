"""Judged rows with a score, an outcome and a protected group each, as a fairness test needs them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipelines.settings import REPOSITORY
from pipelines.spec import Fairness, Measuring, load_policy
from pipelines.validation.fairness import FairnessTable, Outcomes, compare, measurements
from pipelines.validation.measurement import Measurement
from pipelines.validation.protected import Groups

POLICY = load_policy(REPOSITORY / "policies", "internal")
MEASURING: Measuring = POLICY.measuring
FAIRNESS: Fairness = MEASURING.fairness


def group(name: str | None, rows: int, favourable: int, *, events: int = 0, seed: int = 1) -> tuple[Groups, Outcomes]:
    """Rows of one group of which the first are favoured; the events are spread over them by lot."""
    random = np.random.default_rng(seed)
    favoured = np.arange(rows) < favourable
    probability = np.where(favoured, 0.05, 0.4) + random.uniform(0, 0.01, rows)
    label = np.zeros(rows, np.int8)
    label[random.choice(rows, events, replace=False)] = 1
    return np.array([name] * rows, object), Outcomes(label, probability, favoured)


def table_of(*groups: tuple[Groups, Outcomes], name: str = "sex", fairness: Fairness = FAIRNESS) -> FairnessTable:
    """The fairness table of one attribute whose groups these are."""
    members = np.concatenate([members for members, _ in groups])
    parts = [outcomes for _, outcomes in groups]
    outcomes = replace(
        parts[0],
        label=np.concatenate([part.label for part in parts]),
        probability=np.concatenate([part.probability for part in parts]),
        favourable=np.concatenate([part.favourable for part in parts]),
    )
    return FairnessTable(
        model="small",
        version=1,
        rows=len(members),
        favourable_share=float(outcomes.favourable.mean()),
        min_group=fairness.min_group,
        significance=fairness.significance,
        confidence=MEASURING.confidence,
        groupings=(compare(name, members, outcomes, fairness, MEASURING.confidence),),
        prohibited=(),
    )


def measured(table: FairnessTable, metric: str) -> dict[str, Measurement]:
    """The measurements of one metric, by segment."""
    return {found.segment: found for found in measurements(table) if found.metric == metric}
