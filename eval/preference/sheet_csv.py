"""Writes the sheet as CSV and reads it back as spreadsheets save it.

They save commas, semicolons or tabs, in UTF-8 (with or without a byte order mark) or UTF-16.
A cell that a spreadsheet would take for a formula gets an apostrophe in front. Only the columns id and better
of a filled sheet are read, so changes that a program makes to the texts do not matter.
"""

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from data.documents import read_bytes
from data.errors import InputError

COLUMNS = ("id", "source", "reference", "output 1", "output 2", "better", "comment")
# what a cell must not begin with; the last four are full-width = + - @
FORMULA = re.compile("[=+\\-@\t\r\n'\uff1d\uff0b\uff0d\uff20]")
SIGNS = {"1": "1", "2": "2", "=": "=", "==": "=", "0": "=", "tie": "="}
DECIMALS = re.compile("[.,]0+$")  # what a spreadsheet may add to a number


def escape_formula(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if FORMULA.match(cell) else cell


def sheet_csv(rows: Sequence[Sequence[str]]) -> str:
    """The sheet with a byte order mark, by which Excel knows UTF-8.

    `rows`: cells in the order of `COLUMNS`.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    writer.writerows([list(map(escape_formula, row)) for row in rows])
    return "\ufeff" + out.getvalue()


def read_signs(path: Path, names: Sequence[str]) -> dict[str, str]:
    """Row name -> "1", "2" or "=" of a filled sheet, without rows that are empty or missing.

    Raises InputError with the line.
    """
    signs: dict[str, str] = {}
    lines: dict[str, int] = {}
    row_names = set(names)
    for line, row in read_rows(path):
        place = f"{path}:{line}"
        name = row["id"].strip()
        if name not in row_names:
            raise InputError(
                f"{place}: id = {name!r} is no row of the sheet that this key belongs to; take the key made with it"
            )
        if name in lines:
            raise InputError(f"{place}: the row {name} stands in line {lines[name]} too; keep one of them")
        lines[name] = line
        sign = sign_in(row["better"], place)
        if sign is not None:
            signs[name] = sign
    if not signs:
        raise InputError(f"{path}: no row is answered; write 1, 2 or = into the column 'better'")
    return signs


def sign_in(cell: str, place: str) -> str | None:
    """The sign in a cell, also full-width or as a number; None for an empty cell. Raises InputError."""
    text = DECIMALS.sub("", unicodedata.normalize("NFKC", cell).strip("'\"\u2019 \t\r\n").lower())
    if text and text not in SIGNS:
        raise InputError(
            f"{place}: better = {cell!r}; write 1 or 2 for the better output, or = where neither is"
        )
    return SIGNS.get(text)


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, cells by column name) of each row that is not empty. Raises InputError."""
    text = sheet_text(path)
    if text.lower().startswith("sep="):  # a line of Excel's own
        text = "\n" + text.partition("\n")[2]
    header = next((line for line in text.splitlines() if line.strip()), "")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
    columns: list[str] = []
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                if columns:
                    yield line, dict(zip(columns, [*cells, *[""] * len(columns)], strict=False))
                else:
                    columns = [cell.strip().lower() for cell in cells]
                    check_columns(columns, f"{path}:{line}")
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}:{line}: not CSV ({error}); save the sheet again as CSV UTF-8") from error
    if not columns:
        raise InputError(f"{path}: an empty file; give the filled sheet")


def check_columns(columns: Sequence[str], place: str) -> None:
    """Raises InputError where a column that is needed is missing."""
    for name in ("id", "better"):
        if name not in columns:
            raise InputError(
                f"{place}: no column {name!r} in the first row; keep the header of the sheet: {', '.join(COLUMNS)}"
            )


def sheet_text(path: Path) -> str:
    """The text of a sheet. Raises InputError."""
    content = read_bytes(path)
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        name = "UTF-16" if wide else "UTF-8"
        raise InputError(f"{path}: not {name} at byte {error.start}; save the sheet as CSV UTF-8") from error
