"""Which typology packs the registry knows, and that a version of a pack names one content."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.contracts import DataFault
from pipelines.mlflow_store import StoredVersion
from pipelines.spec import TypologyPack

TAG = "vigil.typologies"
_DIGITS = 16


def tag_of(pack: TypologyPack) -> str:
    """How a registered version says with which pack it was trained."""
    return f"{pack.pack} {pack.version} {pack.digest[:_DIGITS]}"


def require_new_version(model: str, pack: TypologyPack, known: Iterable[StoredVersion]) -> TypologyPack:
    """The pack, or DataFault when a registered version was trained with other content under the pack's version."""
    named, _, content = tag_of(pack).rpartition(" ")
    for stored in known:
        before, _, trained = stored.tags.get(TAG, "").rpartition(" ")
        if before == named and trained != content:
            raise DataFault(
                f"model {model}: typology pack {named} is not what version {stored.version} was trained with: its content "
                f"is {content}, not {trained}, under the same version. Nothing was done. Give the changed pack a new "
                f"`version` in {pack.pack}.yaml, or restore the file."
            )
    return pack
