"""Develop an algorithm and measure it on rows it had not learnt from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipelines.evaluation import metrics
from pipelines.evaluation.report import Evidence
from pipelines.spec import Model, TypologyPack
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

    @property
    def population_probability(self) -> metrics.Scores:
        """Of the judged rows and the background beside them, in the order of `judged.population`."""
        if self.judged.background is None:
            return self.evidence.probability
        return np.append(self.evidence.probability, self.developed.probability(self.judged.background.features))


def try_out(model: Model, algorithm: str, rows: Rows, typologies: TypologyPack | None = None) -> Trial:
    """Out of time: developed on the earlier dates, judged on the later ones. In folds: each row judged by a model that had
    not seen it, measures averaged over the folds; the model to keep is then developed on all rows.

    Raises:
        Blocked: one class only on a side of a split, or scores that rank the wrong way round.
        DataFault: the library refused a parameter.
        EvidenceMissing: a measure could not be computed.
    """
    if model.training.validation.kind == "folds":
        return _in_folds(model, algorithm, rows, typologies)
    parts = split.by_date(rows, model.training.validation)
    developed = develop(model, algorithm, parts.development, typologies)
    probability = developed.probability(parts.judged.features)
    measured = _measured(developed, parts.judged, probability)
    return _trial(developed, parts.development, parts.judged, measured, probability)


def unseen(model: Model, algorithm: str, rows: Rows, typologies: TypologyPack | None = None) -> metrics.Scores:
    """The probability of each row by the model of the folds that had not seen it. The model to keep is not developed.

    Raises as `try_out` does.
    """
    probability = np.empty(len(rows))
    for judged, developed in _by_fold(model, algorithm, rows, typologies):
        probability[judged] = developed.probability(rows.where(judged).features)
    return probability


def _in_folds(model: Model, algorithm: str, rows: Rows, typologies: TypologyPack | None) -> Trial:
    probability = np.empty(len(rows))
    measured = []
    for judged, developed in _by_fold(model, algorithm, rows, typologies):
        probability[judged] = developed.probability(rows.where(judged).features)
        measured.append(_measured(developed, rows.where(judged), probability[judged]))
    developed = develop(model, algorithm, rows, typologies)
    return _trial(developed, rows, rows, metrics.mean_of(measured), probability)


def _by_fold(
    model: Model, algorithm: str, rows: Rows, typologies: TypologyPack | None
) -> Iterator[tuple[Mask, Developed]]:
    """The rows of each fold, and the model developed on all others."""
    for judged in split.fold_masks(rows, model.training.validation.folds or 0, model.training.seed):
        yield judged, develop(model, algorithm, rows.where(~judged), typologies)


def _measured(developed: Developed, judged: Rows, probability: metrics.Scores) -> dict[str, float]:
    """The measures of the score, and of a score put together from parts what each part alone reaches and weighs."""
    measured = metrics.measure(judged.label, probability)
    if developed.in_parts is not None:
        values = developed.in_parts.in_parts(judged.features).values
        measured |= {f"auc_{name}": metrics.auc(judged.label, value) for name, value in values.items()}
        measured |= {f"weight_{name}": weight for name, weight in developed.in_parts.weights().items()}
    return measured


def _trial(
    developed: Developed, fitted_on: Rows, judged: Rows, measured: dict[str, float], probability: metrics.Scores
) -> Trial:
    learnt = metrics.auc(fitted_on.label, developed.probability(fitted_on.features))
    more = {"development_auc": learnt}
    if judged.background is not None:
        more |= {"unlabelled_rows": float(judged.unlabelled)}
    evidence = Evidence(measured | more, judged.event_date, judged.label, probability)
    return Trial(developed, fitted_on, judged, evidence)
