"""What a user's parallel file says by itself: columns, languages, lengths. Only its first rows are read."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from data.clean import clean_text
from data.errors import InputError
from data.language_names import UNCLEAR, is_language, language_meant, language_name, likely_language
from data.script import count_units, primary, script_in, script_name, script_of
from data.sources.formats import TABLES, UNITS, read_content
from data.sources.line import REFERENCE_WORDS, SOURCE_WORDS, BadLineError, Columns
from data.sources.packed_file import kind_of
from data.sources.user_file import BUILT_IN, DEFAULT_COLUMNS, UserCorpus, read
from data.user_checks import divider_cure, encoding_cure

ROWS = 2000  # that are looked at
LONGEST_CODE = 8  # letters of "zho_Hans"
ENOUGH = 99  # per cent of the texts that a length limit keeps
SIDES = ("source", "reference")
NO_NAMES = ("", "")  # a table without a header may be read: its first two columns
# scripts of several languages, of which CLDR's likely one is a guess
SHARED = ("Tibt", "Beng", "Ethi", "Mymr", "Hebr")


@dataclass(frozen=True)
class Side:
    """One side of the corpus. `reason` says how the language was found; `longest` and `shortest` are in units."""

    language: str
    reason: str
    longest: int
    shortest: int


@dataclass(frozen=True)
class CorpusFacts:
    """What was found. `columns` is None where the file has none, or the usual ones; `task` is what the user says the
    reference texts are, "" for nothing.
    """

    location: str
    columns: Columns | None
    source: Side
    reference: Side
    pairs: list[tuple[str, str]]
    kind: str
    task: str = ""

    @property
    def has_more(self) -> bool:
        """Whether the file may have more pairs than were looked at."""
        return len(self.pairs) > ROWS // 2


def look(location: str, languages: tuple[str, str], columns: Columns | None, task: str = "") -> CorpusFacts:
    """Look at a file; "" for a language, and None for the columns, which are then found. Raises InputError for what is
    no corpus, and for a language that neither names nor script give.
    """
    if f"'{location}'" in BUILT_IN.split(", "):
        raise InputError(
            f"init: {location!r} is a corpus of this project; write data.corpus={location}, as in semantic-grpo run --config mt"
        )
    corpus = UserCorpus(location, "und", "und", setting="init")
    paths = corpus.paths
    names = read_content(paths, (DEFAULT_COLUMNS, NO_NAMES), ("und", "und")).names  # none for aligned files
    names_to_read = columns or found_columns(paths, names, languages)
    hints = hints_of(paths, names_to_read or DEFAULT_COLUMNS, location)
    if kind_of(paths[0]) in UNITS:
        hints = unit_languages(paths, names, languages)
    candidates = (columns,) if columns else (names_to_read or DEFAULT_COLUMNS, NO_NAMES)
    pairs = read_pairs(paths, candidates, (languages[0] or hints[0], languages[1] or hints[1]))
    if not pairs:
        cure = cure_of(
            UserCorpus(location, languages[0] or "und", languages[1] or "und", candidates[0], setting="init")
        )
        raise InputError(f"{location}: {no_pair(paths, candidates[0], cure)}")
    texts = tuple([clean_text(pair[side]) for pair in pairs] for side in (0, 1))
    sides = [side_of(name, texts[n], languages[n], hints[n]) for n, name in enumerate(SIDES)]
    return CorpusFacts(location, names_to_read, sides[0], sides[1], pairs, kind_of(paths[0]), task)


def found_columns(paths: Sequence[Path], names: Sequence[str], languages: tuple[str, str]) -> Columns | None:
    """The two columns to read; None where they need no name."""
    if (
        not names
        or len(paths) > 1
        or kind_of(paths[0]) in UNITS
        or all(name in names for name in DEFAULT_COLUMNS)
    ):
        return None
    by_language = [name for name in names if code_of(name)]
    chosen_names = [next((name for name in by_language if same(code_of(name), one)), "") for one in languages]
    if all(chosen_names):
        return chosen_names[0], chosen_names[1]
    words = [
        next((name for name in names if name.lower() in group), "")
        for group in (SOURCE_WORDS, REFERENCE_WORDS)
    ]
    if all(words):
        return words[0], words[1]
    if len(by_language) == 2:
        return by_language[0], by_language[1]
    if kind_of(paths[0]) in TABLES:
        return None  # the first two
    texts = [name for name in names if name.lower() != "id"]
    if len(texts) == 2:
        return texts[0], texts[1]
    raise InputError(
        f"{paths[0]}: has the columns {', '.join(names)}; name two by --columns SOURCE REFERENCE"
    )


def code_of(name: str) -> str:
    """The language that a column's name names, as a code: "translation.bo", "Tibetan"; "" for none."""
    last = name.rpartition(".")[2].strip()
    if is_language(last) and len(last) <= LONGEST_CODE and script_of(last):
        return last
    return (
        language_meant(last)
        if len(last) > 3 and language_name(language_meant(last)).lower() == last.lower()
        else ""
    )


