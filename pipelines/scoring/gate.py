"""What a batch must hold before anyone sees it. Limits come from the policy; an absent number never passes."""

from __future__ import annotations

import logging

from pipelines.contracts import Blocked
from pipelines.scoring.batches import BatchRecord
from pipelines.spec import Policy

log = logging.getLogger(__name__)


def require_publishable(policy: Policy, record: BatchRecord) -> None:
    """Raise Blocked, with every reason at once, unless the batch is within the policy's limits; log a PSI to look at."""
    reasons = [*_rows(policy, record), *_stability(policy, record)]
    batch = record.batch
    if reasons:
        raise Blocked(
            f"model {batch.model} on {batch.business_date}: batch {batch.batch_id[:12]} is not published: "
            f"{'; '.join(reasons)} (policy {policy.policy} {policy.version}). The last published scores are still served. "
            f"Look at vigil.batch, correct the source or the features, then run: python -m pipelines score "
            f"--model {batch.model} --date {batch.business_date}"
        )
    if _moved(record, policy.scoring.psi_warning):
        log.warning(
            "model %s on %s: its scores begin to move away from training: PSI %.3f, worth a look from %s on",
            batch.model,
            batch.business_date,
            batch.psi,
            policy.scoring.psi_warning,
        )


def _rows(policy: Policy, record: BatchRecord) -> list[str]:
    batch = record.batch
    if batch.rows_scored == 0:
        return [f"no row was scored of {batch.rows_in:,}"]
    limit = policy.scoring.max_rejected_fraction
    judged = batch.rows_scored + batch.rows_rejected
    if batch.rows_rejected > limit * judged:
        worst = ", ".join(f"{reason}: {rows:,}" for reason, rows in _largest(batch.reject_reasons))
        return [f"{batch.rows_rejected:,} of {judged:,} rows were rejected, allowed are {limit:.2%} ({worst})"]
    return []


def _stability(policy: Policy, record: BatchRecord) -> list[str]:
    psi, chance, limit = record.batch.psi, record.psi_chance_99, policy.scoring.psi_block
    if psi is None or chance is None:
        return ["the stability of its scores could not be assessed (PSI is absent)"]
    if _moved(record, limit):
        moved = f"its scores moved away from training: PSI {psi:.3f}, limit {limit} (chance reaches {chance:.3f})"
        return [moved + _lacking(record)]
    return []


def _lacking(record: BatchRecord) -> str:
    """Most rows in review at once is an input that did not come, the likeliest cause of scores that moved."""
    batch = record.batch
    if batch.rows_review <= batch.rows_scored / 2:
        return ""
    worst = ", ".join(f"{reason}: {rows:,}" for reason, rows in _largest(record.review_reasons))
    return f", and {batch.rows_review:,} of {batch.rows_scored:,} rows lack an input ({worst})"


def _moved(record: BatchRecord, limit: float) -> bool:
    """PSI at the limit or above, unless chance alone reaches it in samples of this size: then it says nothing."""
    psi, chance = record.batch.psi, record.psi_chance_99
    return psi is not None and chance is not None and psi >= max(limit, chance)


def _largest(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:3]
