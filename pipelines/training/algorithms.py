"""The algorithms a model file may name, and how a model is developed with any of them.

Development: fit on the earlier development rows; stop and calibrate on the latest ones, which that fit has not seen; then
fit again on all development rows with the size found, keeping the calibration, as scikit-learn's CalibratedClassifierCV
does with ensemble=False. So the newest development rows are not lost, and nothing has seen the rows it is judged on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

from pipelines.evaluation.metrics import Scores
from pipelines.spec import Model, TypologyPack
from pipelines.training import catboost_model, combined, onnx_model, scorecard, skops_model
from pipelines.training.calibration import Isotonic, Sigmoid, calibrate
from pipelines.training.combined import CombinedModel, Parts
from pipelines.training.contributions import Contributions
from pipelines.training.recipe import Fitted, Parameters, Recipe
from pipelines.training.rows import Features, Rows
from pipelines.training.split import hold_out

_MODULES: dict[str, ModuleType] = {
    "catboost": catboost_model,
    "scorecard": scorecard,
    "combined": combined,
}
_LOADED_ONLY: dict[str, ModuleType] = {"onnx": onnx_model, "skops": skops_model}  # models trained elsewhere


@dataclass(frozen=True)
class Developed:
    """A fitted and calibrated model."""

    algorithm: str
    fitted: Fitted
    calibration: Sigmoid | Isotonic

    def probability(self, features: Features) -> Scores:
        """Probability of the event, one per row."""
        return self.calibration.probability(self.fitted.log_odds(features))

    def contributions(self, features: Features) -> Contributions:
        """What each feature adds to the log odds of each row: of the calibrated probability where calibration is a sigmoid
        (or none), before calibration where it is isotonic, as `calibrated` says."""
        found = self.fitted.contributions(features)
        if isinstance(self.calibration, Isotonic):
            return found
        return found.scaled(self.calibration.slope, self.calibration.intercept)

    @property
    def in_parts(self) -> CombinedModel | None:
        """The fitted model when its scores are put together from parts."""
        return self.fitted if isinstance(self.fitted, CombinedModel) else None

    def probability_in_parts(self, model: CombinedModel, features: Features) -> tuple[Scores, Parts]:
        """Probability of the event, and what it was put together from."""
        parts = model.in_parts(features)
        return self.calibration.probability(parts.log_odds), parts


def recipe_for(model: Model, algorithm: str, typologies: TypologyPack | None = None) -> Recipe:
    """How the model file wants the algorithm fitted. Raises DataFault for a parameter the algorithm does not have."""
    parameters = dict(model.training.parameters.get(algorithm, {}))  # type: ignore[call-overload]
    _MODULES[algorithm].check_parameters(model.name, parameters)
    return Recipe(model.name, model.feature, model.training.seed, parameters, typologies)


def effective_parameters(recipe: Recipe, algorithm: str) -> Parameters:
    """What the library is really told, with Vigil's defaults and what it fixes."""
    parameters: Parameters = _MODULES[algorithm].effective_parameters(recipe)
    return parameters


def develop(model: Model, algorithm: str, rows: Rows, typologies: TypologyPack | None = None) -> Developed:
    """Fit, stop, calibrate and fit again on all `rows`.

    Args:
        typologies: the model's pack; only `combined` has a use for it.

    Raises:
        Blocked: the held-out rows hold one class only, or rank the wrong way round.
        DataFault: the library refused a parameter's value.
    """
    recipe, module = recipe_for(model, algorithm, typologies), _MODULES[algorithm]
    parts = hold_out(rows, model.training.validation, recipe.seed)
    first: Fitted = module.fit(recipe, parts.development, parts.judged)
    final: Fitted = module.refit(recipe, rows, first)
    held_out_scores = first.log_odds(parts.judged.features)
    return Developed(algorithm, final, calibrate(model.training.calibration, held_out_scores, parts.judged.label))


def load(algorithm: str, files: Mapping[str, bytes]) -> Fitted:
    """A fitted model from its verified files."""
    fitted: Fitted = (_MODULES | _LOADED_ONLY)[algorithm].load(files)
    return fitted
