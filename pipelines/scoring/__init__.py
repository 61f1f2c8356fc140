"""Scoring a business date and publishing the result: pinned, staged, checked, then visible in one step."""

from pipelines.scoring.batches import published
from pipelines.scoring.publish import publish
from pipelines.scoring.score import score
from pipelines.scoring.verify import verify_batch

__all__ = ["publish", "published", "score", "verify_batch"]
