"""Which model version may be used: permits in Postgres, versions and aliases in MLflow, files verified by digest."""

from pipelines.registry.artefacts import fetch
from pipelines.registry.bootstrap import bootstrap
from pipelines.registry.permits import Permit, permit_for, require_permit
from pipelines.registry.versions import RegisteredVersion, challengers, champion

__all__ = [
    "Permit",
    "RegisteredVersion",
    "bootstrap",
    "challengers",
    "champion",
    "fetch",
    "permit_for",
    "require_permit",
]
