"""The isolation forest: scikit-learn's own bits, and absence that never looks more normal than a value."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from lender import FEATURES, random_rows
from sklearn.ensemble import IsolationForest as Grower

from pipelines.spec import Feature
from pipelines.training import isolation
from pipelines.training.isolation import IsolationForest, columns_of
from pipelines.training.rows import Rows, numbers

NUMBERS = {f"x{n}": Feature() for n in range(6)}


def table(rows: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    columns = {name: random.normal(size=rows) * 10.0**n for n, name in enumerate(NUMBERS)}
    columns["x1"] = np.round(columns["x1"], 1)  # ties
    columns["x2"] = (columns["x2"] > 50).astype(float)
    return pa.table(columns)


def grown(features: dict[str, Feature], everyone: pa.Table, background: pa.Table | None = None, **changed: Any):
    told = {"seed": 5, "trees": 40, "max_samples": 256} | changed
    return isolation.grow(features, everyone, everyone.slice(0, 0) if background is None else background, **told)


@pytest.fixture(scope="module")
def with_holes(sample: Rows) -> IsolationForest:
    return grown(FEATURES, sample.features)


@pytest.mark.parametrize(("rows", "sample"), [(3_000, 256), (3_000, 1_000), (40, 256), (17, 16)])
def test_the_scores_are_scikit_learns_bit_for_bit(rows: int, sample: int) -> None:
    learnt, scored = table(rows, 1), table(20_000, 2)
    forest = grown(NUMBERS, learnt, max_samples=sample)
    theirs = Grower(n_estimators=40, max_samples=min(sample, rows), random_state=5)
    theirs.fit(np.column_stack([learnt[name].to_numpy() for name in NUMBERS]))
    expected = -theirs.score_samples(np.column_stack([scored[name].to_numpy() for name in NUMBERS]))
    np.testing.assert_array_equal(forest.scores(scored), expected)
    again = isolation.load(forest.files())
    np.testing.assert_array_equal(again.scores(scored), expected)


def test_they_are_also_scikit_learns_on_the_very_thresholds() -> None:
    """Values that lie on a threshold, or next to it, as 32-bit numbers."""
    learnt = table(2_000, 1)
    forest = grown(NUMBERS, learnt)
    near = {name: [0.0] for name in NUMBERS}
    for tree in forest.trees:
        for column, threshold in zip(tree.column, tree.threshold, strict=True):
            if abs(threshold) < 1e30:
                value = np.float32(threshold)
                near[f"x{column}"] += [float(value), float(np.nextafter(value, np.float32(np.inf)))]
    length = max(len(values) for values in near.values())
    scored = pa.table({name: np.resize(values, length) for name, values in near.items()})
    theirs = Grower(n_estimators=40, max_samples=256, random_state=5)
    theirs.fit(np.column_stack([learnt[name].to_numpy() for name in NUMBERS]))
    expected = -theirs.score_samples(np.column_stack([scored[name].to_numpy() for name in NUMBERS]))
    np.testing.assert_array_equal(forest.scores(scored), expected)


def test_absence_never_looks_more_normal_than_any_value() -> None:
    features = NUMBERS | {"kind": Feature(categorical=True)}
    random = np.random.default_rng(3)
    everyone = table(3_000, 1).append_column("kind", pa.array(random.choice(list("abcdefghijklmnop"), 3_000)))
    forest = grown(features, everyone)
    rows = everyone.slice(0, 200)
    for name, feature in features.items():
        absent = forest.scores(_with(rows, name, pa.nulls(200, rows[name].type)))
        values: list[Any] = (
            everyone[name].unique().to_pylist()
            if feature.categorical
            else [-1e30, 1e30, 0.0, *everyone[name].to_numpy()[:60].tolist()]
        )
        for value in values:
            present = forest.scores(_with(rows, name, pa.array([value] * 200, rows[name].type)))
            assert (absent >= present).all(), (name, value)
        assert (absent > forest.scores(rows)).any()


def test_several_absent_values_at_once_are_not_more_normal_either(with_holes: IsolationForest) -> None:
    twins = random_rows(500, 8).features
    whole = pa.table({n: twins[n].fill_null("car" if n == "purpose" else 1.0) for n in twins.schema.names})
    holed = whole
    for name in ("income", "noise", "purpose"):
        holed = _with(holed, name, pa.nulls(500, holed[name].type))
    assert (with_holes.scores(holed) >= with_holes.scores(whole)).all()


def test_a_category_never_seen_counts_as_absent(with_holes: IsolationForest, sample: Rows) -> None:
    rows = sample.features.slice(0, 300)
    never = with_holes.scores(_with(rows, "purpose", pa.array(["yacht"] * 300)))
    np.testing.assert_array_equal(never, with_holes.scores(_with(rows, "purpose", pa.nulls(300, pa.string()))))


def test_absence_that_is_a_state_is_a_column_of_its_own(sample: Rows) -> None:
    features = {"trend": FEATURES["trend"], "purpose": Feature(categorical=True, missing="allowed")}
    forest = grown(features, sample.features)
    rows = pa.table({"trend": pa.array([1.5, None]), "purpose": pa.array([None, "car"])})
    columns = columns_of(forest, rows)
    (trend,), (purpose,) = forest.numbers, forest.categories
    assert columns.shape == (trend.width + purpose.width, 2)
    assert columns[0].tolist() == [1.5, trend.median]
    assert columns[1].tolist() == [0.0, 1.0]
    assert columns[-1].tolist() == [1.0, 0.0]
    assert not np.isnan(columns).any()
    present = numbers(sample.features, "trend")
    assert trend.median == pytest.approx(np.nanmedian(present), rel=1e-6)


def test_the_part_is_the_share_of_the_background_that_is_less_anomalous(sample: Rows) -> None:
    background = random_rows(9_000, 11).features
    forest = grown(FEATURES, sample.features, background)
    those, mine = np.sort(forest.scores(background)), forest.scores(sample.features)
    exact = np.searchsorted(those, mine, side="left") / len(those)
    part = forest.part(sample.features)
    np.testing.assert_allclose(part, exact, atol=0.0015)
    assert ((part >= 0) & (part <= 1)).all()
    order = np.argsort(mine, kind="stable")
    assert (np.diff(part[order]) >= 0).all()


def test_where_everybody_is_alike_nobody_is_anomalous() -> None:
    same = pa.table({"x0": np.ones(500)})
    assert grown({"x0": Feature()}, same).part(same).tolist() == [0.0] * 500


def test_a_row_unlike_the_others_stands_out(sample: Rows) -> None:
    usual = sample.features.slice(0, 5_000)
    forest = grown(FEATURES, usual)
    strange = {"income": 1e7, "enquiries": 40.0, "noise": 9.0, "trend": -9.0, "purpose": "other"}
    assert forest.part(pa.table({name: [value] for name, value in strange.items()}))[0] > 0.999


def test_how_rows_are_cut_changes_nothing(with_holes: IsolationForest, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = random_rows(3_000, 12).features
    expected = with_holes.scores(rows)
    monkeypatch.setattr(isolation, "_CHUNK", 7)
    monkeypatch.setattr(isolation, "_CHUNK_ABSENT", 100)
    np.testing.assert_array_equal(with_holes.scores(rows), expected)
    np.testing.assert_array_equal(with_holes.scores(rows.slice(1_000, 5)), expected[1_000:1_005])
    assert with_holes.scores(rows.slice(0, 0)).shape == (0,)


def test_the_file_is_json_of_numbers_and_the_same_again(with_holes: IsolationForest, sample: Rows) -> None:
    (content,) = with_holes.files().values()
    assert json.loads(content)["format"] == "vigil-isolation-forest-1"
    assert grown(FEATURES, sample.features).files() == with_holes.files()
    assert grown(FEATURES, sample.features, seed=6).files() != with_holes.files()


def test_nothing_but_holes_has_no_outlier() -> None:
    empty = pa.table({"x0": pa.nulls(300, pa.float64()), "x1": np.arange(300.0)})
    forest = grown({"x0": Feature(), "x1": Feature()}, empty)
    assert np.isfinite(forest.part(empty)).all()


def _with(rows: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index(name), name, column)
