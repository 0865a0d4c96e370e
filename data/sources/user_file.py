"""The user's own corpus: JSONL, TSV (either may be gzipped) or two aligned text files, UTF-8.

In JSONL a reference may be a list of texts: each makes a pair of its own with the source, and `data.clean` joins them again.
A bad line is told by file, line and reason and does not stop the reader: the caller decides how many are too many. What cannot be
read as a corpus at all raises InputError.
"""

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.clean import DAMAGED, clean_text, script_problem
from data.documents import user_path
from data.errors import InputError
from data.examples import Example

ORIGIN, LICENCE = "user", "the user's own"
DEFAULT_COLUMNS = ("source", "reference")
BUILT_IN = "'tibetan', 'headlines', 'headlines_en', 'headlines_zh'"
KINDS = f"{BUILT_IN}, a .jsonl, .tsv, .jsonl.gz or .tsv.gz file, or two aligned text files as SOURCE.txt,REFERENCE.txt"
MAX_BYTES = 1 << 30  # of a file, unpacked where it is gzipped: all of it is held in memory
MAX_LINE_BYTES = 1 << 20
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

Rejected = tuple[str, str]  # (file:line, reason)
Line = tuple[str, tuple[str, ...]]  # a source and its reference texts
Fields = Callable[[str], Line]


@dataclass(frozen=True)
class UserCorpus:
    """Where the corpus lies, its languages and the names (or, for TSV, 1-based numbers) of its two columns."""

    location: str
    source_language: str
    target_language: str
    columns: tuple[str, str] = DEFAULT_COLUMNS

    @property
    def paths(self) -> tuple[Path, ...]:
        """One file, or the two aligned ones; raises InputError for a missing file or an unknown ending."""
        names = [self.location] if _is_file(user_path(self.location)) else self.location.split(",")
        paths = tuple(user_path(name.strip()) for name in names)
        for path in paths:
            if not _is_file(path):
                raise InputError(f"data.corpus: {path} is not a file; give {KINDS}")
            if not str(path).isprintable():
                raise InputError(f"data.corpus: {str(path)!r} has a character that cannot be shown; rename the file")
        if len(paths) > 2 or (len(paths) == 1 and _kind(paths[0]) not in {".jsonl", ".tsv"}):
            raise InputError(f"data.corpus={self.location}: unknown kind of corpus; give {KINDS}")
        return paths


class BadLineError(ValueError):
    """Why one line is not a pair; never leaves this module."""


def read(corpus: UserCorpus) -> tuple[list[Example], list[Rejected]]:
    """The pairs of a corpus, cleaned, and the lines that are none. Raises InputError."""
    examples: list[Example] = []
    rejected: list[Rejected] = []
    for place, line in _lines_read(corpus):
        if isinstance(line, BadLineError):
            rejected.append((place, str(line)))
            continue
        for example in _examples(place, line, corpus):
            reason = _problem(example) or script_problem(example)
            if reason:
                rejected.append((example.id, reason))
            else:
                examples.append(example)
    return examples, rejected


def _examples(place: str, line: Line, corpus: UserCorpus) -> Iterator[Example]:
    """One pair for each reference text; the id of the first is `file:line`, of further ones `file:line#2` and so on."""
    source, references = line
    for number, reference in enumerate(references, start=1):
        key, texts = place if number == 1 else f"{place}#{number}", (clean_text(source), clean_text(reference))
        yield Example(key, *texts, ORIGIN, LICENCE, corpus.source_language, corpus.target_language)


def _problem(example: Example) -> str:
    if not example.source or not example.reference:
        return "empty reference" if example.source else "empty source"
    return "damaged characters" if DAMAGED.search(example.source + example.reference) else ""


def _lines_read(corpus: UserCorpus) -> Iterator[tuple[str, Line | BadLineError]]:
    """(file:line, its texts or what is wrong with them) for every line."""
    paths = corpus.paths
    if len(paths) == 2:
        yield from _aligned(*paths)
        return
    lines = _lines(paths[0])
    if _kind(paths[0]) == ".jsonl":
        fields, first = _json_fields(corpus.columns), 0
    else:
        fields, first = _table_fields(lines, corpus.columns, paths[0])
    for number, line in enumerate(lines[first:], start=first + 1):
        yield f"{paths[0]}:{number}", _attempt(line, fields)


