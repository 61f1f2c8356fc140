"""Models trained elsewhere, from the package to a version that says what the original library says."""

from __future__ import annotations

from pathlib import Path

import foreign_points
import numpy as np
import pyarrow as pa
import pytest
from foreign_packages import Parts, catboost_parts, onnx_parts, skops_parts
from lender import AS_OF, MONTHS, Lender, new_lender

from pipelines import database, mlflow_store
from pipelines.contracts import DataFault, Verdict
from pipelines.registry import foreign, journal
from pipelines.registry.foreign import PackageRefused
from pipelines.settings import Settings
from pipelines.spec import Model, load_policy
from pipelines.training import reproduce
from pipelines.validation.candidate import Candidate, load_candidate
from pipelines.validation.comparison import compare
from pipelines.validation.judgement import judge
from pipelines.validation.opponent import opponent_of

BY = "anna@bank.example"


@pytest.fixture
def lender(settings: Settings, tmp_path: Path) -> Lender:
    return new_lender(settings, tmp_path / "project")


@pytest.fixture
def model(lender: Lender) -> Model:
    made = lender.model()
    lender.build(made)
    return made


MAKERS = {
    "catboost": catboost_parts,
    "onnx": onnx_parts,
    "skops": skops_parts,
}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_package_becomes_a_version_that_says_what_its_own_library_says(
    lender: Lender, model: Model, tmp_path: Path, kind: str
) -> None:
    parts, original = MAKERS[kind]()
    made = foreign.import_package(lender.settings, model, parts.zipped(tmp_path / "it.zip"), BY, AS_OF)
    assert (made.version, made.algorithm, made.rows) == (1, kind, 3000)
    assert 0.65 < made.metrics["auc"] < 0.9
    candidate = load_candidate(lender.settings, model, 1)
    assert (len(candidate.judged), len(candidate.development)) == (600, 2400)
    complete = ~np.asarray(candidate.judged.features["income"].is_null())
    expected = said_by(original, parts, candidate)
    assert candidate.probability[complete] == pytest.approx(expected[complete], rel=1e-5 if kind == "onnx" else 1e-12)
    assert np.isfinite(candidate.probability).all()


def said_by(original, parts: Parts, candidate: Candidate) -> np.ndarray:
    rows = candidate.judged.features.to_pandas()[[f["name"] for f in parts.manifest["features"]]]
    if parts.manifest["format"] == "onnx":
        return original.predict_proba(rows.astype(np.float32).to_numpy())[:, 1]
    return original.predict_proba(rows)[:, 1]


def test_an_import_is_noted_in_the_table_the_journal_and_the_registry_and_moves_no_alias(
    lender: Lender, model: Model, tmp_path: Path
) -> None:
    settings, parts = lender.settings, catboost_parts()[0]
    made = foreign.import_package(settings, model, parts.unpacked(tmp_path / "it"), "Anna@Bank.example", AS_OF)
    assert mlflow_store.get_aliases(settings, "loans") == {}
    assert database.rows(settings, "SELECT 1 FROM vigil.permit") == []
    noted = foreign.packages(settings, "loans")
    assert [(n.state, n.format, n.version, n.by) for n in noted] == [
        ("quarantined", "catboost", None, BY),
        ("registered", "catboost", 1, BY),
    ]
    [entry] = journal.entries(settings, "loans")
    assert (entry.kind, entry.facts["package_digest"], entry.facts["version"]) == ("imported", noted[0].digest, 1)
    assert (entry.facts["artefact_digest"], entry.facts["by"]) == (made.artefact_digest, BY)
    tags = mlflow_store.version(settings, "loans", 1).tags
    assert tags["vigil.imported"] == noted[0].digest
    assert (tags["vigil.trained_by"], tags["vigil.trained_until"]) == ("vera@vendor.example", "2024-04-30")
    assert (tags["vigil.imported_by"], tags["vigil.algorithm"]) == (BY, "catboost")
    kept = settings.home / "quarantine" / "models" / noted[0].digest
    assert (kept / "model.cbm").read_bytes() == parts.files["model.cbm"]
    [documents] = Path(settings.mlflow_artifacts).rglob("artifacts/documents")
    assert (documents / "documents/model.md").read_bytes() == parts.files["documents/model.md"]


