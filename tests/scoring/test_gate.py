"""What a batch must hold before anyone sees it, and how chance in small samples is told from a change."""

from __future__ import annotations

from datetime import date

import pytest
from small_night import MODEL

from pipelines.contracts import Blocked, FeatureSnapshot, ScoredBatch
from pipelines.scoring.batches import BatchRecord
from pipelines.scoring.gate import require_publishable
from pipelines.settings import REPOSITORY
from pipelines.spec import Policy, ScoringLimits, load_policy

DAY = date(2026, 6, 30)


@pytest.fixture
def policy() -> Policy:
    limits = ScoringLimits(max_rejected_fraction=0.05, psi_warning=0.1, psi_block=0.25)
    return load_policy(REPOSITORY / "policies", "internal").model_copy(update={"scoring": limits})


def record(
    *,
    scored: int = 950,
    rejected: int = 50,
    psi: float | None = 0.05,
    chance: float | None = 0.02,
    review: dict[str, int] | None = None,
) -> BatchRecord:
    snapshot = FeatureSnapshot(
        model=MODEL.name, business_date=DAY, table="t", lake_version=0, rows=scored + rejected,
        view_versions={}, source_versions={}, content_digest="0" * 64,
    )  # fmt: skip
    batch = ScoredBatch(
        model=MODEL.name, business_date=DAY, batch_id="0" * 64, model_version=1, artefact_digest="0" * 64,
        challenger_versions=(), rows_in=scored + rejected, rows_scored=scored, rows_rejected=rejected,
        rows_quarantined=0, rows_review=max((review or {}).values(), default=0),
        reject_reasons={"a missing": rejected}, digest="0" * 64, psi=psi,
        feature_snapshot=snapshot, staged="t@0",
    )  # fmt: skip
    return BatchRecord(
        batch=batch, policy="internal", policy_version="1", review_reasons=review or {}, psi_chance_99=chance,
        batch_no=1, rows_are_in=False,
    )  # fmt: skip


def test_a_batch_within_the_limits_passes(policy: Policy) -> None:
    require_publishable(policy, record())


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (record(scored=949, rejected=51), "51 of 1,000 rows were rejected"),
        (record(scored=0, rejected=0), "no row was scored of 0"),
        (record(psi=None, chance=None), "PSI is absent"),
        (record(psi=0.25), "PSI 0.250, limit 0.25"),
    ],
)
def test_each_limit_blocks(policy: Policy, batch: BatchRecord, said: str) -> None:
    with pytest.raises(Blocked, match=said):
        require_publishable(policy, batch)


def test_all_reasons_are_given_at_once(policy: Policy) -> None:
    with pytest.raises(Blocked, match=r"500 of 1,000 rows.*; its scores moved"):
        require_publishable(policy, record(scored=500, rejected=500, psi=3.0))


def test_scores_that_moved_because_an_input_did_not_come_say_which(policy: Policy) -> None:
    lacking = {"age missing": 2, "payments_30d missing": 940, "payments_1d missing": 900, "income missing": 3}
    said = r"940 of 950 rows lack an input \(payments_30d missing: 940, payments_1d missing: 900, income missing: 3\)"
    with pytest.raises(Blocked, match=said):
        require_publishable(policy, record(psi=3.0, review=lacking))
    with pytest.raises(Blocked, match=r"chance reaches 0\.020\) \(policy"):
        require_publishable(policy, record(psi=3.0, review={"income missing": 3}))


def test_a_psi_that_chance_alone_reaches_in_so_small_a_sample_does_not_block(policy: Policy) -> None:
    require_publishable(policy, record(psi=0.30, chance=0.43))
    with pytest.raises(Blocked, match=r"chance reaches 0\.430"):
        require_publishable(policy, record(psi=0.44, chance=0.43))


def test_a_psi_between_warning_and_limit_is_published_and_logged(
    policy: Policy, caplog: pytest.LogCaptureFixture
) -> None:
    require_publishable(policy, record(psi=0.09))
    assert caplog.text == ""
    require_publishable(policy, record(psi=0.12))
    assert "PSI 0.120, worth a look from 0.1 on" in caplog.text
