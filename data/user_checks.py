"""Warns about mistakes in a user's own corpus before anything is trained: quotes of a format, exchanged
languages, shifted lines. Each check reads texts alone and returns a sentence or "".
"""

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from data.alignment import Alignment, alignment
from data.clean import NOT_IN, describe_pair
from data.errors import InputError
from data.examples import Example
from data.extras import check_extra
from data.language_names import UNCLEAR, language_name, likely_language
from data.letter_forms import form_remarks
from data.normalise import DEFAULT
from data.records import Mapped
from data.script import primary, script_name, script_of, with_script
from data.sources.line import INNER_RETURN, NOT_UTF8
from data.sources.table import is_quoted
from data.sources.user_file import Reading

MANY_QUOTED = 0.05  # of the texts: above it quotes may be a format and not speech
DOUBTFUL = 10.0  # nats of evidence for a shift; corpora that are aligned stay below 1, see `data.alignment`
CERTAIN = 20.0
# HALF: of the bad lines with one cause; MOST: of the pairs, when the languages or the format are at fault
HALF = 0.5
MOST = 0.9
WRAPPERS = (
    "\u201c\u201d", "\u2018\u2019", "\u201e\u201c", "\u00ab\u00bb", "\u300c\u300d", "\u300e\u300f", "''", "``",
)  # fmt: skip
ZAWGYI = 0.95  # probability
DIVIDERS = {",": "commas? name it .csv", ";": "semicolons? name it .csv", "|": "bars? save it with tabs"}
SIDES = {"source": "data.source_language", "reference": "data.target_language"}


def remarks(examples: Sequence[Example], max_bad_share: float, steps: Sequence[str] = DEFAULT) -> list[str]:
    """All warnings about the pairs in the order of their file, before the `steps` of data.normalise. Raises
    InputError where they are certainly shifted.
    """
    found = (
        *quote_remarks(examples),
        alignment_remark(examples, max_bad_share),
        zawgyi_remark(examples, max_bad_share),
        *form_remarks(examples, steps),
    )
    return [remark for remark in found if remark]


@dataclass
class Count:
    """How many pairs have something, and the first that has."""

    number: int = 0
    first: Example | None = None

    def add(self, example: Example) -> None:
        """Count one."""
        self.number += 1
        self.first = self.first or example


def quote_remarks(examples: Iterable[Example]) -> tuple[str, str]:
    """A warning where many texts have quotes around them, or some have those of CSV, although the file was
    not read as an export; and one where nearly all pairs have a text in curly, single or angle quotes, which
    are never removed.
    """
    quoted, wrapped = Count(), Count()
    is_csv = False
    total = 0
    for example in examples:
        total += 1
        texts = [text for text in (example.source, example.reference) if is_quoted(text)]
        if texts:
            quoted.add(example)
            is_csv = is_csv or any('""' in text[1:-1] for text in texts)
        if _is_wrapped(example.source) or _is_wrapped(example.reference):
            wrapped.add(example)
    return _quotes_remark(quoted, total, is_csv), _wrapping_remark(wrapped, total)


def _quotes_remark(quoted: Count, total: int, is_csv: bool) -> str:
    if quoted.first is None or (quoted.number <= MANY_QUOTED * total and not is_csv):
        return ""
    return (
        f"{quoted.number:,} of {total:,} pairs have a text in quotes, which stay part of it, e.g. {describe_pair(quoted.first)}; "
        "if they are those of an export, put every text in quotes, or none"
    )


def _wrapping_remark(wrapped: Count, total: int) -> str:
    if wrapped.first is None or wrapped.number <= MOST * total:
        return ""
    return (
        f"{wrapped.number:,} of {total:,} pairs have a text in curly, single or angle quotes, which stay part of it, e.g. "
        f"{describe_pair(wrapped.first)}; take them off the file if they are no speech"
    )


def _is_wrapped(text: str) -> bool:
    return len(text) > 1 and text[0] + text[-1] in WRAPPERS


def alignment_remark(examples: Sequence[Example], max_bad_share: float) -> str:
    """A warning where reference texts belong to other lines. Raises InputError where that is certain and more
    than `max_bad_share` of all.
    """
    facts = alignment(Mapped(examples, lambda example: (example.source, example.reference)))
    if facts.evidence < DOUBTFUL:
        return ""
    sentence = _shift_sentence(facts, examples)
    if facts.evidence >= CERTAIN and facts.share > max_bad_share:
        raise InputError(
            f"{sentence}, more than data.max_bad_share={max_bad_share}; a line is missing or too many there: align them again"
        )
    return f"{sentence}; see whether a line is missing or too many there"


def zawgyi_remark(examples: Sequence[Example], max_bad_share: float) -> str:
    """A warning where Burmese texts are written for the font Zawgyi, whose codes are no Unicode. Raises InputError
    where more than `max_bad_share` of all are.
    """
    total = 0
    bad = []
    for e in examples:
        for text, code in ((e.source, e.source_language), (e.reference, e.target_language)):
            if script_of(code) == "Mymr":
                total += 1
                bad += [e.id] if is_zawgyi(text) else []
    if not bad:
        return ""
    sentence = (
        f"{bad[0]}: {len(bad):,} of {total:,} Burmese texts are in Zawgyi codes and not in Unicode; convert the file "
        "(for example with icu's transliterator Zawgyi-my)"
    )
    if len(bad) > max_bad_share * total:
        raise InputError(f"{sentence}; data.max_bad_share={max_bad_share} allows fewer")
    return sentence


