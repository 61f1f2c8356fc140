"""Three views of a row put together: what investigations found, how unusual it is, and which typologies it meets.

| part | learns from | value in [0, 1] | evidence |
| --- | --- | --- | --- |
| supervised | CatBoost on the rows somebody investigated | its probability | its log odds |
| anomaly | an isolation forest on everyone | share of the background that is less anomalous | -ln(1 - value) |
| typologies | rules a person wrote | 1 - product of (1 - points) of those met | -ln(1 - value) |

log odds = intercept + the sum over the parts of weight * evidence. The evidence of a typology is -ln(1 - points), so several
add up; both it and the anomaly's are 0 for a row with nothing to be said. Weights are found by logistic regression on the
held-out labelled rows, which no part was fitted on, with each weight at least `least_weight` (never below 0): no part can
lower the score, and what investigations have not found yet can still raise it.

What is not known must not make anybody look harmless. Where a feature is absent that may not be, an input failed, and no
absence in that row is taken for a state: the supervised part counts the highest leaves the row could reach, the forest the
shortest ways, and a typology that cannot be judged counts as met. So the score is at least what it would be with any values
in the gaps, and the row goes to a person. A part that has no value at all counts as the highest evidence there is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, ValidationError

from pipelines.contracts import DataFault, EvidenceMissing, Value
from pipelines.evaluation.metrics import Labels, Scores
from pipelines.spec import TypologyPack
from pipelines.training import catboost_model, isolation, rules
from pipelines.training.calibration import logistic
from pipelines.training.catboost_model import CatBoostModel
from pipelines.training.contributions import Contributions
from pipelines.training.isolation import IsolationForest
from pipelines.training.recipe import Parameters, Recipe, require_known_parameters
from pipelines.training.rows import Features, Mask, Rows
from pipelines.training.rules import Findings

FILE = "combined.json"
TYPOLOGIES = "typologies.json"
PARTS = ("supervised", "anomaly", "typologies")
_PREFIX = "catboost_"
_DIGITS = 6  # weights are rounded, so that the last bits of another machine's sums do not make another model
_LEAST_REST = 1e-3  # 1 - value below it counts as it: a rank among a sample says no more, and evidence stays finite

Evidence = npt.NDArray[np.float64]


class OwnParameters(Value):
    """What the model file may say besides CatBoost's parameters, which carry the prefix `catboost_`.

    Attributes:
        trees, max_samples: of the isolation forest: how many trees, and on how many rows each is grown.
        least_weight: what each part's evidence weighs at least.
    """

    trees: Annotated[int, Field(ge=10, le=1000)] = 100
    max_samples: Annotated[int, Field(ge=16, le=65_536)] = 256
    least_weight: Annotated[float, Field(ge=0, le=1)] = 0.1


class Weighed(Value):
    """One part in the combination.

    Attributes:
        weight: of its evidence in the log odds, never below 0.
        highest: evidence that an absent value counts as.
        spread: standard deviation of its evidence in training, to compare what the parts move.
    """

    weight: Annotated[float, Field(ge=0)]
    highest: float
    spread: float


class Combination(Value):
    """How the parts are put together.

    Attributes:
        may_be_absent: the model's features whose absence was a declared state in training, whichever the typologies name, so
            that another pack can be tried on the same version.
    """

    format: str = "vigil-combined-1"
    intercept: float
    parts: dict[str, Weighed]
    may_be_absent: tuple[str, ...]

    def log_odds(self, evidence: Mapping[str, Scores]) -> Scores:
        """Log odds of each row; never falls with any part's evidence."""
        rows = len(next(iter(evidence.values())))
        total = np.full(rows, self.intercept)
        for name, part in self.parts.items():
            given = evidence[name]
            total += part.weight * np.where(np.isnan(given), part.highest, given)
        return total


@dataclass(frozen=True)
class Parts:
    """What a row's score was put together from.

    Attributes:
        log_odds: before calibration.
        values: by part, in [0, 1]; NaN where the part has no value.
        typologies_met: per row the names, separated by `; `; empty when none.
        unsure: by reason, the rows whose score rests on less than it should, so that a person must look.
    """

    log_odds: Scores
    values: dict[str, Scores]
    typologies_met: pa.StringArray
    unsure: dict[str, Mask]


