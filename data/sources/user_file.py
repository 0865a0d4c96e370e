"""Reads the user's own corpus: JSONL, TSV (either may be gzipped) or two aligned text files, UTF-8.

In JSONL a reference may be a list of texts: each makes a pair with the source, and `data.clean` joins them
again. A bad line is recorded with file, line and reason, and reading continues; the caller decides how many
are too many. InputError means that the file is no corpus at all.
"""

from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from data.clean import DAMAGED, clean_text, describe_pair, script_problem, shorten
from data.documents import user_path
from data.errors import InputError
from data.examples import Example
from data.sources.file_lines import file_lines
from data.sources.json_lines import choose_columns, json_pair, names_of
from data.sources.line import BadLineError, Columns, Line, check_one_line, decode_line
from data.sources.table import SHOWN_COLUMNS, read_table

ORIGIN = "user"
LICENCE = "the user's own"
DEFAULT_COLUMNS = ("source", "reference")
BUILT_IN = "'tibetan', 'uyghur', 'guarani', 'headlines', 'headlines_en', 'headlines_zh'"
KINDS = f"{BUILT_IN}, a .jsonl, .tsv, .jsonl.gz or .tsv.gz file, or two aligned text files as SOURCE.txt,REFERENCE.txt"
INSTEAD = {
    ".csv": "save it with tabs as .tsv",
    ".json": "save it as .jsonl, one object a line",
}  # by what a file is named
SHOWN_LINE = 80  # characters of a line that is no pair, and of a cell of the first line
SHOWN_CELL = 20

BadLine = tuple[str, str]  # (file:line, reason)


@dataclass(frozen=True)
class UserCorpus:
    """The location of the corpus, its languages and the names (or, for TSV, 1-based numbers) of its two
    columns.
    """

    location: str
    source_language: str
    target_language: str
    columns: Columns = DEFAULT_COLUMNS

    @property
    def paths(self) -> tuple[Path, ...]:
        """One file, or the two aligned ones. Raises InputError for a missing file or an unknown ending."""
        names = [self.location] if _is_file(user_path(self.location)) else self.location.split(",")
        paths = tuple(user_path(name.strip()) for name in names)
        for path in paths:
            if not _is_file(path):
                raise InputError(f"data.corpus: {path} is not a file; give {KINDS}")
            if not str(path).isprintable():
                raise InputError(
                    f"data.corpus: {str(path)!r} has a character that cannot be shown; rename the file"
                )
        if len(paths) > 2 or (len(paths) == 1 and _kind(paths[0]) not in {".jsonl", ".tsv"}):
            advice = INSTEAD.get(_kind(paths[0]), f"give {KINDS}")
            raise InputError(f"data.corpus={self.location}: unknown kind of corpus; {advice}")
        return paths

    @property
    def candidates(self) -> tuple[Columns, ...]:
        """The columns to look for: those in the settings, or else the default names, then the languages'
        codes.
        """
        languages = (self.source_language, self.target_language)
        if self.columns != DEFAULT_COLUMNS:
            return (self.columns,)
        return (DEFAULT_COLUMNS, (f"translation.{languages[0]}", f"translation.{languages[1]}"), languages)


@dataclass
class Reading:
    """The result of reading: clean pairs, bad lines, an example of each reason, and remarks on the file.

    `num_swapped` counts the pairs that would be right with their sides exchanged; `names` are the fields of
    the first object of JSONL, or the cells of the first line of TSV; `layout` says in words which columns are
    read and which there are.
    """

    examples: MutableSequence[Example] = field(default_factory=list)
    bad_lines: list[BadLine] = field(default_factory=list)
    samples: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    layout: str = ""
    num_swapped: int = 0

    def add_bad_line(self, place: str, reason: str, sample: str) -> None:
        """Count a line that is no pair."""
        self.bad_lines.append((place, reason))
        self.samples.setdefault(reason, sample)


