"""CatBoost: gradient boosted symmetric trees with monotone constraints, in CatBoost's own file format.

Everything that could make two trainings differ is fixed. The sums CatBoost makes depend on the number of threads, so that
number does not follow the machine. Rows come in time order and categories are counted in that order only (`has_time`), so
no row sees its future. The file's time stamp and random id are blanked: equal rows give equal bytes.

Absent values: CatBoost puts them below every number, which under an increasing constraint would make them the best value
there is. So for a feature with a direction an absent value is replaced by a stand-in (binning.stand_in), in training and in
scoring alike; a feature without direction learns absence on its own, and the scoring step sends such rows to review.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contracts import DataFault, EvidenceMissing, Value
from pipelines.evaluation.metrics import Scores
from pipelines.spec import Feature
from pipelines.training.binning import bin_numbers, stand_in
from pipelines.training.catboost_trees import Trees, trees_of
from pipelines.training.contributions import Contributions
from pipelines.training.recipe import Parameters, Recipe, readable_refusal, require_known_parameters
from pipelines.training.rows import Features, Rows, numbers
from pipelines.training.tree_shapley import TreeShapley, shapley_of

if TYPE_CHECKING:
    import pandas as pd

FILE = "model.cbm"
INPUTS = "model_inputs.json"
MISSING = ""
_DEFAULTS: Parameters = {
    "iterations": 600,
    "learning_rate": 0.06,
    "depth": 5,
    "l2_leaf_reg": 5.0,
    "early_stopping_rounds": 40,
    "one_hot_max_size": 32,
}
_THREADS = 2
_FIXED: Parameters = {
    "loss_function": "Logloss",
    "boosting_type": "Plain",
    "thread_count": _THREADS,
    "has_time": True,
    "allow_writing_files": False,
    "logging_level": "Silent",
}
_RESERVED = frozenset(_FIXED) | {
    *("random_seed", "random_state", "task_type", "devices", "device_config", "verbose", "silent", "verbose_eval"),
    *("monotone_constraints", "cat_features", "text_features", "embedding_features", "train_dir", "name"),
    *("save_snapshot", "snapshot_file", "snapshot_interval", "od_type", "od_wait", "od_pval", "eval_fraction"),
    *("n_estimators", "num_boost_round", "num_trees", "max_depth", "eta", "reg_lambda", "colsample_bylevel", "max_bin"),
    *("min_child_samples", "num_leaves"),
    *("custom_loss", "custom_metric", "eval_metric", "objective", "callback", "class_names", "classes_count"),
    *("ignored_features", "feature_weights", "first_feature_use_penalties", "input_borders", "output_borders"),
    *("use_best_model", "nan_mode", "metadata", "kwargs", "self"),
}
_LOG_ODDS_LOSSES = ("Logloss", "CrossEntropy")
_DIRECTION = {"increasing": 1, "decreasing": -1, "none": 0}


class Inputs(Value):
    """How rows become CatBoost's columns.

    Attributes:
        features: in the model's order.
        categories: per categorical feature, the values seen in training; any other counts as absent.
        stand_ins: per feature with a direction, what an absent value counts as.
    """

    features: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]
    stand_ins: dict[str, float]

    def frame(self, rows: Features) -> pd.DataFrame:
        """Columns without a copy where possible: the form CatBoost reads fastest (measured, docs/training.md)."""
        import pandas as pd

        return pd.DataFrame({name: self._column(rows, name) for name in self.features}, copy=False)

    def columns(self, rows: Features) -> list[npt.NDArray[Any]]:
        """The same columns as the trees compare them: numbers in single precision, categories as positions."""
        made = ((name, self._column(rows, name)) for name in self.features)
        return [
            values.codes.astype(np.intp) if name in self.categories else np.asarray(values, np.float32)
            for name, values in made
        ]

    def one_of_each(self) -> pd.DataFrame:
        """Rows that have every category once: in row n of each category column the one at position n, the last one repeated."""
        import pandas as pd

        longest = max(map(len, self.categories.values())) + 1
        return pd.DataFrame({name: self._nth_categories(name, longest) for name in self.features})

    def _nth_categories(self, name: str, rows: int) -> Any:
        import pandas as pd

        if name not in self.categories:
            return np.zeros(rows)
        known = [MISSING, *self.categories[name]]
        return pd.Categorical.from_codes(np.minimum(np.arange(rows), len(known) - 1), categories=known)

    def _column(self, rows: Features, name: str) -> Any:
        if name in self.categories:
            return _categorical(rows[name], self.categories[name])
        values = numbers(rows, name)
        return _replaced(values, self.stand_ins[name]) if name in self.stand_ins else values


@dataclass(frozen=True)
class CatBoostModel:
    """A fitted model and its inputs."""

    inputs: Inputs
    blob: bytes

    @cached_property
    def booster(self) -> Any:
        from catboost import CatBoost

        return CatBoost().load_model(blob=self.blob)

    @property
    def trees(self) -> int:
        return int(self.booster.tree_count_)

    def log_odds(self, features: Features) -> Scores:
        """Log odds of each row, before calibration."""
        if not features.num_rows:
            return np.empty(0)
        raw: Scores = self.booster.predict(self.inputs.frame(features), prediction_type="RawFormulaVal")
        return raw

    def contributions(self, features: Features) -> Contributions:
        """Shapley values of the trees (pipelines.training.tree_shapley); by CatBoost's own ShapValues where the trees ask about
        several columns at once or are too deep.

        The baseline is the mean log odds over the rows it was fitted on, by the trees' leaf weights. A stand-in for an
        absent value counts as the feature's value. CatBoost itself takes the rows it is given for the ones it was fitted on
        when a leaf that no row of the training reached has a value, as it may have under monotone constraints: the reasons of
        a row would then depend on its neighbours.

        Raises EvidenceMissing when only CatBoost's own could be told and they depend on the rows, or are not the score.
        """
        if self._shapley is not None:
            values = self._shapley.of(self.inputs.columns(features), _THREADS)
            return Contributions(self._shapley.baseline, values, self.inputs.features)
        return self._catboosts_own(features)

    def _catboosts_own(self, features: Features) -> Contributions:
        from catboost import Pool

        names = self.inputs.features
        if not features.num_rows:
            return Contributions(0.0, np.empty((0, len(names))), names)
        empty = np.asarray(self.booster.get_leaf_weights()) == 0
        rows = Pool(self.inputs.frame(features), cat_features=list(self.inputs.categories))
        told = self.booster.get_feature_importance(rows, type="ShapValues", thread_count=_THREADS)
        found = Contributions(float(told[0, -1]), told[:, :-1], names)
        if np.asarray(self.booster.get_leaf_values())[empty].any() or not found.add_up_to(self.log_odds(features)):
            raise EvidenceMissing(
                "these trees are not symmetric, too deep or about several columns at once, and CatBoost's own contributions to "
                "them are not those of the score alone. Train with symmetric trees up to a depth of 8 and categories as they "
                "are (one_hot_max_size)."
            )
        return found

    def highest_log_odds(self, features: Features) -> Scores:
        """Log odds of each row if every absent value were the one that raises it most; of a row without holes its own.

        In each tree the highest leaf counts among those that the values which are there allow, so that no value in place of
        the absent ones gives more. Trees are taken one by one: no single value may reach all of it.
        """
        absent = np.column_stack([np.asarray(features[name].is_null()) for name in self.inputs.features])
        holed = absent.any(axis=1)
        raw = self.log_odds(features)
        if holed.any():
            rows = features.filter(pa.array(holed))
            raw[holed] = self._trees.highest(self.booster.calc_leaf_indexes(self.inputs.frame(rows)), absent[holed])
        return raw

    @cached_property
    def _trees(self) -> Trees:
        probe = self.booster.calc_leaf_indexes(self.inputs.one_of_each()) if self.inputs.categories else None
        return trees_of(self.booster, probe)

    @cached_property
    def _shapley(self) -> TreeShapley | None:
        if self.booster.get_all_params().get("grow_policy", "SymmetricTree") != "SymmetricTree":
            return None
        return shapley_of(self._trees, len(self.inputs.features))

    def files(self) -> dict[str, bytes]:
        """The native file, and the inputs as JSON."""
        return {FILE: self.blob, INPUTS: json.dumps(self.inputs.model_dump(mode="json"), indent=1).encode()}

    def importance(self) -> dict[str, float]:
        """Per feature CatBoost's PredictionValuesChange, which adds up to 100."""
        return dict(zip(self.inputs.features, map(float, self.booster.get_feature_importance()), strict=True))