def test_the_same_package_again_is_the_same_version_and_a_folder_is_the_same_as_its_zip(
    lender: Lender, model: Model, tmp_path: Path
) -> None:
    parts = catboost_parts()[0]
    first = foreign.import_package(lender.settings, model, parts.zipped(tmp_path / "it.zip"), BY, AS_OF)
    noted = foreign.packages(lender.settings)
    assert foreign.import_package(lender.settings, model, parts.unpacked(tmp_path / "it"), BY, AS_OF) == first
    assert foreign.packages(lender.settings) == noted
    assert len(journal.entries(lender.settings)) == 1
    assert len(mlflow_store.versions(lender.settings, "loans")) == 1


def test_an_absent_value_never_makes_a_row_look_better(lender: Lender, model: Model, tmp_path: Path) -> None:
    foreign.import_package(lender.settings, model, catboost_parts()[0].zipped(tmp_path / "it.zip"), BY, AS_OF)
    candidate = load_candidate(lender.settings, model, 1)
    rows = candidate.judged.features
    for name in ("income", "enquiries"):  # CatBoost itself puts an absent value below all others: no enquiries at all
        holes = rows.set_column(rows.schema.get_field_index(name), name, pa.nulls(len(rows), pa.float64()))
        assert candidate.predictor.predict(holes).mean() > candidate.probability.mean()


def test_a_model_that_has_seen_the_judged_window_is_judged_only_after_it(lender: Lender, tmp_path: Path) -> None:
    model = lender.model(validation={"kind": "out_of_time", "out_of_time_months": 3})
    lender.build(model)
    path = catboost_parts()[0].zipped(tmp_path / "it.zip")
    foreign.import_package(lender.settings, model, path, BY, AS_OF)
    candidate = load_candidate(lender.settings, model, 1)
    assert candidate.judged.event_date.min() == np.datetime64(MONTHS[4])
    assert len(candidate.judged) == 600


def test_a_model_that_leaves_too_few_rows_to_judge_is_refused(lender: Lender, model: Model, tmp_path: Path) -> None:
    seen_all = catboost_parts()[0].changed({"trained_until": MONTHS[4]})
    with pytest.raises(PackageRefused, match="leaves 0 rows with 0 events to judge it on"):
        foreign.import_package(lender.settings, model, seen_all.zipped(tmp_path / "it.zip"), BY, AS_OF)
    assert mlflow_store.versions(lender.settings, "loans") == ()


def test_a_model_that_ranks_no_better_than_chance_is_refused(lender: Lender, model: Model, tmp_path: Path) -> None:
    parts = catboost_parts(backwards=True)[0]
    with pytest.raises(PackageRefused, match=r"reaches AUC 0\.[23]\d+"):
        foreign.import_package(lender.settings, model, parts.zipped(tmp_path / "it.zip"), BY, AS_OF)


def test_a_version_from_elsewhere_cannot_be_trained_again_here(lender: Lender, model: Model, tmp_path: Path) -> None:
    foreign.import_package(lender.settings, model, catboost_parts()[0].zipped(tmp_path / "it.zip"), BY, AS_OF)
    with pytest.raises(DataFault, match="trained by Vendor, not here"):
        reproduce(lender.settings, model, 1)


def test_a_model_without_time_takes_none_from_elsewhere(lender: Lender, tmp_path: Path) -> None:
    model = lender.model(validation={"kind": "folds", "folds": 2, "why_no_time": "a test of the refusal"})
    with pytest.raises(DataFault, match="validated in folds"):
        foreign.import_package(lender.settings, model, tmp_path, BY, AS_OF)
    assert foreign.packages(lender.settings) == ()


def test_a_model_file_cannot_name_an_algorithm_that_is_only_loaded(lender: Lender) -> None:
    with pytest.raises(DataFault, match=r"training\.algorithms"):
        lender.model(algorithms=["onnx"])


