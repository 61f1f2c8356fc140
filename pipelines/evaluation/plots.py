"""Pictures of a model's result, for people. The same numbers give the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.evaluation.metrics import Labels, Scores, auc, calibration_by_decile, roc_curve

_SCORE_BINS = 50


def draw_all(folder: Path, title: str, label: Labels, probability: Scores) -> None:
    """Write roc.png, calibration.png and scores.png. Raises EvidenceMissing when there is nothing to draw."""
    for name, draw in (("roc", _roc), ("calibration", _calibration), ("scores", _scores)):
        figure = Figure(figsize=(6, 5), dpi=110, layout="constrained")
        axes = figure.add_subplot()
        draw(axes, label, probability)
        axes.set_title(title)
        figure.savefig(folder / f"{name}.png", metadata={"Software": None})


def _roc(axes: Axes, label: Labels, probability: Scores) -> None:
    others, events = roc_curve(label, probability)
    axes.plot(others, events, label=f"AUC {auc(label, probability):.3f}")
    axes.plot([0, 1], [0, 1], linestyle="--", color="grey", label="by chance")
    axes.set(xlabel="share of non-events at or above the score", ylabel="share of events at or above the score")
    axes.legend(loc="lower right")


def _calibration(axes: Axes, label: Labels, probability: Scores) -> None:
    deciles = calibration_by_decile(label, probability)
    largest = max(max(d.predicted, d.observed) for d in deciles) * 1.05
    axes.plot([0, largest], [0, largest], linestyle="--", color="grey", label="perfect")
    axes.plot([d.predicted for d in deciles], [d.observed for d in deciles], marker="o", label="deciles of the score")
    axes.set(xlabel="mean probability predicted", ylabel="rate observed")
    axes.legend(loc="upper left")


def _scores(axes: Axes, label: Labels, probability: Scores) -> None:
    bins = np.linspace(0, max(float(np.quantile(probability, 0.999)), 1e-6), _SCORE_BINS + 1)
    for outcome, name in ((0, "non-events"), (1, "events")):
        axes.hist(probability[label == outcome], bins=bins.tolist(), density=True, alpha=0.6, label=name)
    axes.set(xlabel="probability predicted (highest 0.1% not shown)", ylabel="density")
    axes.legend(loc="upper right")
