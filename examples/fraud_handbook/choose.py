"""How the model of this example was chosen: the handbook's protocol on five earlier fortnights, no judged day after 31 July.

    python examples/fraud_handbook/choose.py

Each window learns from seven days, waits seven for the outcomes and judges seven: the first from 13 June, the last from 11
July, so the latest judged day is 31 July, whose outcomes were known before 8 August. Printed are AUC and average precision
of every candidate, as means over the windows, and of the model file's parameters by window and seed. Needs the payments from
15 April to 31 July ingested; takes about half an hour on two cores.
"""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

from pipelines import features
from pipelines.cli.app import machine
from pipelines.settings import Settings
from pipelines.spec import Feature, Model, load_model
from pipelines.training.rows import rows_of
from pipelines.training.trial import try_out

PROJECT = Path(__file__).parent
STARTS = tuple(date(2018, 6, 13) + timedelta(weeks=week) for week in range(5))
WEEK = timedelta(days=7)
CANDIDATES: dict[str, dict[str, float]] = {
    "as in the model file": {},
    "depth 3": {"depth": 3},
    "depth 6": {"depth": 6},
    "l2_leaf_reg 5": {"l2_leaf_reg": 5},
    "all features in every tree": {"rsm": 1.0},
}
WITHOUT = ("ordinary", "large")
SEEDS = (1, 2)


def main() -> None:
    """Print the table of candidates."""
    with machine() as settings, TemporaryDirectory() as scratch:
        model = load_model(PROJECT / "models", "card_fraud")
        for name, changed in CANDIDATES.items():
            tell(name, [judged(settings, with_parameters(model, changed), start, Path(scratch)) for start in STARTS])
        for part in WITHOUT:
            fewer = without(model, part)
            tell(f"without {part}", [judged(settings, fewer, start, Path(scratch)) for start in STARTS])
        for seed in SEEDS:
            other = model.model_copy(update={"training": model.training.model_copy(update={"seed": seed})})
            tell(f"seed {seed}", [judged(settings, other, start, Path(scratch)) for start in STARTS])


def judged(settings: Settings, model: Model, start: date, scratch: Path) -> tuple[float, float]:
    """AUC and average precision of the candidate on the window that starts its training on that day."""
    shifted = in_window(model, start)
    project = with_blocked_since(start, scratch / start.isoformat())
    there = settings.model_copy(update={"project": project})
    as_of = start + 4 * WEEK
    features.build_history(there, shifted, features.training_dates(there, shifted, as_of))
    rows = rows_of(features.training_rows(there, shifted, as_of).table, shifted.feature)
    measured = try_out(shifted, "catboost", rows).evidence.metrics
    return measured["auc"], measured["average_precision"]


def in_window(model: Model, start: date) -> Model:
    """The model that learns from the week of `start` and is judged on the week after next."""
    dates = {
        "development_to": start + WEEK - timedelta(days=1),
        "out_of_time_from": start + 2 * WEEK,
        "out_of_time_to": start + 3 * WEEK - timedelta(days=1),
    }
    validation = model.training.validation.model_copy(update=dates)
    return model.model_copy(
        update={"training": model.training.model_copy(update={"history_from": start, "validation": validation})}
    )


def with_blocked_since(start: date, folder: Path) -> Path:
    """A copy of the project whose label view blocks cards for frauds from the first day learnt from, as the handbook does."""
    if not folder.exists():
        shutil.copytree(PROJECT, folder)
        view = folder / "feature_repo" / "card_fraud.py"
        text = view.read_text()
        moved = text.replace("KNOWN_SINCE = date(2018, 7, 25)", f"KNOWN_SINCE = date({start:%Y, %-m, %-d})")
        assert moved != text, "the label view no longer says KNOWN_SINCE = date(2018, 7, 25)"
        view.write_text(moved)
    return folder


def with_parameters(model: Model, changed: dict[str, float]) -> Model:
    """The model with some of CatBoost's parameters changed."""
    parameters = {"catboost": {**model.training.parameters["catboost"], **changed}}
    return model.model_copy(update={"training": model.training.model_copy(update={"parameters": parameters})})


def without(model: Model, part: str) -> Model:
    """The model without the features that have the part in their name."""
    kept: dict[str, dict[str, Feature]] = {
        view: {name: feature for name, feature in listed.items() if part not in name}
        for view, listed in model.features.items()
    }
    return model.model_copy(update={"features": kept})


def tell(name: str, found: list[tuple[float, float]]) -> None:
    """One line: means over the windows, then each window."""
    auc, precision = zip(*found, strict=True)
    by_window = "  ".join(f"{a:.3f}/{p:.3f}" for a, p in found)
    print(f"{name:28} AUC {mean(auc):.4f}  average precision {mean(precision):.4f}  {by_window}", flush=True)


if __name__ == "__main__":
    main()
