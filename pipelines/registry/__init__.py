"""Which model version may be used: permits and the journal in Postgres, versions and aliases in MLflow, files by digest."""

from pipelines.registry.alignment import Alignment, align
from pipelines.registry.anchors import Anchored, anchor, journalled
from pipelines.registry.artefacts import fetch
from pipelines.registry.bootstrap import bootstrap
from pipelines.registry.history import Record, champion_at
from pipelines.registry.journal import Entry, append, entries
from pipelines.registry.permits import Permit, permit_for, require_permit
from pipelines.registry.promotion import Promotion, promote
from pipelines.registry.retirement import Retirement, retire
from pipelines.registry.rollback import Rollback, rollback
from pipelines.registry.soundness import lost_features
from pipelines.registry.standing import Standing, standing
from pipelines.registry.verification import Verification, verify
from pipelines.registry.versions import RegisteredVersion, challengers, champion

__all__ = [
    "Alignment",
    "Anchored",
    "Entry",
    "Permit",
    "Promotion",
    "Record",
    "RegisteredVersion",
    "Retirement",
    "Rollback",
    "Standing",
    "Verification",
    "align",
    "anchor",
    "append",
    "bootstrap",
    "challengers",
    "champion",
    "champion_at",
    "entries",
    "fetch",
    "journalled",
    "lost_features",
    "permit_for",
    "promote",
    "require_permit",
    "retire",
    "rollback",
    "standing",
    "verify",
]
