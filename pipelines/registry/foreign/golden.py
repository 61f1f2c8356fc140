"""golden.csv: rows with the probabilities the model gave where it was trained."""

from __future__ import annotations

import csv
from io import StringIO
from math import isfinite

import numpy as np
import pyarrow as pa

from pipelines.contracts import Value
from pipelines.evaluation.metrics import Scores
from pipelines.registry.foreign.manifest import DeclaredFeature, PackageManifest
from pipelines.registry.foreign.refusal import PackageRefused
from pipelines.spec import ForeignModels

PROBABILITY = "probability"


class GoldenRows(Value):
    """Columns of the features, in the package's order; None is absent. And what each row's probability must be."""

    columns: dict[str, tuple[float | str | None, ...]]
    probability: tuple[float, ...]
    kinds: dict[str, bool]

    @property
    def table(self) -> pa.Table:
        """The rows as a model takes them."""
        return pa.table(
            {n: pa.array(v, pa.string() if self.kinds[n] else pa.float64()) for n, v in self.columns.items()}
        )


def read_golden(manifest: PackageManifest, content: bytes, limits: ForeignModels) -> GoldenRows:
    """The golden rows. Raises PackageRefused when they are too few, too many, all alike, or not as described."""
    if len(content) > limits.package.max_text_kb << 10:
        raise PackageRefused(f"golden.csv is larger than {limits.package.max_text_kb} kB")
    names = [feature.name for feature in manifest.features]
    try:
        header, *lines = list(csv.reader(StringIO(content.decode()), strict=True))
    except (csv.Error, ValueError):
        raise PackageRefused("golden.csv is not readable as CSV") from None
    if sorted(header) != sorted([*names, PROBABILITY]):
        raise PackageRefused(f"golden.csv must have the columns {', '.join([*names, PROBABILITY])}")
    if not limits.golden.min_rows <= len({tuple(line) for line in lines}) or len(lines) > limits.golden.max_rows:
        raise PackageRefused(
            f"golden.csv must have {limits.golden.min_rows} to {limits.golden.max_rows} rows that differ; has {len(lines)}"
        )
    if any(len(line) != len(header) for line in lines):
        raise PackageRefused("golden.csv has a row that is shorter or longer than its header")
    texts = {name: [line[header.index(name)] for line in lines] for name in header}
    return GoldenRows(
        columns={f.name: tuple(_value(f, text) for text in texts[f.name]) for f in manifest.features},
        probability=tuple(_probability(text) for text in texts[PROBABILITY]),
        kinds={f.name: f.kind == "category" for f in manifest.features},
    )


def require_reproduced(golden: GoldenRows, found: Scores, tolerance: float) -> None:
    """Raises PackageRefused unless every golden row has the probability it was sent with."""
    away = np.abs(found - np.array(golden.probability)) if len(found) == len(golden.probability) else np.array([np.nan])
    wrong = int((~(away <= tolerance)).sum())
    if wrong:
        raise PackageRefused(
            f"{wrong} of {len(golden.probability)} golden rows do not have the probability they were sent with (tolerance "
            f"{tolerance:g}): the file is not the model the rows were made with, or its inputs or output are not as declared"
        )


def _value(feature: DeclaredFeature, text: str) -> float | str | None:
    if not text:
        return None
    return text if feature.kind == "category" else _number(feature.name, text)


def _probability(text: str) -> float:
    value = _number(PROBABILITY, text)
    if not 0 <= value <= 1:
        raise PackageRefused("golden.csv has a probability outside 0 to 1")
    return value


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise PackageRefused(f"golden.csv: {name} is no number in a row") from None
    if not isfinite(value):
        raise PackageRefused(f"golden.csv: {name} is not finite in a row")
    return value