def check_parameters(model: str, parameters: Mapping[str, Any]) -> None:
    """Raises DataFault for a parameter CatBoostClassifier does not have, or that is fixed here."""
    require_known_parameters(model, "catboost", parameters, known_parameters())


def known_parameters() -> set[str]:
    """CatBoostClassifier's parameters that the model file may set."""
    from catboost import CatBoostClassifier

    return set(signature(CatBoostClassifier.__init__).parameters) - _RESERVED


def effective_parameters(recipe: Recipe) -> Parameters:
    """What CatBoost is really told, with the defaults and what is fixed here."""
    return _DEFAULTS | recipe.parameters | _FIXED | {"random_seed": recipe.seed}


def load(files: Mapping[str, bytes]) -> CatBoostModel:
    """The model from its files, which must have been verified: CatBoost does not notice a changed byte."""
    return CatBoostModel(Inputs.model_validate_json(files[INPUTS]), files[FILE])


def check(model: CatBoostModel) -> None:
    """Whether a file trained elsewhere takes and gives what its inputs say. Raises DataFault."""
    booster, names = model.booster, list(model.inputs.features)
    loss = str(booster.get_all_params().get("loss_function"))
    if loss.split(":")[0] not in _LOG_ODDS_LOSSES:
        raise DataFault(f"its loss function is {loss}; only {' and '.join(_LOG_ODDS_LOSSES)} give log odds of an event")
    if booster.feature_names_ != names:
        raise DataFault(f"it was trained on {', '.join(booster.feature_names_)}; declared are {', '.join(names)}")
    kinds = [
        n for i, n in enumerate(names) if (i in booster.get_cat_feature_indices()) != (n in model.inputs.categories)
    ]
    if kinds or booster.get_text_feature_indices() or booster.get_embedding_feature_indices():
        raise DataFault(f"its features are of another kind than declared: {', '.join(kinds) or 'text or embeddings'}")


