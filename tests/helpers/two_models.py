"""A candidate and its opponent with scores written by hand, to know beforehand what a comparison must find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from small_night import MODEL

from pipelines.features import TrainingPins
from pipelines.settings import REPOSITORY
from pipelines.spec import Feature, Measuring, load_policy
from pipelines.training.algorithms import Developed
from pipelines.training.artefact import Predictor, Schema
from pipelines.training.calibration import Sigmoid
from pipelines.training.provenance import Provenance, TrainingSet
from pipelines.training.reference import NumberReference, Reference
from pipelines.training.rows import Rows
from pipelines.training.scorecard import NumberCharacteristic, Scorecard
from pipelines.validation.candidate import Candidate
from pipelines.validation.opponent import Opponent

FEATURES = {"utilisation": Feature(), "trend": Feature(), "product": Feature(categorical=True)}


def measuring(**changed: Any) -> Measuring:
    """The repository's own, with changed keys."""
    found = load_policy(REPOSITORY / "policies", "internal").measuring
    assert found is not None
    return found.model_copy(update={"resamples": 100, "latency_rows": 50, "latency_repeats": 20} | changed)


def card(points: Mapping[str, float], features: Mapping[str, Feature] = FEATURES) -> Predictor:
    """A card that gives a feature's points when it is above 0."""
    numbers = tuple(
        NumberCharacteristic(feature=name, edges=(1e-9,), points=(0.0, given), missing=0.0)
        for name, given in points.items()
    )
    fitted = Scorecard(intercept=-1.0, numbers=numbers, categories=())
    nothing = NumberReference(edges=(), counts=(0, 0))
    return Predictor(
        artefact_digest="0" * 64,
        schema=Schema(model="small", algorithm="scorecard", features=dict(features), categories={}),
        reference=Reference(rows=0, probability=nothing, features={}),
        provenance={},
        developed=Developed("scorecard", fitted, Sigmoid(slope=1.0, intercept=0.0)),
    )


def provenance(algorithm: str) -> Provenance:
    """Of no training."""
    pins = TrainingPins(source_versions={}, view_versions={}, definitions={})
    return Provenance(
        model=MODEL,
        algorithm=algorithm,
        training_set=TrainingSet(as_of=date(2026, 1, 31), digest="0" * 64, rows=0, events=0, pins=pins),
        policy="small",
        code_version="",
        code_digest="",
        libraries={},
        judged="rows made by hand",
    )


def sides(
    label: Sequence[int],
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    columns: Mapping[str, Any] | None = None,
    our_card: Predictor | None = None,
    their_card: Predictor | None = None,
    tokens: Sequence[str] | None = None,
    matched: Sequence[bool] | None = None,
    benchmark: bool = False,
) -> tuple[Candidate, Opponent]:
    """Both, scoring these labels so; `theirs` are of the matched rows."""
    rows = len(label)
    table = pa.table(
        {
            "utilisation": np.zeros(rows),
            "trend": np.zeros(rows),
            "product": pa.array(["card"] * rows),
            **dict(columns or {}),
        }
    )
    judged = Rows(table, np.array(label, np.int8), np.full(rows, np.datetime64("2026-01-31")))
    compared = np.ones(rows, bool) if matched is None else np.array(matched)
    candidate = Candidate(
        model=MODEL,
        version=2,
        run_id="",
        artefact_digest="2" * 64,
        tags={},
        folder=Path(),
        predictor=our_card or card({"utilisation": 1.0}),
        provenance=provenance("catboost"),
        development=judged,
        judged=judged,
        tokens=pa.chunked_array([pa.array(tokens or [f"{n:032x}" for n in range(rows)], pa.string())]),
        probability=np.array(ours, np.float64),
    )
    opponent = Opponent(
        version=1,
        run_id="",
        artefact_digest="1" * 64,
        benchmark=benchmark,
        predictor=their_card or card({"trend": 1.0}),
        provenance=provenance("scorecard"),
        matched=compared,
        features=table.filter(pa.array(compared)),
        probability=np.array(theirs, np.float64),
        learnt_from=0,
    )
    return candidate, opponent
