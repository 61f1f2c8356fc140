"""The pack as HTML: a front page and one page per section. Nothing is fetched from a network, and pictures are the pack's own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from jinja2 import Environment, PackageLoader

from pipelines.validation.documents.blocks import Section
from pipelines.validation.documents.records import Records
from pipelines.validation.documents.words import moment

INDEX = "index.html"


def pages(records: Records, sections: Sequence[Section]) -> dict[str, bytes]:
    """Every page by its path; the same records give the same bytes."""
    shared = {
        "records": records,
        "sections": sections,
        "state_of": moment(records.newest),
        "standing": standing(records),
    }
    made = {INDEX: _environment().get_template("index.html").render(**shared, current=None)}
    for section in sections:
        made[f"{section.key}.html"] = _environment().get_template("section.html").render(**shared, current=section)
    return {path: text.encode() for path, text in made.items()}


def standing(records: Records) -> tuple[tuple[str, str, str], ...]:
    """What the front page says first: a name, a value, and how it is shown (good, bad, open or plain)."""
    run = records.gate_run
    gates = ("not judged", "open") if run is None else ("passed", "good") if run.report.passed else ("blocked", "bad")
    approved = {a.person for asked in records.requests for a in asked.request.answers if a.answer == "approve"}
    refused = any(a.answer == "refuse" for asked in records.requests for a in asked.request.answers)
    permit = next((p for p in reversed(records.permits) if p.role == "champion"), None)
    said = "refused" if refused else ", ".join(sorted(approved)) or "nobody"
    return (
        ("Gates", *gates),
        ("Approved by", said, "bad" if refused else "good" if approved else "open"),
        (
            "Permit as champion",
            f"no. {permit.permit_no}, to {permit.expires:%Y-%m-%d}" if permit else "none",
            "good" if permit else "open",
        ),
        ("Last entry", records.entries[-1].kind.replace("_", " ") if records.entries else "none", "plain"),
    )


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("pipelines.validation.documents"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    made.globals["kind"] = lambda block: type(block).__name__
    return made
