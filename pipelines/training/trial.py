"""Develop an algorithm and measure it on rows it had not learnt from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipelines.evaluation import metrics
from pipelines.evaluation.report import Evidence
from pipelines.spec import Model
from pipelines.training import split
from pipelines.training.algorithms import Developed, develop
from pipelines.training.rows import Mask, Rows


@dataclass(frozen=True)
class Trial:
    """The model to keep, the rows it was fitted on, and what it said about the rows it was judged on."""

    developed: Developed
    fitted_on: Rows
    judged: Rows
    evidence: Evidence


def try_out(model: Model, algorithm: str, rows: Rows) -> Trial:
    """Out of time: developed on the earlier dates, judged on the later ones. In folds: each row judged by a model that had
    not seen it, measures averaged over the folds; the model to keep is then developed on all rows.

    Raises:
        Blocked: one class only on a side of a split, or scores that rank the wrong way round.
        DataFault: the library refused a parameter.
        EvidenceMissing: a measure could not be computed.
    """
    if model.training.validation.kind == "folds":
        return _in_folds(model, algorithm, rows)
    parts = split.by_date(rows, model.training.validation)
    developed = develop(model, algorithm, parts.development)
    probability = developed.probability(parts.judged.features)
    measured = metrics.measure(parts.judged.label, probability)
    return _trial(developed, parts.development, parts.judged, measured, probability)


def _in_folds(model: Model, algorithm: str, rows: Rows) -> Trial:
    probability = np.empty(len(rows))
    measured = []
    for judged in _folds(model, rows):
        developed = develop(model, algorithm, rows.where(~judged))
        probability[judged] = developed.probability(rows.where(judged).features)
        measured.append(metrics.measure(rows.label[judged], probability[judged]))
    return _trial(develop(model, algorithm, rows), rows, rows, metrics.mean_of(measured), probability)


def _folds(model: Model, rows: Rows) -> Iterator[Mask]:
    return split.fold_masks(rows, model.training.validation.folds or 0, model.training.seed)


def _trial(
    developed: Developed, fitted_on: Rows, judged: Rows, measured: dict[str, float], probability: metrics.Scores
) -> Trial:
    learnt = metrics.auc(fitted_on.label, developed.probability(fitted_on.features))
    evidence = Evidence(measured | {"development_auc": learnt}, judged.event_date, judged.label, probability)
    return Trial(developed, fitted_on, judged, evidence)
