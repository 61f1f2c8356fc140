"""A small model, really trained and registered, and nights of features for it: what scoring and publishing start from."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import yaml

from pipelines import database, mlflow_store
from pipelines.contracts import Check, FeatureSnapshot, IngestState, Manifest, QualityVerdict, Severity
from pipelines.features.records import record_snapshot
from pipelines.features.stream import table_digest
from pipelines.ingest.records import landed, newest_verdict, record_landing, record_publication, record_verdict
from pipelines.lake import Lake
from pipelines.settings import REPOSITORY, Settings
from pipelines.spec import Model, TypologyPack
from pipelines.training import algorithms, artefact, packs
from pipelines.training.reference import reference_of
from pipelines.training.rows import Rows

SCORING_LIMITS = {"max_rejected_fraction": 0.10, "psi_warning": 0.10, "psi_block": 0.25}

MODEL = Model.model_validate(
    {
        "name": "small",
        "title": "Small",
        "description": "Four features.",
        "owner": "owner@bank.example",
        "validator": "validator@bank.example",
        "tier": 3,
        "domain": "credit",
        "purpose": "tests",
        "policy": "small",
        "entity": "account",
        "population": "accounts",
        "sources": ["accounts"],
        "features": {
            "behaviour": {
                "utilisation": {"monotone": "increasing", "missing": "reject"},
                "income": {"monotone": "decreasing", "missing": "review"},
                "trend": {"missing": "allowed"},
                "product": {"categorical": True, "missing": "reject"},
            }
        },
        "label": {"view": "default", "maturity_days": 1, "description": "defaulted"},
        "training": {
            "algorithms": ["catboost"],
            "seed": 1,
            "validation": {"kind": "folds", "folds": 2, "why_no_time": "made up"},
            "parameters": {"catboost": {"iterations": 20, "depth": 3}},
        },
        "schedule": {"cron": None, "timeout_minutes": 5},
    }
)


def small_settings(settings: Settings) -> Settings:
    """The settings with a project folder of their own that holds the policy of the small model."""
    project = settings.home / "project"
    (project / "policies").mkdir(parents=True, exist_ok=True)
    write_policy(project)
    return settings.model_copy(update={"project": project})


def write_policy(project: Path, **changed: object) -> None:
    """The repository's own policy under the small model's name, with changed keys."""
    policy = yaml.safe_load((REPOSITORY / "policies" / "internal.yaml").read_text())
    policy |= {"policy": "small", "version": "2026.1", "in_force_from": date(2020, 1, 1), "scoring": SCORING_LIMITS}
    (project / "policies" / "small.yaml").write_text(yaml.safe_dump(policy | changed))


def feature_columns(rows: int, seed: int) -> dict[str, pa.Array]:
    """Random features: 3% of incomes and 10% of trends are absent."""
    random = np.random.default_rng(seed)
    return {
        "utilisation": pa.array(random.beta(2, 5, rows)),
        "income": pa.array(random.lognormal(10, 0.5, rows), mask=random.random(rows) < 0.03),
        "trend": pa.array(random.normal(size=rows), mask=random.random(rows) < 0.1),
        "product": pa.array(random.choice(["card", "loan"], rows)),
    }


# The same features, scored by three views of a row.
IN_PARTS = Model.model_validate(
    MODEL.model_dump()
    | {
        "name": "in_parts",
        "typologies": "small_typologies",
        "training": MODEL.training.model_dump()
        | {
            "algorithms": ["combined"],
            "parameters": {"combined": {"catboost_iterations": 20, "catboost_depth": 3, "trees": 20}},
        },
    }
)

TYPOLOGIES = TypologyPack.model_validate(
    {
        "pack": "small_typologies",
        "version": "1",
        "description": "Two typologies of the tests.",
        "in_force_from": "2020-01-01",
        "typologies": [
            {
                "name": "stretched",
                "title": "Much of the limit and little income",
                "why": "Found in no report: a typology of the tests.",
                "points": 0.6,
                "all_of": [{"feature": "utilisation", "at_least": 0.4}, {"feature": "income", "at_most": 20000}],
            },
            {
                "name": "steep_card",
                "title": "A card whose trend is steep",
                "why": "Found in no report: a typology of the tests.",
                "points": 0.3,
                "all_of": [{"feature": "product", "equals": "card"}, {"feature": "trend", "at_least": 1}],
            },
        ],
    }
)


def artefact_files(
    seed: int = 1, rows: int = 4_000, model: Model = MODEL, typologies: TypologyPack = TYPOLOGIES
) -> dict[str, bytes]:
    """The files of the model, trained on random rows of that seed."""
    columns = feature_columns(rows, seed)
    random = np.random.default_rng(seed + 1)
    log_odds = 4 * columns["utilisation"].to_numpy() - 2 + 0.5 * np.asarray(columns["product"] == "card", float)
    made = Rows(
        features=pa.table(columns),
        label=(random.random(rows) < 1 / (1 + np.exp(-log_odds))).astype(np.int8),
        event_date=np.full(rows, np.datetime64("2026-01-31")),
    )
    developed = algorithms.develop(model, model.training.algorithms[0], made, typologies)
    reference = reference_of(made, model.feature, developed.probability(made.features))
    return artefact.pack(model.name, developed, made, model.feature, reference, {"seed": seed})


def register(
    settings: Settings, files: dict[str, bytes], model: Model = MODEL, trained_by: str = "system:tests"
) -> int:
    """Log the artefact as a run and register it, as training does; returns the version number."""
    with TemporaryDirectory() as folder:
        digest = artefact.save(Path(folder) / "model", files)
        (Path(folder) / "report").mkdir()
        run_id = mlflow_store.log_run(
            settings,
            model.name,
            mlflow_store.RunRecord(
                name="small",
                pins=digest,
                parameters={},
                metrics={},
                tags={},
                datasets=(),
                artefact=Path(folder) / "model",
                report=Path(folder) / "report",
            ),
        )
    tags = {
        "vigil.artefact_digest": digest,
        "vigil.algorithm": model.training.algorithms[0],
        "vigil.trained_by": trained_by,
    }
    if "typologies.json" in files:
        tags[packs.TAG] = packs.tag_of(TypologyPack.model_validate_json(files["typologies.json"]))
    return mlflow_store.register_version(settings, model.name, run_id, tags).version


def night(
    settings: Settings,
    business_date: date,
    rows: int = 2_000,
    *,
    seed: int = 9,
    quarantined: int = 3,
    passed: bool | None = True,
    changed: dict[str, pa.Array] | None = None,
    model: Model = MODEL,
) -> FeatureSnapshot:
    """A business date as ingest, features and quality leave it behind: population published, features built and judged.

    Args:
        passed: verdict on the features; None leaves them unjudged.
        changed: feature columns in place of the random ones.
    """
    manifest = _population(settings, business_date, rows, quarantined)
    tokens = pa.array([hashlib.md5(f"{seed} {i}".encode()).hexdigest() for i in range(rows)])
    columns = feature_columns(rows, seed) | (changed or {})
    table = pa.table({"account_token": tokens, **columns, "business_date": pa.repeat(business_date, rows)})
    table = table.sort_by("account_token")
    name = f"model_features/{model.name}"
    snapshot = FeatureSnapshot(
        model=model.name,
        business_date=business_date,
        table=name,
        lake_version=Lake(settings).replace_date(name, business_date, table),
        rows=rows,
        view_versions={"behaviour": 0},
        source_versions={"accounts": manifest.lake_version},
        content_digest=table_digest(table),
    )
    with database.transaction(settings) as connection:
        record_snapshot(connection, snapshot, "0" * 64)
    if passed is not None:
        record_verdict(settings, _verdict(name, business_date, snapshot.lake_version, passed), "0" * 64)
    return snapshot


def _population(settings: Settings, business_date: date, rows: int, quarantined: int) -> Manifest:
    source = pa.table({"row": range(rows), "business_date": pa.repeat(business_date, rows)})
    Lake(settings).replace_date("source/accounts", business_date, source)
    return population_record(settings, MODEL.population, business_date, rows, quarantined)


def population_record(
    settings: Settings, source: str, business_date: date, rows: int, quarantined: int = 0
) -> Manifest:
    """What ingest remembers of a source that is in the lake: landed, judged and published at its newest version."""
    manifest = Manifest(
        source=source,
        business_date=business_date,
        state=IngestState.PUBLISHED,
        file_digests={},
        rows_in=rows + quarantined,
        rows_published=rows,
        rows_quarantined=quarantined,
        quarantine_reasons={"bad": quarantined},
        control_totals={},
        lake_version=Lake(settings).version(f"source/{source}"),
        late=False,
    )
    record_verdict(settings, _verdict(f"landing/{source}", business_date, manifest.lake_version, True), "0" * 64)
    with database.transaction(settings) as connection:
        record_landing(connection, manifest, "0" * 64, "0" * 64)
        landing = landed(connection, source, business_date)
        verdict = newest_verdict(connection, f"landing/{source}", business_date)
        record_publication(connection, manifest, landing.landing_no, verdict.verdict_no)
    return manifest


def _verdict(subject: str, business_date: date, lake_version: int, passed: bool) -> QualityVerdict:
    check = Check(name="rows", severity=Severity.CRITICAL, passed=passed, observed="some", expected="some")
    return QualityVerdict(
        subject=subject, business_date=business_date, lake_version=lake_version, checks=(check,), data_docs="docs"
    )
