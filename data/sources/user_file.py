"""Reads the user's own corpus, in one of the formats of `data.sources.formats`.

A source may have several reference texts: each makes a pair with it, and `data.clean` joins them
again. A bad line is recorded with file, line and reason, and reading continues; the caller decides how many
are too many. InputError means that the file is no corpus at all.
"""

from collections.abc import Iterator, MutableSequence, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from data.clean import DAMAGED, NOT_IN, clean_text, describe_pair, script_problem, shorten
from data.documents import user_path
from data.errors import InputError
from data.examples import Example
from data.interface_text import without_accelerators
from data.normalise import DEFAULT, LINE_ENDS
from data.script import script_in
from data.sources import formats
from data.sources.arrow_tables import files_of_folder
from data.sources.encoding import command_to_convert, likely_encoding, misread_as
from data.sources.line import NOT_UTF8, BadLineError, Columns, Line, in_words
from data.sources.packed_file import kind_of

ORIGIN = "user"
LICENCE = "the user's own"
DEFAULT_COLUMNS = ("source", "reference")
BUILT_IN = "'tibetan', 'uyghur', 'guarani', 'headlines', 'headlines_en', 'headlines_zh'"
FILES = (
    f"a {', '.join(formats.KINDS)} file (also as .gz, .xz, .bz2 or .zst), a folder of datasets, or two "
    "or more aligned text files as SOURCE.txt,REFERENCE.txt"
)
LANGUAGES = "data.source_language and data.target_language"
CORPUS = ("data.corpus", "data.train")  # settings that take a built-in corpus too
# by what a file is named
INSTEAD = {
    ".json": "save it as .jsonl, one object a line",
    ".xlsx": "save it as .csv",
    ".ods": "save it as .csv",
    ".arrow": "give its folder",
}
SHOWN_LINE = 80  # characters of a line that is no pair
NUM_SAMPLES = 200  # lines that show the encoding, texts that show the script

BadLine = tuple[str, str]  # (file:line, reason)


@dataclass(frozen=True)
class UserCorpus:
    """The location of the corpus, its languages and the names (or, for TSV, 1-based numbers) of its two columns. In
    refusals `setting` names what gave the location.
    """

    location: str
    source_language: str
    target_language: str
    columns: Columns = DEFAULT_COLUMNS
    task: str = "mt"
    is_catalogue: bool = False
    setting: str = "data.corpus"
    steps: tuple[str, ...] = DEFAULT  # of normalisation, before those of data.normalise

    @property
    def paths(self) -> tuple[Path, ...]:
        """One file, the aligned ones, or those of a folder. Raises InputError for a missing file or an
        unknown ending.
        """
        if files := _folder_files(user_path(self.location), self.setting):
            return tuple(files)
        is_one = _is_file(user_path(self.location), self.setting)
        names = [self.location] if is_one else self.location.split(",")
        paths = tuple(user_path(name.strip()) for name in names)
        for name, path in zip(names, paths, strict=True):
            if not _is_file(path, self.setting):
                raise InputError(f"{self.setting}: {name.strip()} is not a file{self._instead_of(path)}")
            if not str(path).isprintable():
                raise InputError(
                    f"{self.setting}: {str(path)!r} has a character that cannot be shown; rename the file"
                )
        kinds = [kind_of(path) for path in paths]
        other = f"a text file is one side, so give it with its other side as SOURCE,REFERENCE, or {FILES}"
        advice = next((INSTEAD[kind] for kind in kinds if kind in INSTEAD), other)
        if INSTEAD.keys() & set(kinds) or (len(paths) == 1 and kinds[0] not in formats.KINDS):
            between = "=" if "." in self.setting else ": "  # of a setting, of a command
            raise InputError(f"{self.setting}{between}{self.location}: unknown kind of corpus; {advice}")
        return paths

    def _instead_of(self, path: Path) -> str:
        """The end of a sentence that refuses what is no file."""
        if "://" in self.location:
            return "; download it and name the file here"
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if kind_of(file) in formats.KINDS)
            return f" but a folder; name a file in it{f', such as {files[0]}' if files else ''}"
        return f"; give {choices(self.setting)}"

    @property
    def sides(self) -> str:
        """What to exchange where each side is in the script of the other language."""
        if len(self.paths) > 1 and kind_of(self.paths[0]) not in formats.ARROW:
            return "the two files"
        is_corpus = self.setting in CORPUS
        return LANGUAGES if is_corpus else "the two columns of this file"

    @property
    def candidates(self) -> tuple[Columns, ...]:
        """The columns to look for: those in the settings, or else the default names, then the languages' codes."""
        languages = (self.source_language, self.target_language)
        if self.columns != DEFAULT_COLUMNS:
            return (self.columns,)
        return (DEFAULT_COLUMNS, (f"translation.{languages[0]}", f"translation.{languages[1]}"), languages)


@dataclass
class Reading:
    """The result of reading: clean pairs, bad lines, an example of each reason, and remarks on the file.

    `encoding` is the likely one of the lines that are not UTF-8, and `command` converts the file;
    `num_swapped` counts the pairs that would be right with their sides exchanged; `names` are those that
    the columns or languages can be chosen from; `layout` says in words which are read and which there are;
    `sides` is what to exchange where the two are; `scripts`, by reason, the script of most texts that are in another
    one than their language's; `misread` says what to do where these are UTF-8 that was read in another encoding.
    """

    examples: MutableSequence[Example] = field(default_factory=list)
    bad_lines: list[BadLine] = field(default_factory=list)
    samples: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    layout: str = ""
    sides: str = LANGUAGES
    num_swapped: int = 0
    encoding: str = ""
    command: str = ""
    scripts: dict[str, str] = field(default_factory=dict)
    misread: str = ""

    def add_bad_line(self, place: str, reason: str, sample: str) -> None:
        """Count a line that is no pair."""
        self.bad_lines.append((place, reason))
        self.samples.setdefault(reason, sample)


