"""What the readers of users' files have in common: a row of a file is a pair, or there is a reason why it is none."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from data.clean import clean_text

MAX_LINE_BYTES = 1 << 20
NOT_UTF8 = "not UTF-8"
INNER_RETURN = "a carriage return inside the line"
SHOWN_NAMES = 4  # of columns that are not read

SOURCE_WORDS = ("source", "src", "input", "from")  # usual names of columns
REFERENCE_WORDS = ("reference", "target", "tgt", "trg", "translation", "output", "to")

Line = tuple[str, tuple[str, ...]]  # a source and its reference texts
Columns = tuple[str, str]  # names of the two columns


class BadLineError(ValueError):
    """Why one line is not a pair; the readers of users' files catch it."""


class Row(NamedTuple):
    """A row of a file: its place as file:line, its text as written, and its pair or why there is none."""

    place: str
    text: bytes
    line: Line | BadLineError


@dataclass(frozen=True)
class Content:
    """The rows of a file, the columns that are read where it has some, and what a message may say: the `names` that a user can
    choose from, the `layout` in words, and remarks.
    """

    rows: Iterable[Row]
    columns: Columns | None = None
    names: list[str] = field(default_factory=list)
    layout: str = ""
    remarks: tuple[str, ...] = ()


@lru_cache(maxsize=1024)
def column_name(text: str) -> str:
    """A name of a column without case, outer spaces and invisible characters."""
    return clean_text(text).casefold()


def in_words(columns: Columns) -> str:
    """The names of two columns in a sentence."""
    return " and ".join(map(repr, columns))


def unread_remark(place: Path, read: str, others: Sequence[str]) -> tuple[str, ...]:
    """A remark that names what a file has and nobody reads; none where there is nothing.

    >>> unread_remark(Path("a.tsv"), "columns 1 and 2", ["column 3"])
    ('a.tsv: columns 1 and 2 are read; column 3 is not',)
    """
    if not others:
        return ()
    more = len(others) - SHOWN_NAMES
    names = [*others[:SHOWN_NAMES], *([f"{more} more"] if more > 0 else [])]
    words = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    return (f"{place}: {read} are read; {words} {'is' if len(others) == 1 else 'are'} not",)


def decode_line(line: bytes) -> str:
    """Decode a line as UTF-8. Raises BadLineError."""
    if len(line) > MAX_LINE_BYTES:
        raise BadLineError(f"longer than {MAX_LINE_BYTES:,} bytes")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        raise BadLineError(NOT_UTF8) from None


def check_one_line(text: str) -> str:
    """Return the text. Raises BadLineError where an old line end (a carriage return) divides it."""
    if "\r" in text:
        raise BadLineError(INNER_RETURN)
    return text
