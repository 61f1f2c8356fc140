"""A passed trial becomes an MLflow run with its files and a registered version, without an alias."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines import mlflow_store
from pipelines.contracts import TrainedVersion, fingerprint, json_ready
from pipelines.evaluation.leakage import LeakageVerdict
from pipelines.evaluation.report import write_report
from pipelines.lake import Lake, local_folder
from pipelines.mlflow_store import Dataset, RunRecord, StoredVersion
from pipelines.settings import Settings
from pipelines.training import algorithms, artefact, packs
from pipelines.training.provenance import Provenance
from pipelines.training.reference import reference_of
from pipelines.training.trial import Trial

TRAINER_TAG = "vigil.trained_by"
IMPORTER_TAG = "vigil.imported_by"  # who took in a model trained elsewhere; as little independent as a trainer


def register(
    settings: Settings,
    provenance: Provenance,
    trial: Trial,
    verdict: LeakageVerdict,
    by: str,
    *,
    documents: Path | None = None,
    more_tags: Mapping[str, str] | None = None,
) -> StoredVersion:
    """Save the artefact and the report, log the run, register the version as trained by someone. Raises ConnectionBroken.

    Args:
        documents: folder of documents that came with a model trained elsewhere.
    """
    model, made = provenance.model, f"{provenance.algorithm} {provenance.training_set.as_of}"
    files = artefact_files(provenance, trial)
    with TemporaryDirectory(prefix="vigil-training-") as scratch:
        digest = artefact.save(Path(scratch) / "model", files)
        report = local_folder(Path(scratch) / "report")
        write_report(report, f"{model.name} {made}", trial.evidence, verdict, trial.developed.fitted.importance())
        tags = _tags(provenance, digest) | {TRAINER_TAG: by} | dict(more_tags or {})
        record = RunRecord(
            name=made,
            pins=provenance.pins,
            parameters=_parameters(provenance),
            metrics=trial.evidence.metrics,
            tags=tags,
            datasets=_datasets(settings, provenance),
            artefact=Path(scratch) / "model",
            report=report,
            documents=documents,
        )
        run_id = mlflow_store.log_run(settings, model.name, record)
    return mlflow_store.register_version(settings, model.name, run_id, tags)


def artefact_files(provenance: Provenance, trial: Trial) -> dict[str, bytes]:
    """The files of the artefact; the same training gives the same bytes."""
    features = provenance.feature
    reference = reference_of(trial.judged, features, trial.population_probability)
    return artefact.pack(
        provenance.model.name, trial.developed, trial.fitted_on, features, reference, json_ready(provenance)
    )


def as_trained(settings: Settings, stored: StoredVersion) -> TrainedVersion:
    """A registered version as training returns it."""
    return TrainedVersion(
        model=stored.model,
        version=stored.version,
        run_id=stored.run_id,
        algorithm=stored.tags["vigil.algorithm"],
        artefact_digest=stored.tags["vigil.artefact_digest"],
        training_set_digest=stored.tags["vigil.training_set_digest"],
        metrics=mlflow_store.run_metrics(settings, stored.run_id),
        rows=int(stored.tags["vigil.rows"]),
    )


def _tags(provenance: Provenance, digest: str) -> dict[str, str]:
    training_set = provenance.training_set
    return {
        "vigil.algorithm": provenance.algorithm,
        "vigil.artefact_digest": digest,
        "vigil.as_of": training_set.as_of.isoformat(),
        "vigil.code_digest": provenance.code_digest,
        "vigil.code_version": provenance.code_version,
        "vigil.feature_service": _feature_service(provenance),
        "vigil.pins": provenance.pins,
        "vigil.policy": provenance.policy,
        "vigil.rows": str(training_set.rows),
        "vigil.training_set_digest": training_set.digest,
    } | _more_tags(provenance)


def _more_tags(provenance: Provenance) -> dict[str, str]:
    """What only a model with unlabelled rows, with typologies, or trained elsewhere has to say."""
    unlabelled, pack, foreign = provenance.training_set.unlabelled, provenance.typologies, provenance.foreign
    tags = {} if unlabelled is None else {"vigil.unlabelled_rows": str(unlabelled)}
    if foreign is not None:
        tags |= {
            "vigil.imported": foreign.package_digest,
            "vigil.trained_until": foreign.trained_until.isoformat(),
        }
    return tags if pack is None else tags | {packs.TAG: packs.tag_of(pack)}


def _feature_service(provenance: Provenance) -> str:
    """The model's feature service at the definitions it was trained with."""
    definitions = sorted(provenance.training_set.pins.definitions.items())
    return f"{provenance.model.name}@{fingerprint(provenance.model.feature_names, definitions)[:16]}"


def _parameters(provenance: Provenance) -> dict[str, str]:
    if provenance.foreign is not None:
        told = provenance.foreign.model_dump(mode="json", include={"trained_until", "organisation", "licence"})
        return told | {"features": str(len(provenance.foreign.features)), "judged_on": provenance.judged}
    recipe = algorithms.recipe_for(provenance.model, provenance.algorithm)
    effective = algorithms.effective_parameters(recipe, provenance.algorithm)
    return {name: str(value) for name, value in effective.items()} | {
        "seed": str(recipe.seed),
        "calibration": provenance.model.training.calibration,
        "features": str(len(provenance.model.feature_names)),
        "judged_on": provenance.judged,
    }


def _datasets(settings: Settings, provenance: Provenance) -> tuple[Dataset, ...]:
    pins, lake = provenance.training_set.pins, Lake(settings)
    read = {f"source/{name}": version for name, version in pins.source_versions.items()}
    read |= {f"features/{name}": version for name, version in pins.view_versions.items()}
    tables = tuple(Dataset(name=t, pin=f"version {v}", location=lake.uri(t)) for t, v in sorted(read.items()))
    whole = Dataset(
        name="training_set",
        pin=provenance.training_set.digest[:36],
        location=f"rebuilt by reproduce from {len(tables)} pins",
    )
    return (*tables, whole)
