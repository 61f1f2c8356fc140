"""The confined process: what it refuses to open, and that what happens in it happens to nobody else."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from foreign_packages import NUMBERS, loans, saved_catboost, zip_of
from lender import MONTHS

from pipelines.contracts import DataFault, VigilError
from pipelines.registry.foreign import PackageRefused
from pipelines.registry.foreign.confinement import score_confined
from pipelines.settings import REPOSITORY
from pipelines.spec import ForeignModels, load_foreign_models
from pipelines.training import catboost_model, onnx_model, skops_model
from pipelines.training.foreign_inputs import ForeignFeature, ForeignInputs, Output

LIMITS = load_foreign_models([REPOSITORY / "policies"])
ROWS = pa.table({"a": [0.0, 1.0, None], "b": [1.0, -1.0, 2.0]})
P = Output(kind="probability", name="p", column=0)


def inputs(*names: str, output: Output = P, trusted: tuple[str, ...] = ()) -> ForeignInputs:
    return ForeignInputs(
        features=tuple(ForeignFeature(name=name) for name in names or ("a", "b")), output=output, trusted=trusted
    )


def confined(algorithm: str, model: object, limits: ForeignModels = LIMITS) -> np.ndarray:
    return score_confined(algorithm, model.files(), ROWS, limits).golden


def graph(
    *nodes: object,
    port: tuple[str, list[object]] = ("x", ["N", 2]),
    gives: tuple[str | int, ...] = ("N", 1),
    opsets: dict[str, int] | None = None,
    **arrays: object,
) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    made = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(port[0], TensorProto.FLOAT, port[1])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, gives)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()],
    )
    sets = [helper.make_opsetid(domain, number) for domain, number in (opsets or {"": 17}).items()]
    return helper.make_model(made, opset_imports=sets).SerializeToString()


def node(kind: str, takes: list[str], gives: str = "p", **more: object) -> object:
    from onnx import helper

    return helper.make_node(kind, takes, [gives], **more)


WEIGHTS = np.array([[1.0], [0.5]], np.float32)
HONEST = [node("MatMul", ["x", "w"], "z"), node("Sigmoid", ["z"])]


def test_a_graph_made_by_hand_scores_and_a_row_it_cannot_answer_gets_the_highest_score() -> None:
    found = confined("onnx", onnx_model.OnnxModel(inputs(), graph(*HONEST, w=WEIGHTS)))
    assert found[:2] == pytest.approx(1 / (1 + np.exp(-np.array([0.5, 0.5]))), rel=1e-6)
    assert found[2] == 1.0


def test_a_graph_may_take_each_feature_by_name_and_words_as_they_are() -> None:
    from onnx import TensorProto, helper

    coded = helper.make_node(
        *("LabelEncoder", ["purpose"], ["c"]), domain="ai.onnx.ml",
        keys_strings=["car", "shop"], values_floats=[-1.0, 2.0], default_float=0.0,
    )  # fmt: skip
    made = helper.make_graph(
        [coded, node("Add", ["c", "a"], "z"), node("Sigmoid", ["z"])],
        "g",
        [
            helper.make_tensor_value_info("a", TensorProto.FLOAT, ["N", 1]),
            helper.make_tensor_value_info("purpose", TensorProto.STRING, ["N", 1]),
        ],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["N", 1])],
    )
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    between = ForeignInputs(
        features=(
            ForeignFeature(name="a"),
            ForeignFeature(name="purpose", categories=("car", "shop"), accepts_missing=True),
        ),
        output=P,
    )
    model = onnx_model.OnnxModel(between, helper.make_model(made, opset_imports=sets).SerializeToString())
    rows = pa.table({"a": [0.0, 0.0, 0.0, 0.0], "purpose": ["car", "shop", "boat", None]})
    found = score_confined("onnx", model.files(), rows, LIMITS).golden
    assert found == pytest.approx(1 / (1 + np.exp(-np.array([-1.0, 2.0, 0.0, 0.0]))), rel=1e-6)


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (lambda: graph(node("Evil", ["x"], domain="com.evil"), opsets={"": 17, "com.evil": 1}), "domain 'com.evil' is no"),
        (lambda: graph(node("RandomNormalLike", ["x"])), "RandomNormalLike is refused by the policy"),
        (lambda: graph(*HONEST, w=WEIGHTS, opsets={"": 99}), "operator set ai.onnx 99 is not allowed"),
        (lambda: outside_data(), "keeps data in another file"),
        (lambda: graph(node("Sigmoid", ["x"]), port=("x", ["N", 3]), gives=("N", 3)), "declared are 2 features: a, b"),
        (lambda: graph(node("Sigmoid", ["z"])), "could not read or compute it"),
        (lambda: b"\x08\x99no graph", "could not read or compute it"),
    ],
)  # fmt: skip
def test_a_graph_that_is_not_plain_is_not_computed(blob, reason: str) -> None:
    with pytest.raises(PackageRefused, match=reason):
        confined("onnx", onnx_model.OnnxModel(inputs(), blob()))


def outside_data() -> bytes:
    import onnx

    made = onnx.load_model_from_string(graph(*HONEST, w=WEIGHTS))
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return made.SerializeToString()


def test_a_memory_bomb_is_a_refusal() -> None:
    fill = node("ConstantOfShape", ["shape"], "big")
    bomb = graph(
        fill,
        node("ReduceSum", ["big"], "s"),
        node("Add", ["s", "x"]),
        gives=("N", 2),
        shape=np.array([1 << 18, 1 << 18]),
    )
    with pytest.raises(PackageRefused, match=r"could not read or compute it|ended the process"):
        confined("onnx", onnx_model.OnnxModel(inputs(), bomb))


def test_endless_work_is_a_refusal() -> None:
    steps = [node("MatMul", [f"m{n}", f"m{n}"], f"m{n + 1}") for n in range(40)]
    fill = node("ConstantOfShape", ["shape"], "m0")
    work = graph(
        fill,
        *steps,
        node("ReduceMax", ["m40"], "s"),
        node("Add", ["s", "x"]),
        gives=("N", 2),
        shape=np.array([4000, 4000]),
    )
    brief = LIMITS.model_copy(update={"confinement": LIMITS.confinement.model_copy(update={"cpu_seconds": 5})})
    with pytest.raises(PackageRefused, match="ended the process that opened it"):
        confined("onnx", onnx_model.OnnxModel(inputs(), work), brief)


def test_a_process_that_cannot_start_is_no_refusal() -> None:
    tiny = LIMITS.model_copy(update={"confinement": LIMITS.confinement.model_copy(update={"memory_mb": 64})})
    with pytest.raises(VigilError, match="neither taken nor refused") as told:
        confined("onnx", onnx_model.OnnxModel(inputs(), graph(*HONEST, w=WEIGHTS)), tiny)
    assert not isinstance(told.value, PackageRefused)


def test_a_skops_file_holds_only_what_the_policy_trusts() -> None:
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    class Stranger:
        """A type that nobody trusts."""

    for estimator, reason in (
        (FunctionTransformer(func=os.system), "holds posix.system, of a module"),
        (FunctionTransformer(func=np.savetxt), "holds a FunctionNode"),
        (Stranger(), "of a module that the policy does not allow"),
    ):
        blob = skops.io.dumps(estimator)
        model = skops_model.SkopsModel(inputs(trusted=tuple(skops_model.untrusted_types(blob))), blob)
        with pytest.raises(DataFault, match=reason):
            skops_model.check(model, LIMITS.skops)


def test_usual_estimators_of_scikit_learn_are_trusted() -> None:
    import skops.io
    from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier

    rows, outcome = loans(MONTHS[:1])
    for estimator in (
        GradientBoostingClassifier(n_estimators=3),
        HistGradientBoostingClassifier(max_iter=3),
        RandomForestClassifier(3),
    ):
        made = estimator.fit(rows[NUMBERS].fillna(0), outcome)
        between = inputs(*NUMBERS, output=Output(kind="probability", column=1), trusted=LIMITS.skops.types)
        model = skops_model.SkopsModel(between, skops.io.dumps(made))
        skops_model.check(model, LIMITS.skops)
        found = model.log_odds(pa.table(rows[NUMBERS].fillna(0)))
        expected = made.predict_proba(rows[NUMBERS].fillna(0))[:, 1]
        assert 1 / (1 + np.exp(-found)) == pytest.approx(expected, rel=1e-12, abs=1e-300)


def test_the_artefact_gate_knows_a_plain_file_of_each_format() -> None:
    import skops.io
    from sklearn.linear_model import LogisticRegression

    assert onnx_model.is_plain(graph(*HONEST, w=WEIGHTS))
    assert not onnx_model.is_plain(outside_data())
    assert not onnx_model.is_plain(b"\x80\x04\x95 no graph")
    fitted = skops.io.dumps(LogisticRegression().fit([[0.0], [1.0]], [0, 1]))
    assert skops_model.is_plain(fitted)
    assert not skops_model.is_plain(fitted[:-40])
    objects = BytesIO()
    np.save(objects, np.array([Touch()], object), allow_pickle=True)
    assert not skops_model.is_plain(zip_of({"schema.json": b"{}", "1.npy": objects.getvalue()}))


def test_a_catboost_file_of_other_features_or_another_loss_is_refused() -> None:
    from catboost import CatBoostClassifier, CatBoostRegressor

    rows, outcome = loans(MONTHS[:1])
    quick = {"iterations": 3, "depth": 2, "verbose": 0, "allow_writing_files": False}
    made = CatBoostClassifier(**quick).fit(rows[NUMBERS], outcome)
    between = catboost_model.Inputs(features=("a", "b"), categories={}, stand_ins={})
    with pytest.raises(
        PackageRefused, match="it was trained on amount, income, enquiries, days_to_due; declared are a, b"
    ):
        confined("catboost", catboost_model.CatBoostModel(between, saved_catboost(made)))
    amount = CatBoostRegressor(**quick).fit(rows[NUMBERS], outcome)
    with pytest.raises(PackageRefused, match="loss function is RMSE"):
        confined("catboost", catboost_model.CatBoostModel(between, saved_catboost(amount)))
    cut = saved_catboost(made)[:300]
    with pytest.raises(PackageRefused, match=r"could not read or compute it|ended the process"):
        confined("catboost", catboost_model.CatBoostModel(between, cut))


@pytest.mark.parametrize(
    "attempt",
    [
        "pickle.loads(open('bad', 'rb').read())",
        "os.system('touch canary')",
        "subprocess.run(['touch', 'canary'])",
        "socket.create_connection(('127.0.0.1', 9))",
        "os.remove('bad')",
    ],
)
def test_what_no_model_needs_is_forbidden_in_confinement(tmp_path: Path, attempt: str) -> None:
    (tmp_path / "bad").write_bytes(pickle.dumps(Touch()))
    program = (
        "import os, pickle, socket, subprocess, sys\nfrom pipelines.training import confined\n"
        f"sys.addaudithook(confined._forbid)\ntry:\n    {attempt}\n"
        "except confined.DataFault as fault:\n    print(fault)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "it tried something no model needs" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["bad"]


class Touch:
    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.system, ("touch canary",)
