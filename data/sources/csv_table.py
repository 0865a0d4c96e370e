"""Reads a user's CSV: cells between commas or semicolons; in quotes a cell may hold both, line ends, and quotes
that are doubled (RFC 4180). A first line such as "sep=;", which Excel reads, says what divides the cells.

A row whose quotes are wrong is a bad line, and reading goes on with the next line of the file.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from data.sources.line import INNER_RETURN, MAX_LINE_BYTES, BadLineError, Columns, Line
from data.sources.table import Places, Table, find_places, has_columns, lenient_text, whole_cell

DIVIDERS = (",", ";", "\t")
MARK = re.compile(rb'"?sep=([^"])"?', re.IGNORECASE)
FIRST_ROWS = 100  # that show what divides the cells

Cells = list[str] | BadLineError


def read_csv(lines: Sequence[bytes], candidates: Sequence[Columns], place: Path) -> Table:
    """Read the pairs of a CSV; its columns are those of the first candidate in the header. Raises InputError."""
    mark = MARK.fullmatch(lines[0]) if lines else None
    start = 1 if mark else 0
    divider = mark[1].decode() if mark else _divider(lines, candidates)
    top, first = next(
        ((number, row) for number, row in _rows(lines, divider, start) if _has_text(row)), (1, [])
    )
    names = [] if isinstance(first, BadLineError) else first
    places = find_places(names, top, candidates, place)
    rows = (item for item in _rows(lines, divider, start) if item[0] > places.header)
    pairs = ((number, _pair(row, places)) for number, row in rows)
    return Table(pairs, places.names, False, places.words, places.others(names), names)


def _has_text(row: Cells) -> bool:
    return isinstance(row, list) and any(row)


def _divider(lines: Sequence[bytes], candidates: Sequence[Columns]) -> str:
    """What divides the cells: the mark under which the first row has the names of columns, else under which
    the most rows have equally many cells.
    """

    def fit(mark: str) -> tuple[bool, int]:
        rows = [row for _, row in islice(_rows(lines, mark), FIRST_ROWS) if isinstance(row, list)]
        top = next(filter(any, rows), [])
        widths = Counter(len(row) for row in rows if len(row) > 1)
        has_names = has_columns(top, candidates)
        return has_names, max(widths.values(), default=0)

    return max(DIVIDERS, key=fit)


def _rows(lines: Sequence[bytes], divider: str, start: int = 0) -> Iterator[tuple[int, Cells]]:
    """(number of its first line, cells or why they cannot be read) of each row from the line `start` on."""
    while start < len(lines):
        texts = (lenient_text(lines[number]) + "\n" for number in range(start, len(lines)))
        reader = csv.reader(texts, delimiter=divider, strict=True)
        begin = start
        try:
            for row in reader:
                yield begin + 1, row
                begin = start + reader.line_num
            return
        except csv.Error as error:
            yield begin + 1, _bad_row(lines[begin], str(error))
            start = begin + 1


def _bad_row(line: bytes, error: str) -> BadLineError:
    """Why a row cannot be read, by its first line and the words of the module csv."""
    if len(line) > MAX_LINE_BYTES:
        return BadLineError(f"longer than {MAX_LINE_BYTES:,} bytes")
    if "new-line" in error:
        return BadLineError(INNER_RETURN)
    if "field larger" in error or "end of data" in error:
        return BadLineError("a quote that does not close")
    return BadLineError("quotes are not those of CSV")


def _pair(row: Cells, places: Places) -> Line | BadLineError:
    if isinstance(row, BadLineError):
        return row
    try:
        source, reference = places.texts(row)
        return whole_cell(source), (whole_cell(reference),)
    except BadLineError as error:
        return error
