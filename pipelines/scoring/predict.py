"""Chunks of features through verified models: judged, scored and counted as they pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines import registry
from pipelines.contracts import Blocked, DataFault
from pipelines.monitoring.psi import Counts, Psi, count_numbers, psi
from pipelines.registry import RegisteredVersion
from pipelines.scoring.inputs import BatchInputs
from pipelines.scoring.judge import Judged, Rules, judge, with_more_review
from pipelines.settings import Settings
from pipelines.training.artefact import InParts, load_verified
from pipelines.training.reference import NumberReference

Probabilities = npt.NDArray[np.float64]


class Scorer(Protocol):
    """What a loaded model can do, as far as scoring needs it."""

    def predict(self, features: pa.RecordBatch) -> Probabilities:
        """One probability per row; columns that are no feature are ignored."""


@dataclass
class Tally:
    """What has passed so far: rows by fate and by reason, and the scores in the bins of their training reference."""

    reference: NumberReference
    scored: int = 0
    review: int = 0
    rejected: int = 0
    reject_reasons: Counter[str] = field(default_factory=Counter)
    review_reasons: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.histogram: Counts = np.zeros(len(self.reference.counts), np.int64)

    def add(self, judged: Judged, probability: Probabilities) -> None:
        """Count one judged and scored chunk."""
        self.scored += judged.accepted.num_rows
        self.review += len(judged.review_reason) - judged.review_reason.null_count
        self.rejected += judged.rejected.num_rows
        self.reject_reasons.update(judged.reject_counts)
        self.review_reasons.update(judged.review_counts)
        self.histogram += count_numbers(probability, self.reference.edges)

    def stability(self) -> Psi:
        """PSI of all scores so far against their reference."""
        return psi(self.reference.counts, self.histogram)


@dataclass(frozen=True)
class LoadedVersion:
    """A version of the model whose files were verified, and how the rows it scores are judged.

    Attributes:
        subject: model, date and version, for messages.
        in_parts: probabilities with their parts; None for a version whose scores have none.
        typologies: pack, version and digest of the typologies it was permitted with; None when it has none.
    """

    subject: str
    scorer: Scorer
    rules: Rules
    reference: NumberReference
    in_parts: Callable[[pa.RecordBatch], InParts] | None = None
    typologies: str | None = None


@dataclass(frozen=True)
class ScoredChunk:
    """One chunk, judged and scored.

    Attributes:
        parts: what the probabilities were put together from, if they were.
    """

    judged: Judged
    probability: Probabilities
    parts: InParts | None


def load(settings: Settings, inputs: BatchInputs, version: RegisteredVersion) -> LoadedVersion:
    """Fetch the version's files, verify each against the digest in its permit, and load them.

    Raises:
        Blocked: a file is not what the permit names.
        DataFault: the model file no longer has a feature the version was trained on.
    """
    predictor = load_verified(registry.fetch(settings, version), version.permit.artefact_digest)
    subject = f"model {inputs.model.name} on {inputs.business_date}: version {version.version}"
    now = inputs.model.feature
    lost = registry.lost_features(inputs.model, predictor)
    if lost:
        raise DataFault(
            f"{subject} was trained on features that the model file no longer has, or has as another kind: "
            f"{', '.join(lost)}. Restore them until a version without them is approved."
        )
    rules = Rules(inputs.model.token, {name: now[name] for name in predictor.features}, predictor.categories)
    in_parts = predictor.predict_in_parts if predictor.has_parts else None
    pack = predictor.typologies
    return LoadedVersion(
        subject, predictor, rules, predictor.reference.probability, in_parts, None if pack is None else pack.identity
    )


def judged_and_scored(
    chunks: Iterator[pa.RecordBatch], version: LoadedVersion
) -> Iterator[tuple[Judged, Probabilities]]:
    """Judge each chunk and score its accepted rows; see `scored_chunks`."""
    for scored in scored_chunks(chunks, version):
        yield scored.judged, scored.probability


def scored_chunks(chunks: Iterator[pa.RecordBatch], version: LoadedVersion) -> Iterator[ScoredChunk]:
    """Judge each chunk and score its accepted rows. A row whose score rests on less than it should goes to review too.

    Raises Blocked when a probability is not a number in [0, 1]: such a model is broken, whatever its permit says.
    """
    for chunk in chunks:
        judged = judge(version.rules, chunk)
        parts = version.in_parts(judged.accepted) if version.in_parts else None
        probability = parts.probability if parts else version.scorer.predict(judged.accepted)
        if len(probability) and not (probability.min() >= 0 and probability.max() <= 1):
            raise Blocked(
                f"{version.subject} gave a probability that is not a number in [0, 1]. Nothing was staged or published; "
                "the last published scores are still served. Ask the model's owner to approve another version."
            )
        yield ScoredChunk(with_more_review(judged, parts.unsure) if parts else judged, probability, parts)
