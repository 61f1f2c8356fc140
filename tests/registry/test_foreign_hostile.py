"""Hostile packages: each is refused for the stated reason before anything of it runs, and leaves only its refusal behind."""

from __future__ import annotations

import os
import pickle
import stat
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import pytest
import yaml
from foreign_packages import Parts, catboost_parts, zip_of
from lender import AS_OF, MODEL, Lender, new_lender

from pipelines import mlflow_store
from pipelines.contracts import DataFault
from pipelines.registry import foreign, journal
from pipelines.registry.foreign import PackageRefused
from pipelines.settings import REPOSITORY, Settings
from pipelines.spec import Model

BY = "anna@bank.example"
Attack = Callable[[Path, Path], Path]


class Canary:
    """What would be left if a package's code ran: unpickling it makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.file),)


GOOD = catboost_parts()[0]


@pytest.fixture
def lender(settings: Settings, tmp_path: Path) -> Lender:
    return new_lender(settings, tmp_path / "project")


@pytest.fixture
def model(lender: Lender) -> Model:
    other = MODEL | {
        "name": "cards",
        "features": {"cards": {"utilisation": {}, "limit": {}, "product": {"categorical": True}}},
    }
    lender.settings.models.mkdir(parents=True)
    (lender.settings.models / "cards.yaml").write_text(yaml.safe_dump(other))
    return lender.model()


def code(canary: Path) -> bytes:
    return f"import os\nos.mkdir({str(canary)!r})\ndef _load_pyfunc(path):\n    return None\n".encode()


def pickled_document(folder: Path, canary: Path) -> Path:
    return GOOD.changed(**{"documents/model.md": pickle.dumps(Canary(canary), 0)}).signed().zipped(folder / "a.zip")


def pickled_model(folder: Path, canary: Path) -> Path:
    return GOOD.changed(model__cbm=b"CBM1" + pickle.dumps(Canary(canary))).signed().zipped(folder / "a.zip")


def pickle_in_skops(folder: Path, canary: Path) -> Path:
    inside = zip_of({"schema.json": b"{}", "7.npy": pickle.dumps(Canary(canary))})
    return skops_shaped(inside).zipped(folder / "a.zip")


def skops_shaped(blob: bytes) -> Parts:
    manifest = {"format": "skops", "file": "model.skops", "output": {"kind": "probability", "column": 1}}
    return GOOD.changed(manifest, model__cbm=None, model__skops=blob).signed()


def named_pickle(folder: Path, canary: Path) -> Path:
    return GOOD.changed(model__pkl=pickle.dumps(Canary(canary))).signed().zipped(folder / "a.zip")


def mlmodel_with_code(folder: Path, canary: Path) -> Path:
    flavour = {"flavors": {"python_function": {"loader_module": "evil", "code": "code"}}}
    files = {"MLmodel": yaml.safe_dump(flavour).encode(), "code/evil.py": code(canary)}
    return GOOD.changed(**files).signed().unpacked(folder / "a")


def python_file(folder: Path, canary: Path) -> Path:
    return GOOD.changed(**{"code/sitecustomize.py": code(canary)}).signed().zipped(folder / "a.zip")


def traversal(folder: Path, canary: Path) -> Path:
    return GOOD.changed(**{f"../../{canary.name}": b"out"}).signed().zipped(folder / "a.zip")


def absolute(folder: Path, canary: Path) -> Path:
    return GOOD.changed(**{str(canary): b"out"}).signed().zipped(folder / "a.zip")


def backslashes(folder: Path, canary: Path) -> Path:
    return GOOD.changed(**{f"..\\..\\{canary.name}": b"out"}).signed().zipped(folder / "a.zip")


def link_in_zip(folder: Path, canary: Path) -> Path:
    path = GOOD.zipped(folder / "a.zip")
    link = ZipInfo("documents/link.md")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    return path


def link_in_folder(folder: Path, canary: Path) -> Path:
    path = GOOD.unpacked(folder / "a")
    (path / "documents" / "link.md").symlink_to("/etc/passwd")
    return path


def hard_link(folder: Path, canary: Path) -> Path:
    path = GOOD.unpacked(folder / "a")
    os.link(path / "golden.csv", path / "documents" / "again.csv")
    return path


def bomb(folder: Path, canary: Path) -> Path:
    return GOOD.changed(**{"documents/big.txt": bytes(20 << 20)}).signed().zipped(folder / "a.zip")


def bomb_that_lies(folder: Path, canary: Path) -> Path:
    """The directory says that the file is small when it is unpacked."""
    path = bomb(folder, canary)
    packed, size = path.read_bytes(), (20 << 20).to_bytes(4, "little")
    path.write_bytes(packed.replace(size, (10).to_bytes(4, "little")))
    return path


def many_files(folder: Path, canary: Path) -> Path:
    return GOOD.changed(**{f"documents/{n}.md": b"" for n in range(70)}).signed().zipped(folder / "a.zip")


def archive_in_archive(folder: Path, canary: Path) -> Path:
    return GOOD.changed(**{"documents/more.txt": zip_of({"a": b"b"})}).signed().zipped(folder / "a.zip")


def twins(folder: Path, canary: Path) -> Path:
    return GOOD.changed(**{"documents/Model.md": b"other"}).signed().zipped(folder / "a.zip")


def unknown_feature(folder: Path, canary: Path) -> Path:
    features = [*GOOD.manifest["features"][:-1], {"name": "salary", "kind": "number"}]
    return GOOD.changed({"features": features}).zipped(folder / "a.zip")


def other_kind(folder: Path, canary: Path) -> Path:
    features = [*GOOD.manifest["features"][:-1], {"name": "purpose", "kind": "number"}]
    return GOOD.changed({"features": features}).zipped(folder / "a.zip")


def no_answer_to_absence(folder: Path, canary: Path) -> Path:
    features = [feature | {"missing": "refused"} for feature in GOOD.manifest["features"]]
    return GOOD.changed({"features": features}).zipped(folder / "a.zip")


def output_of_another_format(folder: Path, canary: Path) -> Path:
    return GOOD.changed({"output": {"kind": "probability", "column": 0}}).zipped(folder / "a.zip")


def truncated(folder: Path, canary: Path) -> Path:
    path = GOOD.zipped(folder / "a.zip")
    path.write_bytes(path.read_bytes()[:-200])
    return path


def bit_flipped(folder: Path, canary: Path) -> Path:
    return GOOD.changed(model__cbm=flipped(GOOD.files["model.cbm"], 5000)).zipped(folder / "a.zip")


def damaged_zip(folder: Path, canary: Path) -> Path:
    path = GOOD.zipped(folder / "a.zip")
    path.write_bytes(flipped(path.read_bytes(), 2000))
    return path


def made_for_another(folder: Path, canary: Path) -> Path:
    return GOOD.changed({"model": "cards"}).zipped(folder / "a.zip")


def features_of_another(folder: Path, canary: Path) -> Path:
    features = [{"name": name, "kind": "number"} for name in ("utilisation", "limit")]
    return GOOD.changed({"features": features}).zipped(folder / "a.zip")


def oversize(folder: Path, canary: Path) -> Path:
    return GOOD.changed(**{"documents/big.pdf": b"%PDF-" + os.urandom(2 << 20)}).signed().zipped(folder / "a.zip")


def oversize_folder(folder: Path, canary: Path) -> Path:
    return GOOD.changed(**{"documents/big.pdf": b"%PDF-" + os.urandom(2 << 20)}).signed().unpacked(folder / "a")


def pmml(folder: Path, canary: Path) -> Path:
    return GOOD.changed(model__pmml=b"<PMML/>").signed().zipped(folder / "a.zip")


def unnamed_file(folder: Path, canary: Path) -> Path:
    return GOOD.changed(**{"documents/more.md": b"more"}).zipped(folder / "a.zip")


def yaml_that_runs(folder: Path, canary: Path) -> Path:
    text = f"!!python/object/apply:os.mkdir [{canary}]\n".encode()
    return manifest_of(text).unpacked_with(folder / "a")


class manifest_of:
    """The good package with another manifest."""

    def __init__(self, text: bytes) -> None:
        self.text = text

    def unpacked_with(self, path: Path) -> Path:
        GOOD.unpacked(path)
        (path / "vigil-model.yaml").write_bytes(self.text)
        return path


def yaml_that_grows(folder: Path, canary: Path) -> Path:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    return manifest_of("\n".join(lines).encode()).unpacked_with(folder / "a")


def script_in_html(folder: Path, canary: Path) -> Path:
    return GOOD.changed(**{"documents/report.html": b"<p onload=go()>"}).signed().zipped(folder / "a.zip")


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]


ATTACKS: dict[Attack, str] = {
    pickled_document: r"documents/model\.md holds a pickle, which runs code",
    pickled_model: r"model\.cbm holds a pickle, which runs code",
    pickle_in_skops: r"model\.skops holds a pickle or an archive in '7\.npy'",
    named_pickle: r"model\.pkl is a pickle",
    mlmodel_with_code: "an MLmodel file names code that MLflow would run",
    python_file: r"code/sitecustomize\.py is a program",
    traversal: r"the name '\.\./\.\./canary' leads out of the package",
    absolute: "leads out of the package",
    backslashes: "leads out of the package",
    link_in_zip: r"'documents/link\.md' is a symbolic link",
    link_in_folder: r"'documents/link\.md' is a symbolic link",
    hard_link: "is no plain file .*hard link",
    bomb: "more than 200 times its size: a zip bomb",
    bomb_that_lies: "the archive is damaged or cut off",
    many_files: "more than 64 files",
    archive_in_archive: r"documents/more\.txt is or holds an archive",
    twins: "differ in capitals only",
    unknown_feature: "model loans has no feature salary",
    other_kind: "purpose is a category in model loans, and a number in the package",
    no_answer_to_absence: "amount may be absent in model loans .* was not trained with absent values of it",
    output_of_another_format: "the output of a CatBoost file is",
    truncated: r"no plain \.zip file: cut off",
    bit_flipped: r"its digest differs\): model\.cbm",
    damaged_zip: "damaged or cut off",
    made_for_another: "made for model 'cards', not for loans",
    features_of_another: "no feature utilisation, limit; the features are those of cards",
    oversize: "larger than 1 MB",
    oversize_folder: "larger than 1 MB",
    pmml: "PMML is not read here",
    unnamed_file: "not named in the manifest",
    yaml_that_runs: "not readable as YAML",
    yaml_that_grows: "nested too deeply, or refers to itself",
    script_in_html: "holds scripts",
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_it_is_refused_with_the_reason_and_nothing_of_it_runs_or_stays(
    lender: Lender, model: Model, tmp_path: Path, attack: Attack
) -> None:
    settings, canary = lender.settings, tmp_path / "canary"
    if attack in (oversize, oversize_folder):
        smaller_packages(settings)
    (tmp_path / "in" / "deep").mkdir(parents=True)
    path = attack(tmp_path / "in" / "deep", canary)
    with pytest.raises(PackageRefused, match=ATTACKS[attack]):
        foreign.receive(settings, model, path, BY)
    assert not canary.exists()
    assert not list(tmp_path.rglob("canary"))
    [noted] = foreign.packages(settings)
    [entry] = journal.entries(settings)
    assert (noted.model, noted.state, noted.version, noted.by) == ("loans", "refused", None, BY)
    assert (entry.model, entry.kind, entry.facts["package_digest"]) == ("loans", "import_refused", noted.digest)
    assert entry.facts["reason"] == noted.reason
    assert not (settings.home / "quarantine").exists()
    assert not Path(settings.mlflow_artifacts).exists()


def smaller_packages(settings: Settings) -> None:
    limits = yaml.safe_load((REPOSITORY / "policies" / "foreign_models.yaml").read_text())
    limits["package"]["max_mb"] = 1
    (settings.project / "policies").mkdir()
    (settings.project / "policies" / "foreign_models.yaml").write_text(yaml.safe_dump(limits))


def test_a_flip_whose_digest_was_made_again_is_found_by_the_golden_rows(
    lender: Lender, model: Model, tmp_path: Path
) -> None:
    lender.build(model)
    blob = GOOD.files["model.cbm"]
    lie = GOOD.changed(model__cbm=flipped(blob, leaf_of(blob))).signed().zipped(tmp_path / "a.zip")
    with pytest.raises(PackageRefused, match=r"\d+ of 40 golden rows do not have the probability they were sent with"):
        foreign.import_package(lender.settings, model, lie, BY, AS_OF)
    assert [n.state for n in foreign.packages(lender.settings)] == ["quarantined", "refused"]
    assert [e.kind for e in journal.entries(lender.settings)] == ["import_refused"]
    assert mlflow_store.versions(lender.settings, "loans") == ()


def leaf_of(blob: bytes) -> int:
    """Where a high byte of a leaf's value lies in the file."""
    from catboost import CatBoost

    values = CatBoost().load_model(blob=blob).get_leaf_values()
    return blob.index(values[0].tobytes()) + 6


def test_whoever_brings_nothing_or_has_no_name_leaves_no_trace(lender: Lender, model: Model, tmp_path: Path) -> None:
    with pytest.raises(DataFault, match="there is no package"):
        foreign.receive(lender.settings, model, tmp_path / "none.zip", BY)
    with pytest.raises(DataFault, match="e-mail address"):
        foreign.receive(lender.settings, model, GOOD.zipped(tmp_path / "a.zip"), "anna")
    assert foreign.packages(lender.settings) == ()


def test_the_canary_sings_when_it_is_let(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Canary(tmp_path / "canary")))
    assert (tmp_path / "canary").exists()
