"""The formats of a user's corpus: which reader a file's name asks for."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from data.clean import shorten
from data.errors import InputError
from data.sources.arrow_tables import read_tables
from data.sources.csv_table import read_csv
from data.sources.file_lines import file_lines
from data.sources.json_lines import choose_columns, first_record, json_pair, names_of, other_fields
from data.sources.line import (
    BadLineError,
    Columns,
    Content,
    Line,
    Row,
    check_one_line,
    decode_line,
    in_words,
    unread_remark,
)
from data.sources.packed_file import kind_of
from data.sources.table import SHOWN_CELL, SHOWN_COLUMNS, read_table
from data.sources.translation_units import read_units

TABLES = (".tsv", ".csv")
UNITS = (".tmx", ".xlf", ".xliff")
ARROW = (".parquet", ".arrow")
KINDS = (".jsonl", *TABLES, ".parquet", *UNITS)  # of one file


def read_content(paths: Sequence[Path], candidates: Sequence[Columns], languages: tuple[str, str]) -> Content:
    """The rows of a corpus. Raises InputError."""
    kind = kind_of(paths[0])
    if kind in ARROW:
        return read_tables(paths, candidates)
    if len(paths) > 1:
        return Content(_aligned_rows(*paths))
    if kind in UNITS:
        return read_units(paths[0], languages)
    lines = file_lines(paths[0])
    return _objects(paths[0], lines, candidates) if kind == ".jsonl" else _cells(paths[0], lines, candidates)


def _objects(path: Path, lines: Sequence[bytes], candidates: Sequence[Columns]) -> Content:
    """The content of JSONL."""
    first = first_record(lines)
    columns = choose_columns(first, candidates)
    names = names_of(first)
    pairs = enumerate((json_pair(line, columns) for line in lines), start=1)
    layout = f"{in_words(columns)} are read; the first object has {', '.join(names) or 'no text'}"
    remarks = unread_remark(path, in_words(columns), other_fields(first, columns))
    return Content(_rows(path, lines, pairs), columns, names, layout, remarks)


def _cells(path: Path, lines: Sequence[bytes], candidates: Sequence[Columns]) -> Content:
    """The content of TSV or CSV."""
    table = (read_csv if kind_of(path) == ".csv" else read_table)(lines, candidates, path)
    cells = ", ".join(repr(shorten(cell, SHOWN_CELL)) for cell in table.first[:SHOWN_COLUMNS])
    layout = f"{table.column_words} are read; the first line has {cells}" if cells else ""
    remarks = unread_remark(path, table.column_words, table.others)
    if table.is_export:
        remarks = (f"{path}: an export with quotes; they are taken off the texts", *remarks)
    return Content(_rows(path, lines, table.rows), table.columns, table.first, layout, remarks)


def _rows(
    path: Path, lines: Sequence[bytes], pairs: Iterable[tuple[int, Line | BadLineError]]
) -> Iterator[Row]:
    """A row for each line with text."""
    for number, line in pairs:
        text = lines[number - 1]
        if text.strip():
            yield Row(f"{path}:{number}", text, line)


def _aligned_rows(*paths: Path) -> Iterator[Row]:
    """A row for each line of the files: the source and its reference texts; an empty line is half a pair. Raises
    InputError where their numbers differ.
    """
    files = [file_lines(path) for path in paths]
    for path, own in zip(paths, files, strict=True):
        if len(own) != len(files[0]):
            raise InputError(
                f"{paths[0]} has {len(files[0])} lines and {path} has {len(own)}: aligned files need equally many"
            )
    for number, lines in enumerate(zip(*files, strict=True), start=1):
        yield _aligned_row(paths, number, lines)


def _aligned_row(paths: Sequence[Path], number: int, lines: Sequence[bytes]) -> Row:
    """The lines of this number as a pair, or the first that is no text, with its file."""
    texts = list[str]()
    for path, line in zip(paths, lines, strict=True):
        try:
            texts.append(check_one_line(decode_line(line)))
        except BadLineError as error:
            return Row(f"{path}:{number}", line, error)
    return Row(f"{paths[0]}:{number}", lines[0], (texts[0], tuple(texts[1:])))