@pytest.mark.parametrize("point", foreign_points.PLANTS)
def test_an_import_killed_anywhere_and_run_again_is_one_import(
    lender: Lender, model: Model, tmp_path: Path, point: str
) -> None:
    settings, path = lender.settings, catboost_parts()[0].zipped(tmp_path / "it.zip")
    assert foreign_points.killed(settings, model, path, point) == -9
    assert [n.state for n in foreign.packages(settings)] in ([], ["quarantined"])
    assert journal.entries(settings) == ()
    foreign.import_package(settings, model, path, BY, AS_OF)
    assert [n.state for n in foreign.packages(settings)] == ["quarantined", "registered"]
    assert [e.kind for e in journal.entries(settings)] == ["imported"]
    assert [v.version for v in mlflow_store.versions(settings, "loans")] == [1]
    kept = (settings.home / "quarantine" / "models").iterdir()
    assert {p.name for p in kept} == {".lock", foreign.packages(settings)[0].digest}


@pytest.mark.parametrize("kind", ["onnx", "skops"])
def test_the_gates_judge_it_like_a_challenger_and_it_gives_reasons(
    lender: Lender, model: Model, tmp_path: Path, kind: str
) -> None:
    foreign.import_package(lender.settings, model, MAKERS[kind]()[0].zipped(tmp_path / "it.zip"), BY, AS_OF)
    report = judge(lender.settings, model, 1, AS_OF)
    assert not report.passed
    by_metric = {verdict.metric: verdict for verdict in report.verdicts}
    assert by_metric["auc"].verdict is Verdict.PASS
    assert by_metric["unsafe_files"].observed == 0
    explained = [v for v in report.verdicts if v.gate == "explainability"]
    assert {v.metric: v.verdict for v in explained} == {
        "adverse_without_reason": Verdict.PASS,
        "largest_sum_error": Verdict.PASS,
    }
    assert by_metric["adverse_without_reason"].observed == 0
    assert mlflow_store.get_aliases(lender.settings, "loans") == {}


@pytest.mark.parametrize("kind", ["onnx", "skops"])
def test_reasons_compare_with_the_usual_row_of_the_development_rows(
    lender: Lender, model: Model, tmp_path: Path, kind: str
) -> None:
    foreign.import_package(lender.settings, model, MAKERS[kind]()[0].zipped(tmp_path / "it.zip"), BY, AS_OF)
    candidate = load_candidate(lender.settings, model, 1)
    usual: dict[str, object] = {}
    for name in candidate.predictor.features:
        column = candidate.development.features[name].drop_null().to_pandas()
        usual[name] = column.mode()[0] if name == "purpose" else column.quantile(0.5, interpolation="lower")
    row = pa.table({name: [value] for name, value in usual.items()})
    found = candidate.predictor.contributions(row)
    assert (found.values == 0).all()
    probability = candidate.predictor.predict(row)[0]
    assert found.baseline == pytest.approx(np.log(probability / (1 - probability)), abs=1e-6)
    judged = candidate.judged.features
    log_odds = np.log(candidate.probability) - np.log1p(-candidate.probability)
    assert candidate.predictor.contributions(judged).add_up_to(log_odds)


def test_a_version_and_the_same_model_in_another_format_have_comparable_reasons(
    lender: Lender, model: Model, tmp_path: Path
) -> None:
    for kind in ("onnx", "skops"):
        foreign.import_package(lender.settings, model, MAKERS[kind]()[0].zipped(tmp_path / kind), BY, AS_OF)
    candidate = load_candidate(lender.settings, model, 2)
    policy = load_policy(lender.settings.policies, model.policy)
    assert policy.measuring is not None
    measuring = policy.measuring.model_copy(update={"resamples": 20})
    opponent = opponent_of(lender.settings, model, candidate, 1)
    found = compare(lender.settings, model, candidate, opponent, measuring)
    assert found.why_no_reasons == ""
    assert found.reasons is not None
    assert found.reasons.rows > 20