@dataclass(frozen=True)
class Views:
    """The three parts, not yet weighed."""

    supervised: CatBoostModel
    forest: IsolationForest
    pack: TypologyPack
    may_be_absent: tuple[str, ...]

    def of(self, features: Features) -> Seen:
        """What each part says of each row."""
        doubted = np.asarray(self.failed_inputs(features).any(axis=1))
        log_odds = _or_nan(self._supervised(features, doubted))
        found = rules.judge(self.pack, self.may_be_absent, features, doubted)
        values = {
            "supervised": logistic(log_odds),
            "anomaly": _or_nan(self.forest.part(features, doubted)),
            "typologies": _or_nan(found.part),
        }
        evidence = {
            "supervised": log_odds,
            "anomaly": _evidence(values["anomaly"]),
            "typologies": _evidence(values["typologies"]),
        }
        return Seen(values, evidence, found)

    def failed_inputs(self, features: Features) -> Mask:
        """(rows, features) true where a feature is absent whose absence is not a state."""
        return np.column_stack(
            [
                np.asarray(features[name].is_null()) & (name not in self.may_be_absent)
                for name in self.supervised.inputs.features
            ]
        )

    def attributed(self, features: Features) -> dict[str, Contributions]:
        """By part, what each feature adds to its evidence; see CombinedModel.contributions for what is left over."""
        failed = self.failed_inputs(features)
        doubted = np.asarray(failed.any(axis=1))
        names = self.supervised.inputs.features
        return {
            "supervised": self._supervised_attributed(features, failed),
            "anomaly": Contributions(1.0 - _LEAST_REST, self._anomaly_attributed(features, failed), names),
            "typologies": Contributions(0.0, self._typologies_attributed(features, doubted), names),
        }

    def _supervised_attributed(self, features: Features, failed: Mask) -> Contributions:
        plain, doubted = self.supervised.contributions(features), np.asarray(failed.any(axis=1))
        raised = np.where(doubted, self._supervised(features, doubted) - plain.log_odds, 0.0)
        return replace(plain, values=plain.values + _shared(raised, failed))

    def _anomaly_attributed(self, features: Features, failed: Mask) -> Scores:
        """What absent inputs raise it by, compared with usual values in their place."""
        doubted = np.asarray(failed.any(axis=1))
        raised = np.zeros(len(doubted))
        rows, every = features.filter(pa.array(doubted)), np.ones(int(doubted.sum()), bool)
        bound, usual = self.forest.part(rows, every), self.forest.part(self.forest.without_gaps(rows))
        raised[doubted] = _evidence(bound) - _evidence(usual)
        return _shared(raised, failed)

    def _typologies_attributed(self, features: Features, doubted: Mask) -> Scores:
        shares = rules.evidence_by_feature(self.pack, self.may_be_absent, features, doubted)
        whole: Scores = np.sum(list(shares.values()), axis=0)
        kept = np.minimum(whole, _evidence(np.array(1.0))) / np.where(whole > 0, whole, 1.0)
        nothing = np.zeros(features.num_rows)
        return np.column_stack([kept * shares.get(name, nothing) for name in self.supervised.inputs.features])

    def _supervised(self, features: Features, doubted: Mask) -> Scores:
        log_odds = self.supervised.log_odds(features)
        if doubted.any():
            log_odds[doubted] = self.supervised.highest_log_odds(features.filter(pa.array(doubted)))
        return log_odds


@dataclass(frozen=True)
class Seen:
    """What the parts say of rows, by part; NaN where a part has no value."""

    values: dict[str, Scores]
    evidence: dict[str, Scores]
    found: Findings

    @property
    def unsure(self) -> dict[str, Mask]:
        """By reason, the rows of which a part cannot say all."""
        unknown = {f"typology {name} cannot be judged": mask for name, mask in self.found.unknown.items()}
        absent = {f"part {name} absent": np.isnan(value) for name, value in self.values.items()}
        return unknown | {reason: mask for reason, mask in absent.items() if mask.any()}


