"""From a package's declared inputs to the files of the same model as Vigil loads it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa

from pipelines.registry.foreign.receive import Package
from pipelines.spec import Feature
from pipelines.training import catboost_model, onnx_model, skops_model
from pipelines.training.binning import bin_numbers, stand_in
from pipelines.training.foreign_inputs import ForeignFeature, ForeignInputs, Output
from pipelines.training.rows import Rows, numbers


def model_files(package: Package, stand_ins: dict[str, float]) -> dict[str, bytes]:
    """Files of the model, by the names its algorithm reads. Nothing is opened.

    Args:
        stand_ins: what an absent value counts as, by feature; without them the model is as its maker had it.
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
        import pyarrow.compute as pc

        for name, categories in self.known.items():
            column = table[name]
            kept = pc.if_else(pc.is_in(column, pa.array(categories, pa.string())), column, pa.scalar(None, pa.string()))
            table = table.set_column(table.schema.get_field_index(name), name, kept)
        return table
