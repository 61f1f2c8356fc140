"""What a section of the pack is made of, whether it becomes HTML or PDF."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Missing:
    """What is not recorded, and why or what would record it."""

    what: str

    @property
    def text(self) -> str:
        return f"not recorded: {self.what}"


@dataclass(frozen=True)
class Bullets:
    """Sentences, one below the other."""

    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """Names and values, one below the other."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """Rows under a heading. Columns share the width of a page by `widths`, evenly when there are none.

    Attributes:
        verdict: index of a column whose words are verdicts, shown in their colour.
        note: a line below the heading.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    widths: tuple[int, ...] = ()
    verdict: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture of the pack, by its path in it."""

    path: str
    caption: str


@dataclass(frozen=True)
class Links:
    """Files of the pack: what they are, and their paths in it."""

    title: str
    files: tuple[tuple[str, str], ...]


Block = Text | Missing | Bullets | Facts | Table | Picture | Links


@dataclass(frozen=True)
class Section:
    """One section: a page of the pack and a chapter of the PDF.

    Attributes:
        key: as policies/documentation.yaml names it; its page is `<key>.html`.
        summary: one line for the front page.
        answers: headings of frameworks that it answers, in words.
        in_print: what stands in the PDF, where that is less than on the page; the page when None.
    """

    key: str
    title: str
    summary: str
    blocks: tuple[Block, ...]
    answers: tuple[str, ...] = ()
    in_print: tuple[Block, ...] | None = None

    @property
    def missing(self) -> bool:
        """Whether the section has nothing to show."""
        return self.partly and not any(isinstance(block, Bullets | Facts | Table | Picture) for block in self.blocks)

    @property
    def partly(self) -> bool:
        """Whether something of the section is not recorded."""
        return any(isinstance(block, Missing) for block in self.blocks)
