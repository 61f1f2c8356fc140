"""What the files of a package hold, whatever they are called: nothing that anything here would run."""

from __future__ import annotations

import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import PurePosixPath

from pipelines.registry.foreign.archive import read_zip
from pipelines.registry.foreign.refusal import PackageRefused
from pipelines.spec import ForeignFormat, PackageLimits

MODEL_ENDINGS: dict[ForeignFormat, str] = {"catboost": ".cbm", "onnx": ".onnx", "skops": ".skops"}
_TEXT = (".md", ".txt", ".csv", ".json", ".html")
DOCUMENT_ENDINGS = (".pdf", *_TEXT)
_PROGRAMS = (".py", ".pyc", ".pyo", ".pyd", ".so", ".dll", ".sh", ".exe", ".js", ".jar", ".class", ".whl")
_PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".dill")
_PICKLE_START = re.compile(rb"\x80[\x02-\x05]")
_MOST_INSTRUCTIONS = 2_000_000
_TEXTS = frozenset(
    {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
)
_CALLING = frozenset({"REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"})
_ACTIVE_HTML = re.compile(rb"<\s*(script|iframe|object|embed|base|form|meta)|\bon\w+\s*=|javascript:", re.IGNORECASE)
_ACTIVE_PDF = re.compile(rb"/(JavaScript|JS|Launch|EmbeddedFile|RichMedia)\b")
_CATBOOST = b"CBM1"


def require_harmless(files: Mapping[str, bytes], limits: PackageLimits) -> None:
    """Raises PackageRefused for a file of a kind that is not let in, or with content that its name does not tell."""
    for name in files:
        _require_known_kind(name)
    for name, content in files.items():
        _require_content(name, content, limits)


def _require_known_kind(name: str) -> None:
    path = PurePosixPath(name)
    if path.name.lower() == "mlmodel":
        raise PackageRefused(f"{name}: an MLmodel file names code that MLflow would run")
    ending = path.suffix.lower()
    if ending in _PROGRAMS:
        raise PackageRefused(f"{name} is a program")
    if ending in _PICKLES:
        raise PackageRefused(f"{name} is a pickle, which runs code when it is read")
    if ending == ".pmml":
        raise PackageRefused(f"{name}: PMML is not read here, see docs/foreign_models.md; send ONNX instead")
    if ending not in (*MODEL_ENDINGS.values(), *DOCUMENT_ENDINGS) and name != "vigil-model.yaml":
        raise PackageRefused(f"{name} is of a kind that is not let in")


def _require_content(name: str, content: bytes, limits: PackageLimits) -> None:
    ending = PurePosixPath(name).suffix.lower()
    if holds_pickle(content):
        raise PackageRefused(f"{name} holds a pickle, which runs code when it is read")
    if ending == ".skops":
        _require_skops(name, content, limits)
        return
    if zipfile.is_zipfile(BytesIO(content)):
        raise PackageRefused(f"{name} is or holds an archive")
    if ending == ".cbm" and not content.startswith(_CATBOOST):
        raise PackageRefused(f"{name} is no CatBoost file")
    if ending == ".pdf" and (not content.startswith(b"%PDF-") or _ACTIVE_PDF.search(content)):
        raise PackageRefused(f"{name} is no PDF, or one with scripts or files inside")
    if ending in (*_TEXT, ".yaml"):
        _require_text(name, content)
    if ending == ".html" and _ACTIVE_HTML.search(content):
        raise PackageRefused(f"{name} holds scripts, forms or other pages")


def _require_text(name: str, content: bytes) -> None:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise PackageRefused(f"{name} is no text in UTF-8") from None
    if "\0" in text:
        raise PackageRefused(f"{name} is no text")


def _require_skops(name: str, content: bytes, limits: PackageLimits) -> None:
    """A .skops file is an archive of JSON and plain NumPy arrays, and of nothing else."""
    inside = read_zip(content, limits.model_copy(update={"max_files": limits.max_files * 1000}))
    for member, held in inside.items():
        ending = PurePosixPath(member).suffix
        if ending not in (".json", ".npy"):
            raise PackageRefused(f"{name} holds {member[:80]!a}, which is neither JSON nor an array")
        if holds_pickle(held) or zipfile.is_zipfile(BytesIO(held)):
            raise PackageRefused(f"{name} holds a pickle or an archive in {member[:80]!a}")
    if "schema.json" not in inside:
        raise PackageRefused(f"{name} is no skops file: it has no schema.json")


def holds_pickle(content: bytes) -> bool:
    """Whether some part of the bytes is a pickle that would import something and call it. Nothing is unpickled.

    Bytes that would take too long to look through, because they read as pickle instructions everywhere, count as one.
    """
    left = _MOST_INSTRUCTIONS
    stream = BytesIO(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about escapes in what only looks like a string
        for start in _starts(content):
            stream.seek(start)
            found, read = _look(stream, left)
            left -= read
            if found or left <= 0:
                return True
    return False


def _starts(content: bytes) -> Iterator[int]:
    """Where a pickle may begin: anywhere with its mark, and without a mark, as the oldest kind is, at the start."""
    yield 0
    yield from (found.start() for found in _PICKLE_START.finditer(content))


def _look(stream: BytesIO, most: int) -> tuple[bool, int]:
    """Whether a pickle that imports and calls begins here, and how many instructions were read to know it.

    It need not be whole: what comes first runs before the end is missed.
    """
    texts = imports = read = 0
    try:
        for code, _, _ in pickletools.genops(stream):
            read += 1
            texts += code.name in _TEXTS
            imports += code.name in ("GLOBAL", "INST") or (code.name == "STACK_GLOBAL" and texts > 0)
            if imports and code.name in _CALLING:
                return True, read
            if read >= most:
                break
    except Exception:  # noqa: BLE001 - whatever stops the reader: here it is no pickle any more
        return False, read + 1
    return False, read
