"""Which headings of a law or guidance the sections answer, by policies/documentation.yaml."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pipelines.spec import DocumentationMap
from pipelines.validation.documents.blocks import Block, Missing, Section, Table
from pipelines.validation.documents.records import Records
from pipelines.validation.documents.words import NONE

KEY = "mapping"


def with_answers(sections: Iterable[Section], records: Records) -> tuple[Section, ...]:
    """The sections, each with the headings that it answers."""
    table = records.documentation
    if table is None:
        return tuple(sections)
    return tuple(replace(section, answers=_answers(table, records, section.key)) for section in sections)


def mapping(records: Records, sections: Iterable[Section]) -> Section:
    """The table itself, with whether the answering sections have something to show."""
    table = records.documentation
    title = "Map to laws and guidance"
    if table is None:
        missing = Missing("map to laws and guidance; there is no policies/documentation.yaml")
        return Section(KEY, title, missing.text, (missing,))
    by_key = {section.key: section for section in sections}
    blocks: list[Block] = []
    frameworks = table.for_use(records.model.domain)
    for framework in frameworks:
        until = f" to {framework.applies_to}" if framework.applies_to else ""
        confirmed = (
            f"confirmed by {framework.confirmed_by}" if framework.confirmed_by else "not yet confirmed by counsel"
        )
        rows = tuple(
            (
                heading.number,
                heading.title,
                ", ".join(heading.articles) or NONE,
                "; ".join(_told(by_key, key) for key in heading.sections) or NONE,
                heading.outside or NONE,
            )
            for heading in framework.headings
        )
        note = f"{framework.source}. Applies from {framework.applies_from}{until}; this table is {confirmed}."
        columns = ("no.", "heading", "articles", "answered in", "kept outside this pack")
        blocks.append(Table(framework.title, columns, rows, (1, 5, 2, 5, 5), note=note))
    if not frameworks:
        blocks.append(Missing(f"framework for the domain {records.model.domain} in policies/documentation.yaml"))
    summary = "; ".join(framework.title for framework in frameworks) or "no framework asks about this domain"
    return Section(KEY, title, summary, tuple(blocks))


def _answers(table: DocumentationMap, records: Records, key: str) -> tuple[str, ...]:
    found = []
    for framework in table.for_use(records.model.domain):
        numbers = [heading.number for heading in framework.headings if key in heading.sections]
        if numbers:
            found.append(f"{framework.title}: {', '.join(numbers)}")
    return tuple(found)


def _told(by_key: dict[str, Section], key: str) -> str:
    section = by_key.get(key)
    if section is None:
        return key
    return f"{section.title} (not recorded)" if section.missing else section.title