def read(corpus: UserCorpus, examples: MutableSequence[Example] | None = None) -> Reading:
    """Read the pairs of a corpus, cleaned, into the list `examples`, and its bad lines. Raises InputError."""
    reading = Reading([] if examples is None else examples, sides=corpus.sides)
    undecoded = dict[bytes, str]()  # a line and its file
    other_scripts = dict[str, list[str]]()
    strange = list[bytes]()  # lines with texts in another script
    num_joined = 0
    for place, text, line in _rows(corpus, reading):
        if isinstance(line, BadLineError):
            if str(line) == NOT_UTF8 and len(undecoded) < NUM_SAMPLES:
                undecoded[text] = place.rpartition(":")[0]
            reading.add_bad_line(
                place, str(line), f"{place}: {shorten(text.decode('utf-8', 'replace'), SHOWN_LINE)}"
            )
            continue
        num_joined += sum(map(has_line_end, (line[0], *line[1])))
        for example in _examples(place, line, corpus):
            reason = _problem(example) or script_problem(example)
            if reason:
                reading.add_bad_line(example.id, reason, describe_pair(example))
                side, is_script, _ = reason.partition(NOT_IN)
                if is_script and len(texts := other_scripts.setdefault(reason, [])) < NUM_SAMPLES:
                    texts.append(getattr(example, side))
                    strange.append(text)
                reading.num_swapped += not _problem(example) and not script_problem(_swap_texts(example))
            else:
                reading.examples.append(example)
    if num_joined:
        reading.remarks.append(f"{corpus.paths[0]}: {num_joined:,} texts {line_words(corpus.steps)}")
    reading.scripts = {reason: script_in(texts) for reason, texts in other_scripts.items()}
    if name := misread_as(strange):
        command = command_to_convert(corpus.paths[0], "UTF-8", name)
        reading.misread = f"the file was saved as UTF-8 after it had been read as {name}; undo it: {command}"
    if undecoded:
        reading.encoding = likely_encoding(undecoded, (corpus.source_language, corpus.target_language))
        path = Path(next(iter(undecoded.values())))
        reading.command = command_to_convert(path, reading.encoding or "ENCODING")
    return reading


def _rows(corpus: UserCorpus, reading: Reading) -> Iterator[formats.Row]:
    """The rows of a corpus; what there is to say of the file goes to `reading`."""
    content = formats.read_content(
        corpus.paths, corpus.candidates, (corpus.source_language, corpus.target_language)
    )
    reading.names = content.names
    reading.layout = content.layout
    reading.remarks.extend(content.remarks)
    if content.columns and content.columns != corpus.columns:
        reading.remarks.append(
            f"{corpus.paths[0]}: no columns {in_words(corpus.columns)}; {in_words(content.columns)} are read"
        )
    yield from content.rows


def _examples(place: str, line: Line, corpus: UserCorpus) -> Iterator[Example]:
    """One pair for each reference text; the id of the first is `file:line`, of further ones `file:line#2` and
    so on.

    Empty texts of a list are skipped where it has another text.
    """
    plain = without_accelerators if corpus.is_catalogue else str
    source = clean_text(plain(line[0]), corpus.steps)
    references = [clean_text(plain(text), corpus.steps) for text in line[1]]
    texts = {number: text for number, text in enumerate(references, start=1) if text} or {1: ""}
    for number, reference in texts.items():
        key = place if number == 1 else f"{place}#{number}"
        languages = (corpus.source_language, corpus.target_language)
        yield Example(key, source, reference, ORIGIN, LICENCE, *languages, corpus.task)


def line_words(steps: Sequence[str]) -> str:
    """What becomes of the line ends within texts, after the number of those texts."""
    if LINE_ENDS in steps:
        return "have several lines, which they keep (data.normalise has line_ends)"
    return (
        'have line ends, which become spaces; with prompt.lines="many" and no data.normalise of your own '
        "they stay"
    )


def has_line_end(text: str) -> bool:
    """Whether a text has a line end between other characters."""
    return len(text.strip().splitlines()) > 1


def _swap_texts(example: Example) -> Example:
    """Exchange the texts and keep the languages."""
    return replace(example, source=example.reference, reference=example.source)


def _problem(example: Example) -> str:
    if not example.source or not example.reference:
        return "empty reference" if example.source else "empty source"
    return "damaged characters" if DAMAGED.search(example.source + example.reference) else ""


def choices(setting: str) -> str:
    """What a setting takes that names a corpus or a set."""
    return f"{BUILT_IN}, {FILES}" if setting in CORPUS else FILES


def _folder_files(path: Path, setting: str) -> list[Path]:
    """The files of a folder of datasets; none where the path is no such folder."""
    try:
        return files_of_folder(path) if path.is_dir() else []
    except OSError as error:
        raise InputError(
            f"{setting}: {path} cannot be read ({error.strerror}); give {choices(setting)}"
        ) from error


def _is_file(path: Path, setting: str) -> bool:
    try:
        return path.is_file()
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise InputError(
            f"{setting}: {path} cannot be read ({error.strerror}); give {choices(setting)}"
        ) from error
