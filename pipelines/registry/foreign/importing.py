"""A package becomes a registered version, without an alias and without a permit: it is then judged like any challenger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pipelines import database, features, mlflow_store
from pipelines.contracts import DataFault, TrainedVersion, need
from pipelines.evaluation import metrics
from pipelines.evaluation.report import Evidence
from pipelines.features import TrainingRows
from pipelines.mlflow_store import StoredVersion
from pipelines.registry.foreign.artefact_of import KnownCategories, model_files, reference_of, stand_ins_for
from pipelines.registry.foreign.confinement import score_confined
from pipelines.registry.foreign.golden import require_reproduced
from pipelines.registry.foreign.manifest import NAME
from pipelines.registry.foreign.receive import Package, receive
from pipelines.registry.foreign.records import note_registered, refusals_noted
from pipelines.registry.foreign.refusal import PackageRefused
from pipelines.settings import Settings
from pipelines.spec import Feature, Model, Policy, load_policy
from pipelines.training import algorithms, register, split, steps
from pipelines.training.algorithms import Developed
from pipelines.training.calibration import Sigmoid
from pipelines.training.provenance import Foreign, Provenance, provenance_of
from pipelines.training.register import IMPORTER_TAG
from pipelines.training.rows import Rows, rows_of
from pipelines.training.trial import Trial


def import_package(settings: Settings, model: Model, path: Path, by: str, as_of: date) -> TrainedVersion:
    """Take a model trained elsewhere with its documents, and register it as a version of the model.

    Nothing is trusted: the package is read by its bytes, its model is opened first in a process of its own, and what it says
    about its golden rows must be what it said where it was made. The same package again gives the same version.

    The features of the dates it is judged on are built, where they are not there.

    Args:
        path: a .zip file or a folder, as docs/foreign_models.md describes.
        by: e-mail address of the person who brings it in.
        as_of: only labels known by then are used to judge it, as in training.

    Raises:
        PackageRefused: the package or its model is wrong; noted in vigil.foreign_package and in the journal.
        DataFault, Blocked: the bank's own rows or files do not allow a judgement. The package stays in quarantine.
        ConnectionBroken: the database, the lake or the registry did not answer; the same command may be run again.
    """
    policy = load_policy(settings.policies, model.policy).require_in_force(as_of, "training")
    _require_time(model)
    package = receive(settings, model, path, by)
    features.build_history(settings, model, features.training_dates(settings, model, as_of))
    with refusals_noted(settings, package.subject), database.transaction(settings) as connection:
        database.lock(connection, f"vigil.training.{model.name}")
        stored = _registered(settings, model, package, policy, as_of)
        note_registered(
            connection,
            package.subject,
            stored.version,
            stored.tags["vigil.artefact_digest"],
            package.manifest.trained_by.person,
        )
    return register.as_trained(settings, stored)


@dataclass(frozen=True)
class _Judgement:
    """The bank's rows for a package, as the model file splits them and the package's training dates allow."""

    model: Model
    pinned: TrainingRows
    rows: Rows
    development: Rows
    judged: Rows


def _registered(settings: Settings, model: Model, package: Package, policy: Policy, as_of: date) -> StoredVersion:
    """The version of the package; made, or found when it is there."""
    judgement = _judgement(settings, model, package, policy, as_of)
    provenance = _provenance(package, judgement, policy)
    known = [v for v in mlflow_store.versions(settings, model.name) if v.tags.get("vigil.pins") == provenance.pins]
    if known:
        return known[0]
    trial = _trial(package, judgement, provenance.feature, policy)
    verdict = steps.check_leakage(settings, model, judgement.pinned, judgement.rows, policy.training)
    with _documents(package) as documents:
        trainer = package.manifest.trained_by.person.lower()
        tags = {IMPORTER_TAG: package.subject.by}
        return register.register(settings, provenance, trial, verdict, trainer, documents=documents, more_tags=tags)


def _judgement(settings: Settings, model: Model, package: Package, policy: Policy, as_of: date) -> _Judgement:
    pinned = features.training_rows(settings, model, as_of)
    every = rows_of(pinned.table, model.feature)
    steps.require_enough(model, as_of, every, policy.training)
    judged_as = _after_training(model, every, package)
    if judged_as != model:
        pinned = features.training_rows(settings, judged_as, as_of, pinned.pins)  # the dates to leave out have changed
        every = rows_of(pinned.table, model.feature)
    known = {f.name: f.categories for f in package.manifest.features if f.categories}
    rows = KnownCategories(known).of(every)
    parts = split.by_date(rows, judged_as.training.validation)
    return _Judgement(judged_as, pinned, rows, parts.development, parts.judged)


def _after_training(model: Model, rows: Rows, package: Package) -> Model:
    """The model file, with judgement beginning only after what the package's model has learnt from.

    Raises PackageRefused when too few rows are left.
    """
    validation, until = model.training.validation, package.manifest.trained_until
    if np.datetime64(until) >= split.out_of_time_start(rows, validation):
        later = {"out_of_time_from": until + timedelta(days=1), "out_of_time_months": None}
        if validation.out_of_time_to is not None and validation.out_of_time_to <= until:
            raise PackageRefused(f"its model has learnt from events up to {until}: none is left to judge it on")
        training = model.training.model_dump() | {"validation": validation.model_dump() | later}
        model = Model.model_validate(model.model_dump() | {"training": training})
    judged = split.judged_by_date(rows, model.training.validation)
    left, events, asked = int(judged.sum()), int(rows.label[judged].sum()), package.limits.judged
    if left < asked.min_rows or min(events, left - events) < asked.min_events:
        raise PackageRefused(
            f"its model has learnt from events up to {until}, which leaves {left} rows with {events} events to judge it on; "
            f"policy {package.limits.policy} asks for {asked.min_rows} rows and {asked.min_events} of either outcome"
        )
    return model


def _provenance(package: Package, judgement: _Judgement, policy: Policy) -> Provenance:
    manifest = package.manifest
    return provenance_of(
        judgement.model,
        manifest.format,
        judgement.pinned,
        judgement.rows,
        f"{policy.policy} {policy.version}",
        split.described(judgement.rows, judgement.model.training.validation),
        foreign=Foreign(
            package_digest=package.digest,
            features=tuple(feature.name for feature in manifest.features),
            trained_until=manifest.trained_until,
            trained_by=manifest.trained_by.person,
            organisation=manifest.trained_by.organisation,
            licence=manifest.licence,
        ),
    )


def _trial(package: Package, judgement: _Judgement, taken: dict[str, Feature], policy: Policy) -> Trial:
    """The model as Vigil uses it, measured on the judged rows as a fresh training is.

    It is opened, and scores every row, in confinement first: what crashes it is then a refusal and not an outage.
    """
    algorithm, rows, judged = package.manifest.format, judgement.rows, judgement.judged
    stand_ins = stand_ins_for(judgement.development, taken)
    used = model_files(package, stand_ins, reference_of(package.manifest.features, judgement.development, stand_ins))
    everyone = rows.population.select(list(taken))
    said = score_confined(
        algorithm, model_files(package, {}), package.golden.table, package.limits, used=used, rows=everyone
    )
    require_reproduced(package.golden, said.golden, package.limits.golden.tolerance[algorithm])
    probability = said.rows[: len(rows)]
    chosen = split.judged_by_date(rows, judgement.model.training.validation)
    learnt = rows.event_date < split.out_of_time_start(rows, judgement.model.training.validation)
    measured = metrics.measure(judged.label, probability[chosen]) | {
        "development_auc": metrics.auc(rows.label[learnt], probability[learnt])
    }
    _require_limits(measured, policy)
    developed = Developed(algorithm, algorithms.load(algorithm, used), Sigmoid(slope=1.0, intercept=0.0))
    evidence = Evidence(measured, judged.event_date, judged.label, probability[chosen])
    return Trial(developed, judgement.development, judged, evidence)


def _require_limits(measured: dict[str, float], policy: Policy) -> None:
    found = {name: need(measured, name, remedy="Nothing was registered.") for name in steps.REQUIRED}
    if found["auc"] < policy.training.min_auc:
        raise PackageRefused(
            f"its model reaches AUC {found['auc']:.3f} on rows it had not learnt from; policy {policy.policy} asks for "
            f"{policy.training.min_auc}"
        )


def _require_time(model: Model) -> None:
    if model.training.validation.kind == "folds":
        raise DataFault(
            f"model {model.name} is validated in folds, by training again on each: a model trained elsewhere cannot be judged "
            "so. Nothing was read. Give the model file an out_of_time validation."
        )


@contextmanager
def _documents(package: Package) -> Iterator[Path]:
    """The documents, the manifest and the golden rows in a folder."""
    with TemporaryDirectory(prefix="vigil-documents-") as scratch:
        for name in (*package.manifest.documents, package.manifest.golden, NAME):
            place = Path(scratch) / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(package.files[name])
        yield Path(scratch)
