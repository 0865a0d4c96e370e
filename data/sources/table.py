"""Reads a user's TSV: two cells of each line, without the quotes of an export.

Spreadsheets and CSV writers put texts in quotes and double the quotes inside; such a text may hold tabs and
line ends. A plain TSV has no such rule, and a quote in it is part of the text. So quotes are removed only
where the file shows that an export wrote them: either all texts have quotes, or exactly the texts that need
them do, one of them with doubled quotes or a line end, and no other text contains a quote.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from data.clean import shorten
from data.errors import InputError
from data.sources.line import BadLineError, Columns, Line, check_one_line, column_name, decode_line

QUOTE = '"'
NEED_QUOTES = '",\t\n'
SHOWN_COLUMNS = 8
SHOWN_CELL = 20  # characters of a cell of the first line

Row = list[str]
Text = TypeVar("Text")


class Cell(NamedTuple):
    """A cell of an export and whether it had quotes."""

    text: str
    is_quoted: bool


@dataclass(frozen=True)
class Places:
    """The indices of the source and the reference text in a row, from 0, their names, and the number of lines
    down to the header.
    """

    source: int
    reference: int
    names: Columns
    header: int

    @property
    def words(self) -> str:
        """Which columns are read, by name or by number."""
        return (
            "{!r} and {!r}".format(*self.names)
            if self.header
            else f"columns {self.source + 1} and {self.reference + 1}"
        )

    def others(self, header: Row) -> list[str]:
        """The columns of the first line that are not read, by name or by number."""
        return [
            repr(shorten(cell, SHOWN_CELL)) if self.header else f"column {number}"
            for number, cell in enumerate(header, start=1)
            if cell and number - 1 not in (self.source, self.reference)
        ]

    def texts(self, row: Row) -> tuple[str, str]:
        """The two cells. Raises BadLineError for a row with too few."""
        num_columns = max(self.source, self.reference) + 1
        if len(row) < num_columns:
            raise BadLineError(f"too few columns: {len(row)} where {num_columns} are needed")
        return row[self.source], row[self.reference]

    def cells(self, rows: Sequence[list[Text]]) -> list[Text]:
        """The two cells of every row that has both."""
        wide = [row for row in rows if len(row) > max(self.source, self.reference)]
        return [row[place] for row in wide for place in (self.source, self.reference)]


@dataclass(frozen=True)
class Table:
    """(line number, the pair or why there is none) of every row below the header, the columns, and whether
    quotes were removed.

    `column_words` says which columns are read, by name or by number, and `others` which are not; `first` has the
    cells of the first line with text.
    """

    rows: Iterable[tuple[int, Line | BadLineError]]
    columns: Columns
    is_export: bool
    column_words: str
    others: list[str]
    first: list[str]


def read_table(lines: Sequence[bytes], candidates: Sequence[Columns], place: Path) -> Table:
    """Read the pairs of a table; its columns are those of the first candidate in the header. Raises InputError."""
    top = next((number for number, line in enumerate(lines) if line.strip()), 0)
    first = [_bare(cell) for cell in lines[top].decode("utf-8", "replace").split("\t")] if lines else []
    places = find_places(first, top + 1, candidates, place)
    export_rows = _export_rows(lines, places)
    rows: Iterable[tuple[int, Row | bytes]] = (
        enumerate(lines[places.header :], start=places.header + 1) if export_rows is None else export_rows
    )
    pairs = ((number, _pair(row, places)) for number, row in rows)
    return Table(pairs, places.names, export_rows is not None, places.words, places.others(first), first)


def _pair(row: Row | bytes, places: Places) -> Line | BadLineError:
    """The two texts of a row of an export, or of a plain line."""
    try:
        source, reference = places.texts(
            _plain_cells(row) if isinstance(row, bytes) else list(map(whole_cell, row))
        )
    except BadLineError as error:
        return error
    return source, (reference,)


def _plain_cells(line: bytes) -> Row:
    return check_one_line(decode_line(line)).split("\t")


def whole_cell(cell: str) -> str:
    """Check a cell that was decoded with surrogates for bad bytes. Raises BadLineError where it has some."""
    return check_one_line(decode_line(cell.encode("utf-8", "surrogateescape")))


def find_places(header: Row, line: int, candidates: Sequence[Columns], place: Path) -> Places:
    """Find names in the first line with text, `line`, whatever their case and the spaces around them; numbers count
    from 1; without a header the default names mean 1 and 2.
    """
    for names in candidates:
        if has_columns(header, [names]):
            source, reference = (_place(name, header) for name in names)
            return Places(source, reference, names, line)
    if all(name.isdecimal() and len(name) < 10 and int(name) > 0 for name in candidates[0]):
        source, reference = (int(name) - 1 for name in candidates[0])
        return Places(source, reference, candidates[0], 0)
    if len(candidates) > 1:
        return Places(0, 1, candidates[0], 0)
    raise InputError(
        f"{place}:{line}: no columns {candidates[0][0]!r} and {candidates[0][1]!r}; data.source_column and "
        f"data.reference_column take numbers from 1 or names of the first line, which has {header[:SHOWN_COLUMNS]}"
    )


def has_columns(header: Row, candidates: Sequence[Columns]) -> bool:
    """Whether a first line has the names of one of the candidates."""
    cells = [column_name(cell) for cell in header]
    return any(all(column_name(name) in cells for name in names) for names in candidates)


def _place(name: str, header: Row) -> int:
    """The column with this name, else the first with one that differs by case or spaces."""
    return (
        header.index(name)
        if name in header
        else [column_name(cell) for cell in header].index(column_name(name))
    )


def is_quoted(text: str) -> bool:
    """Whether a text begins and ends with a quote."""
    return len(text) > 1 and text.startswith(QUOTE) and text.endswith(QUOTE)


def _export_rows(lines: Sequence[bytes], places: Places) -> list[tuple[int, Row]] | None:
    """(line number, row) of all rows below the header where the file is an export in quotes; else None."""
    if not any(line.startswith(b'"') or b'\t"' in line for line in lines[places.header :]):
        return None
    plain = [lenient_text(line).split("\t") for line in lines[places.header :]]
    texts = places.cells(plain)
    if any(texts) and all(is_quoted(text) or not text for text in texts):  # then quotes inside may be single
        return [
            (number, [_bare(cell) for cell in row])
            for number, row in enumerate(plain, start=places.header + 1)
        ]
    try:
        rows = list(_csv_rows(lines))[places.header :]
    except csv.Error:
        return None
    cells = places.cells([row for _, row in rows])
    # a quote that opens a text swallowed the next lines
    loses_rows = len(rows) - len(cells) / 2 > len(plain) - len(texts) / 2
    return (
        None
        if loses_rows or not _is_export(cells)
        else [(number, [cell.text for cell in row]) for number, row in rows]
    )


def _is_export(cells: Sequence[Cell]) -> bool:
    """Whether a CSV writer wrote the quotes: around every text, or only around those that need them."""
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
    """(number of its first line, cells) of each row. Raises csv.Error where the quotes are not those of CSV."""
    row_lines: list[str] = []

    def feed() -> Iterator[str]:
        for line in lines:
            row_lines.append(lenient_text(line) + "\n")
            yield row_lines[-1]

    reader = csv.reader(feed(), delimiter="\t", strict=True)
    number = 1
    for row in reader:
        yield number, list(_cells(row, "".join(row_lines)))
        number = reader.line_num + 1
        row_lines.clear()


def _cells(row: Row, row_text: str) -> Iterator[Cell]:
    """The cells of a row, with quotes recognised in its text `row_text`."""
    place = 0
    for text in row:
        is_quoted_here = row_text.startswith(QUOTE, place)
        yield Cell(text, is_quoted_here)
        place += len(text) + 1 + (2 + text.count(QUOTE) if is_quoted_here else 0)


def _bare(cell: str) -> str:
    return cell[1:-1].replace(QUOTE * 2, QUOTE) if is_quoted(cell) else cell


def lenient_text(line: bytes) -> str:
    """Decode a line with surrogates for bad bytes, so that reading continues; `whole_cell` finds them."""
    return line.decode("utf-8", "surrogateescape")
