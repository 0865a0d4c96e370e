"""The lines that are to be translated: of a text file, of a field of a JSONL file, or of standard input.

Lines end with a line feed alone, so that a line of the output belongs to each. A line that cannot be read keeps its
place.
"""

import json
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from data.documents import user_path
from data.errors import InputError
from data.sources.file_lines import file_lines
from data.sources.formats import ARROW, TABLES, UNITS
from data.sources.json_lines import first_record, names_of, text_field
from data.sources.line import BadLineError, decode_line
from data.sources.packed_file import kind_of

STDIN = "-"
JSONL = ".jsonl"


@dataclass(frozen=True)
class SourceLine:
    """A line: its number from 1, its id, and its text or the `problem` that leaves its output empty."""

    number: int
    id: str
    text: str
    problem: str = ""


@dataclass(frozen=True)
class Source:
    """All lines of an input. `field` is the field of a JSONL record that holds the text; "" for a text."""

    name: str
    lines: Sequence[bytes]
    field: str = ""

    def __len__(self) -> int:
        return len(self.lines)

    def line(self, number: int) -> SourceLine:
        """Line `number`, from 1."""
        content = self.lines[number - 1]
        try:
            if not self.field:
                return SourceLine(number, str(number), decode_line(content))
            return SourceLine(number, record_id(content, number), text_field(content, self.field))
        except BadLineError as error:
            return SourceLine(number, record_id(content, number), "", str(error))


def record_id(content: bytes, number: int) -> str:
    """The "id" of a JSONL record, where it has one that is a text or a number; else the number of the line."""
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):
        return str(number)
    key = record.get("id") if isinstance(record, dict) else None
    return str(key) if isinstance(key, str | int) and not isinstance(key, bool) else str(number)


def open_source(name: str, field: str, is_jsonl: bool = False) -> Source:
    """The lines of a file, packed or not, or of standard input ("-") or another pipe, which is read to its end first.
    Raises InputError for a file that cannot be read and for a field that its first record lacks.
    """
    path = user_path(name)
    if name == STDIN:
        lines = lines_of_pipe(sys.stdin.buffer)
    elif is_special(path):
        with path.open("rb") as pipe:
            lines = lines_of_pipe(pipe)
    else:
        check_kind(name, kind_of(path))
        lines = file_lines(path)
        is_jsonl = is_jsonl or kind_of(path) == JSONL
    if is_jsonl:
        check_field(name, lines, field)
    return Source(name, lines, field if is_jsonl else "")


def is_special(path: Path) -> bool:
    """Whether a path is there and neither a file nor a folder: a pipe, as of `<(command)`, or a device."""
    return path.exists() and not (path.is_file() or path.is_dir())


def lines_of_pipe(pipe: BinaryIO) -> Sequence[bytes]:
    """All lines that come out of a pipe."""
    with tempfile.NamedTemporaryFile(prefix="standard_input_") as copy:
        shutil.copyfileobj(pipe, copy)
        copy.flush()
        return file_lines(Path(copy.name))  # keeps the file open


def check_kind(name: str, kind: str) -> None:
    """InputError for a file of pairs, whose lines are no source texts."""
    if kind in (*TABLES, *UNITS, *ARROW):
        how = (
            f"cut -f1 {shlex.quote(name)} > sources.txt"
            if kind == ".tsv"
            else "one on each line of a .txt file"
        )
        raise InputError(f"{name}: a {kind} file has more than source texts; give these alone: {how}")


def check_field(name: str, lines: Sequence[bytes], field: str) -> None:
    """InputError where the first record of a JSONL file has no such field."""
    record = first_record(lines)
    try:
        text_field(json.dumps(record).encode(), field)
    except BadLineError as error:
        if str(error).startswith("no field"):
            names = ", ".join(names_of(record)) or "no field with text"
            raise InputError(f"{name}: {error}; its first record has {names}: write --field NAME") from error
