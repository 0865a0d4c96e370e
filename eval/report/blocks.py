"""The parts of a report, before they become HTML, Markdown or console text.

Every figure is text already, so all forms of a report show the same one.
"""

import textwrap
from dataclasses import dataclass

CONSOLE_WIDTH = 110


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of finished text cells; the first column is left-aligned, the others are figures."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figure:
    """A finished SVG picture; it exists in HTML only."""

    title: str
    svg: str


@dataclass(frozen=True)
class Sample:
    """One test item: `parts` are (label, language, text), `facts` a line such as the cosines."""

    title: str
    parts: tuple[tuple[str, str, str], ...]
    facts: str


Block = Text | Table | Figure | Sample


@dataclass(frozen=True)
class Section:
    """A heading and its blocks; with `is_folded` it starts closed in HTML."""

    title: str
    blocks: tuple[Block, ...]
    is_folded: bool = False


@dataclass(frozen=True)
class Document:
    """The whole report.

    `verdict` is its first paragraph, `alarms` says what went wrong in training, `gaps` what this run lacks.
    """

    title: str
    verdict: str
    gaps: tuple[str, ...]
    sections: tuple[Section, ...]
    alarms: tuple[str, ...] = ()


def plain_text(table: Table) -> str:
    """A table for the console: columns aligned, figures to the right, notes below."""
    lines = [table.header, *table.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.header))]
    aligned_lines = [aligned_line(line, widths) for line in lines]
    rule = "-" * max(len(line) for line in aligned_lines)
    return "\n".join(
        [table.title, rule, aligned_lines[0], rule, *aligned_lines[1:], rule, *map(wrap, table.notes)]
    )


def wrap(text: str) -> str:
    """A paragraph for the console; words are never broken, so a signature stays in one piece."""
    return textwrap.fill(text, CONSOLE_WIDTH, break_long_words=False, break_on_hyphens=False)


def aligned_line(cells: tuple[str, ...], widths: list[int]) -> str:
    """The first cell to the left, the others to the right."""
    figures = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
    return "  ".join([cells[0].ljust(widths[0]), *figures]).rstrip()
