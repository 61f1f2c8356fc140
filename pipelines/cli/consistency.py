"""Whether the files of a model fit together: model, contracts, policy, features and label. Reads no data."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import partial

from pipelines.contracts import VigilError
from pipelines.features import load_definitions, source_columns
from pipelines.features.snapshots import model_views
from pipelines.settings import Settings
from pipelines.spec import Model, load_contract, load_model, load_policy


def problems(settings: Settings, name: str) -> list[str]:
    """Everything that is wrong with a model's files, one text per problem; empty when they fit together."""
    try:
        model = load_model(settings.models, name)
    except VigilError as error:
        return [str(error)]
    checks: list[Callable[[], object]] = [
        *(partial(load_contract, settings.expectations, source) for source in model.sources),
        lambda: load_policy(settings.policies, model.policy).require_in_force(date.today()),
        lambda: _features(settings, model),
    ]
    return [text for check in checks if (text := _problem(check))]


def _features(settings: Settings, model: Model) -> None:
    definitions = load_definitions(settings)
    definitions.label_view(model.label.view)
    model_views(settings, model, definitions)
    source_columns(settings, model)


def _problem(check: Callable[[], object]) -> str:
    try:
        check()
    except VigilError as problem:
        return str(problem)
    return ""
