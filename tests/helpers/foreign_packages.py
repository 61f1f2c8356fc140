"""Models of the small lender as somebody else trained them, and their packages: good ones, and parts to make bad ones of."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass, replace
from datetime import date
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pandas as pd
import yaml
from lender import MONTHS, loans_of

NUMBERS = ["amount", "income", "enquiries", "days_to_due"]
PURPOSES = ["car", "home", "shop"]
UNTIL = date(2024, 4, 30)


@dataclass(frozen=True)
class Parts:
    """What a package is made of, before it is put together."""

    manifest: dict[str, Any]
    files: dict[str, bytes]

    def changed(self, manifest: dict[str, Any] | None = None, **files: bytes | None) -> Parts:
        """Other keys of the manifest, other files (`__` stands for `.`), or none; digests not yet made again."""
        new = self.files | {name.replace("__", "."): content for name, content in files.items()}
        return replace(
            self,
            manifest=self.manifest | (manifest or {}),
            files={name: content for name, content in new.items() if content is not None},
        )

    def signed(self) -> Parts:
        """With the digests of the files as they are now."""
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()}
        return replace(self, manifest=self.manifest | {"sha256": digests})

    @property
    def content(self) -> dict[str, bytes]:
        """All files with the manifest."""
        return {"vigil-model.yaml": yaml.safe_dump(self.manifest).encode()} | self.files

    def zipped(self, path: Path) -> Path:
        """Written as a .zip file."""
        with ZipFile(path, "w", ZIP_DEFLATED) as archive:
            for name, content in self.content.items():
                archive.writestr(name, content)
        return path

    def unpacked(self, path: Path) -> Path:
        """Written as a folder."""
        for name, content in self.content.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
        return path


def loans(months: list[date]) -> tuple[pd.DataFrame, np.ndarray]:
    """The lender's features and outcomes, as a vendor got them."""
    frames = [loans_of(on, 600, MONTHS.index(on)).to_pandas() for on in months]
    frame = pd.concat(frames, ignore_index=True)
    due = pd.to_datetime(frame["due_on"]) - pd.to_datetime(frame["business_date"])
    frame["days_to_due"] = due.dt.days.astype(float)
    frame["enquiries"] = frame["enquiries"].astype(float)
    return frame[[*NUMBERS, "purpose"]], (frame["status"] == "bad").to_numpy().astype(int)


def catboost_parts(backwards: bool = False) -> tuple[Parts, Any]:
    """Plain CatBoost on all features, and the library's own model; `backwards` has learnt the opposite."""
    from catboost import CatBoostClassifier

    rows, outcome = loans(MONTHS[:4])
    outcome = 1 - outcome if backwards else outcome
    made = CatBoostClassifier(iterations=60, depth=3, learning_rate=0.1, verbose=0, allow_writing_files=False)
    made.fit(rows, outcome, cat_features=["purpose"])
    features = [_number(name, missing="accepted") for name in NUMBERS]
    features.append({"name": "purpose", "kind": "category", "categories": PURPOSES, "missing": "accepted"})
    return _parts(
        "catboost", saved_catboost(made), features, {"kind": "log_odds"}, rows, made.predict_proba(rows)
    ), made


def onnx_parts() -> tuple[Parts, Any]:
    """CatBoost on the numbers, exported as ONNX; and CatBoost's own model."""
    from catboost import CatBoostClassifier

    rows, outcome = loans(MONTHS[:4])
    numbers = rows[NUMBERS].astype(np.float32).astype(float)
    made = CatBoostClassifier(iterations=60, depth=3, learning_rate=0.1, verbose=0, allow_writing_files=False)
    made.fit(numbers.to_numpy(), outcome)
    features = [_number(name, missing="accepted") for name in NUMBERS]
    output = {"kind": "probability", "name": "probabilities", "column": 1}
    blob = saved_catboost(made, "onnx")
    return _parts("onnx", blob, features, output, numbers, made.predict_proba(numbers.to_numpy())), made


def skops_parts() -> tuple[Parts, Any]:
    """A logistic regression behind imputing, scaling and one-hot columns."""
    import skops.io

    rows, outcome = loans(MONTHS[:4])
    made = logistic_pipeline().fit(rows, outcome)
    features = [_number(name, missing="accepted") for name in NUMBERS]
    features.append({"name": "purpose", "kind": "category", "categories": PURPOSES, "missing": "accepted"})
    output = {"kind": "probability", "column": 1}
    return _parts("skops", skops.io.dumps(made), features, output, rows, made.predict_proba(rows)), made


def logistic_pipeline() -> Any:
    """scikit-learn's usual way to a logistic regression on numbers and categories."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    words = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_pipeline(make_column_transformer((numbers, NUMBERS), (words, ["purpose"])), LogisticRegression())


def saved_catboost(made: Any, kind: str = "cbm") -> bytes:
    """The library's own file of a model."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        made.save_model(f"{folder}/model", format=kind)
        return Path(folder, "model").read_bytes()


def golden_csv(rows: pd.DataFrame, probability: np.ndarray) -> bytes:
    """Rows with their probabilities, each number to its last bit; absent values are empty."""
    text = StringIO()
    writer = csv.writer(text)
    writer.writerow([*rows.columns, "probability"])
    for values, said in zip(rows.itertuples(index=False), probability, strict=True):
        writer.writerow(
            ["" if v != v else v if isinstance(v, str) else repr(float(v)) for v in values] + [repr(float(said))]
        )
    return text.getvalue().encode()


def zip_of(files: dict[str, bytes]) -> bytes:
    """The bytes of a .zip file."""
    packed = BytesIO()
    with ZipFile(packed, "w", ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def _number(name: str, missing: str) -> dict[str, Any]:
    return {"name": name, "kind": "number", "missing": missing}


def _parts(
    kind: str,
    blob: bytes,
    features: list[dict[str, Any]],
    output: dict[str, Any],
    rows: pd.DataFrame,
    said: np.ndarray,
) -> Parts:
    ending = {"catboost": "cbm"}.get(kind, kind)
    manifest = {
        "package": "vigil-model-1",
        "model": "loans",
        "format": kind,
        "file": f"model.{ending}",
        "output": output,
        "features": features,
        "golden": "golden.csv",
        "trained_until": UNTIL,
        "trained_by": {"person": "Vera@vendor.example", "organisation": "Vendor"},
        "licence": "contract 7 with the bank",
        "documents": ["documents/model.md", "documents/validation.csv"],
    }
    files = {
        f"model.{ending}": blob,
        "golden.csv": golden_csv(rows[:40], said[:40, 1]),
        "documents/model.md": b"# How it was made\n",
        "documents/validation.csv": b"month,auc\n2024-04,0.78\n",
    }
    return Parts(manifest, files).signed()
