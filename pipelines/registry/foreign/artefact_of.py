"""From a package's declared inputs to the files of the same model as Vigil loads it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.registry.foreign.manifest import DeclaredFeature
from pipelines.registry.foreign.receive import Package
from pipelines.spec import Feature
from pipelines.training import catboost_model, onnx_model, skops_model
from pipelines.training.binning import bin_numbers, stand_in
from pipelines.training.foreign_inputs import ForeignFeature, ForeignInputs, Output
from pipelines.training.rows import Rows, numbers


def model_files(
    package: Package, stand_ins: dict[str, float], reference: dict[str, float | str | None] | None = None
) -> dict[str, bytes]:
    """Files of the model, by the names its algorithm reads. Nothing is opened.

    Args:
        stand_ins: what an absent value counts as, by feature; without them the model is as its maker had it.
        reference: the usual value of each feature; CatBoost's own reasons need none.
    """
    blob, declared = package.files[package.manifest.file], package.manifest.features
    if package.manifest.format == "catboost":
        inputs = catboost_model.Inputs(
            features=tuple(f.name for f in declared),
            categories={f.name: f.categories or () for f in declared if f.kind == "category"},
            stand_ins=stand_ins,
        )
        return catboost_model.CatBoostModel(inputs, blob).files()
    between = ForeignInputs(
        features=tuple(
            ForeignFeature(
                name=f.name,
                categories=f.categories,
                accepts_missing=f.missing == "accepted",
                stand_in=stand_ins.get(f.name),
            )
            for f in declared
        ),
        output=Output(**package.manifest.output.model_dump()),
        trusted=package.limits.skops.types if package.manifest.format == "skops" else (),
        reference=reference,
    )
    kind = onnx_model.OnnxModel if package.manifest.format == "onnx" else skops_model.SkopsModel
    return kind(between, blob).files()


def stand_ins_for(rows: Rows, features: dict[str, Feature]) -> dict[str, float]:
    """Per feature with a direction what an absent value counts as: the rule of Vigil's own models, on the bank's own rows."""
    return {
        name: stand_in(bin_numbers(numbers(rows.features, name), rows.label, feature), feature)
        for name, feature in features.items()
        if feature.monotone != "none"
    }


def reference_of(
    declared: tuple[DeclaredFeature, ...], rows: Rows, stand_ins: dict[str, float]
) -> dict[str, float | str | None]:
    """Per feature what is usual in the bank's own rows: a number's median, the lower of two, so that it is one that occurs;
    the most frequent category the model knows, of equally frequent ones the first by name.

    Absent (None) where most rows have no value and the model was trained with absent ones: then that is the usual state.
    """
    return {
        f.name: None
        if f.missing == "accepted" and f.name not in stand_ins and _mostly_absent(rows.features[f.name])
        else _usual(rows.features[f.name])
        for f in declared
    }


def _mostly_absent(column: pa.ChunkedArray) -> bool:
    return bool(2 * column.null_count > len(column))


def _usual(column: pa.ChunkedArray) -> float | str | None:
    present = column.drop_null()
    if not len(present):
        return None
    if pa.types.is_string(column.type):
        counted = pc.value_counts(present).to_pylist()
        return str(min(counted, key=lambda found: (-found["counts"], found["values"]))["values"])
    return float(np.quantile(present.to_numpy(), 0.5, method="lower"))


@dataclass(frozen=True)
class KnownCategories:
    """The categories a package's model knows; any other counts as absent, as everywhere in Vigil."""

    known: dict[str, tuple[str, ...]]

    def of(self, rows: Rows) -> Rows:
        """The rows with every other category absent."""
        background = rows.background
        return replace(
            rows,
            features=self._in(rows.features),
            background=background and replace(background, features=self._in(background.features)),
        )

    def _in(self, table: pa.Table) -> pa.Table:
        for name, categories in self.known.items():
            column = table[name]
            kept = pc.if_else(pc.is_in(column, pa.array(categories, pa.string())), column, pa.scalar(None, pa.string()))
            table = table.set_column(table.schema.get_field_index(name), name, kept)
        return table
