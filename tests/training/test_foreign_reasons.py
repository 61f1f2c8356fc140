"""Reasons of models trained elsewhere: by graph or estimator, by matrix or by name, with absent values and without answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import skops.io
from onnx import TensorProto, helper, numpy_helper
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from pipelines.contracts import EvidenceMissing
from pipelines.registry.foreign.artefact_of import reference_of
from pipelines.registry.foreign.manifest import DeclaredFeature
from pipelines.training.foreign_inputs import HIGHEST, ForeignFeature, ForeignInputs, Output
from pipelines.training.onnx_model import OnnxModel
from pipelines.training.rows import Rows
from pipelines.training.skops_model import SkopsModel

CATEGORIES = ("car", "home")
WEIGHTS = {"income": -0.5, "debt": 2.0}
REFERENCE: dict[str, float | str | None] = {"income": 1.0, "debt": 0.0, "purpose": "car"}
Model = OnnxModel | SkopsModel


def rows(count: int = 50, seed: int = 1) -> pa.Table:
    random = np.random.default_rng(seed)
    made = {name: pa.array(random.normal(size=count)) for name in WEIGHTS}
    return pa.table(made | {"purpose": pa.array(random.choice([*CATEGORIES, "boat"], count))})


def features(*, accepts_missing: bool) -> tuple[ForeignFeature, ...]:
    numbers = [ForeignFeature(name=name, accepts_missing=accepts_missing) for name in WEIGHTS]
    return (*numbers, ForeignFeature(name="purpose", categories=CATEGORIES, accepts_missing=True))


def graph_of_names() -> OnnxModel:
    """Log odds: the weighted numbers, and 1.5 where the purpose is `home`; one input per feature."""
    ports = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["N", 1]) for name in WEIGHTS]
    ports.append(helper.make_tensor_value_info("purpose", TensorProto.STRING, ["N", 1]))
    words = {"keys_strings": list(CATEGORIES), "values_int64s": [0, 1], "default_int64": 0}
    nodes = [
        helper.make_node("LabelEncoder", ["purpose"], ["code"], domain="ai.onnx.ml", **words),
        helper.make_node("Cast", ["code"], ["home"], to=TensorProto.DOUBLE),
        helper.make_node("Concat", [*WEIGHTS, "home"], ["x"], axis=1),
        helper.make_node("MatMul", ["x", "w"], ["z"]),
    ]
    weights = numpy_helper.from_array(np.array([[*WEIGHTS.values(), 1.5]]).T, "w")
    output = helper.make_tensor_value_info("z", TensorProto.DOUBLE, ["N", 1])
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    made = helper.make_graph(nodes, "g", ports, [output], [weights])
    blob = helper.make_model(made, opset_imports=sets, ir_version=9).SerializeToString()
    inputs = ForeignInputs(
        features=features(accepts_missing=False), output=Output(kind="log_odds", name="z"), reference=REFERENCE
    )
    return OnnxModel(inputs, blob)


def estimator_of_names() -> SkopsModel:
    """Fitted on a data frame, with words; takes no absent number."""
    learnt = rows(800, 2).to_pandas()
    coded = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["purpose"]), remainder="passthrough", sparse_threshold=0
    )
    return skops_model(make_pipeline(coded, LogisticRegression()), learnt, "log_odds", accepts_missing=False)


def estimator_of_a_matrix() -> SkopsModel:
    """Trees on codes, with absent values and unknown categories as NaN."""
    coded = rows(800, 3).to_pandas().assign(purpose=lambda made: made.purpose.map({"car": 0.0, "home": 1.0}))
    return skops_model(HistGradientBoostingClassifier(max_iter=20), coded, "probability", accepts_missing=True)


def skops_model(estimator: Any, learnt: pd.DataFrame, kind: Any, *, accepts_missing: bool) -> SkopsModel:
    event = (learnt.debt - learnt.income * (learnt.debt > 0) > 0.2).astype(int)
    estimator.fit(learnt if kind == "log_odds" else learnt.to_numpy(), event)
    blob = skops.io.dumps(estimator)
    inputs = ForeignInputs(
        features=features(accepts_missing=accepts_missing),
        output=Output(kind=kind, column=1),
        trusted=tuple(skops.io.get_untrusted_types(data=blob)),
        reference=REFERENCE,
    )
    return SkopsModel(inputs, blob)


MAKERS: list[Callable[[], Model]] = [graph_of_names, estimator_of_names, estimator_of_a_matrix]


@pytest.fixture(scope="module", params=MAKERS, ids=lambda maker: maker.__name__)
def model(request: pytest.FixtureRequest) -> Model:
    made: Model = request.param()
    return made


def with_holes(table: pa.Table, name: str) -> pa.Table:
    position = table.schema.get_field_index(name)
    return table.set_column(position, name, pa.nulls(len(table), table[name].type))


def test_reasons_add_up_to_the_log_odds_from_those_of_the_reference_row(model: Model) -> None:
    found = model.contributions(rows())
    assert found.features == ("income", "debt", "purpose")
    assert found.add_up_to(model.log_odds(rows()))
    reference = pa.table({name: [value] for name, value in REFERENCE.items()})
    assert found.baseline == pytest.approx(model.log_odds(reference)[0], abs=1e-9)
    assert (model.contributions(reference).values == 0).all()


def test_a_rows_reasons_are_the_same_bytes_alone_and_among_others(model: Model) -> None:
    whole = model.contributions(rows()).values
    alone = [model.contributions(rows().slice(row, 1)).values for row in range(10)]
    assert np.concatenate(alone).tobytes() == whole[:10].tobytes()
    assert model.contributions(rows().slice(0, 0)).values.shape == (0, 3)


def test_of_a_line_they_are_weight_times_distance_and_a_category_counts_against_the_usual_one() -> None:
    found, table = graph_of_names().contributions(rows()), rows().to_pandas()
    np.testing.assert_allclose(found.values[:, 0], -0.5 * (table.income - 1.0), atol=1e-8)
    np.testing.assert_allclose(found.values[:, 1], 2.0 * table.debt, atol=1e-8)
    np.testing.assert_allclose(found.values[:, 2], 1.5 * (table.purpose == "home"), atol=1e-8)


def test_a_value_that_is_absent_without_an_answer_is_itself_the_reason() -> None:
    for model in (graph_of_names(), estimator_of_names()):
        holed = with_holes(rows(), "income")
        found = model.contributions(holed)
        np.testing.assert_allclose(found.log_odds, HIGHEST, atol=1e-6)
        assert (found.adverse(1)[:, 0] == 0).all()


def test_an_absent_value_counts_as_its_stand_in_or_as_the_model_takes_it() -> None:
    model = graph_of_names()
    stood = tuple(f.model_copy(update={"stand_in": -3.0}) if f.name == "income" else f for f in model.inputs.features)
    filled = replace(model, inputs=model.inputs.model_copy(update={"features": stood}))
    np.testing.assert_allclose(filled.contributions(with_holes(rows(), "income")).values[:, 0], 2.0, atol=1e-8)
    trees = estimator_of_a_matrix()
    holed = with_holes(rows(), "debt")
    assert trees.contributions(holed).add_up_to(trees.log_odds(holed))
    assert np.isfinite(trees.contributions(holed).values).all()


@pytest.mark.parametrize(
    ("reference", "told"),
    [(None, "imported before reasons were given"), (REFERENCE | {"income": None}, "no answer for the reference row")],
)
def test_without_a_reference_row_that_the_model_can_answer_there_are_no_reasons(reference: Any, told: str) -> None:
    model = graph_of_names()
    without = replace(model, inputs=model.inputs.model_copy(update={"reference": reference}))
    with pytest.raises(EvidenceMissing, match=told):
        without.contributions(rows())


def test_the_reference_row_comes_back_from_the_files() -> None:
    stored = ForeignInputs.model_validate_json(graph_of_names().files()["model_inputs.json"])
    assert stored.reference == REFERENCE


def test_what_is_usual_is_a_value_that_occurs_or_absence_where_the_model_takes_it() -> None:
    learnt = pa.table(
        {
            "income": [1.0, 2.0, 4.0, 100.0],
            "debt": [None, None, None, 7.0],
            "since": [None, None, None, 7.0],
            "never": pa.nulls(4, pa.float64()),
            "purpose": ["home", "car", None, None],
        }
    )
    kinds = {"purpose": "category"}
    declared = tuple(
        DeclaredFeature(
            name=name,
            kind=kinds.get(name, "number"),  # type: ignore[arg-type]
            categories=CATEGORIES if name in kinds else None,
            missing="accepted",
        )
        for name in learnt.schema.names
    )
    given = Rows(learnt, np.zeros(4, np.int8), np.zeros(4, "datetime64[D]"))
    assert reference_of(declared, given, {"debt": 9.0}) == {
        "income": 2.0,
        "debt": 7.0,  # an absent value counts as the stand-in, so absence is no state of its own
        "since": None,
        "never": None,
        "purpose": "car",
    }
