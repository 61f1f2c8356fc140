"""Parses dags/ once in a process of its own and prints, as JSON, what the parsing tests ask about."""

import json
import sys
import time
import tomllib
from hashlib import sha256
from pathlib import Path

from pipelines.settings import REPOSITORY

RUFF = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
HEAVY = RUFF["flake8-tidy-imports"]["banned-module-level-imports"]


def main(folder: Path) -> None:
    from airflow.dag_processing.dagbag import BundleDagBag
    from airflow.serialization.serialized_objects import DagSerialization

    already = set(sys.modules)
    started = time.process_time()
    bag = BundleDagBag(dag_folder=folder, bundle_path=folder, bundle_name="dags-folder")
    seconds = time.process_time() - started
    imported = set(sys.modules) - already
    serialised = {
        dag_id: sha256(json.dumps(DagSerialization.to_dict(dag), sort_keys=True, default=str).encode()).hexdigest()
        for dag_id, dag in bag.dags.items()
    }
    report = {
        "seconds": seconds,
        "per_file": {stat.file: stat.duration.total_seconds() for stat in bag.dagbag_stats},
        "errors": bag.import_errors,
        "broken": [dag_id for dag_id, dag in bag.dags.items() if "broken" in dag.tags],
        "heavy": sorted(name for name in HEAVY if name in imported),
        "serialised": serialised,
    }
    sys.stdout.write("\n" + json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
