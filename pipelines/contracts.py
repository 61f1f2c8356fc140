"""What crosses between DAGs and steps, and nothing else: the standard library and pydantic only.

Every step returns one of these frozen values; XCom, the journal tables and `--json` carry them unchanged. They hold
counts, versions, digests and tokens, never an account or customer id.
"""

from __future__ import annotations

import hashlib
from datetime import date, datetime
from enum import StrEnum
from math import isfinite
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class VigilError(Exception):
    """Something a person must read: what is wrong, for what, what was not touched, and the next command.

    The class decides what the scheduler does (`retry`) and what the command line returns (`exit_code`).
    """

    exit_code = 1
    retry = False


class DataFault(VigilError):
    """The data or a file a person wrote is wrong. Trying again cannot help."""

    exit_code = 2


class Blocked(VigilError):
    """A gate, a contract or a missing permit stopped the step; the last good batch is still served."""

    exit_code = 3


class EvidenceMissing(Blocked):
    """A number a gate needs is absent, NaN or infinite. An absent number is never a pass."""


class ConnectionBroken(VigilError):
    """A database, bucket or registry did not answer. Nothing was written; trying again is safe and may help."""

    exit_code = 4
    retry = True


def need(metrics: dict[str, float], name: str, *, remedy: str) -> float:
    """Return `metrics[name]`, or raise EvidenceMissing when it is absent, NaN or infinite."""
    value = metrics.get(name)
    if value is None or not isfinite(value):
        raise EvidenceMissing(f"{name} was not computed; have {sorted(metrics)}. {remedy}")
    return float(value)


def fingerprint(*parts: object) -> str:
    """SHA-256 over the parts in order, as 64 hex digits; equal parts give equal ids on every machine."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = str(part).encode()
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.hexdigest()


class Value(BaseModel):
    """Base of everything that crosses a seam: frozen, and unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class IngestState(StrEnum):
    """What an ingest did with a file."""

    PUBLISHED = "published"
    UNCHANGED = "unchanged"
    REPLACED = "replaced"


class Manifest(Value):
    """One landed file or table slice: source, business date, counts, control totals and digests.

    `rows_in == rows_published + rows_quarantined`, always.
    """

    source: str
    business_date: date
    state: IngestState
    file_digests: dict[str, str]
    rows_in: int
    rows_published: int
    rows_quarantined: int
    quarantine_reasons: dict[str, int]
    control_totals: dict[str, float]
    lake_version: int
    late: bool
    notes: tuple[str, ...] = ()


class Severity(StrEnum):
    """What a failed check does: critical blocks, warning is recorded."""

    CRITICAL = "critical"
    WARNING = "warning"


class Check(Value):
    """One expectation with what was observed. `passed` is None when it could not be assessed, which blocks if critical."""

    name: str
    severity: Severity
    passed: bool | None
    observed: str
    expected: str


class QualityVerdict(Value):
    """All checks of one table on one business date, and where their page is."""

    subject: str
    business_date: date
    lake_version: int
    checks: tuple[Check, ...]
    data_docs: str

    @property
    def blocking(self) -> tuple[Check, ...]:
        return tuple(c for c in self.checks if c.severity is Severity.CRITICAL and c.passed is not True)

    @property
    def passed(self) -> bool:
        return bool(self.checks) and not self.blocking

    @property
    def reasons(self) -> str:
        """What blocks, as one line: each critical check that did not pass, with what was observed and expected."""
        stopped = (f"{check.name} ({check.observed}; expected {check.expected})" for check in self.blocking)
        return ", ".join(stopped) or "no check was made"

    def require_passed(self) -> QualityVerdict:
        """Self, or Blocked with its reasons."""
        if not self.passed:
            raise Blocked(
                f"{self.subject} on {self.business_date}: {self.reasons}. Nothing was published. See {self.data_docs}"
            )
        return self


class FeatureSnapshot(Value):
    """The features of one model on one business date: one row per entity of the population, pinned by version.

    Attributes:
        view_versions: Delta version of each feature view read.
        source_versions: Delta version of each source read.
        table: lake table holding the joined rows of the feature service, sorted by token.
    """

    model: str
    business_date: date
    table: str
    lake_version: int
    rows: int
    view_versions: dict[str, int]
    source_versions: dict[str, int]
    content_digest: str


class TrainedVersion(Value):
    """One registered model version and what it was made from."""

    model: str
    version: int
    run_id: str
    algorithm: str
    artefact_digest: str
    training_set_digest: str
    metrics: dict[str, float]
    rows: int


