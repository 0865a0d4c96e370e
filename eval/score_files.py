"""Reads the texts that `eval.score` scores: files aligned by line, or one table with a column for each of them."""

import gzip
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data.documents import read_bytes, user_path
from data.errors import InputError

STANDARD_INPUT = "-"
SOURCE = "source"
DOCUMENT = "document"
REFERENCE = "reference"  # how the names of columns of reference texts begin


@dataclass(frozen=True)
class Files:
    """N lines of text. `outputs` are those of each system by name; `references[i]` has no text where none was given,
    `sources[i]` is "" then, and so is `documents[i]`, the document that a line is of.
    """

    sources: list[str]
    outputs: Mapping[str, list[str]]
    references: list[list[str]]
    has_sources: bool
    documents: list[str]

    @property
    def has_references(self) -> bool:
        return bool(self.references and self.references[0])

    @property
    def count(self) -> int:
        return len(self.sources)


def read_text(path: str, option: str) -> str:
    """A UTF-8 text file, gzip where its name ends in .gz, or standard input. Raises InputError for another file."""
    file = user_path(path)
    if path != STANDARD_INPUT and not file.is_file():
        raise InputError(f"--{option} {path}: there is no such file")
    try:
        content = sys.stdin.buffer.read() if path == STANDARD_INPUT else read_bytes(file)
        content = gzip.decompress(content) if file.suffix == ".gz" else content
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"--{option} {path}: is no UTF-8 text ({error.reason} at byte {error.start})"
        ) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"--{option} {path}: is no gzip file ({error})") from error


def read_lines(path: str, option: str) -> list[str]:
    """The lines of a text file."""
    text = read_text(path, option)
    return text.removesuffix("\n").split("\n") if text else []


def read_files(
    outputs: Sequence[str], references: Sequence[str], sources: str | None, documents: str | None = None
) -> Files:
    """Read the files. Raises InputError where they have different numbers of lines, or none."""
    paths = [
        *(("outputs", path) for path in outputs),
        *(("references", path) for path in references),
        *([("sources", sources)] if sources else []),
        *([("documents", documents)] if documents else []),
    ]
    if [path for _, path in paths].count(STANDARD_INPUT) > 1:
        raise InputError("standard input (-) can be read once; write a file in the other place")
    if len(set(outputs)) < len(outputs):
        raise InputError("--outputs: a file is named twice; name different systems")
    columns = [(option, path, read_lines(path, option)) for option, path in paths]
    _, first, lines = columns[0]
    if not lines:
        raise InputError(f"--outputs {first}: has no line")
    for option, path, own in columns:
        if len(own) != len(lines):
            raise InputError(
                f"--{option} {path}: has {len(own)} lines, and --outputs {first} has {len(lines)}"
            )
    texts = {option: [own for one, _, own in columns if one == option] for option, _, _ in columns}
    return files_of(dict(zip(outputs, texts["outputs"], strict=True)), texts)


def read_table(path: str) -> Files:
    """A tab-separated file with a header: columns `source`, `reference` (or several whose names begin so) and `document`
    where there are any; every other column is the output of a system. Raises InputError for a bad table.
    """
    header, *rows = [line.split("\t") for line in read_lines(path, "tsv")] or [[]]
    place = f"--tsv {path}"
    systems = [name for name in header if name not in (SOURCE, DOCUMENT) and not name.startswith(REFERENCE)]
    if not rows or not systems or len(set(header)) < len(header):
        raise InputError(
            f"{place}: needs a header of different names, and below it lines; source, reference and document are the "
            "names of those columns, and every other column is a system"
        )
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise InputError(f"{place}:{number}: has {len(row)} columns, and the header has {len(header)}")
    columns = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
    texts = {
        "references": [own for name, own in columns.items() if name.startswith(REFERENCE)],
        "sources": [columns[SOURCE]] if SOURCE in columns else [],
        "documents": [columns[DOCUMENT]] if DOCUMENT in columns else [],
    }
    return files_of({name: columns[name] for name in systems}, texts)


def files_of(outputs: Mapping[str, list[str]], texts: Mapping[str, list[list[str]]]) -> Files:
    """The columns as `Files`; what is not there is empty."""
    count = len(next(iter(outputs.values())))
    blank = [""] * count
    references = [list(row) for row in zip(*texts.get("references", ()), strict=True)]
    return Files(
        next(iter(texts.get("sources", ())), blank),
        outputs,
        references or [[] for _ in blank],
        bool(texts.get("sources")),
        next(iter(texts.get("documents", ())), blank),
    )