@dataclass(frozen=True)
class CombinedModel:
    """The three parts and how they are put together."""

    views: Views
    combination: Combination

    @property
    def pack(self) -> TypologyPack:
        """The typologies the model was trained with."""
        return self.views.pack

    def log_odds(self, features: Features) -> Scores:
        """Log odds of each row, before calibration."""
        return self.in_parts(features).log_odds

    def in_parts(self, features: Features) -> Parts:
        """The log odds and what they were put together from."""
        seen = self.views.of(features)
        return Parts(self.combination.log_odds(seen.evidence), seen.values, seen.found.met, seen.unsure)

    def contributions(self, features: Features) -> Contributions:
        """Each part's evidence times its weight, by feature where features are why, else by part (`part anomaly`).

        * supervised: CatBoost's Shapley values. What absent inputs raise it by, up to the highest leaves, is shared equally
          by those inputs.
        * typologies: the features whose conditions are met share a typology equally.
        * anomaly: what absent inputs raise it by, compared with usual values in their place, is shared by those inputs; the
          rest, less the mean over the background, is `part anomaly`.

        The baseline is the intercept with the supervised part's mean, a row of usual rarity and no typology.
        """
        evidence, attributed = self.views.of(features).evidence, self.views.attributed(features)
        names = self.views.supervised.inputs.features
        baseline, values = self.combination.intercept, np.zeros((features.num_rows, len(names) + len(PARTS)))
        for position, (name, part) in enumerate(self.combination.parts.items(), start=len(names)):
            said = np.where(np.isnan(evidence[name]), part.highest, evidence[name])
            found = attributed[name]
            baseline += part.weight * found.baseline
            values[:, : len(names)] += part.weight * found.values
            values[:, position] = part.weight * (said - found.log_odds)
        return Contributions(baseline, values, (*names, *(f"part {name}" for name in self.combination.parts)))

    def files(self) -> dict[str, bytes]:
        """Each part in its own format, the typologies as they were, and the weights."""
        return {
            **self.views.supervised.files(),
            **self.views.forest.files(),
            TYPOLOGIES: json.dumps(self.pack.model_dump(mode="json"), indent=1).encode(),
            FILE: json.dumps(self.combination.model_dump(mode="json"), indent=1).encode(),
        }

    def importance(self) -> dict[str, float]:
        """Weight times spread of each part, as shares of 100; that of the supervised part is shared among its features."""
        moves = {name: part.weight * part.spread for name, part in self.combination.parts.items()}
        whole = sum(moves.values()) or 1.0
        shares = {name: 100.0 * move / whole for name, move in moves.items()}
        own = {n: share / 100.0 * shares["supervised"] for n, share in self.views.supervised.importance().items()}
        return own | {f"part {name}": shares[name] for name in PARTS if name != "supervised"}

    def weights(self) -> dict[str, float]:
        """The weight of each part."""
        return {name: part.weight for name, part in self.combination.parts.items()}


def check_parameters(model: str, parameters: Mapping[str, Any]) -> None:
    """Raises DataFault for a parameter that is unknown, fixed here, or of a value that makes no sense."""
    known = {*OwnParameters.model_fields, *(_PREFIX + name for name in catboost_model.known_parameters())}
    require_known_parameters(model, "combined", parameters, known)
    try:
        _own(parameters)
    except ValidationError as error:
        (problem, *_) = error.errors(include_url=False)
        raise DataFault(
            f"model {model}: training.parameters.combined.{problem['loc'][0]}: {problem['msg']}. Correct the model file."
        ) from None


def effective_parameters(recipe: Recipe) -> Parameters:
    """What the parts are really told, with the defaults and what is fixed."""
    told = catboost_model.effective_parameters(_supervised(recipe))
    own: Parameters = _own(recipe.parameters).model_dump()
    return {_PREFIX + name: value for name, value in told.items()} | own


def load(files: Mapping[str, bytes]) -> CombinedModel:
    """The model from its verified files: with the typologies it was permitted with, whatever today's file says."""
    combination = Combination.model_validate_json(files[FILE])
    views = Views(
        supervised=catboost_model.load(files),
        forest=isolation.load(files),
        pack=TypologyPack.model_validate_json(files[TYPOLOGIES]),
        may_be_absent=combination.may_be_absent,
    )
    return CombinedModel(views, combination)


def fit(recipe: Recipe, rows: Rows, held_out: Rows) -> CombinedModel:
    """Fit the parts on `rows`, and weigh them by what the labelled rows of `held_out` say.

    Raises DataFault when the model has no typologies, or they do not fit its features.
    """
    views = _views(recipe, _pack(recipe), rows, catboost_model.fit(_supervised(recipe), rows, held_out))
    evidence = views.of(held_out.features).evidence
    weights, intercept = weigh(
        np.column_stack([evidence[name] for name in PARTS]), held_out.label, _own(recipe.parameters).least_weight
    )
    return CombinedModel(views, _combination(views, rows, weights, intercept))


def refit(recipe: Recipe, rows: Rows, first: CombinedModel) -> CombinedModel:
    """Fit the parts again on more rows, with the number of trees and the weights that were found."""
    supervised = catboost_model.refit(_supervised(recipe), rows, first.views.supervised)
    views = _views(recipe, first.pack, rows, supervised)
    return CombinedModel(views, _combination(views, rows, first.weights(), first.combination.intercept))


