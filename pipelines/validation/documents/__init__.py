"""The evidence pack of a version: everything recorded about it, as a folder that opens offline."""

from pipelines.registry.evidence import Tampered, copy_pack, verify_pack
from pipelines.validation.documents.pack import EvidencePack, evidence_pack, kept_pack

__all__ = ["EvidencePack", "Tampered", "copy_pack", "evidence_pack", "kept_pack", "verify_pack"]
