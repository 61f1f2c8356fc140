"""The pack as one PDF for print. The only module that imports fpdf2.

Its fonts are the DejaVu fonts that come with matplotlib, because PDF's own fonts know Latin letters only. The date inside is
that of the newest record, so the same records give the same bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

from fpdf import FPDF
from fpdf.enums import TableBordersLayout, VAlign, XPos, YPos
from fpdf.fonts import FontFace

from pipelines.validation.documents.blocks import Block, Bullets, Facts, Links, Missing, Picture, Section, Table, Text
from pipelines.validation.documents.pages import standing
from pipelines.validation.documents.records import Records
from pipelines.validation.documents.words import moment

NAME = "evidence.pdf"
_FONT = "DejaVu"
_MOST_IN_A_ROW = 5_000  # characters over the whole width; a row that is higher than a page cannot be set
_NO_RECORD = datetime(2000, 1, 1, tzinfo=UTC)
_INK, _SOFT, _LINE, _OPEN, _GOOD, _BAD = (
    (27, 39, 51),
    (90, 107, 123),
    (217, 224, 231),
    (134, 86, 10),
    (26, 107, 60),
    (163, 32, 29),
)
_LOOKS = {"good": _GOOD, "bad": _BAD, "open": _OPEN, "plain": _INK}
_VERDICTS = {"pass": _GOOD, "approve": _GOOD, "fail": _BAD, "refuse": _BAD}


def document(records: Records, sections: Sequence[Section], kept: Mapping[str, bytes]) -> bytes:
    """The PDF of all sections. `kept` holds the pictures by their path in the pack."""
    pdf = _Document(records)
    pdf.front_page(records, sections)
    for section in sections:
        pdf.section(section, kept)
    return bytes(pdf.output())


class _Document(FPDF):
    """A4 pages with the pack's name at the foot and an outline to jump by."""

    def __init__(self, records: Records) -> None:
        super().__init__(format="A4")
        logging.getLogger("fontTools").setLevel(logging.ERROR)  # it tells every table it leaves out
        self._foot = f"{records.model.name} version {records.version} · evidence pack · {records.artefact_digest[:12]}"
        for style, file in (("", "DejaVuSans.ttf"), ("B", "DejaVuSans-Bold.ttf")):
            self.add_font(_FONT, style, _fonts() / file)
        self.set_margins(16, 16)
        self.set_auto_page_break(True, 18)
        self.set_title(f"{records.model.title}, version {records.version}: evidence pack")
        self.set_author(records.model.owner)
        self.set_creation_date((records.newest or _NO_RECORD).astimezone(UTC))
        self.set_lang("en")

    def footer(self) -> None:
        self.set_y(-12)
        self._write(7.5, _SOFT)
        self.cell(0, 4, self._foot)
        self.set_x(self.l_margin)
        self.cell(0, 4, f"{self.page_no()} / {{nb}}", align="R")

    def front_page(self, records: Records, sections: Sequence[Section]) -> None:
        self.add_page()
        self.ln(18)
        self._line("EVIDENCE PACK", 8.5, _SOFT)
        self._line(f"{records.model.title}, version {records.version}", 20, _INK, bold=True)
        self._line(records.model.purpose, 11, _SOFT)
        self.ln(5)
        looks = [_LOOKS[look] for _, _, look in standing(records)]
        self._rows([(name, value) for name, value, _ in standing(records)], looks)
        self.ln(3)
        self._facts(
            Facts(
                (
                    ("Owner", records.model.owner),
                    ("Validator", records.model.validator),
                    ("Domain, tier", f"{records.model.domain}, tier {records.model.tier}"),
                    ("Digest of the files", records.artefact_digest),
                    ("State of the records", moment(records.newest)),
                )
            )
        )
        rows = tuple((str(n), section.title, section.summary) for n, section in enumerate(sections, start=1))
        self._table(Table("Contents", ("", "section", "in a line"), rows, (1, 5, 12)))

    def section(self, section: Section, kept: Mapping[str, bytes]) -> None:
        self.add_page()
        self.start_section(section.title)
        self._line(section.title, 15, _INK, bold=True)
        if not section.missing:
            self._line(section.summary, 9.5, _SOFT)
        for answer in section.answers:
            self._line(f"Answers {answer}", 7.5, _SOFT)
        self.ln(2)
        for block in section.in_print or section.blocks:
            self._block(block, kept)

    def _block(self, block: Block, kept: Mapping[str, bytes]) -> None:
        match block:
            case Text(text):
                self._line(text, 9.5, _INK)
            case Missing():
                self._line(block.text, 9.5, _OPEN)
            case Bullets(sentences):
                for sentence in sentences:
                    self._line(f"•  {sentence}", 9.5, _INK)
            case Facts():
                self._facts(block)
            case Table():
                self._table(block)
            case Picture():
                self._picture(block, kept)
            case Links(title, files):
                self._line(f"{title}: {', '.join(path for _, path in files)}", 8, _SOFT)
        self.ln(1.5)

    def _line(self, text: str, size: float, colour: tuple[int, int, int], *, bold: bool = False) -> None:
        self._write(size, colour, bold=bold)
        self.multi_cell(0, size * 0.5, text, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(0.8)

    def _facts(self, facts: Facts) -> None:
        self._rows(list(facts.rows), [_INK] * len(facts.rows))

    def _rows(self, rows: Sequence[tuple[str, str]], looks: Sequence[tuple[int, int, int]]) -> None:
        self._write(8.5, _INK)
        with self._grid((2, 6), headings=0) as grid:
            for (name, value), look in zip(rows, looks, strict=True):
                row = grid.row()
                row.cell(name, style=FontFace(color=_SOFT))
                row.cell(value, style=FontFace(color=look, emphasis="BOLD" if look != _INK else None))

    def _table(self, table: Table) -> None:
        self.ln(1.5)
        if self.will_page_break(24):
            self.add_page()
        self._line(table.title, 10.5, _INK, bold=True)
        if table.note:
            self._line(table.note, 8, _SOFT)
        widths = table.widths or (1,) * len(table.columns)
        most = [int(_MOST_IN_A_ROW * width / sum(widths)) for width in widths]
        self._write(7 if len(table.columns) > 5 else 8, _INK)
        with self._grid(widths, headings=1) as grid:
            head = grid.row()
            for column in table.columns:
                head.cell(column)
            for cells in table.rows:
                row = grid.row()
                for index, whole in enumerate(cells):
                    cell = whole if len(whole) <= most[index] else f"{whole[: most[index]]}… (in full on the page)"
                    verdict = index == table.verdict
                    row.cell(
                        cell, style=FontFace(color=_VERDICTS.get(cell, _OPEN), emphasis="BOLD") if verdict else None
                    )

    def _grid(self, widths: Sequence[int], headings: int):  # type: ignore[no-untyped-def]
        self.set_draw_color(*_LINE)
        return self.table(
            col_widths=tuple(widths),
            first_row_as_headings=headings > 0,
            headings_style=FontFace(color=_SOFT, emphasis="BOLD"),
            borders_layout=TableBordersLayout.HORIZONTAL_LINES,
            line_height=self.font_size * 1.45,
            padding=(0.6, 1.2, 0.6, 0),
            text_align="LEFT",
            v_align=VAlign.T,
            num_heading_rows=max(headings, 1),
        )

    def _picture(self, picture: Picture, kept: Mapping[str, bytes]) -> None:
        if self.will_page_break(85):
            self.add_page()
        self.image(BytesIO(kept[picture.path]), w=100)
        self._line(picture.caption, 8, _SOFT)

    def _write(self, size: float, colour: tuple[int, int, int], *, bold: bool = False) -> None:
        self.set_font(_FONT, "B" if bold else "", size)
        self.set_text_color(*colour)


def _fonts() -> Path:
    """Where matplotlib keeps its fonts; importing it for that would take a second."""
    found = find_spec("matplotlib")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("matplotlib, whose fonts the PDF is written with, is not installed")
    return Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"
