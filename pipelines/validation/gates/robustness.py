"""Robustness: small errors in the inputs, inputs that are missing, and inputs nobody foresaw.

Noise: normal, in standard deviations of each number over the rows learnt from. Missing: each feature absent in turn, counting
the rows whose outcome turns favourable (at or below the cut-off of the approved share) and that scoring neither rejects nor
sends to a person. An input may never be lost like that; where absence is a documented state nobody can tell the state from
a lost input, so how much rests on it is a number of its own. Boundary cases: the smallest, the
largest, enormous, negative and zero, a category never seen, and nothing at all, for each feature alone and for all at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contracts import EvidenceMissing
from pipelines.evaluation import metrics
from pipelines.scoring.judge import LARGEST, Rules, judge, with_more_review
from pipelines.spec import Feature
from pipelines.training.rows import Mask, numbers
from pipelines.validation.gates.inputs import Inputs
from pipelines.validation.gates.rows import replaced, sample_of, without
from pipelines.validation.measurement import Measurement, assessed

_ROWS = 5_000
_BOUNDARY_ROWS = 20
_TOKEN = "token"  # noqa: S105 - a column's name
_UNKNOWN = "a category nobody has seen"
_LOSSES = {False: "silent_improvement", True: "improvement_by_state"}  # by whether absence is a documented state


def measure(inputs: Inputs) -> Iterator[Measurement]:
    """auc_loss_under_noise; silent_improvement, or improvement_by_state, by feature; and invalid_scores."""
    yield assessed("auc_loss_under_noise", lambda: _noise(inputs))
    yield from _missing(inputs)
    yield assessed("invalid_scores", lambda: _invalid_scores(inputs))


def _noise(inputs: Inputs) -> Measurement:
    candidate, share = inputs.candidate, inputs.measuring.noise
    random = np.random.default_rng(inputs.measuring.seed)
    noisy = candidate.judged.features
    for name, feature in candidate.model.feature.items():
        if not feature.categorical:
            learnt = numbers(candidate.development.features, name)
            spread = float(np.nanstd(learnt)) if np.isfinite(learnt).any() else 0.0
            values = numbers(noisy, name)
            noisy = replaced(noisy, name, values + random.normal(0.0, share * spread, len(values)))
    label = candidate.judged.label
    before = metrics.auc(label, candidate.predictor.predict(candidate.judged.features))
    after = metrics.auc(label, candidate.predictor.predict(noisy))
    return Measurement(
        metric="auc_loss_under_noise",
        value=before - after,
        evidence=f"AUC {before:.4f} without and {after:.4f} with noise of {share:g} standard deviations on every number of "
        f"{len(label)} judged rows",
    )


def _missing(inputs: Inputs) -> Iterator[Measurement]:
    rows = sample_of(inputs, _ROWS)
    scores = inputs.candidate.predictor.predict(rows)
    if not rows.num_rows or not np.isfinite(scores).all():
        reason = f"{rows.num_rows} judged rows, or probabilities that are no numbers: no outcome can improve."
        yield from (Measurement(metric=metric, value=None, evidence=reason) for metric in _LOSSES.values())
        return
    cut = float(np.quantile(scores, inputs.measuring.approved_share))
    features = _as_now(inputs)
    for state, metric in _LOSSES.items():
        concerned = [name for name, feature in features.items() if (feature.missing == "allowed") is state]
        for name in concerned:
            yield _improvement(inputs, metric, rows, scores > cut, cut, name)
        if not concerned:
            yield Measurement(metric=metric, value=0.0, evidence="the model has no such feature")


def _improvement(inputs: Inputs, metric: str, rows: pa.Table, adverse: Mask, cut: float, name: str) -> Measurement:
    """Share of the rows whose outcome turns favourable when the feature is absent, without a person being told."""
    lost = without(rows, name)
    silent = _not_caught(inputs, lost)
    improved = adverse & silent & (inputs.candidate.predictor.predict(lost) <= cut)
    caught = rows.num_rows - int(silent.sum())
    evidence = f"{int(improved.sum())} of {rows.num_rows} judged rows; {caught} are rejected or sent to a person"
    return Measurement(metric=metric, segment=name, value=float(improved.mean()), evidence=evidence)


def _not_caught(inputs: Inputs, rows: pa.Table) -> Mask:
    """Which rows scoring would score without sending anybody to look, by the model file as it is now."""
    predictor = inputs.candidate.predictor
    numbered = rows.append_column(_TOKEN, pa.array(np.arange(rows.num_rows)))
    [chunk] = numbered.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], schema=numbered.schema)]
    judged = judge(Rules(_TOKEN, _as_now(inputs), predictor.categories), chunk)
    if predictor.has_parts:
        judged = with_more_review(judged, predictor.predict_in_parts(judged.accepted).unsure)
    unseen = judged.accepted.column(_TOKEN).filter(pc.is_null(judged.review_reason))
    found = np.zeros(rows.num_rows, bool)
    found[unseen.to_numpy()] = True
    return found


def _as_now(inputs: Inputs) -> dict[str, Feature]:
    """The version's features as the model file has them now: that is what scoring goes by."""
    now = inputs.model.feature
    return {name: now.get(name, recorded) for name, recorded in inputs.candidate.predictor.schema.features.items()}


def _invalid_scores(inputs: Inputs) -> Measurement:
    """Scores that are no number in [0, 1], whatever comes in."""
    rows = sample_of(inputs, _BOUNDARY_ROWS)
    if not rows.num_rows:
        raise EvidenceMissing("there are no judged rows to change.")
    cases = list(_boundary_cases(inputs, rows))
    scores = inputs.candidate.predictor.predict(pa.concat_tables(cases))
    invalid = int((~((scores >= 0) & (scores <= 1))).sum())  # NaN is neither
    evidence = f"{invalid} of {len(scores)} scores of {len(cases)} boundary cases of {rows.num_rows} rows"
    return Measurement(metric="invalid_scores", value=float(invalid), evidence=evidence)


def _boundary_cases(inputs: Inputs, rows: pa.Table) -> Iterator[pa.Table]:
    extremes = {name: _extremes(inputs, name) for name in inputs.candidate.predictor.features}
    yield rows
    for kind in ("smallest", "largest", "enormous", "negative", "zero", "absent"):
        everywhere = rows
        for name, values in extremes.items():
            column = pa.array([values[kind]] * rows.num_rows, rows[name].type)
            everywhere = replaced(everywhere, name, column)
            yield replaced(rows, name, column)
        yield everywhere


def _extremes(inputs: Inputs, name: str) -> Mapping[str, float | str | None]:
    """A boundary value of each kind; a category never seen stands for all but absence."""
    if inputs.candidate.model.feature[name].categorical:
        return dict.fromkeys(("smallest", "largest", "enormous", "negative", "zero"), _UNKNOWN) | {"absent": None}
    learnt = numbers(inputs.candidate.development.features, name)
    learnt = learnt[np.isfinite(learnt)]
    least, most = (float(learnt.min()), float(learnt.max())) if len(learnt) else (0.0, 0.0)
    ends = {"smallest": least, "largest": most, "enormous": LARGEST, "negative": -LARGEST}
    return ends | {"zero": 0.0, "absent": None}
