"""A model that came as a skops file of scikit-learn, which holds no pickle. It is scored here, never trained.

It is given its columns by name when it was fitted with names, otherwise as a matrix.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np

from pipelines.contracts import DataFault
from pipelines.evaluation.metrics import Scores
from pipelines.spec import SkopsLimits
from pipelines.training.contributions import Contributions
from pipelines.training.foreign_inputs import FILE as INPUTS
from pipelines.training.foreign_inputs import ForeignInputs
from pipelines.training.rows import Features

FILE = "model.skops"
_SCHEMA = "schema.json"


@dataclass(frozen=True)
class SkopsModel:
    """A fitted estimator and what lies between it and the rows."""

    inputs: ForeignInputs
    blob: bytes

    @cached_property
    def estimator(self) -> Any:
        import skops.io

        return skops.io.loads(self.blob, trusted=list(self.inputs.trusted))

    def log_odds(self, features: Features) -> Scores:
        """Log odds of each row."""
        return self._log_odds(self.inputs.matrix(features))

    def contributions(self, features: Features) -> Contributions:
        """What each feature adds to each row's log odds; see ForeignInputs.contributions. Raises EvidenceMissing."""
        return self.inputs.contributions(self._log_odds, features)

    def files(self) -> dict[str, bytes]:
        """The skops file, and the inputs as JSON."""
        return {FILE: self.blob, INPUTS: json.dumps(self.inputs.model_dump(mode="json"), indent=1).encode()}

    def importance(self) -> dict[str, float]:
        """scikit-learn's own, of an estimator that has them; otherwise nothing."""
        found = getattr(self.estimator, "feature_importances_", None)
        return {} if found is None else dict(zip(self.inputs.names, map(float, found), strict=True))

    def _log_odds(self, matrix: Scores) -> Scores:
        unanswerable = self.inputs.unanswerable(matrix)
        said = np.full(len(matrix), np.nan)
        if not unanswerable.all():
            said[~unanswerable] = self._said(matrix[~unanswerable])
        return self.inputs.log_odds(said, unanswerable)

    def _said(self, matrix: Scores) -> Scores:
        columns = self._columns(matrix)
        if self.inputs.output.kind == "log_odds":
            raw: Scores = self.estimator.decision_function(columns)
            return raw
        probability: Scores = self.estimator.predict_proba(columns)[:, self.inputs.output.column]
        return probability

    def _columns(self, matrix: Scores) -> Any:
        if not hasattr(self.estimator, "feature_names_in_"):
            return matrix
        import pandas as pd

        return pd.DataFrame(self.inputs.columns(matrix))


def load(files: Mapping[str, bytes]) -> SkopsModel:
    """The model from its files, which must have been verified."""
    return SkopsModel(ForeignInputs.model_validate_json(files[INPUTS]), files[FILE])


def is_plain(blob: bytes) -> bool:
    """Whether the bytes are an archive of JSON and NumPy's arrays of plain numbers, which hold no object."""
    try:
        with ZipFile(BytesIO(blob)) as archive:
            arrays = [archive.read(name) for name in archive.namelist() if not name.endswith(".json")]
            json.loads(archive.read(_SCHEMA))
            for array in arrays:
                np.load(BytesIO(array), allow_pickle=False)
    except (BadZipFile, KeyError, ValueError, EOFError):
        return False
    return True


def untrusted_types(blob: bytes) -> tuple[str, ...]:
    """Types in the file that skops does not trust by itself. Nothing of the file is made an object."""
    import skops.io

    return tuple(skops.io.get_untrusted_types(data=blob))


def check(model: SkopsModel, limits: SkopsLimits) -> None:
    """Whether a file may be loaded here, and takes and gives what its package says.

    Raises DataFault for a type or node the policy does not allow, an estimator that gives no probability of two classes, or
    inputs other than declared.
    """
    for kind, module, name in _described(json.loads(ZipFile(BytesIO(model.blob)).read(_SCHEMA))):
        if kind in limits.refused_kinds:
            raise DataFault(f"it holds a {kind} ({module}.{name}), which the policy refuses")
        if not any(module == allowed or module.startswith(f"{allowed}.") for allowed in limits.modules):
            raise DataFault(f"it holds {module}.{name}, of a module that the policy does not allow")
    strange = sorted(set(untrusted_types(model.blob)) - set(limits.types))
    if strange:
        raise DataFault(f"it holds types that neither skops nor the policy trusts: {', '.join(strange)}")
    _check_ports(model)


def _check_ports(model: SkopsModel) -> None:
    estimator, names = model.estimator, [*model.inputs.names]
    method = "decision_function" if model.inputs.output.kind == "log_odds" else "predict_proba"
    if not hasattr(estimator, method) or len(getattr(estimator, "classes_", ())) != 2:
        raise DataFault(f"{type(estimator).__name__} has no {method} for two classes")
    fitted = [*getattr(estimator, "feature_names_in_", names)]
    if fitted != names or getattr(estimator, "n_features_in_", len(names)) != len(names):
        raise DataFault(
            f"it was fitted with {getattr(estimator, 'n_features_in_', len(fitted))} features "
            f"({', '.join(map(str, fitted))}); declared are {len(names)}: {', '.join(names)}"
        )


def _described(node: Any) -> Iterator[tuple[str, str, str]]:
    """Kind, module and class of every object the file would make."""
    waiting = [node]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            if "__loader__" in found or "__module__" in found or "__class__" in found:
                yield tuple(str(found.get(key)) for key in ("__loader__", "__module__", "__class__"))  # type: ignore[misc]
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found
