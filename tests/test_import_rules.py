"""Who may import whom (the rules of the README's map of folders), read from the source of every tracked file.

Each failure names the file and line, and what to do instead.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

STEPS = (
    "ingest",
    "quality",
    "features",
    "evaluation",
    "training",
    "registry",
    "scoring",
    "validation",
    "decisions",
    "monitoring",
    "aml",
)
CORE = ("contracts", "settings", "spec", "lake", "database", "objects", "tokens", "mlflow_store", "completion")
ON_TOP = ("night", "release", "report", "cli", "sandbox", "stack", "__main__")

OWNERS = {
    "deltalake": ["pipelines/lake.py"],
    "psycopg2": ["pipelines/database.py"],
    "sqlalchemy": [
        "pipelines/database.py",
        "pipelines/quality/duckdb_dialect.py",  # Great Expectations speaks to DuckDB through SQLAlchemy
        "pipelines/quality/gx.py",
    ],
    "boto3": ["pipelines/objects.py"],
    "botocore": ["pipelines/objects.py"],
    "mlflow": ["pipelines/mlflow_store.py"],
    "great_expectations": ["pipelines/quality/gx.py"],
    "fairlearn": ["pipelines/validation/fairness.py"],
    "catboost": ["pipelines/training/catboost_model.py"],
    "onnx": ["pipelines/training/onnx_model.py"],
    "onnxruntime": ["pipelines/training/onnx_model.py"],
    "skops": ["pipelines/training/skops_model.py"],
    "cyclonedx": ["pipelines/validation/documents/sbom.py"],
    "fpdf": ["pipelines/validation/documents/print.py"],
    "psutil": ["pipelines/stack/postgres.py", "pipelines/stack/processes.py", "pipelines/stack/state.py"],
    "httpx": ["pipelines/stack/airflow_api.py", "pipelines/stack/services.py"],
}

Import = tuple[Path, int, str]


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=REPOSITORY, capture_output=True, check=True)
    return [REPOSITORY / name for name in listed.stdout.decode().split("\0") if name and (REPOSITORY / name).exists()]


def sources(folder: str) -> list[Path]:
    return [path for path in tracked(f"{folder}/*.py") if path.is_relative_to(REPOSITORY / folder)]


def imports(path: Path) -> Iterator[Import]:
    """Every absolute import of a file, wherever it stands; `from a import b` counts as a and as a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((path, node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield path, node.lineno, node.module
            yield from ((path, node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def part(path: Path) -> str:
    """The package or module directly below pipelines/ that a file belongs to."""
    return path.relative_to(REPOSITORY / "pipelines").parts[0].removesuffix(".py")


def at(found: Import) -> str:
    path, line, name = found
    return f"{path.relative_to(REPOSITORY)}:{line} imports {name}"


def all_imports() -> list[Import]:
    return [found for path in sources("pipelines") for found in imports(path)]


def test_pipelines_import_neither_airflow_nor_dags_nor_plugins():
    wrong = [at(f) for f in all_imports() if f[2].split(".")[0] in ("airflow", "dags", "plugins", "vigil_dags")]
    assert not wrong, f"the work must run without Airflow; move what needs it to dags/ or plugins/: {wrong}"


def test_a_step_imports_only_the_core_and_earlier_steps():
    wrong = []
    for found in all_imports():
        own, (top, *below) = part(found[0]), found[2].split(".")
        if top != "pipelines" or not below or own not in STEPS or below[0] in (own, *CORE):
            continue
        earlier = below[0] in STEPS and STEPS.index(below[0]) < STEPS.index(own)
        if not earlier and not is_arithmetic(*below[:2]):
            wrong.append(at(found))
    assert not wrong, f"a step may use {CORE} and the steps before it in {STEPS}: {wrong}"


def is_arithmetic(step: str, module: str = "") -> bool:
    """A module of a step that imports no other part than the contracts may be used by all, as PSI is by scoring."""
    files = [REPOSITORY / "pipelines" / step / name for name in ("__init__.py", f"{module}.py")]
    used = [f[2] for path in files if path.exists() for f in imports(path) if f[2].startswith("pipelines.")]
    return step in STEPS and files[-1].exists() and all(name.split(".")[1] == "contracts" for name in used)


def test_the_core_imports_no_step_and_nothing_on_top():
    wrong = [
        at(f)
        for f in all_imports()
        if part(f[0]) in CORE and f[2].startswith("pipelines.") and f[2].split(".")[1] in STEPS + ON_TOP
    ]
    assert not wrong, f"the core is below the steps: {wrong}"


def test_steps_do_not_know_what_stands_on_top_of_them():
    wrong = [
        at(f) for f in all_imports() if part(f[0]) in STEPS and f[2].startswith(tuple(f"pipelines.{t}" for t in ON_TOP))
    ]
    assert not wrong, f"a step is called, it does not call {ON_TOP}: {wrong}"


@pytest.mark.parametrize("system", OWNERS)
def test_each_outside_system_is_imported_by_its_own_module(system):
    found = {str(f[0].relative_to(REPOSITORY)) for f in all_imports() if f[2].split(".")[0] == system}
    strangers = found - set(OWNERS[system])
    assert found, f"nobody imports {system} any more: remove it from OWNERS"
    assert not strangers, (
        f"{system} belongs to {OWNERS[system]}; call a function there instead of importing it in {strangers}"
    )


def test_feast_stays_in_its_store():
    allowed = ("pipelines/features/feast_", "feature_repo/")
    everywhere = [
        f for folder in ("pipelines", "feature_repo", "dags", "plugins") for p in sources(folder) for f in imports(p)
    ]
    wrong = [at(f) for f in everywhere if f[2].split(".")[0] == "feast" and not at(f).startswith(allowed)]
    assert not wrong, f"Feast is imported in {allowed} only: {wrong}"


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("contracts", {"pydantic"}),
        ("settings", {"pydantic_settings"}),
        ("spec", {"pydantic", "yaml", "pipelines", "croniter"}),
    ],
)
def test_what_dags_import_at_parse_time_is_light(module, allowed):
    outside = {f[2].split(".")[0] for f in all_imports() if part(f[0]) == module}
    heavy = {name for name in outside if name not in sys.stdlib_module_names} - allowed - {"__future__"}
    assert not heavy, (
        f"pipelines.{module} is read by every DAG parse and by the seam; it may import {allowed}, not {heavy}"
    )


@pytest.mark.parametrize("path", sources("dags") + sources("plugins"), ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_dags_and_plugins_import_lightly_at_module_level(path):
    light = (
        "airflow",
        "vigil_dags",
        "vigil_approval",
        "pipelines.contracts",
        "pipelines.settings",
        "pipelines.spec",
        "pipelines.failure",
    )
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"pipelines.{a.name}" for a in node.names] if node.module == "pipelines" else [node.module or ""]
        for name in names:
            ok = name.split(".")[0] in sys.stdlib_module_names or name.startswith(light)
            assert ok, f"{path.name}:{node.lineno}: import {name} inside the task; a parse must stay under 50 ms"


def test_every_python_file_is_short():
    long = {str(p.relative_to(REPOSITORY)): n for p in tracked("*.py") if (n := len(p.read_text().splitlines())) >= 500}
    assert not long, f"split these by responsibility: {long}"


def test_test_files_have_names_of_their_own_and_no_package():
    names = Counter(p.name for p in tracked("tests/*.py") if p.name.startswith("test_"))
    assert not [n for n, count in names.items() if count > 1], "two test files of one name are hard to find in a report"
    assert not tracked("tests/**/__init__.py"), "tests are collected by path (importlib mode); remove __init__.py"


def test_tracked_files_name_no_place_of_one_machine_and_leave_nothing_to_do():
    forbidden = re.compile(r"/(?:root|work|home/\w+)/|\.\./shared/(?!data)|\b(?:TO" + r"DO|FIX" + r"ME|X{3})\b")
    wrong = []
    for path in tracked("*.py", "*.yaml", "*.md", "*.toml", "Makefile", ".ci/*", "docker/*"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if forbidden.search(line):
                wrong.append(f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()[:80]}")
    assert not wrong, f"say it another way: {wrong}"
