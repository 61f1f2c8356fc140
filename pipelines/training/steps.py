"""Train a model: check the rows, develop each algorithm, measure it on what it has not seen, register what passes.

A version is identified by what it was made from. Training again from equal rows, with equal parameters and code, finds the
version that is there; a task killed half way goes on with the algorithms that are not registered yet.
"""

from __future__ import annotations

import logging
from datetime import date

from pipelines import completion, database, features, mlflow_store
from pipelines.contracts import Blocked, TrainedVersion, need
from pipelines.evaluation import leakage
from pipelines.evaluation.leakage import LeakageVerdict
from pipelines.features import TrainingRows
from pipelines.settings import Settings
from pipelines.spec import Model, TrainingLimits, TypologyPack, load_contract, load_policy, load_typologies
from pipelines.training import algorithms, packs, register, split
from pipelines.training.provenance import Provenance, provenance_of
from pipelines.training.rows import Rows, rows_of
from pipelines.training.trial import Trial, try_out

log = logging.getLogger(__name__)

REQUIRED = ("auc", "gini", "ks", "average_precision", "brier", "calibration_error", "development_auc")


def train(settings: Settings, model: Model, as_of: date, *, by: str) -> tuple[TrainedVersion, ...]:
    """Train every algorithm of the model file on what was known on `as_of` and register the versions, without an alias.

    Nothing is registered unless every algorithm holds the policy's limits. Versions come in the order of the model file;
    those registered before from the same rows, parameters and code are returned as they are.

    Args:
        by: who trains, a person's e-mail address or `system:…`; kept with new versions, because this person may not approve
            them. It makes no version another one.

    Raises:
        DataFault: the model file, a parameter or the features are wrong, there are no labels, or the typology pack changed
            and its version did not.
        Blocked: too few rows or events, leakage, one class only on a side of a split, or a measure missing or too low.
        ConnectionBroken: the database, the lake or the registry did not answer; the same command may be run again.
    """
    policy = load_policy(settings.policies, model.policy).require_in_force(as_of, "training")
    typologies = _typologies(settings, model, as_of)
    for algorithm in model.training.algorithms:
        algorithms.recipe_for(model, algorithm)  # a wrong parameter is found before an hour of work
    with database.transaction(settings) as connection:
        database.lock(connection, f"vigil.training.{model.name}")  # two trainings at once would register twice
        if typologies is not None:
            packs.require_new_version(model.name, typologies, mlflow_store.versions(settings, model.name))
        pinned = features.training_rows(settings, model, as_of)
        rows = rows_of(pinned.table, model.feature)
        require_enough(model, as_of, rows, policy.training)
        judged = split.described(rows, model.training.validation)
        named = f"{policy.policy} {policy.version}"
        wanted = [provenance_of(model, a, pinned, rows, named, judged, typologies) for a in model.training.algorithms]
        known = {v.tags.get("vigil.pins"): v for v in reversed(mlflow_store.versions(settings, model.name))}
        new = [provenance for provenance in wanted if provenance.pins not in known]
        if new:
            verdict = check_leakage(settings, model, pinned, rows, policy.training)
            trials = {p.pins: _passed(p, as_of, rows, policy.training) for p in new}
            known |= {p.pins: register.register(settings, p, trials[p.pins], verdict, by) for p in new}
        log.info(
            "%s as of %s: %d labelled rows, %d unlabelled, %d of %d versions new",
            model.name,
            as_of,
            len(rows),
            rows.unlabelled,
            len(new),
            len(wanted),
        )
        completion.record(connection, model.name, "train", as_of)
        return tuple(register.as_trained(settings, known[provenance.pins]) for provenance in wanted)


def require_enough(model: Model, as_of: date, rows: Rows, limits: TrainingLimits) -> None:
    """Raises Blocked when the training set has fewer labelled rows or events than the policy asks for."""
    if len(rows) < limits.min_rows or rows.events < limits.min_events:
        beside = "" if rows.background is None else f" ({rows.unlabelled} more rows are unlabelled, which do not count)"
        raise Blocked(
            f"model {model.name} as of {as_of}: the training set has {len(rows)} rows and {rows.events} events{beside}; policy "
            f"{model.policy} asks for {limits.min_rows} and {limits.min_events}. Nothing was trained. Wait until more labels "
            "are final, or set training.history_from earlier."
        )


def check_leakage(
    settings: Settings, model: Model, pinned: TrainingRows, rows: Rows, limits: TrainingLimits
) -> LeakageVerdict:
    """The verdict of the leakage check on the training set. Raises Blocked, by feature and reason, unless it passed."""
    verdict = leakage_verdict(settings, model, pinned.as_of, rows, limits)
    verdict.require_passed()
    return verdict


def leakage_verdict(
    settings: Settings, model: Model, as_of: date, rows: Rows, limits: TrainingLimits
) -> LeakageVerdict:
    """What the leakage check finds in labelled rows, by today's definitions and contracts, whether it passes or not."""
    lineage = features.source_columns(settings, model)
    columns = {column for found in lineage.values() for column in found}
    contracts = {source: load_contract(settings.expectations, source) for source, _ in sorted(columns)}
    return leakage.judge(
        model,
        as_of,
        rows.features,
        rows.label,
        limits,
        lineage=lineage,
        contracts=contracts,
        dated_later=leakage.count_dated_later(settings, contracts.values(), as_of, columns),
    )


def _typologies(settings: Settings, model: Model, as_of: date) -> TypologyPack | None:
    """The model's typology pack as its file is now, in force and fitting the model's features; None when it has none."""
    if model.typologies is None:
        return None
    pack = load_typologies(settings.typology_folders, model.typologies).require_in_force(as_of)
    return pack.require_fits(model.name, model.feature)


def _passed(provenance: Provenance, as_of: date, rows: Rows, limits: TrainingLimits) -> Trial:
    """Developed and measured; Blocked unless every measure is there and the model ranks as well as the policy asks."""
    model, algorithm = provenance.model, provenance.algorithm
    subject = f"model {model.name} as of {as_of}, {algorithm}"
    try:
        trial = try_out(model, algorithm, rows, provenance.typologies)
    except Blocked as refusal:
        raise type(refusal)(f"{subject}: {refusal}") from refusal
    again = f"Run train again: python -m pipelines train --model {model.name} --date {as_of}"
    found = {name: need(trial.evidence.metrics, name, remedy=again) for name in REQUIRED}
    if found["auc"] < limits.min_auc:
        raise Blocked(
            f"{subject}: it reaches AUC {found['auc']:.3f} on rows it had not learnt from; policy {model.policy} asks for "
            f"{limits.min_auc}. Nothing was registered; the champion stays."
        )
    return trial
