"""A comparison as files: the page for people, the numbers as `comparison.json`, and a short text for whoever is asked.

The page is one file that opens offline, pictures included. What was timed is on the page and in `speed.json` only.
"""

from __future__ import annotations

import json
from base64 import b64encode
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from jinja2 import Environment, PackageLoader, Template

from pipelines import mlflow_store
from pipelines.evaluation.intervals import Interval
from pipelines.lake import local_folder
from pipelines.settings import Settings
from pipelines.spec import Measuring
from pipelines.validation import plots
from pipelines.validation.candidate import Candidate
from pipelines.validation.comparison import Compared, Comparison, Paired
from pipelines.validation.opponent import Opponent
from pipelines.validation.speed import speed

PLACE = "comparison"
PAGE = "comparison.html"
MEASURES = {
    "auc": "AUC",
    "gini": "Gini",
    "ks": "KS",
    "average_precision": "average precision",
    "brier": "Brier score",
    "calibration_error": "calibration error",
    "lift_top_decile": "lift, top decile",
    "bad_rate": "bad rate among approved",
    "expected_loss": "expected loss of approved",
    "approval_rate_at_opponents_cut": "approval rate at the opponent's cut-off",
}
"""How people call the measures, in the order of the page."""
LOWER_IS_BETTER = frozenset({"brier", "calibration_error", "bad_rate"})
NEITHER_IS_BETTER = frozenset({"expected_loss", "approval_rate_at_opponents_cut"})
"""What a model says of itself: a lower expected loss is a model that expects less, not one that loses less."""
_IN_SUMMARY = ("auc", "ks", "average_precision", "brier", "calibration_error", "lift_top_decile")


def log(
    settings: Settings, candidate: Candidate, opponent: Opponent, comparison: Comparison, measuring: Measuring
) -> None:
    """Put the page into the candidate's run in MLflow, as `comparison/`. Raises ConnectionBroken."""
    with TemporaryDirectory(prefix="vigil-comparison-") as scratch:
        write(Path(scratch), candidate, opponent, comparison, measuring)
        mlflow_store.log_folder(settings, candidate.run_id, Path(scratch), PLACE)


def write(folder: Path, candidate: Candidate, opponent: Opponent, comparison: Comparison, measuring: Measuring) -> Path:
    """Write comparison.html, comparison.json and speed.json into the folder; returns the page."""
    local_folder(folder)
    rows = Paired(candidate, opponent)
    timed = {
        "candidate": speed(candidate.predictor, candidate.judged.features, measuring),
        "opponent": speed(opponent.predictor, opponent.features, measuring),
    }
    drawn = {name: b64encode(png).decode() for name, png in plots.pictures(comparison, rows).items()}
    page = _template().render(
        c=comparison,
        speed=timed,
        pictures=drawn,
        interval=interval,
        better=better,
        named=named,
        learnt=learnt(comparison),
    )
    (folder / PAGE).write_text(page, encoding="utf-8")
    (folder / "comparison.json").write_text(comparison.model_dump_json(indent=1), encoding="utf-8")
    speeds = {side: one.model_dump() for side, one in timed.items()}
    (folder / "speed.json").write_text(json.dumps(speeds, indent=1), encoding="utf-8")
    return folder / PAGE


def summary(comparison: Comparison) -> str:
    """At most 30 lines of Markdown for whoever is asked to approve."""
    ours, theirs, equal = comparison.candidate, comparison.opponent, comparison.equal_approval
    lines = [
        f"**{comparison.model}: version {ours.version} ({ours.algorithm}) against {theirs.role} version "
        f"{theirs.version} ({theirs.algorithm})**",
        "",
        f"{comparison.rows:,} judged rows with {comparison.events:,} events: {comparison.judged}. "
        f"{comparison.unmatched:,} rows could not be scored by both. {learnt(comparison)}",
        "",
        f"| measure | version {ours.version} | version {theirs.version} | difference, {comparison.confidence:.0%} |",
        "| --- | --- | --- | --- |",
        *(_line(comparison.measure(name)) for name in _IN_SUMMARY),
        *(_line(one) for one in equal.measures),
        "",
        f"Approvals are of {equal.share:.1%} of the rows by each. Expected loss is per "
        f"{'account' if equal.loss_of == 'accounts' else 'unit of exposure'}, by each model's own probability.",
        "",
        _swapped(comparison),
        "",
        f"All of it, with pictures: `{PLACE}/{PAGE}` among the files of version {ours.version}'s run in MLflow.",
    ]
    return "\n".join(lines)


def interval(of: Interval | None, signed: bool = False) -> str:
    """`0.8312 [0.8201, 0.8420]`; `-` where there is none."""
    if of is None:
        return "-"
    digits = 1 if max(abs(of.value), abs(of.low), abs(of.high)) >= 100 else 4
    first = f"{of.value:+,.{digits}f}" if signed else f"{of.value:,.{digits}f}"
    return f"{first} [{of.low:,.{digits}f}, {of.high:,.{digits}f}]"


def better(one: Compared) -> str:
    """Which of both is better beyond doubt at the confidence: `candidate`, `opponent`, or nothing."""
    if one.measure in NEITHER_IS_BETTER:
        return ""
    low, high = one.difference.low, one.difference.high
    if one.measure in LOWER_IS_BETTER:
        low, high = -high, -low
    return "candidate" if low > 0 else "opponent" if high < 0 else ""


def learnt(comparison: Comparison) -> str:
    """In words, how many rows the opponent had learnt from."""
    if comparison.learnt_from is None:
        return f"Whether the {comparison.opponent.role} had learnt from any is not known any more."
    if comparison.learnt_from:
        return f"The {comparison.opponent.role} had learnt from {comparison.learnt_from:,} of them, which flatters it."
    return f"The {comparison.opponent.role} had learnt from none of them."


def named(measure: str) -> str:
    """The measure as people call it."""
    return MEASURES.get(measure, measure)


def _line(one: Compared) -> str:
    columns = (named(one.measure), interval(one.candidate), interval(one.opponent), interval(one.difference, True))
    return f"| {' | '.join(columns)} |"


def _swapped(comparison: Comparison) -> str:
    swapped = comparison.equal_approval.swap_set
    ours, theirs = swapped.only_candidate, swapped.only_opponent
    if swapped.difference is None:
        return "Swap set: both approve the same rows."
    return (
        f"Swap set: version {comparison.candidate.version} alone approves {ours.rows:,} rows (bad rate {ours.bad_rate:.2%}), "
        f"version {comparison.opponent.version} alone {theirs.rows:,} ({theirs.bad_rate:.2%}); difference "
        f"{interval(swapped.difference, True)}."
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("pipelines.validation"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("comparison.html")
