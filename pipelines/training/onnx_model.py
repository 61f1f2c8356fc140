"""A model that came as an ONNX graph, computed by ONNX Runtime with one thread. It is scored here, never trained.

The graph has either one numeric input of one column per feature, or one input per feature by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pipelines.contracts import DataFault
from pipelines.evaluation.metrics import Scores
from pipelines.spec import OnnxLimits
from pipelines.training.contributions import Contributions
from pipelines.training.foreign_inputs import FILE as INPUTS
from pipelines.training.foreign_inputs import ForeignInputs
from pipelines.training.rows import Features

FILE = "model.onnx"
_ROWS_AT_ONCE = 4_096
_NUMBERS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
_TEXT = "tensor(string)"


@dataclass(frozen=True)
class OnnxModel:
    """A graph and what lies between it and the rows."""

    inputs: ForeignInputs
    blob: bytes

    @cached_property
    def session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 4
        return onnxruntime.InferenceSession(self.blob, options, providers=["CPUExecutionProvider"])

    def log_odds(self, features: Features) -> Scores:
        """Log odds of each row."""
        return self._log_odds(self.inputs.matrix(features))

    def contributions(self, features: Features) -> Contributions:
        """What each feature adds to each row's log odds; see ForeignInputs.contributions. Raises EvidenceMissing."""
        return self.inputs.contributions(self._log_odds, features)

    def files(self) -> dict[str, bytes]:
        """The graph, and the inputs as JSON."""
        return {FILE: self.blob, INPUTS: json.dumps(self.inputs.model_dump(mode="json"), indent=1).encode()}

    def importance(self) -> dict[str, float]:
        """Nothing: a graph does not tell."""
        return {}

    def _log_odds(self, matrix: Scores) -> Scores:
        parts = [self._said(matrix[start : start + _ROWS_AT_ONCE]) for start in range(0, len(matrix), _ROWS_AT_ONCE)]
        said = np.concatenate(parts) if parts else np.empty(0)
        return self.inputs.log_odds(said, self.inputs.unanswerable(matrix))

    def _said(self, matrix: Scores) -> Scores:
        [found] = self.session.run([self.inputs.output.name], self._feed(matrix))
        column = self.inputs.output.column
        if isinstance(found, list):
            return np.array([row[column] for row in found], np.float64)
        values = np.asarray(found, np.float64)
        chosen: Scores = values if values.ndim == 1 else values[:, column or 0]
        return chosen

    def _feed(self, matrix: Scores) -> dict[str, Any]:
        wanted = self.session.get_inputs()
        if [port.name for port in wanted] != [*self.inputs.names]:
            return {wanted[0].name: matrix.astype(_NUMBERS[wanted[0].type])}
        kinds = {port.name: _NUMBERS.get(port.type, np.object_) for port in wanted}
        return {name: column.astype(kinds[name]).reshape(-1, 1) for name, column in self.inputs.columns(matrix).items()}


def load(files: Mapping[str, bytes]) -> OnnxModel:
    """The model from its files, which must have been verified."""
    return OnnxModel(ForeignInputs.model_validate_json(files[INPUTS]), files[FILE])


def is_plain(blob: bytes) -> bool:
    """Whether the bytes are a graph that keeps all its data in itself."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load_model_from_string(blob)
    except DecodeError:
        return False
    return bool(graph.graph.node) and not _outside(graph.graph)


def check(model: OnnxModel, limits: OnnxLimits) -> None:
    """Whether a graph may be computed here, and takes and gives what its package says.

    Raises DataFault for a graph that ONNX's own checker refuses, operators other than the policy's, parts kept in other
    files, functions of its own, or inputs and outputs other than declared.
    """
    import onnx

    graph = onnx.load_model_from_string(model.blob)
    for node in _nodes(graph.graph):  # before the checker, which says less clearly what is wrong
        if _domain(node) not in limits.domains:
            raise DataFault(f"operator {node.op_type} of domain {node.domain!r} is no standard one")
        if node.op_type in limits.refused_operators:
            raise DataFault(f"operator {node.op_type} is refused by the policy")
    for used in graph.opset_import:
        newest = limits.domains.get(_domain(used))
        if newest is None or used.version > newest:
            raise DataFault(f"operator set {used.domain or 'ai.onnx'} {used.version} is not allowed by the policy")
    if graph.functions or graph.training_info:
        raise DataFault("the graph brings functions or training of its own")
    if _outside(graph.graph):
        raise DataFault("the graph keeps data in another file")
    onnx.checker.check_model(graph, full_check=True)
    _check_ports(model)


def _check_ports(model: OnnxModel) -> None:
    takes, names = model.session.get_inputs(), [*model.inputs.names]
    if [port.name for port in takes] == names:
        wrong = [
            port.name
            for port, feature in zip(takes, model.inputs.features, strict=True)
            if port.type not in (_NUMBERS if feature.categories is None else (_TEXT,))
        ]
        if wrong:
            raise DataFault(f"its inputs are of another kind than declared: {', '.join(wrong)}")
    elif len(takes) != 1 or takes[0].type not in _NUMBERS or takes[0].shape[1:] != [len(names)]:
        found = ", ".join(f"{port.name} {port.type} {port.shape}" for port in takes)
        raise DataFault(f"it takes {found}; declared are {len(names)} features: {', '.join(names)}")
    gives = [port.name for port in model.session.get_outputs()]
    if model.inputs.output.name not in gives:
        raise DataFault(f"it has no output {model.inputs.output.name!r}; have {', '.join(gives)}")


def _domain(found: Any) -> str:
    return "" if found.domain == "ai.onnx" else str(found.domain)


def _nodes(graph: Any) -> list[Any]:
    """All operators, also of graphs within operators."""
    found = list(graph.node)
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                found += _nodes(inner)
    return found


def _outside(graph: Any) -> bool:
    """Whether some of its data lies in another file."""
    return any(tensor.external_data or tensor.data_location for tensor in _tensors(graph))


def _tensors(graph: Any) -> list[Any]:
    inside = [t for node in _nodes(graph) for a in node.attribute for t in (a.t, *a.tensors)]
    sparse = [t for s in graph.sparse_initializer for t in (s.values, s.indices)]
    return [*graph.initializer, *inside, *sparse]
