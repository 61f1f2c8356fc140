"""Whether a version's files can be used here and now: fetched, verified, loaded, golden rows scored, features still there."""

from __future__ import annotations

from pipelines import mlflow_store
from pipelines.contracts import Blocked
from pipelines.registry.artefacts import fetch_verified
from pipelines.registry.versions import stored_digest
from pipelines.settings import Settings
from pipelines.spec import Model
from pipelines.training.artefact import Predictor, load_verified


def require_sound(settings: Settings, model: Model, version: int) -> str:
    """The digest of the version's files, which were verified and score as they should.

    Raises:
        DataFault: the registry does not hold the version.
        Blocked: its files are not what it claims, its golden rows score differently here, or the model file no longer has
            one of its features.
        ConnectionBroken: the registry or its artefact store did not answer.
    """
    stored = mlflow_store.version(settings, model.name, version)
    digest = stored_digest(model, stored)
    predictor = load_verified(fetch_verified(settings, stored, digest), digest)
    lost = lost_features(model, predictor)
    if lost:
        raise Blocked(
            f"model {model.name}: version {version} was trained on features that the model file no longer has, or has as "
            f"another kind: {', '.join(lost)}. Restore them, or use another version."
        )
    return digest


def lost_features(model: Model, predictor: Predictor) -> list[str]:
    """Features of the version that the model file no longer has, or has as another kind."""
    now = model.feature
    return [n for n, f in predictor.schema.features.items() if n not in now or now[n].categorical != f.categorical]
