"""Scoring everyone with a CatBoost model of 300 trees on 30 features, from the rows in the lake to probabilities.

Raw: pyarrow reads tokens and features of one file after the other, CatBoost predicts. Ours: the scoring step's stream, which
also judges every row, calibrates and counts. Usual: pandas reads the Parquet files, CatBoost's predict_proba does the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.harness import Measurement, timed
from pipelines.contracts import FeatureSnapshot
from pipelines.lake import Lake
from pipelines.scoring.judge import Rules
from pipelines.scoring.predict import LoadedVersion, Tally, judged_and_scored
from pipelines.scoring.stream import feature_chunks
from pipelines.settings import Settings
from pipelines.spec import Feature, Model
from pipelines.training import artefact
from pipelines.training.algorithms import Developed
from pipelines.training.calibration import Sigmoid
from pipelines.training.catboost_model import fit
from pipelines.training.recipe import Recipe
from pipelines.training.reference import reference_of
from pipelines.training.rows import Rows

COLUMNS = 30
TREES = 300
DAY = date(2026, 6, 30)
NAMES = tuple(f"feature_{i:02d}" for i in range(COLUMNS))
FEATURES = {name: Feature(missing="review") for name in NAMES}
MODEL = Model.model_construct(name="bench", entity="account", features={"all": FEATURES})


def measure(rows: int) -> list[Measurement]:
    """Seconds to score `rows` rows, one after the other: raw, ours, usual."""
    with TemporaryDirectory(prefix="vigil-bench-") as folder:
        settings = Settings(home=Path(folder), lake_url=f"{folder}/lake")
        snapshot, digest = _prepare(settings, rows)
        raw = timed(_catboost, settings, snapshot)
        ours = timed(_ours, settings, snapshot, digest)
        usual = timed(_pandas, settings, snapshot)
    return [Measurement("CatBoost score", rows, COLUMNS, raw.seconds, ours.seconds, usual.seconds, ours.peak_mb)]


def _prepare(settings: Settings, rows: int) -> tuple[FeatureSnapshot, str]:
    """Train the model, put the rows into the lake; returns where they are and the digest of the model's files."""
    made = labelled(20_000)
    parameters: dict[str, Any] = {"iterations": TREES, "depth": 6, "early_stopping_rounds": TREES}
    developed = Developed(
        "catboost", fit(Recipe("bench", FEATURES, 1, parameters), made, made), Sigmoid(slope=1.0, intercept=0.0)
    )
    reference = reference_of(made, FEATURES, developed.probability(made.features))
    digest = artefact.save(settings.home / "artefact", artefact.pack("bench", developed, made, FEATURES, reference, {}))
    tokens = pa.array([f"{i:032x}" for i in range(rows)])
    table = feature_rows(rows, seed=3).add_column(0, "account_token", tokens)
    version = Lake(settings).replace_date(
        "model_features/bench", DAY, table.append_column("business_date", pa.repeat(DAY, rows))
    )
    snapshot = FeatureSnapshot(
        model="bench", business_date=DAY, table="model_features/bench", lake_version=version, rows=rows,
        view_versions={}, source_versions={}, content_digest="",
    )  # fmt: skip
    return snapshot, digest


def _catboost(settings: Settings, snapshot: FeatureSnapshot) -> Callable[[], object]:
    model, files = _booster(settings), Lake(settings).files(snapshot.table)

    def work() -> None:
        for file in files:
            rows = pq.read_table(file, columns=[MODEL.token, *NAMES])
            model.predict(rows.select(NAMES).to_pandas(), prediction_type="Probability")

    return work


def _ours(settings: Settings, snapshot: FeatureSnapshot, digest: str) -> Callable[[], object]:
    predictor = artefact.load_verified(settings.home / "artefact", digest)
    version = LoadedVersion("bench", predictor, Rules(MODEL.token, FEATURES, {}), predictor.reference.probability)

    def work() -> Tally:
        tally = Tally(version.reference)
        chunks = feature_chunks(settings, MODEL, snapshot)
        for judged, probability in judged_and_scored(chunks, version):
            tally.add(judged, probability)
        return tally

    return work


def _pandas(settings: Settings, snapshot: FeatureSnapshot) -> Callable[[], object]:
    import pandas as pd

    model, files = _booster(settings), Lake(settings).files(snapshot.table)

    def work() -> object:
        frame = pd.concat([pd.read_parquet(file) for file in files])
        return model.predict(frame[list(NAMES)], prediction_type="Probability")

    return work


def _booster(settings: Settings) -> Any:
    from catboost import CatBoostClassifier

    return CatBoostClassifier().load_model(str(settings.home / "artefact" / "model.cbm"))


def labelled(rows: int) -> Rows:
    """Random rows whose first feature makes the event likelier."""
    features, random = feature_rows(rows, seed=1), np.random.default_rng(2)
    label = (random.random(rows) < 1 / (1 + np.exp(2 - features[NAMES[0]].to_numpy()))).astype(np.int8)
    return Rows(features, label, np.full(rows, np.datetime64(DAY)))


def feature_rows(rows: int, seed: int) -> pa.Table:
    """Random rows of NAMES."""
    random = np.random.default_rng(seed)
    return pa.table({name: random.normal(size=rows) for name in NAMES})