class Verdict(StrEnum):
    """What came of one rule."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    NOT_ASSESSABLE = "not_assessable"


class GateVerdict(Value):
    """One rule applied to one candidate, for everyone or for one segment.

    Attributes:
        segment: empty for everyone.
        observed, low, high: the measure and its confidence interval; None where it was not computed.
        limit: in words.
        effect: `block`, or `record` for a rule that only notes.
        evidence: what was measured on what, or why nothing could be; counts and names only.
        rule: `<pack>/<gate>.<metric>`; `source` is the law, standard or decision behind it.
    """

    gate: str
    metric: str
    segment: str
    observed: float | None
    low: float | None
    high: float | None
    limit: str
    verdict: Verdict
    effect: Literal["block", "record"]
    evidence: str
    rule: str
    policy: str
    policy_version: str
    source: str


class GateReport(Value):
    """Everything the gates said about one version on one day. No time stamp: judged again it is the same, with the same digest.

    Attributes:
        judged_on: day whose rules were applied.
        champion_version, champion_digest: what it was compared with; None when the model never had a champion.
        verdicts: at least one for each gate.
    """

    model: str
    version: int
    artefact_digest: str
    judged_on: date
    champion_version: int | None
    champion_digest: str | None
    policy: str
    policy_version: str
    verdicts: tuple[GateVerdict, ...]

    @property
    def blocking(self) -> tuple[GateVerdict, ...]:
        """Rules that stop the candidate: those that block and did not pass."""
        return tuple(v for v in self.verdicts if v.effect == "block" and v.verdict is not Verdict.PASS)

    @property
    def passed(self) -> bool:
        return bool(self.verdicts) and not self.blocking

    @property
    def digest(self) -> str:
        """SHA-256 of the whole report; a permit is bound to it."""
        return fingerprint(self.model_dump_json())


class ScoredBatch(Value):
    """A batch scored and staged but not yet visible. `rows_in == rows_scored + rows_rejected + rows_quarantined`.

    Attributes:
        batch_id: content address of (model, business date, champion digest, inputs); a rerun has the same id.
        digest: SHA-256 over (token, score) of the scored rows in token order.
        staged: lake or folder location of the staged Parquet files.
        psi: population stability index of the score against the training reference; None when not assessable.
    """

    model: str
    business_date: date
    batch_id: str
    model_version: int
    artefact_digest: str
    challenger_versions: tuple[int, ...]
    rows_in: int
    rows_scored: int
    rows_rejected: int
    rows_quarantined: int
    rows_review: int
    reject_reasons: dict[str, int]
    digest: str
    psi: float | None
    feature_snapshot: FeatureSnapshot
    staged: str


class PublishedBatch(Value):
    """Proof that a batch is what readers now see for its business date."""

    model: str
    business_date: date
    batch_id: str
    model_version: int
    digest: str
    rows_scored: int
    published_at: datetime
    lake_version: int
    already_published: bool


class RaisedAlerts(Value):
    """What the published scores of a date became on the desk of the investigators.

    `rows_scored + rows_rejected == raised + suppressed + carried + resting + review_items + sampled + quiet`, always.

    Attributes:
        attempt: 1, and one more for each corrected batch of the same date.
        limits_digest: content of the policy's alerts section and of the typology pack the scores were made with, if any.
        budget, threshold: one of the two, as the policy says.
        line: lowest score above the line, alerted or held back; None when nothing was.
        raised: alerts above the line.
        suppressed: above the line, held back by a suppression in force.
        carried: above the line or in review, while an earlier alert of the customer is open and nothing is new.
        resting: the same, shortly after an earlier alert was closed.
        review_items: below the line or rejected, but with missing input, so a person looks.
        sampled: drawn below the line, to know what it misses.
        quiet: the rest.
        budget_used: share of the budget; None with a threshold.
        broke_through: of the raised, customers whose suppression no longer held.
        withdrawn, kept: alerts of the batch that this one supersedes, untouched and touched.
        hubs: accounts in too many schemes, which linked no cases.
        links_refused: links not followed because a case would have grown too large or two open cases met.
    """

    model: str
    business_date: date
    batch_id: str
    run_no: int
    attempt: int
    policy: str
    policy_version: str
    limits_digest: str
    budget: int | None
    threshold: float | None
    line: float | None
    rows_scored: int
    rows_rejected: int
    raised: int
    suppressed: int
    carried: int
    resting: int
    review_items: int
    sampled: int
    quiet: int
    budget_used: float | None
    broke_through: int
    withdrawn: int
    kept: int
    cases_new: int
    cases_joined: int
    hubs: int
    links_refused: int
    already_raised: bool


def json_ready(value: Value) -> dict[str, Any]:
    """The value as plain JSON types, for XCom and `--json`."""
    return value.model_dump(mode="json")


def source_asset(source: str) -> str:
    """Airflow asset name for the published rows of a source."""
    return f"vigil_source_{source}"


def sources_asset(model: str) -> str:
    """Airflow asset name for all sources of a model being published for a business date."""
    return f"vigil_sources_{model}"


def features_asset(model: str) -> str:
    """Airflow asset name for the feature rows of a model."""
    return f"vigil_features_{model}"


def scores_asset(model: str) -> str:
    """Airflow asset name for the published scores of a model."""
    return f"vigil_scores_{model}"


def champion_asset(model: str) -> str:
    """Airflow asset name for a newly registered version of a model."""
    return f"vigil_version_{model}"