def same(a: str, b: str) -> bool:
    """Whether two codes name one language."""
    return bool(a) and bool(b) and primary(a) == primary(b)


def hints_of(paths: Sequence[Path], columns: Columns, location: str) -> tuple[str, str]:
    """The languages that the names of columns or files give: "bo", "zh" of `corpus.bo,corpus.zh`, `bo-zh.tsv`, `bo_to_zh.tsv`."""
    if len(paths) > 1:
        ends = [code_of(path.suffixes[-1][1:]) if path.suffixes else "" for path in paths]
        return ends[0], ends[1]
    by_name = code_of(columns[0]), code_of(columns[1])
    if any(by_name):
        return by_name
    pair = re.search(
        r"(?<![a-z])([a-z]{2,3})[-_](?:to[-_])?([a-z]{2,3})(?![a-z])", Path(location).name.split(".")[0]
    )
    codes = pair.groups() if pair else ("", "")
    return (codes[0], codes[1]) if all(map(is_language, codes)) else ("", "")


def unit_languages(
    paths: Sequence[Path], names: Sequence[str], languages: tuple[str, str]
) -> tuple[str, str]:
    """The two languages of a translation memory. Raises InputError where it has others."""
    first = languages[0] or next((name for name in names if not same(name, languages[1])), "")
    second = languages[1] or next((name for name in names if not same(name, first)), "")
    if not (first and second):
        raise InputError(
            f"{paths[0]}: its first unit has {', '.join(names) or 'no text'}; name two languages by --from and --to"
        )
    return first, second


def read_pairs(
    paths: Sequence[Path], candidates: Sequence[Columns], languages: tuple[str, str]
) -> list[tuple[str, str]]:
    """The pairs among the first rows, each with its first reference text."""
    rows = read_content(paths, candidates, languages).rows
    lines = (row.line for row in islice(rows, ROWS))
    return [
        (line[0], line[1][0])
        for line in lines
        if not isinstance(line, BadLineError) and line[0] and line[1][0]
    ]


def cure_of(corpus: UserCorpus) -> str:
    """What to do about a file of another encoding or division; "" where it is neither."""
    reading = read(corpus)
    return encoding_cure(reading, (corpus.source_language, corpus.target_language)) or divider_cure(reading)


def no_pair(paths: Sequence[Path], columns: Columns, cure: str) -> str:
    """Why a file has no pair, and what to do."""
    first = next(iter(read_content(paths, (columns, NO_NAMES), ("und", "und")).rows), None)
    if first is None:
        return "there is no pair in it; write a line for each pair: its source, a tab, its reference"
    reason = f" ({first.line})" if isinstance(first.line, BadLineError) else ""
    return (
        f"none of the first {ROWS:,} rows is a pair, from {first.place}{reason}; "
        f"{cure or 'name the columns by --columns SOURCE REFERENCE'}"
    )


def side_of(name: str, texts: Sequence[str], choice: str, hint: str) -> Side:
    """The language and the lengths of a side."""
    language, reason = language_of(name, texts, choice, hint)
    lengths = [count_units(text, script_of(language)) for text in texts]
    longest = int(np.percentile(lengths, ENOUGH, method="inverted_cdf"))
    shortest = int(np.percentile(lengths, 100 - ENOUGH, method="inverted_cdf"))
    return Side(language, reason, max(1, longest), max(1, shortest))


def language_of(name: str, texts: Sequence[str], choice: str, hint: str) -> tuple[str, str]:
    """The language of a side and how it is known. Raises InputError where it is not."""
    script = script_in(texts)
    if choice:
        return choice, f"{language_name(choice)}, as you said"
    if hint and (script_of(hint) is None or script in (script_of(hint) or "").split("+")):
        return hint, f"{language_name(hint)}, by the name of the column or file"
    guess = likely_language(script)
    if not guess or script in UNCLEAR:
        flag = "--from" if name == "source" else "--to"
        many = (
            "which many languages have" if script in UNCLEAR else "and nobody says of which language that is"
        )
        words = f"are in {script_name(script)} script, {many}" if script else "have no letters"
        raise InputError(f"the {name} texts {words}; say their language by {flag} CODE")
    doubt = "; many languages have it, so look at this" if script in SHARED else ""
    return guess, f"{language_name(guess)}, by its {script_name(script)} script{doubt}"
