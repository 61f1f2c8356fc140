"""What a model trained elsewhere may look like: policies/foreign_models.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipelines.spec.base import DatedPack, Strict

ForeignFormat = Literal["catboost", "onnx", "skops"]
Count = Annotated[int, Field(ge=1)]


class PackageLimits(Strict):
    """How large a package may be, packed or not.

    Attributes:
        max_mb: of all its files unpacked, by the bytes that really come out; also of the packed file.
        max_ratio: unpacked by packed size of one file.
        max_depth: folders within each other.
        max_files: of the package, and of a .skops file in it, which is an archive itself.
        max_text_kb: of the manifest; and of the golden rows.
    """

    max_mb: Count
    max_files: Count
    max_depth: Count
    max_ratio: Count
    max_text_kb: Count


class Confinement(Strict):
    """What the process that loads a foreign model first may use."""

    memory_mb: Count
    cpu_seconds: Count
    wall_seconds: Count


class GoldenLimits(Strict):
    """How many golden rows a package brings, and how near the loaded model must come to their probabilities."""

    min_rows: Count
    max_rows: Count
    tolerance: dict[ForeignFormat, Annotated[float, Field(gt=0, lt=0.01)]]


class JudgedLimits(Strict):
    """How many rows must be left that the model has not learnt from."""

    min_rows: Count
    min_events: Count


class OnnxLimits(Strict):
    """What an ONNX graph may be built of.

    Attributes:
        domains: operator sets by name (the empty name is that of ai.onnx), with the newest version allowed.
        refused_operators: standard ones that may not be used all the same.
    """

    domains: dict[str, Count]
    refused_operators: tuple[str, ...]


class SkopsLimits(Strict):
    """What a skops file may be built of.

    Attributes:
        modules: types come from these modules or modules below them.
        types: those that skops itself does not trust, and this bank does.
        refused_kinds: of skops' nodes, those that carry a function or bound method.
    """

    modules: tuple[str, ...]
    types: tuple[str, ...]
    refused_kinds: tuple[str, ...]


class ForeignModels(DatedPack):
    """A dated pack of limits for models trained elsewhere."""

    formats: tuple[ForeignFormat, ...] = Field(min_length=1)
    package: PackageLimits
    confinement: Confinement
    golden: GoldenLimits
    judged: JudgedLimits
    onnx: OnnxLimits
    skops: SkopsLimits
