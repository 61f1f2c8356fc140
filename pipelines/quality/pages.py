"""Data Docs: one page for each verdict, and an index of the newest. Counts only, and nothing fetched from a network: GX's
own page asks sixteen foreign servers for scripts and styles, which a bank's network does not let through."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, PackageLoader, Template

from pipelines import database
from pipelines.contracts import Check, QualityVerdict
from pipelines.lake import local_folder
from pipelines.settings import Settings

_INDEX_LENGTH = 500


def write(settings: Settings, verdict: QualityVerdict) -> str:
    """Write the page of a verdict under `settings.data_docs`; returns its path."""
    made_at = datetime.now(UTC)
    folder = local_folder(settings.data_docs / verdict.subject / verdict.business_date.isoformat())
    page = folder / f"{made_at:%Y%m%dT%H%M%S%f}.html"
    sections = [(about, list(checks)) for about, checks in groupby(verdict.checks, key=_about)]
    page.write_text(_template("verdict").render(verdict=verdict, sections=sections, made_at=made_at), encoding="utf-8")
    return str(page)


def write_index(settings: Settings) -> Path:
    """List the newest verdicts in `index.html`, newest first."""
    newest = database.rows(
        settings,
        "SELECT subject, business_date, passed, judged_at, verdict ->> 'data_docs' AS page, "
        "jsonb_array_length(verdict -> 'checks') AS checks FROM vigil.quality_verdict ORDER BY verdict_no DESC LIMIT :most",
        most=_INDEX_LENGTH,
    )
    root = settings.data_docs.as_posix() + "/"
    listed = [{**row, "page": row["page"].removeprefix(root)} for row in newest]
    index = local_folder(settings.data_docs) / "index.html"
    fresh = index.with_suffix(f".{datetime.now(UTC):%H%M%S%f}")
    fresh.write_text(_template("index").render(verdicts=listed), encoding="utf-8")
    return fresh.replace(index)


def _about(check: Check) -> str:
    return check.name.partition(":")[0]


@cache
def _template(name: str) -> Template:
    environment = Environment(loader=PackageLoader("pipelines.quality"), autoescape=True, trim_blocks=True)
    return environment.get_template(f"{name}.html")
