"""What the README and docs/ tell a reader to type exists: make targets, commands with their options, paths and links."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import typer

import pipelines.cli.main  # noqa: F401 - adds every command to the application
from pipelines.cli.app import app, shared_options_first

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(?:bash|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


def commands(page: Path) -> Iterator[list[str]]:
    """Every command line of a page's shell blocks, as words; continuation lines joined, comments left out."""
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


def told(*beginnings: str) -> list[tuple[str, list[str]]]:
    """Commands of all pages that hold one of the beginnings, with the name of their page."""
    return [(page.name, words) for page in PAGES for words in commands(page) if any(b in words for b in beginnings)]


def parse(arguments: list[str]) -> None:
    """Read a command line of `python -m pipelines` with the application's own parser; nothing is run."""
    command = typer.main.get_command(app)
    context = command.make_context("pipelines", shared_options_first(arguments))
    rest = [*context._protected_args, *context.args]
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
        rest = [*getattr(context, "_protected_args", []), *context.args]


def test_every_make_target_that_is_named_exists():
    targets = set(re.findall(r"^([\w.-]+):.*?## ", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    named = {
        (page, word) for page, words in told("make") for word in words[words.index("make") + 1 :] if "=" not in word
    }
    inline = {(p.name, t) for p in PAGES for t in re.findall(r"`make ([a-z.]+)`", p.read_text(encoding="utf-8"))}
    assert not {(page, name) for page, name in named | inline if name not in targets}


@pytest.mark.parametrize(
    ("page", "words"), told("pipelines"), ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_every_command_is_understood(page, words):
    arguments = words[words.index("pipelines") + 1 :]
    ends = [i for i, word in enumerate(arguments) if word in (">", ">>", "|", "&&", "||", ";")]
    with suppress(typer.Exit):  # --help was asked for
        parse(arguments[: ends[0]] if ends else arguments)


def test_a_command_that_does_not_exist_is_noticed():
    for wrong in (["publish", "--modle", "m"], ["publsh"], ["feast", "aply"], ["night", "--date", "yesterday"]):
        with pytest.raises(typer.BadParameter.__mro__[2]):
            parse(wrong)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


def test_every_folder_in_the_readme_exists_and_every_folder_is_in_the_readme():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    table = readme.split("## Where things are")[1].split("\n## ")[0]
    named = {
        name.rstrip("/")
        for name in re.findall(
            r"`([\w.-]+/?)`", "\n".join(r.split("|")[1] for r in table.splitlines() if r.startswith("| `"))
        )
    }
    tracked = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    folders = {line.split("/")[0] for line in tracked.splitlines() if "/" in line and not line.startswith(".")}
    assert not {name for name in named if not (REPOSITORY / name).exists()}
    assert not folders - named - {"docs", "tests"}, "a newcomer looks for it in the README's map"


def test_what_the_readme_tells_to_run_is_run_by_ci():
    ci = (REPOSITORY / ".ci" / "run").read_text()
    for words in commands(REPOSITORY / "README.md"):
        assert " ".join(words) in ci, f"README: `{' '.join(words)}` is a promise; .ci/run must keep it"


def test_make_says_what_it_can_do():
    shown = subprocess.run(
        ["make", "--no-print-directory"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    for target in ("nightly", "up", "down", "status", "test", "lint", "types", "bench", "lock"):
        assert f"make {target} " in shown


def test_the_command_line_starts_fast_enough_to_be_asked_for_help():
    heavy = ("pandas", "duckdb", "mlflow", "sqlalchemy", "feast")
    probe = f"import sys, pipelines.cli.main; print([m for m in {heavy} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]", "import it inside the command"