def read(corpus: UserCorpus, examples: MutableSequence[Example] | None = None) -> Reading:
    """Read the pairs of a corpus, cleaned, into the list `examples`, and its bad lines. Raises InputError."""
    reading = Reading() if examples is None else Reading(examples)
    for place, raw_line, line in _read_lines(corpus, reading):
        if isinstance(line, BadLineError):
            reading.add_bad_line(
                place, str(line), f"{place}: {shorten(raw_line.decode('utf-8', 'replace'), SHOWN_LINE)}"
            )
            continue
        for example in _examples(place, line, corpus):
            reason = _problem(example) or script_problem(example)
            if reason:
                reading.add_bad_line(example.id, reason, describe_pair(example))
                reading.num_swapped += not _problem(example) and not script_problem(_swap_texts(example))
            else:
                reading.examples.append(example)
    return reading


def _examples(place: str, line: Line, corpus: UserCorpus) -> Iterator[Example]:
    """One pair for each reference text; the id of the first is `file:line`, of further ones `file:line#2` and
    so on.

    Empty texts of a list are skipped where it has another text.
    """
    source = clean_text(line[0])
    references = [clean_text(text) for text in line[1]]
    texts = {number: text for number, text in enumerate(references, start=1) if text} or {1: ""}
    for number, reference in texts.items():
        key = place if number == 1 else f"{place}#{number}"
        yield Example(key, source, reference, ORIGIN, LICENCE, corpus.source_language, corpus.target_language)


def _swap_texts(example: Example) -> Example:
    """Exchange the texts and keep the languages."""
    return replace(example, source=example.reference, reference=example.source)


def _problem(example: Example) -> str:
    if not example.source or not example.reference:
        return "empty reference" if example.source else "empty source"
    return "damaged characters" if DAMAGED.search(example.source + example.reference) else ""


def _read_lines(corpus: UserCorpus, reading: Reading) -> Iterator[tuple[str, bytes, Line | BadLineError]]:
    """(file:line, the line as written, its texts or its error) for every line with text; remarks go to
    `reading`.

    An empty line is skipped in one file, and is half a pair in aligned ones.
    """
    path, *other = corpus.paths
    lines = file_lines(path)
    columns = corpus.columns
    pairs: Iterable[tuple[int, Line | BadLineError]]
    if other:
        pairs = enumerate(_aligned_lines(path, lines, other[0]), start=1)
    elif _kind(path) == ".jsonl":
        columns = choose_columns(lines, corpus.candidates)
        reading.names = names_of(lines)
        reading.layout = (
            f"{_list(columns)} are read; the first object has {', '.join(reading.names) or 'no text'}"
        )
        pairs = enumerate((json_pair(line, columns) for line in lines), start=1)
    else:
        table = read_table(lines, corpus.candidates, path)
        pairs = table.rows
        columns = table.columns
        reading.names = table.first
        cells = ", ".join(repr(shorten(cell, SHOWN_CELL)) for cell in table.first[:SHOWN_COLUMNS])
        reading.layout = f"{table.column_words} are read; the first line has {cells}" if cells else ""
        if table.is_export:
            reading.remarks.append(f"{path}: an export with quotes; they are taken off the texts")
    if columns != corpus.columns:
        reading.remarks.append(f"{path}: no columns {_list(corpus.columns)}; {_list(columns)} are read")
    for number, line in pairs:
        if not other and not lines[number - 1].strip():
            continue
        yield f"{path}:{number}", lines[number - 1], line


def _list(columns: Columns) -> str:
    return " and ".join(map(repr, columns))


def _aligned_lines(source: Path, lines: Sequence[bytes], reference: Path) -> Iterator[Line | BadLineError]:
    others = file_lines(reference)
    if len(lines) != len(others):
        raise InputError(
            f"{source} has {len(lines)} lines and {reference} has {len(others)}: aligned files need equally "
            "many"
        )
    for line, other in zip(lines, others, strict=True):
        try:
            yield check_one_line(decode_line(line)), (check_one_line(decode_line(other)),)
        except BadLineError as error:
            yield error


def _kind(path: Path) -> str:
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise InputError(f"data.corpus: {path} cannot be read ({error.strerror}); give {KINDS}") from error