def _aligned(source: Path, reference: Path) -> Iterator[tuple[str, Line | BadLineError]]:
    sources, references = _lines(source), _lines(reference)
    if len(sources) != len(references):
        raise InputError(f"{source} has {len(sources)} lines and {reference} has {len(references)}: aligned files need equally many")
    for number, (line, other) in enumerate(zip(sources, references, strict=True), start=1):
        try:
            yield f"{source}:{number}", (_one_line(_decoded(line)), (_one_line(_decoded(other)),))
        except BadLineError as error:
            yield f"{source}:{number}", error


def _kind(path: Path) -> str:
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def _lines(path: Path) -> list[bytes]:
    """The lines of a file without their ends; a byte-order mark is taken off. Raises InputError."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{path} has more than {MAX_BYTES:,} bytes of text; give a part of it")
    if content.startswith(UTF16_MARKS):
        raise InputError(f"{path} is UTF-16; save it as UTF-8")
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return [line.rstrip(b"\r") for line in (lines if lines[-1] else lines[:-1])]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise InputError(f"data.corpus: {path} cannot be read ({error.strerror}); give {KINDS}") from error


def _attempt(line: bytes, fields: Fields) -> Line | BadLineError:
    try:
        return fields(_decoded(line))
    except BadLineError as error:
        return error


def _decoded(line: bytes) -> str:
    if len(line) > MAX_LINE_BYTES:
        raise BadLineError(f"longer than {MAX_LINE_BYTES:,} bytes")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        raise BadLineError("not UTF-8") from None


def _one_line(text: str) -> str:
    if "\r" in text:
        raise BadLineError("a carriage return inside the line")
    return text


def _json_fields(columns: tuple[str, str]) -> Fields:
    def unique(items: Iterable[tuple[str, object]]) -> dict[str, object]:
        record: dict[str, object] = {}
        for key, value in items:
            if key in columns and key in record:
                raise BadLineError(f"field {key!r} comes twice")
            record[key] = value
        return record

    def fields(line: str) -> Line:
        try:
            record = json.loads(line, object_pairs_hook=unique)
        except BadLineError:
            raise
        except (ValueError, RecursionError):
            raise BadLineError("not JSON") from None
        if not isinstance(record, dict):
            raise BadLineError("not a JSON object")
        return _text(record, columns[0]), _texts(record, columns[1])

    return fields


def _text(record: dict[str, object], key: str) -> str:
    text = _field(record, key)
    if not isinstance(text, str):
        raise BadLineError(f"field {key!r} is not text")
    return _whole(text, key)


def _texts(record: dict[str, object], key: str) -> tuple[str, ...]:
    """The field's text, or the texts of its list."""
    value = _field(record, key)
    values: list[object] = value if isinstance(value, list) else [value]
    texts = [text for text in values if isinstance(text, str)]
    if len(texts) < len(values):
        raise BadLineError(f"field {key!r} is neither text nor a list of texts")
    if not texts:
        raise BadLineError(f"field {key!r} is an empty list")
    return tuple(_whole(text, key) for text in texts)


def _field(record: dict[str, object], key: str) -> object:
    if key not in record:
        raise BadLineError(f"no field {key!r}")
    return record[key]


def _whole(text: str, key: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise BadLineError(f"field {key!r} has half a surrogate pair")
    return text


def _table_fields(lines: Sequence[bytes], columns: tuple[str, str], path: Path) -> tuple[Fields, int]:
    """A function that takes the two columns out of a line, and the number of header lines (0 or 1).

    Numbers count from 1; names are looked up in the first line; without a header the default names mean columns 1 and 2.
    """
    header = lines[0].decode("utf-8", "replace").split("\t") if lines else []
    if all(name in header for name in columns):
        first, second = (header.index(name) for name in columns)
        return _column_fields(first, second), 1
    if all(name.isdecimal() and len(name) < 10 and int(name) > 0 for name in columns):
        return _column_fields(int(columns[0]) - 1, int(columns[1]) - 1), 0
    if columns == DEFAULT_COLUMNS:
        return _column_fields(0, 1), 0
    raise InputError(
        f"{path}:1: no columns {columns[0]!r} and {columns[1]!r}; data.source_column and data.reference_column take numbers from 1 "
        f"or names of the first line, which has {header[:8]}"
    )


def _column_fields(first: int, second: int) -> Fields:
    def fields(line: str) -> Line:
        cells = _one_line(line).split("\t")
        if len(cells) <= max(first, second):
            raise BadLineError(f"{len(cells)} columns where {max(first, second) + 1} are needed")
        return cells[first], (cells[second],)

    return fields
