"""Both models on everyone of the last published nights: what would have changed for whom, and how it turned out where known."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import database, features
from pipelines.contracts import DataFault, EvidenceMissing, FeatureSnapshot, Value
from pipelines.evaluation import metrics
from pipelines.evaluation.metrics import Labels, Scores
from pipelines.lake import Lake
from pipelines.monitoring.psi import count_numbers, psi
from pipelines.settings import Settings
from pipelines.spec import Measuring
from pipelines.validation.candidate import Candidate
from pipelines.validation.opponent import Opponent

_BINS = 10
_QUANTILES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)


class Known(Value):
    """The night's rows whose outcome is known, final and judged by now; areas are None with one class only."""

    rows: int
    events: int
    candidate_auc: float | None
    opponent_auc: float | None


class Night(Value):
    """One published night, scored by both. Rejected rows are not left out: the models are compared, not the night's rules.

    Attributes:
        why_not: why the night is not compared; then nothing else is given.
        candidate, opponent: score at each of the quantiles in `quantiles`.
        psi: of the candidate's scores against the opponent's, in tenths of the latter.
        rank_correlation: Spearman's; None where a model gives everyone one score.
        cut: the opponent's score below which the policy's share of rows lies.
        candidate_approved, opponent_approved: share of rows at or below it.
        newly_approved, newly_refused: rows the candidate puts on the other side of it.
        known: None when no outcome is known yet.
    """

    business_date: date
    why_not: str = ""
    rows: int = 0
    quantiles: tuple[float, ...] = _QUANTILES
    candidate: tuple[float, ...] = ()
    opponent: tuple[float, ...] = ()
    psi: float | None = None
    rank_correlation: float | None = None
    cut: float | None = None
    candidate_approved: float | None = None
    opponent_approved: float | None = None
    newly_approved: int = 0
    newly_refused: int = 0
    known: Known | None = None


def on_stored_nights(
    settings: Settings, candidate: Candidate, opponent: Opponent, measuring: Measuring
) -> tuple[Night, ...]:
    """The last nights that were published, newest first, from the very feature rows that were scored then."""
    snapshots = _published(settings, candidate.model.name, measuring.nights)
    return tuple(_night(settings, candidate, opponent, measuring, snapshot) for snapshot in snapshots)


def _published(settings: Settings, model: str, nights: int) -> list[FeatureSnapshot]:
    found = database.rows(
        settings,
        "SELECT b.feature_snapshot FROM vigil.published p JOIN vigil.batch b USING (batch_no) "
        "WHERE p.model = :model ORDER BY p.business_date DESC LIMIT :nights",
        model=model,
        nights=nights,
    )
    return [FeatureSnapshot.model_validate(row["feature_snapshot"]) for row in found]


def _night(
    settings: Settings, candidate: Candidate, opponent: Opponent, measuring: Measuring, snapshot: FeatureSnapshot
) -> Night:
    asked = {**candidate.predictor.schema.features, **opponent.predictor.schema.features}
    held = {column.name for column in Lake(settings).open(snapshot.table, snapshot.lake_version).schema().fields}
    absent = [name for name in asked if name not in held]
    if absent:
        return Night(
            business_date=snapshot.business_date, why_not=f"the night's rows have no {', '.join(sorted(absent))}"
        )
    tokens, ours, theirs = _scored(settings, candidate, opponent, snapshot, list(asked))
    return _compared(snapshot.business_date, ours, theirs, measuring).model_copy(
        update={"known": _known(settings, candidate, snapshot.business_date, tokens, ours, theirs)}
    )


def _scored(
    settings: Settings, candidate: Candidate, opponent: Opponent, snapshot: FeatureSnapshot, names: list[str]
) -> tuple[pa.Array, Scores, Scores]:
    """Tokens and both scores of everyone of the night, in token order."""
    tokens: list[pa.Array] = []
    ours, theirs = [], []
    for chunk in _chunks(settings, candidate, snapshot, names):
        tokens.append(chunk[candidate.model.token])
        ours.append(candidate.predictor.predict(chunk))
        theirs.append(opponent.predictor.predict(chunk))
    everyone = pa.chunked_array(tokens, pa.string()).combine_chunks()
    order = pc.sort_indices(everyone).to_numpy()
    return everyone.take(pa.array(order)), np.concatenate(ours)[order], np.concatenate(theirs)[order]


def _chunks(
    settings: Settings, candidate: Candidate, snapshot: FeatureSnapshot, names: list[str]
) -> Iterator[pa.RecordBatch]:
    return Lake(settings).batches(
        snapshot.table,
        snapshot.business_date,
        [candidate.model.token, *names],
        version=snapshot.lake_version,
        batch_rows=settings.chunk_rows,
    )


def _compared(business_date: date, ours: Scores, theirs: Scores, measuring: Measuring) -> Night:
    edges = np.unique(np.quantile(theirs, np.arange(1, _BINS) / _BINS)).tolist()
    cut = float(np.quantile(theirs, measuring.approved_share, method="inverted_cdf"))
    approved, before = ours <= cut, theirs <= cut
    return Night(
        business_date=business_date,
        rows=len(ours),
        candidate=tuple(np.quantile(ours, _QUANTILES).tolist()),
        opponent=tuple(np.quantile(theirs, _QUANTILES).tolist()),
        psi=psi(count_numbers(theirs, edges), count_numbers(ours, edges)).value,
        rank_correlation=_spearman(ours, theirs),
        cut=cut,
        candidate_approved=float(approved.mean()),
        opponent_approved=float(before.mean()),
        newly_approved=int((approved & ~before).sum()),
        newly_refused=int((before & ~approved).sum()),
    )


def _spearman(ours: Scores, theirs: Scores) -> float | None:
    """Pearson's correlation of the midranks (Spearman 1904)."""
    from scipy.stats import rankdata

    first, second = rankdata(ours), rankdata(theirs)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _known(
    settings: Settings, candidate: Candidate, on: date, tokens: pa.Array, ours: Scores, theirs: Scores
) -> Known | None:
    """Outcomes of the night as they are known by the newest ingested date, or by the candidate's training."""
    ingested = Lake(settings).dates(f"source/{candidate.model.population}")
    as_of = max([*ingested, candidate.provenance.training_set.as_of])
    try:
        labels = features.known_labels(settings, candidate.model, as_of, on, on)
    except DataFault:
        return None
    labels = labels.filter(labels["judged"])
    at = pc.index_in(labels[candidate.model.token], tokens)
    label = labels["label"].filter(at.is_valid()).to_numpy().astype(np.int8)
    rows = at.drop_null().to_numpy()
    return Known(
        rows=len(label),
        events=int(label.sum()),
        candidate_auc=_auc(label, ours[rows]),
        opponent_auc=_auc(label, theirs[rows]),
    )


def _auc(label: Labels, score: Scores) -> float | None:
    try:
        return metrics.auc(label, score)
    except EvidenceMissing:
        return None
