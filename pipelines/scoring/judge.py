"""Which rows may be scored, and which scored rows a person must look at. Pure: Arrow batches in, Arrow batches out.

A row is rejected when a feature marked `missing: reject` is absent, or when a number is NaN, infinite or beyond the range
of the 32-bit floats CatBoost computes with. A row is scored but sent to review when a feature marked `missing: review` is
absent or a category was not seen in training: absent data must never improve a credit score or lower an AML score, and a
score alone cannot say that it rests on less than it should.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.spec import Feature

REASONS = "; "  # between the reasons of one row
LARGEST = float(np.finfo(np.float32).max)

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Rules:
    """How the rows of a model are judged.

    Attributes:
        token: name of the token column.
        features: the model's features, in order.
        categories: per categorical feature, the values seen in training.
    """

    token: str
    features: Mapping[str, Feature]
    categories: Mapping[str, Collection[str]]


@dataclass(frozen=True)
class Judged:
    """One judged chunk; `len(accepted) + len(rejected)` is the number of rows judged.

    Attributes:
        accepted: token and features of the rows to score.
        review_reason: per accepted row why a person must look at it, null when nobody must.
        rejected: token and `reason` of the others.
        reject_counts, review_counts: rows per single reason; a row with two reasons counts under both.
    """

    accepted: pa.RecordBatch
    review_reason: pa.StringArray
    rejected: pa.RecordBatch
    reject_counts: Mapping[str, int]
    review_counts: Mapping[str, int]


def judge(rules: Rules, chunk: pa.RecordBatch) -> Judged:
    """Split a chunk (token column and all features: doubles, and strings for categories) by the rules."""
    reject = _reject_masks(rules, chunk)
    rejected = _any(reject, chunk.num_rows)
    refused = chunk.select([rules.token]).filter(pa.array(rejected))
    reasons = _joined(reject, rejected)
    accepted = chunk.filter(pa.array(~rejected)) if reject else chunk
    review = _review_masks(rules, accepted)
    in_review = _any(review, accepted.num_rows)
    return Judged(
        accepted=accepted,
        review_reason=_spread(_joined(review, in_review), in_review),
        rejected=refused.append_column("reason", reasons),
        reject_counts=_counts(reject),
        review_counts=_counts(review),
    )


def with_more_review(judged: Judged, reasons: Mapping[str, Mask]) -> Judged:
    """Also send the accepted rows of each mask to review, for that reason after those there are."""
    found = {reason: mask for reason, mask in reasons.items() if mask.any()}
    if not found:
        return judged
    more = _any(found, judged.accepted.num_rows)
    either = _numpy(judged.review_reason.is_valid()) | more
    first = judged.review_reason.filter(pa.array(either))
    then = _spread(_joined(found, more), more).filter(pa.array(either))
    both = pc.binary_join_element_wise(first, then, REASONS, null_handling="skip")
    return replace(
        judged,
        review_reason=_spread(both, either),
        review_counts={**judged.review_counts, **_counts(found)},
    )


def _reject_masks(rules: Rules, chunk: pa.RecordBatch) -> dict[str, Mask]:
    masks = {}
    for name, feature in rules.features.items():
        column = chunk.column(name)
        if feature.missing == "reject" and column.null_count:
            masks[f"{name} missing"] = _numpy(column.is_null())
        if pa.types.is_floating(column.type) and not _all_usable(column):
            masks[f"{name} not a finite number"] = _unusable(column)
    return masks


def _review_masks(rules: Rules, accepted: pa.RecordBatch) -> dict[str, Mask]:
    masks = {}
    for name, feature in rules.features.items():
        column = accepted.column(name)
        if feature.missing == "review" and column.null_count:
            masks[f"{name} missing"] = _numpy(column.is_null())
        if feature.categorical:
            known = pa.array(sorted(rules.categories[name]), pa.string())
            new = _numpy(pc.invert(pc.is_in(column, value_set=known))) & _numpy(column.is_valid())
            if new.any():
                masks[f"{name} not seen in training"] = new
    return masks


def _all_usable(column: pa.Array) -> bool:
    """Two passes without a temporary array: NaN makes either comparison false."""
    values = column.drop_null().to_numpy() if column.null_count else column.to_numpy()
    return len(values) == 0 or bool(values.min() >= -LARGEST and values.max() <= LARGEST)


def _unusable(column: pa.Array) -> Mask:
    present = pc.fill_null(column, 0.0).to_numpy()
    usable: Mask = np.abs(present) <= LARGEST
    return ~usable


def _any(masks: Mapping[str, Mask], rows: int) -> Mask:
    return np.logical_or.reduce(list(masks.values())) if masks else np.zeros(rows, np.bool_)


def _joined(masks: Mapping[str, Mask], wanted: Mask) -> pa.StringArray:
    """For each wanted row its reasons, in feature order, separated by `; `."""
    if not masks:
        return pa.array([], pa.string())
    empty = pa.scalar(None, pa.string())
    parts = [pc.if_else(pa.array(mask[wanted]), reason, empty) for reason, mask in masks.items()]
    return pc.binary_join_element_wise(*parts, REASONS, null_handling="skip")


def _spread(reasons: pa.StringArray, where: Mask) -> pa.StringArray:
    """The reasons at their rows, null elsewhere."""
    nothing = pa.nulls(len(where), pa.string())
    return pc.replace_with_mask(nothing, pa.array(where), reasons) if len(reasons) else nothing


def _counts(masks: Mapping[str, Mask]) -> dict[str, int]:
    return {reason: int(mask.sum()) for reason, mask in masks.items()}


def _numpy(mask: pa.BooleanArray) -> Mask:
    found: Mask = mask.to_numpy(zero_copy_only=False)
    return found
