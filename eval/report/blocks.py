"""The parts of a report, before they become HTML, Markdown or console text.

Every figure is text already, so all forms of a report show the same one.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

CONSOLE_WIDTH = 110
WAYS = {"up": "\u25b2", "down": "\u25bc", "": "\u2248"}  # of a number, with its arrow


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Sentences:
    """A list of sentences."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows of finished text cells; the first column is left-aligned, the others are figures."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figure:
    """A finished picture, which exists in HTML only, and `table`, its numbers for those who cannot see it."""

    title: str
    drawing: str
    table: Table | None = None


@dataclass(frozen=True)
class Sample:
    """One test item: `parts` are (label, language, text), `facts` a line such as the cosines.

    `groups` are the headings that it belongs to. The parts behind the one called `base` are compared with it.
    """

    title: str
    parts: tuple[tuple[str, str, str], ...]
    facts: str
    groups: tuple[str, ...] = ()
    base: str = ""


@dataclass(frozen=True)
class Samples:
    """Test items, with a filter where they are in several groups."""

    items: tuple[Sample, ...]


Block = Text | Sentences | Table | Figure | Samples


@dataclass(frozen=True)
class Section:
    """A heading and its blocks; with `is_folded` it starts closed in HTML."""

    title: str
    blocks: tuple[Block, ...]
    is_folded: bool = False


@dataclass(frozen=True)
class Number:
    """One figure of the first screen.

    `values` are those before and after, `against` names what the change is over. `way` is a key of WAYS, by what
    is clear, and `reading` says in words whether that is good.
    """

    label: str
    change: str
    interval: str
    values: str
    against: str
    way: str
    reading: str


@dataclass(frozen=True)
class Document:
    """The whole report.

    `verdict` answers whether to ship in one sentence and `reasons` says why in at most two; `tone` is "good",
    "caution", "bad" or "" (no verdict). `alarms` say what went wrong in training, `gaps` what is lacking.
    """

    title: str
    verdict: str
    gaps: tuple[str, ...]
    sections: tuple[Section, ...]
    alarms: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    tone: str = ""
    numbers: tuple[Number, ...] = ()
    picture: Figure | None = None


def table_of(title: str, rows: Iterable[Mapping[str, str]], notes: Sequence[str] = ()) -> Table:
    """The table of rows that are each given as header -> cell, with the same headers in the same order."""
    cells = [*rows]
    header = tuple(cells[0]) if cells else ()
    return Table(title, header, tuple(tuple(row.values()) for row in cells), tuple(notes))


def with_rows(tables: Iterable[Table]) -> tuple[Table, ...]:
    """The tables that have something to show."""
    return tuple(table for table in tables if table.rows)


def number_table(numbers: Sequence[Number]) -> Table:
    """The figures of the first screen as a table, for the forms of a report that have no cards."""
    rows = tuple(
        (f"{one.label} ({one.against})", WAYS[one.way], one.change, one.interval, one.values, one.reading)
        for one in numbers
    )
    header = ("Number", "Way", "Change", "95 % interval", "Before and after", "Reading")
    return Table("The main numbers", header, rows)


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
