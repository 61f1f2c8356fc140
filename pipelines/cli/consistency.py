"""Whether the files of a model fit together: model, contracts, policy, typologies, features and label. Reads no data."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import partial

from pipelines.contracts import DataFault, VigilError
from pipelines.evaluation.leakage import known_later
from pipelines.features import load_definitions, source_columns
from pipelines.features.snapshots import model_views
from pipelines.features.views import compile_labels
from pipelines.settings import Settings
from pipelines.spec import Model, load_contract, load_model, load_policy, load_typologies
from pipelines.training.reasons import prohibited_reasons


def problems(settings: Settings, name: str) -> list[str]:
    """Everything that is wrong with a model's files, one text per problem; empty when they fit together."""
    try:
        model = load_model(settings.models, name)
    except VigilError as error:
        return [str(error)]
    checks: list[Callable[[], object]] = [
        *(partial(load_contract, settings.expectations, source) for source in model.sources),
        lambda: _policy(settings, model),
        lambda: _features(settings, model),
    ]
    if model.typologies is not None:
        checks.append(partial(_typologies, settings, model, model.typologies))
    return [text for check in checks if (text := _problem(check))]


def _policy(settings: Settings, model: Model) -> None:
    policy = load_policy(settings.policies, model.policy).require_in_force(date.today())
    fairness = policy.measuring.fairness if policy.measuring else None
    if model.reasons and (wrong := prohibited_reasons(model.reasons, fairness)):
        raise DataFault(
            f"models/{model.name}.yaml: reasons name a prohibited basis: "
            f"{', '.join(f'{code} ({word})' for code, word in wrong.items())}. Nobody may be told that; take it out."
        )
    if model.domain == "aml" and model.schedule.cron is not None and policy.alerts is None:
        raise DataFault(
            f"models/{model.name}.yaml: its nights are scheduled to raise alerts, but policy {policy.policy} has no section "
            "`alerts`, so each would end blocked. Add it (docs/aml.md lists every key), or name a policy that has it."
        )


def _features(settings: Settings, model: Model) -> None:
    definitions = load_definitions(settings)
    compile_labels(settings, definitions.label_view(model.label.view))
    model_views(settings, model, definitions)
    lineage = source_columns(settings, model)
    read = {source for columns in lineage.values() for source, _ in columns}
    contracts = {source: load_contract(settings.expectations, source) for source in read}
    if leaks := [f"{found.feature} {found.reason}" for found in known_later(model.feature_names, lineage, contracts)]:
        raise DataFault(
            f"models/{model.name}.yaml: training would refuse these features: {'; '.join(leaks)}. Remove them."
        )


def _typologies(settings: Settings, model: Model, name: str) -> None:
    pack = load_typologies(settings.typology_folders, name).require_in_force(date.today())
    pack.require_fits(model.name, model.feature)


def _problem(check: Callable[[], object]) -> str:
    try:
        check()
    except VigilError as problem:
        return str(problem)
    return ""
