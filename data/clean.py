"""From a reader's pair to a clean one, or to the reason why it is dropped. Text rules only: no file, no language model.

Every drop has a one-word reason that the manifest counts. Marks of one format (tags, accelerator keys) are the readers' business;
they call the functions here.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from data.examples import Example
from data.markup import unescape
from data.script import count_units, script_of, script_share

MIN_SOURCE_SHARE, MIN_TARGET_SHARE = 0.5, 0.3  # the target keeps numbers, names and commands of the original more often

NON_BREAKING_TSHEG, TSHEG = "\u0f0c", "\u0f0b"
INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
DAMAGED = re.compile("[\ud800-\udfff\ufffd]")  # half a surrogate pair, and what a converter puts for what it could not read
MAX_MARKS, SHORT = 30, 1000  # combining marks in a row (as in the stream-safe text of UAX 15), and a text too short to check for it
TAG = re.compile(r"</?[A-Za-z][^<>]*>")
ACCELERATOR_SUFFIX = re.compile(r"(?<!\s)\s*\([~_&]\w\)")
ACCELERATOR = re.compile(r"(?<![A-Za-z0-9])[~_&](?=\w)|(?<=[A-Za-z0-9])~(?=[A-Za-z])")
WIKITEXT = re.compile(r"\{\{|\}\}|\[\[|\]\]")
PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]|%\d+\$[a-z]|%[A-Z][A-Z_]{2,}|%-?\d*(?:\.\d+)?l*[sdifuxc]\b|%\d+|\$\(?\w+\)?|\{[\w.:]*\}")


@dataclass(frozen=True)
class Limits:
    """Shortest and longest texts that are kept, in units of each side's script (see `data.script.count_units`)."""

    min_source: int
    max_source: int
    min_target: int
    max_target: int


@dataclass
class Tally:
    """What became of every pair that was read: the kept ones in order, and (id, reason) of each dropped one."""

    kept: list[Example] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)
    read: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, Counter[str]] = field(default_factory=dict)

    def drop(self, origin: str, key: str, reason: str) -> None:
        """Count one pair of `origin` that was read and is not kept."""
        self.dropped.append((key, reason))
        self.reasons.setdefault(origin, Counter())[reason] += 1

    def add_rejected(self, origin: str, rejected: Iterable[tuple[str, str]]) -> None:
        """Count lines that never became a pair, as (file:line, reason)."""
        for key, reason in rejected:
            self.read[origin] += 1
            self.drop(origin, key, reason)


def clean_text(text: str) -> str:
    """NFC, one kind of tsheg, no control, direction or invisible characters, single spaces, no space at the ends.

    NFC comes after that: an invisible character may keep a letter and its mark apart.
    """
    visible = INVISIBLE.sub("", " ".join(text.split())).replace(NON_BREAKING_TSHEG, TSHEG)
    return _without_towers(unicodedata.normalize("NFC", _without_towers(" ".join(visible.split()))))  # NFC makes two of some marks


def _without_towers(text: str) -> str:
    """A long text without the marks that follow `MAX_MARKS` others: putting them in order takes quadratic time."""
    if len(text) <= SHORT:
        return text
    kept, marks = list[str](), 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= MAX_MARKS:
            kept.append(character)
    return "".join(kept)


def without_accelerators(text: str) -> str:
    """A message of a user interface without HTML tags, entities and the marks of keyboard accelerators.

    >>> without_accelerators("<b>\u6587\u4ef6</b>(~F)"), without_accelerators("_\u6253\u5f00 max_size")
    ('\u6587\u4ef6', '\u6253\u5f00 max_size')
    """
    plain = unescape(TAG.sub("", text))
    return ACCELERATOR.sub("", ACCELERATOR_SUFFIX.sub("", plain))


def script_problem(example: Example) -> str:
    """Which side is not written in the script of its language; otherwise empty."""
    for side, text, language, share in (
        ("source", example.source, example.source_language, MIN_SOURCE_SHARE),
        ("reference", example.reference, example.target_language, MIN_TARGET_SHARE),
    ):
        script = script_of(language)
        if script is not None and script_share(text, script) < share:
            return f"{side} not in its language's script"
    return ""


def problem(example: Example, limits: Limits) -> str:
    """Why a cleaned pair is dropped, or an empty string."""
    if not example.source or not example.reference:
        return "empty"
    if DAMAGED.search(example.source) or DAMAGED.search(example.reference):
        return "damaged characters"
    if WIKITEXT.search(example.source) or WIKITEXT.search(example.reference):
        return "wiki markup"
    if example.task == "mt" and placeholders(example.source) != placeholders(example.reference):
        return "placeholders differ"
    return script_problem(example) or _length_problem(example, limits)


def placeholders(text: str) -> list[str]:
    """The format placeholders (`%s`, `$1`, `{name}`, `%PRODUCTNAME` ...) in a text, sorted: a translation may change their order."""
    return sorted(PLACEHOLDER.findall(text))


def _length_problem(example: Example, limits: Limits) -> str:
    source = count_units(example.source, script_of(example.source_language))
    target = count_units(example.reference, script_of(example.target_language))
    if not limits.min_source <= source <= limits.max_source:
        return "source too short" if source < limits.min_source else "source too long"
    if not limits.min_target <= target <= limits.max_target:
        return "reference too short" if target < limits.min_target else "reference too long"
    return ""


def clean(examples: Iterable[Example], limits: Limits) -> Tally:
    """Clean every pair and keep one for each source and target language: exact copies are dropped, further reference texts join
    the first as `others`. Both are counted as no longer pairs of their own, so that read = kept + dropped.
    """
    tally = Tally()
    places: dict[tuple[str, str, str], int] = {}
    for example in _cleaned(examples):
        tally.read[example.origin] += 1
        reason = problem(example, limits)
        key = (example.source_language, example.target_language, example.source)
        if not reason and key in places:
            kept = tally.kept[places[key]]
            reason = "duplicate" if example.reference in kept.references else "other reference"
            if reason == "other reference":
                tally.kept[places[key]] = replace(kept, others=(*kept.others, example.reference))
        if reason:
            tally.drop(example.origin, example.id, reason)
        else:
            places[key] = len(tally.kept)
            tally.kept.append(example)
    return tally


def _cleaned(examples: Iterable[Example]) -> Iterator[Example]:
    for example in examples:
        yield replace(example, source=clean_text(example.source), reference=clean_text(example.reference))
