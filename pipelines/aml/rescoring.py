"""A stored night scored again by the version that scored it, with another typology pack in place of its own."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from pipelines import database, mlflow_store
from pipelines.aml.batch import Batch
from pipelines.contracts import DataFault, FeatureSnapshot
from pipelines.registry.artefacts import fetch_verified
from pipelines.scoring.judge import Rules
from pipelines.scoring.predict import LoadedVersion, ScoredChunk, scored_chunks
from pipelines.scoring.stream import feature_chunks
from pipelines.settings import Settings
from pipelines.spec import Model, TypologyPack
from pipelines.training import packs
from pipelines.training.artefact import Predictor, load_verified


def with_pack(settings: Settings, model: Model, batch: Batch, pack: TypologyPack) -> pa.Table:
    """The rows of the batch as `scores/<model>` would hold them with this pack; weights and calibration stay.

    Raises:
        DataFault: the version has no part for typologies, the pack names features it was not trained on, or its content
            changed and its version did not.
        Blocked: the version's files are not those that scored the batch.
    """
    packs.require_new_version(model.name, pack, mlflow_store.versions(settings, model.name))
    version = _version(model, scored_by(settings, model, batch), pack)
    [row] = database.rows(settings, "SELECT feature_snapshot FROM vigil.batch WHERE batch_no = :no", no=batch.batch_no)
    snapshot = FeatureSnapshot.model_validate(row["feature_snapshot"])
    chunks = scored_chunks(feature_chunks(settings, model, snapshot), version)
    return pa.concat_tables(_table(model, chunk) for chunk in chunks)


def scored_by(settings: Settings, model: Model, batch: Batch) -> Predictor:
    """The version that scored a batch, verified. Raises Blocked when its files are not those that did."""
    [row] = database.rows(
        settings, "SELECT model_version, artefact_digest FROM vigil.batch WHERE batch_no = :no", no=batch.batch_no
    )
    stored = mlflow_store.version(settings, model.name, row["model_version"])
    return load_verified(fetch_verified(settings, stored, row["artefact_digest"]), row["artefact_digest"])


def _version(model: Model, predictor: Predictor, pack: TypologyPack) -> LoadedVersion:
    combined = predictor.developed.in_parts
    if combined is None:
        raise DataFault(f"model {model.name}: the version that scored these nights has no part for typologies.")
    pack.require_fits(model.name, predictor.schema.features)
    changed = replace(combined, views=replace(combined.views, pack=pack))
    again = replace(predictor, developed=replace(predictor.developed, fitted=changed))
    return LoadedVersion(
        subject=f"model {model.name} with typologies {pack.pack} {pack.version}",
        scorer=again,
        rules=Rules(model.token, {name: model.feature[name] for name in again.features}, again.categories),
        reference=again.reference.probability,
        in_parts=again.predict_in_parts,
    )


def _table(model: Model, chunk: ScoredChunk) -> pa.Table:
    columns = {
        model.token: chunk.judged.accepted[model.token],
        "probability": pa.array(chunk.probability),
        "review_reason": chunk.judged.review_reason,
    }
    if chunk.parts is not None:
        columns |= {f"part_{name}": pa.array(value, from_pandas=True) for name, value in chunk.parts.values.items()}
        columns["typologies_met"] = chunk.parts.typologies_met
    return pa.table(columns)