def is_zawgyi(text: str) -> bool:
    """Whether Google's detector takes a text for Zawgyi with a probability of at least 0.95."""
    return zawgyi_detector().get_zawgyi_probability(text) >= ZAWGYI


@cache
def zawgyi_detector() -> Any:
    """The detector of myanmartools, loaded once. Raises InputError where that is not installed."""
    check_extra("language", "a corpus with Burmese", "myanmartools")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the way it opens its own file
        from myanmartools import ZawgyiDetector

        return ZawgyiDetector()


def _shift_sentence(facts: Alignment, examples: Sequence[Example]) -> str:
    """Where the shifted run begins and ends, and its direction."""
    lines = "1 line" if abs(facts.shift) == 1 else f"{abs(facts.shift)} lines"
    way = "below" if facts.shift > 0 else "above"
    first = examples[facts.first].id
    last = examples[facts.last].id
    signs = f"lengths, numbers and names; {facts.share:.0%} of the pairs"
    return f"{first}: from about here to {last} the reference text of a source stands {lines} {way} it (by {signs})"


def advice(reading: Reading, languages: tuple[str, str]) -> str:
    """What to do about the bad lines where most of them have one known cause, else ""; `languages` are those
    of the two sides.
    """
    reason, count = (
        Counter(why for _, why in reading.bad_lines).most_common(1)[0] if reading.bad_lines else ("", 0)
    )
    if reading.num_swapped > HALF * len(reading.bad_lines):
        all_are = reading.num_swapped > MOST * (reading.num_swapped + len(reading.examples))
        what = reading.sides if all_are else "the sides of these lines"
        return f"in {reading.num_swapped:,} of them each side is in the script of the other language: exchange {what}"
    return _cure(reason, reading, languages) if count > HALF * len(reading.bad_lines) else ""


def _cure(reason: str, reading: Reading, languages: tuple[str, str]) -> str:
    """What to do about lines that are bad for this reason, or ""."""
    if NOT_IN in reason:
        return reading.misread or _script_cure(reading, reason, dict(zip(SIDES, languages, strict=True)))
    if reason in ("not JSON", "not a JSON object") or reason.startswith("longer than"):
        return 'a line is one pair, and in JSONL one object a line: {"source": ..., "reference": ...}'
    if reason.startswith("no field") or "is not text" in reason or "is neither text" in reason:
        names = ", ".join(reading.names) or "no text"
        return f"the first object has {names}: name two of them by data.source_column= and data.reference_column="
    if reason == NOT_UTF8:
        return encoding_cure(reading, languages)
    if reason == INNER_RETURN:
        return (
            r"if they are the line ends of the file: tr '\r' '\n' < FILE > NEW; if they stand within texts: "
            r"tr '\r' ' ' < FILE > NEW"
        )
    if reason.startswith("no text in"):
        return (
            f"{reading.layout}: name two of its languages by data.source_language= and data.target_language="
        )
    if reason.endswith("are needed"):
        return divider_cure(reading) or (
            "columns are divided by tabs; data.source_column= and data.reference_column= say which are read"
        )
    return ""


def _script_cure(reading: Reading, reason: str, languages: dict[str, str]) -> str:
    """What to do about a side in another script than its language's, by the script that it is in."""
    side, _, script = reason.partition(NOT_IN)
    language, found = languages[side], reading.scripts.get(reason, "")
    likely = likely_language(found) if found not in UNCLEAR else ""
    is_other = likely and primary(likely) != primary(language)
    such_as = f' such as "{likely}" ({language_name(likely)}),' if is_other else ""
    parts = (
        f"{side} is{NOT_IN}{script} ({SIDES[side]}={language})",
        reading.layout,
        found
        and f"most of these texts are in {script_name(found)} script: write the code of their language,{such_as} or "
        f'"{with_script(language, found)}"',
        not found
        and len(reading.names) > 2
        and "name the two by data.source_column= and data.reference_column=",
    )
    return "; ".join(part for part in parts if part)


def encoding_cure(reading: Reading, languages: tuple[str, str]) -> str:
    """The command that converts a file with lines that are not UTF-8; "" where it has none."""
    if not reading.command:
        return ""
    where = (
        f"{reading.encoding} is likely"
        if reading.encoding
        else f"ENCODING is for example GB18030, BIG5 or CP1252; none that is known here gives letters of "
        f"{' or '.join(languages)}, so check data.source_language and data.target_language too"
    )
    return f"save the file as UTF-8: {reading.command} ({where})"


def divider_cure(reading: Reading) -> str:
    """What to do about a file with one column that another mark than the tab divides; ""."""
    marks = [mark for mark in DIVIDERS if len(reading.names) == 1 and mark in reading.names[0]]
    return f"is the file divided by {DIVIDERS[marks[0]]}" if marks else ""
