"""Pictures of a comparison, as PNG bytes. The same numbers give the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.evaluation.metrics import roc_curve
from pipelines.validation.comparison import Comparison, Paired

_MOST_POINTS = 2_000
_CANDIDATE, _OPPONENT = "#14508c", "#c05a00"


def pictures(comparison: Comparison, rows: Paired) -> dict[str, bytes]:
    """By name: roc, calibration, shift, swap_set."""
    drawers: dict[str, Callable[[Axes, Comparison, Paired], None]] = {
        "roc": _roc,
        "calibration": _calibration,
        "shift": _shift,
        "swap_set": _swap_set,
    }
    return {name: _png(draw, comparison, rows) for name, draw in drawers.items()}


def _png(draw: Callable[[Axes, Comparison, Paired], None], comparison: Comparison, rows: Paired) -> bytes:
    figure = Figure(figsize=(6, 4.4), dpi=110, layout="constrained")
    draw(figure.add_subplot(), comparison, rows)
    written = BytesIO()
    figure.savefig(written, format="png", metadata={"Software": None})
    return written.getvalue()


def _names(comparison: Comparison) -> tuple[str, str]:
    ours, theirs = comparison.candidate, comparison.opponent
    return f"version {ours.version}", f"{theirs.role} {theirs.version}"


def _roc(axes: Axes, comparison: Comparison, rows: Paired) -> None:
    area = comparison.measure("auc")
    both = ((rows.candidate, area.candidate, _CANDIDATE), (rows.opponent, area.opponent, _OPPONENT))
    for name, (score, interval, colour) in zip(_names(comparison), both, strict=True):
        others, events = roc_curve(rows.label, score)
        step = max(1, len(others) // _MOST_POINTS)
        shown = np.append(np.arange(0, len(others) - 1, step), len(others) - 1)
        axes.plot(others[shown], events[shown], color=colour, label=f"{name}: AUC {interval.value:.3f}")
    axes.plot([0, 1], [0, 1], linestyle="--", color="grey", label="by chance")
    axes.set(title="ROC", xlabel="share of non-events at or above the score", ylabel="share of events")
    axes.legend(loc="lower right")


def _calibration(axes: Axes, comparison: Comparison, rows: Paired) -> None:
    largest = 1.05 * max(max(d.predicted, d.observed) for deciles in comparison.calibration for d in deciles)
    axes.plot([0, largest], [0, largest], linestyle="--", color="grey", label="perfect")
    styles = ((_CANDIDATE, "o"), (_OPPONENT, "s"))
    for name, deciles, (colour, marker) in zip(_names(comparison), comparison.calibration, styles, strict=True):
        axes.plot(
            [d.predicted for d in deciles], [d.observed for d in deciles], color=colour, marker=marker, label=name
        )
    axes.set(title="Calibration by decile", xlabel="mean probability predicted", ylabel="rate observed")
    axes.legend(loc="upper left")


def _shift(axes: Axes, comparison: Comparison, rows: Paired) -> None:
    ours, theirs = _names(comparison)
    at = np.array([band.band for band in comparison.bands])
    axes.bar(at - 0.2, [band.opponent for band in comparison.bands], 0.4, color=_OPPONENT, label=theirs)
    axes.bar(at + 0.2, [band.candidate for band in comparison.bands], 0.4, color=_CANDIDATE, label=ours)
    axes.set(title=f"Mean score by tenth of the {theirs}", xlabel="tenth, 1 is the lowest", ylabel="mean probability")
    axes.set_xticks(at)
    axes.legend(loc="upper left")


def _swap_set(axes: Axes, comparison: Comparison, rows: Paired) -> None:
    ours, theirs = _names(comparison)
    found = comparison.equal_approval.swap_set
    groups = [
        ("approved by both", found.both, "#5b6b7a"),
        (f"only by {ours}", found.only_candidate, _CANDIDATE),
        (f"only by {theirs}", found.only_opponent, _OPPONENT),
        ("by neither", found.neither, "#a9b4bf"),
    ]
    rates = [group.bad_rate or 0.0 for _, group, _ in groups]
    bars = axes.bar([name for name, _, _ in groups], rates, color=[colour for _, _, colour in groups])
    axes.bar_label(bars, [f"{group.rows:,} rows" for _, group, _ in groups], padding=2)
    axes.set(title="Bad rate by who approves", ylabel="event rate")
    axes.tick_params(axis="x", labelsize=8)
    axes.margins(y=0.12)