def fit(recipe: Recipe, rows: Rows, held_out: Rows) -> CatBoostModel:
    """Fit on `rows`, stopping when the loss on `held_out` no longer falls."""
    inputs = _inputs(recipe, rows)
    return _trained(recipe, inputs, rows, _DEFAULTS | recipe.parameters, _pool(inputs, held_out))


def refit(recipe: Recipe, rows: Rows, first: CatBoostModel) -> CatBoostModel:
    """Fit again on more rows, with as many trees as the first fit stopped at."""
    parameters = _DEFAULTS | recipe.parameters | {"iterations": first.trees}
    del parameters["early_stopping_rounds"]
    return _trained(recipe, _inputs(recipe, rows), rows, parameters, None)


def _trained(recipe: Recipe, inputs: Inputs, rows: Rows, parameters: Parameters, held_out: Any) -> CatBoostModel:
    from catboost import CatBoostClassifier, CatBoostError

    directions = {name: _DIRECTION[f.monotone] for name, f in recipe.features.items() if f.monotone != "none"}
    booster = CatBoostClassifier(
        **(parameters | _FIXED), random_seed=recipe.seed, monotone_constraints=directions or None
    )
    with readable_refusal(recipe, "catboost", CatBoostError):
        booster.fit(_pool(inputs, rows), eval_set=held_out)
    return CatBoostModel(inputs, _timeless_bytes(booster))


def _inputs(recipe: Recipe, rows: Rows) -> Inputs:
    return Inputs(
        features=tuple(recipe.features),
        categories={n: _categories(rows.features[n]) for n, f in recipe.features.items() if f.categorical},
        stand_ins={n: _stand_in(rows, n, f) for n, f in recipe.features.items() if f.monotone != "none"},
    )


def _stand_in(rows: Rows, name: str, feature: Feature) -> float:
    return stand_in(bin_numbers(numbers(rows.features, name), rows.label, feature), feature)


def _categories(column: pa.ChunkedArray) -> tuple[str, ...]:
    return tuple(sorted(value for value in pc.unique(column).to_pylist() if value is not None))


def _pool(inputs: Inputs, rows: Rows) -> Any:
    from catboost import Pool

    return Pool(inputs.frame(rows.features), rows.label, cat_features=list(inputs.categories))


def _categorical(column: pa.Array | pa.ChunkedArray, known: tuple[str, ...]) -> pd.Categorical:
    """Codes into (absent, *known): CatBoost hashes each category once instead of each row's string."""
    import pandas as pd

    position = pc.index_in(column, pa.array(known, pa.string()))
    codes = pc.add(pc.fill_null(position, -1), 1)
    return pd.Categorical.from_codes(np.asarray(codes), categories=[MISSING, *known])


def _replaced(values: Scores, stand_in: float) -> Scores:
    absent: npt.NDArray[np.bool_] = np.isnan(values)
    return np.where(absent, stand_in, values) if absent.any() else values


def _timeless_bytes(booster: Any) -> bytes:
    metadata = booster.get_metadata()
    for key, blank in (("train_finish_time", ""), ("model_guid", ""), ("training", "{}")):
        metadata[key] = blank
    with TemporaryDirectory(prefix="vigil-model-") as folder:
        booster.save_model(f"{folder}/{FILE}")
        return Path(folder, FILE).read_bytes()
