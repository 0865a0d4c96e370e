"""A user's TSV: two cells of each line, the quotes of an export taken off.

Spreadsheets and CSV writers put texts in quotes and double the quotes inside; such a text may hold tabs and
line ends. A plain TSV has no such rule, and a quote in it is part of the text. So quotes are taken off where
the file shows them to be an export's: all texts have them, or those that need them have, among them one with
doubled quotes or a line end, and no other text has a quote in it.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from data.errors import InputError
from data.sources.line import BadLineError, Columns, Line, check_one_line, decode_line

QUOTE = '"'
NEED_QUOTES = '",\t\n'
SHOWN_COLUMNS = 8

Row = list[str]
Text = TypeVar("Text")


class Cell(NamedTuple):
    """A cell of an export and whether it stands in quotes."""

    text: str
    is_quoted: bool


@dataclass(frozen=True)
class Places:
    """Which cells of a row are the source and the reference text, from 0, their names, and the lines of the
    header and above it.
    """

    source: int
    reference: int
    names: Columns
    header: int

    def texts(self, row: Row) -> tuple[str, str]:
        """The two cells. Raises BadLineError for a row with too few."""
        num_columns = max(self.source, self.reference) + 1
        if len(row) < num_columns:
            raise BadLineError(
                f"{len(row)} column{'s' if len(row) > 1 else ''} where {num_columns} are needed"
            )
        return row[self.source], row[self.reference]

    def cells(self, rows: Sequence[list[Text]]) -> list[Text]:
        """The two cells of every row that has both."""
        wide = [row for row in rows if len(row) > max(self.source, self.reference)]
        return [row[place] for row in wide for place in (self.source, self.reference)]


@dataclass(frozen=True)
class Table:
    """(line number, the pair or why there is none) of every row below the header, its columns, and whether
    quotes were taken off.

    `column_words` says which columns are read, by name or by number; `first` are the cells of the first line with
    text.
    """

    rows: list[tuple[int, Line | BadLineError]]
    columns: Columns
    is_export: bool
    column_words: str
    first: list[str]


def read_table(lines: Sequence[bytes], candidates: Sequence[Columns], place: Path) -> Table:
    """The pairs of a table whose columns are those of the first candidate that the header has. Raises
    InputError.
    """
    top = next((number for number, line in enumerate(lines) if line.strip()), 0)
    first = [_bare(cell) for cell in lines[top].decode("utf-8", "replace").split("\t")] if lines else []
    places = _places(first, top + 1, candidates, place)
    export_rows = _export_rows(lines, places)
    rows: Iterable[tuple[int, Row | bytes]] = (
        enumerate(lines[places.header :], start=places.header + 1) if export_rows is None else export_rows
    )
    pairs = [(number, _pair(row, places)) for number, row in rows]
    column_words = (
        "{!r} and {!r}".format(*places.names)
        if places.header
        else f"columns {places.source + 1} and {places.reference + 1}"
    )
    return Table(pairs, places.names, export_rows is not None, column_words, first)


def _pair(row: Row | bytes, places: Places) -> Line | BadLineError:
    """The two texts of a row of an export, or of a plain line."""
    try:
        source, reference = places.texts(
            _plain_cells(row) if isinstance(row, bytes) else list(map(_whole, row))
        )
    except BadLineError as error:
        return error
    return source, (reference,)


def _plain_cells(line: bytes) -> Row:
    return check_one_line(decode_line(line)).split("\t")


def _whole(cell: str) -> str:
    """A cell that was read with bytes of no text as surrogates. Raises BadLineError where it has some."""
    return check_one_line(decode_line(cell.encode("utf-8", "surrogateescape")))


def _places(header: Row, line: int, candidates: Sequence[Columns], place: Path) -> Places:
    """Names are looked up in the first line with text, `line`; numbers count from 1; without a header the
    default names mean 1 and 2.
    """
    for names in candidates:
        if all(name in header for name in names):
            source, reference = (header.index(name) for name in names)
            return Places(source, reference, names, line)
    if all(name.isdecimal() and len(name) < 10 and int(name) > 0 for name in candidates[0]):
        source, reference = (int(name) - 1 for name in candidates[0])
        return Places(source, reference, candidates[0], 0)
    if len(candidates) > 1:
        return Places(0, 1, candidates[0], 0)
    raise InputError(
        f"{place}:{line}: no columns {candidates[0][0]!r} and {candidates[0][1]!r}; data.source_column and "
        "data.reference_column take "
        f"numbers from 1 or names of the first line, which has {header[:SHOWN_COLUMNS]}"
    )


def is_quoted(text: str) -> bool:
    """Whether a text begins and ends with a quote."""
    return len(text) > 1 and text.startswith(QUOTE) and text.endswith(QUOTE)


def _export_rows(lines: Sequence[bytes], places: Places) -> list[tuple[int, Row]] | None:
    """(line number, row) of everything below the header where the file is an export in quotes; otherwise
    None.
    """
    if not any(line.startswith(b'"') or b'\t"' in line for line in lines[places.header :]):
        return None
    plain = [_text(line).split("\t") for line in lines[places.header :]]
    texts = places.cells(plain)
    if any(texts) and all(
        is_quoted(text) or not text for text in texts
    ):  # then quotes inside need not be doubled
        return [
            (number, [_bare(cell) for cell in row])
            for number, row in enumerate(plain, start=places.header + 1)
        ]
    try:
        rows = list(_csv_rows(lines))[places.header :]
    except csv.Error:
        return None
    cells = places.cells([row for _, row in rows])
    loses_rows = (
        len(rows) - len(cells) / 2 > len(plain) - len(texts) / 2
    )  # a quote that opens a text took the next lines in
    return (
        None
        if loses_rows or not _is_export(cells)
        else [(number, [cell.text for cell in row]) for number, row in rows]
    )


def _is_export(cells: Sequence[Cell]) -> bool:
    """Whether a CSV writer put the quotes: on every text, or on those that need them and no others."""
    quoted_texts = [cell.text for cell in cells if cell.is_quoted]
    bare_texts = [cell.text for cell in cells if not cell.is_quoted]
    if not any(bare_texts):
        return bool(quoted_texts)
    needs_quotes = all(any(mark in text for mark in NEED_QUOTES) for text in quoted_texts)
    has_quotes_inside = any(QUOTE in text or "\n" in text for text in quoted_texts) and not any(
        "\t" in text and "\n" in text for text in quoted_texts
    )
    return needs_quotes and has_quotes_inside and not any(QUOTE in text for text in bare_texts)


def _csv_rows(lines: Sequence[bytes]) -> Iterator[tuple[int, list[Cell]]]:
    """(number of its first line, cells) of each row. Raises csv.Error where the quotes are not those of
    CSV.
    """
    row_lines: list[str] = []

    def feed() -> Iterator[str]:
        for line in lines:
            row_lines.append(_text(line) + "\n")
            yield row_lines[-1]

    reader = csv.reader(feed(), delimiter="\t", strict=True)
    number = 1
    for row in reader:
        yield number, list(_cells(row, "".join(row_lines)))
        number = reader.line_num + 1
        row_lines.clear()


def _cells(row: Row, row_text: str) -> Iterator[Cell]:
    """The cells of a row with what is known from how it was written."""
    place = 0
    for text in row:
        is_quoted_here = row_text.startswith(QUOTE, place)
        yield Cell(text, is_quoted_here)
        place += len(text) + 1 + (2 + text.count(QUOTE) if is_quoted_here else 0)


def _bare(cell: str) -> str:
    return cell[1:-1].replace(QUOTE * 2, QUOTE) if is_quoted(cell) else cell


def _text(line: bytes) -> str:
    """A line whose bytes of no text are surrogates, so that reading goes on; `_whole` finds them."""
    return line.decode("utf-8", "surrogateescape")