def weigh(evidence: Evidence, label: Labels, least: float) -> tuple[dict[str, float], float]:
    """Weights of the parts, each at least `least`, and the intercept.

    The logistic regression with a ridge penalty of 1/2 on the weights, as scikit-learn's with C = 1, which has no bounds; by
    L-BFGS-B (Byrd, Lu, Nocedal and Zhu, 1995). The problem is convex, so the start does not matter.

    Raises EvidenceMissing when a part has no value for a row: what is weighed must be there.
    """
    from scipy.optimize import minimize

    if absent := int((~np.isfinite(evidence)).any(axis=1).sum()):
        raise EvidenceMissing(
            f"{absent} of {len(label)} held-out rows lack a part of the score, so the parts cannot be weighed. Nothing was "
            "registered. Look at the features of the latest development dates."
        )
    signs = np.where(label == 1, 1.0, -1.0)

    def loss(point: Scores) -> tuple[float, Scores]:
        margin = signs * (point[0] + evidence @ point[1:])
        pull = -signs * logistic(-margin)
        slope = np.concatenate([[pull.sum()], evidence.T @ pull + point[1:]])
        return float(np.logaddexp(0.0, -margin).sum() + 0.5 * point[1:] @ point[1:]), slope

    start = np.array([0.0, *np.full(evidence.shape[1], max(least, 0.5))])
    bounds = [(None, None), *[(least, None)] * evidence.shape[1]]
    options = {"maxiter": 10_000, "maxfun": 100_000, "ftol": 1e-14, "gtol": 1e-8}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    rounded = [round(float(value), _DIGITS) for value in found]
    return {name: max(value, least) for name, value in zip(PARTS, rounded[1:], strict=True)}, rounded[0]


def _views(recipe: Recipe, pack: TypologyPack, rows: Rows, supervised: CatBoostModel) -> Views:
    own = _own(recipe.parameters)
    forest = isolation.grow(
        recipe.features,
        rows.population,
        rows.features.slice(0, 0) if rows.background is None else rows.background.features,
        seed=recipe.seed % 2**32,
        trees=own.trees,
        max_samples=own.max_samples,
    )
    may_be_absent = tuple(name for name, feature in recipe.features.items() if feature.missing == "allowed")
    return Views(supervised, forest, pack, may_be_absent)


def _combination(views: Views, rows: Rows, weights: Mapping[str, float], intercept: float) -> Combination:
    """The weights, with what an absent part counts as: the highest evidence a row of training has, or any row could have."""
    evidence = views.of(rows.population).evidence
    all_met = 1.0 - np.prod([1.0 - typology.points for typology in views.pack.typologies])
    highest = {
        "supervised": np.nanmax(evidence["supervised"]),
        "anomaly": _evidence(np.array(1.0)),
        "typologies": _evidence(np.array(all_met)),
    }
    parts = {
        name: Weighed(
            weight=weights[name],
            highest=float(highest[name]),
            spread=round(float(np.nanstd(evidence[name])), _DIGITS),
        )
        for name in PARTS
    }
    return Combination(intercept=intercept, parts=parts, may_be_absent=views.may_be_absent)


def _shared(raised: Scores, failed: Mask) -> Scores:
    """The rise of each row, shared equally by the inputs that failed in it."""
    share: Scores = raised[:, None] * failed / np.maximum(failed.sum(axis=1), 1)[:, None]
    return share


def _evidence(value: Scores) -> Scores:
    """-ln(1 - value), at most that of a rest of `_LEAST_REST`; NaN stays."""
    evidence: Scores = -np.log(np.maximum(1.0 - value, _LEAST_REST))
    return evidence


def _or_nan(values: Scores) -> Scores:
    """Infinity is no value either."""
    return np.where(np.isfinite(values), values, np.nan)


def _supervised(recipe: Recipe) -> Recipe:
    """The recipe of the supervised part: CatBoost's parameters without their prefix."""
    told = {n.removeprefix(_PREFIX): v for n, v in recipe.parameters.items() if n.startswith(_PREFIX)}
    return Recipe(recipe.model, recipe.features, recipe.seed, told, place="training.parameters.combined")


def _own(parameters: Mapping[str, Any]) -> OwnParameters:
    own = {name: value for name, value in parameters.items() if not name.startswith(_PREFIX)}
    return OwnParameters.model_validate(own, strict=True)


def _pack(recipe: Recipe) -> TypologyPack:
    if recipe.typologies is None:
        raise DataFault(f"model {recipe.model}: combined needs typologies; name a pack in the model file.")
    return recipe.typologies.require_fits(recipe.model, recipe.features)
