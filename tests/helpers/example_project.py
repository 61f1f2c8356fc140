"""A demo machine of its own for one project, driven by the command line as a person would."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.contracts import GateReport
from pipelines.settings import REPOSITORY, Settings

Record = dict[str, Any]

# As the session found it: commands run beside tests that change the environment for themselves.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("VIGIL_")}


@dataclass(frozen=True)
class ExampleMachine:
    """A home, a lake, a registry and a database; `project` is the folder with the model file."""

    home: Path
    database_url: str
    sources: Path
    project: Path

    @property
    def settings(self) -> Settings:
        return Settings(
            environment="demo",
            home=self.home,
            project=self.project,
            sources=self.sources,
            database_url=self.database_url,
            lake_url=str(self.home / "lake"),
            mlflow_tracking_uri=self.database_url,
            mlflow_artifacts=str(self.home / "mlflow"),
            token_key_file=self.home / "token.key",
            data_docs=self.home / "data_docs",
        )

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m pipelines --json` with the arguments, whatever comes of it."""
        return self.python("-m", "pipelines", "--json", *arguments)

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run this Python with the arguments in the repository, whatever comes of it."""
        chosen = self.settings.model_dump(include=self.settings.model_fields_set)
        environment = _ENVIRONMENT | {f"VIGIL_{name.upper()}": str(value) for name, value in chosen.items()}
        return subprocess.run(
            [sys.executable, *arguments], cwd=REPOSITORY, env=environment, capture_output=True, text=True
        )

    def run(self, *arguments: str, may_be_blocked: bool = False) -> list[Record]:
        """The records that a command prints. Fails the test unless it succeeds or, where that is allowed, is blocked."""
        done = self.command(*arguments)
        allowed = (0, 3) if may_be_blocked else (0,)
        assert done.returncode in allowed, f"{arguments}: exit code {done.returncode}\n{done.stderr[-3000:]}"
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    def with_copied_project(self, folder: Path) -> ExampleMachine:
        """The same machine with a copy of the project, to be changed."""
        shutil.copytree(self.project, folder)
        return ExampleMachine(self.home, self.database_url, self.sources, folder)


@dataclass(frozen=True)
class RunExample:
    """An example after all commands of its README, and the records each of them printed."""

    machine: ExampleMachine
    printed: dict[str, list[Record]]

    def judged(self, version: int) -> GateReport:
        """What the gates said of a version, by the `judge` of the README. Whether it passes is for the test to say."""
        [report] = [record for record in self.records("judge", "verdicts") if record["version"] == version]
        return GateReport.model_validate(report)

    def records(self, command: str, key: str) -> list[Record]:
        """The records of a command that have the key: a command prints records of several kinds."""
        return [record for record in self.printed[command] if key in record]


def page_commands(page: Path) -> list[list[str]]:
    """The arguments of each `python -m pipelines` command in the ```bash blocks of a page."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", page.read_text(), re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line)[3:] for line in lines if line.startswith("python -m pipelines ")]
