"""The artefact: verified before anything is loaded, exact after it is, and free of pickle."""

from __future__ import annotations

import json
import pickletools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from lender import FEATURES, MODEL
from typology_packs import PACK

from pipelines.contracts import Blocked, DataFault
from pipelines.monitoring.psi import count_categories, count_numbers
from pipelines.spec import Model
from pipelines.training import algorithms, artefact
from pipelines.training.reference import reference_of
from pipelines.training.rows import Rows

SPEC = Model.model_validate(
    MODEL
    | {
        "features": {"application": {name: feature.model_dump() for name, feature in FEATURES.items()}},
        "training": MODEL["training"] | {"calibration": "isotonic"},
    }
)


@pytest.fixture(scope="module", params=["catboost", "scorecard", "combined"])
def made(request: pytest.FixtureRequest, sample: Rows) -> tuple[algorithms.Developed, dict[str, bytes]]:
    developed = algorithms.develop(SPEC, request.param, sample, PACK)
    reference = reference_of(sample, SPEC.feature, developed.probability(sample.features))
    return developed, artefact.pack("loans", developed, sample, SPEC.feature, reference, {"made": "by a test"})


@pytest.fixture
def saved(made, tmp_path: Path) -> tuple[Path, str]:
    return tmp_path / "model", artefact.save(tmp_path / "model", made[1])


def test_a_verified_model_scores_as_the_one_that_was_trained(made, saved, sample: Rows) -> None:
    predictor = artefact.load_verified(*saved)
    expected = made[0].probability(sample.features)
    np.testing.assert_array_equal(predictor.predict(sample.features), expected)
    np.testing.assert_array_equal(predictor.predict(sample.features.to_batches()[0]), expected)
    shuffled = sample.features.select(sorted(sample.features.schema.names)).append_column(
        "other", pa.nulls(len(sample))
    )
    np.testing.assert_array_equal(predictor.predict(shuffled), expected)
    assert expected.dtype == np.float64
    assert 0 <= expected.min() <= expected.max() <= 1
    assert predictor.features == tuple(FEATURES)
    assert predictor.categories == {"purpose": ("car", "home", "other", "shop")}
    assert predictor.provenance == {"made": "by a test"}
    assert predictor.predict(sample.features.slice(0, 0)).shape == (0,)
    with pytest.raises(DataFault, match="no feature 'trend'"):
        predictor.predict(sample.features.drop_columns(["trend"]))


def test_no_single_byte_may_differ(saved) -> None:
    folder, digest = saved
    random = np.random.default_rng(1)
    names = sorted(p.name for p in folder.iterdir())
    for _ in range(200):
        path = folder / str(random.choice(names))
        good = path.read_bytes()
        bad = bytearray(good)
        bad[random.integers(len(bad))] ^= 1 << random.integers(8)
        path.write_bytes(bad)
        with pytest.raises(Blocked, match="It was not loaded"):
            artefact.load_verified(folder, digest)
        path.write_bytes(good)
    artefact.load_verified(folder, digest)


def test_a_file_too_many_or_missing_or_a_link_is_refused(saved, tmp_path: Path) -> None:
    folder, digest = saved
    (folder / "MLmodel").write_text("loader_module: os")
    with pytest.raises(Blocked, match="files too many or missing: MLmodel"):
        artefact.load_verified(folder, digest)
    (folder / "MLmodel").unlink()
    (folder / "code").mkdir()
    with pytest.raises(Blocked, match="code is no plain file"):
        artefact.load_verified(folder, digest)
    (folder / "code").rmdir()
    golden = (folder / "golden.json").read_bytes()
    (folder / "golden.json").unlink()
    with pytest.raises(Blocked, match=r"files too many or missing: golden\.json"):
        artefact.load_verified(folder, digest)
    (tmp_path / "elsewhere").write_bytes(golden)
    (folder / "golden.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Blocked, match=r"golden\.json is no plain file"):
        artefact.load_verified(folder, digest)
    with pytest.raises(Blocked, match=r"MANIFEST\.json is missing"):
        artefact.load_verified(tmp_path / "nowhere", digest)


def test_another_versions_manifest_is_refused(saved) -> None:
    with pytest.raises(Blocked, match="was changed or belongs to another version"):
        artefact.load_verified(saved[0], "0" * 64)


def test_golden_rows_catch_a_model_that_computes_differently(made, tmp_path: Path) -> None:
    files = dict(made[1])
    calibration = json.loads(files["calibration.json"])
    calibration["probabilities"] = [p + 1e-15 for p in calibration["probabilities"]]
    files["calibration.json"] = json.dumps(calibration).encode()
    digest = artefact.save(tmp_path / "model", files)
    with pytest.raises(Blocked, match=r"\d+ of 66 golden rows score differently here"):
        artefact.load_verified(tmp_path / "model", digest)


def test_files_of_another_form_are_refused_and_not_guessed_at(made, tmp_path: Path) -> None:
    files = made[1] | {"schema.json": json.dumps({"format": "vigil-artefact-9"}).encode()}
    digest = artefact.save(tmp_path / "model", files)
    with pytest.raises(Blocked, match="another form than this version of Vigil reads"):
        artefact.load_verified(tmp_path / "model", digest)


def test_golden_rows_are_nobodys(made, sample: Rows) -> None:
    columns = json.loads(made[1]["golden.json"])["columns"]
    real = set(zip(*(sample.features[name].to_pylist() for name in FEATURES), strict=True))
    golden = set(zip(*(columns[name] for name in FEATURES), strict=True))
    assert not real & golden


def test_no_file_is_or_holds_a_pickle(made) -> None:
    for name, content in made[1].items():
        assert name.endswith((".json", ".cbm"))
        if name.endswith(".json"):
            json.loads(content)
        else:
            assert content.startswith(b"CBM1")
        with pytest.raises((ValueError, IndexError)):
            list(pickletools.genops(content))


def test_the_reference_is_counted_as_drift_will_count_it(saved, sample: Rows) -> None:
    predictor = artefact.load_verified(*saved)
    reference, probability = predictor.reference, predictor.predict(sample.features)
    assert reference.rows == len(sample)
    assert tuple(count_numbers(probability, reference.probability.edges)) == reference.probability.counts
    for name in ("income", "enquiries", "noise", "trend"):
        kept = reference.features[name]
        assert tuple(count_numbers(sample.features[name].to_numpy(), kept.edges)) == kept.counts
    purpose = reference.features["purpose"]
    assert tuple(count_categories(sample.features["purpose"], purpose.categories)) == purpose.counts


def test_the_same_training_gives_the_same_artefact(made, sample: Rows) -> None:
    developed, files = made
    again = algorithms.develop(SPEC, developed.algorithm, sample, PACK)
    reference = reference_of(sample, SPEC.feature, again.probability(sample.features))
    assert artefact.pack("loans", again, sample, SPEC.feature, reference, {"made": "by a test"}) == files
