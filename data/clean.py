"""Cleans pairs, and drops those that break a rule. Text rules only: no file, no language model.

The manifest counts every reason with its first example. Rules for one kind of text only, such as the
placeholders of a catalogue (`data.interface_text`), are passed in by the reader of that kind.
"""

import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableSequence, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from data.examples import Example
from data.key_table import KeyTable
from data.normalise import DEFAULT, LINE_ENDS, default_steps, normalise, steps_of
from data.script import count_units, isolate, script_name, script_of, script_share

MIN_SOURCE_SHARE = 0.5  # a target has more numbers, names and commands of the original
MIN_TARGET_SHARE = 0.3

# half a surrogate pair, and U+FFFD, a converter's mark for unreadable bytes
DAMAGED = re.compile("[\ud800-\udfff\ufffd]")
# combining marks in a row (as in the stream-safe text of UAX 15), and a text too short to check for it
MAX_MARKS = 30
SHORT = 1000
SHOWN = 40  # characters of a text in an example

LENGTH_LIMITS = {  # reason -> the field of `Limits` that makes it
    "source too short": "min_source", "source too long": "max_source", "reference too short": "min_target",
    "reference too long": "max_target",
}  # fmt: skip

NOT_IN = " not in "  # between the side and the script that it should have, in a reason
OTHER_REFERENCE = "other reference"  # joins another pair: no text is lost

Rule = Callable[[Example], str]  # why a pair is dropped, or an empty string


@dataclass(frozen=True)
class Limits:
    """Shortest and longest texts to keep, in units of each side's script (see `data.script.count_units`)."""

    min_source: int
    max_source: int
    min_target: int
    max_target: int

    def problem(self, source: int, target: int) -> str:
        """Why a pair with texts of so many units is dropped, or ""."""
        if not self.min_source <= source <= self.max_source:
            return "source too short" if source < self.min_source else "source too long"
        if not self.min_target <= target <= self.max_target:
            return "reference too short" if target < self.min_target else "reference too long"
        return ""


class Drops(Protocol):
    """What takes (id, reason) of each dropped pair."""

    def append(self, drop: tuple[str, str], /) -> None:
        """Add one."""


class Kind(NamedTuple):
    """What the manifest counts pairs by."""

    language: str
    origin: str
    licence: str


@dataclass
class Tally:
    """The result of cleaning: the clean `pairs` in order, and (id, reason) of each dropped one in `drops`.

    `kinds`: the number of each pair's kind; `kind_numbers`: the kinds, which are its language, origin and
    licence. `samples`: an example of each reason, as it is printed; `misfits`: how many of the pairs that a
    length limit dropped have so many (source, target) units.
    """

    pairs: MutableSequence[Example] = field(default_factory=list)
    drops: Drops = field(default_factory=list[tuple[str, str]])
    kinds: "array[int]" = field(default_factory=lambda: array("i"))
    kind_numbers: dict[Kind, int] = field(default_factory=dict)
    removed: "array[int]" = field(default_factory=lambda: array("q"))  # places of `drop_kept`
    num_read: Counter[str] = field(default_factory=Counter)
    num_dropped: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, Counter[str]] = field(default_factory=dict)
    samples: dict[str, str] = field(default_factory=dict)
    misfits: Counter[tuple[int, int]] = field(default_factory=Counter)

    def keep(self, example: Example) -> None:
        """Add a clean pair."""
        kind = Kind(example.source_language, example.origin, example.licence)
        self.kinds.append(self.kind_numbers.setdefault(kind, len(self.kind_numbers)))
        self.pairs.append(example)

    def drop(self, example: Example, reason: str) -> None:
        """Count one pair that was read and dropped."""
        self._count(example.origin, example.id, reason)
        if reason not in self.samples:
            self.samples[reason] = describe_pair(example)
        if reason in LENGTH_LIMITS:
            self.misfits[units(example)] += 1

    def drop_kept(self, places: Iterable[int], reason: str) -> None:
        """Count pairs that cleaning kept and something else drops; they stay in `pairs`."""
        for place in map(int, places):
            example = self.pairs[place]
            self._count(example.origin, example.id, reason)
            self.samples.setdefault(reason, describe_pair(example))
            self.removed.append(place)

    def add_bad_lines(
        self, origin: str, bad_lines: Iterable[tuple[str, str]], samples: Mapping[str, str]
    ) -> None:
        """Count lines that are no pair, as (file:line, reason); `samples` has an example of each reason."""
        for key, reason in bad_lines:
            self.num_read[origin] += 1
            self._count(origin, key, reason)
            self.samples.setdefault(reason, samples[reason])

    def _count(self, origin: str, key: str, reason: str) -> None:
        self.drops.append((key, reason))
        self.num_dropped[reason] += 1
        self.reasons.setdefault(origin, Counter())[reason] += 1


def clean_text(text: str, steps: Sequence[str] = DEFAULT, language: str = "") -> str:
    """Normalise a text of a language by `steps` (data.normalise): by default NFC, one kind of tsheg, no control,
    direction or invisible characters; always single spaces, no space at the ends.

    NFC comes last, since an invisible character may separate a letter from its mark, and makes two of some marks.
    """
    if not language:
        return normalise(text, steps, "", _without_towers)
    return normalise(text, steps_of(language, tuple(steps)), script_of(language) or "", _without_towers)


def clean_as_read(text: str, steps: Sequence[str], language: str) -> str:
    """A text as it would stand in the corpus: the reader of files does the default steps, and then come those of
    data.normalise.
    """
    return clean_text(clean_text(text, default_steps(LINE_ENDS not in steps)), steps, language)


def _without_towers(text: str) -> str:
    """Remove from a long text the marks that follow `MAX_MARKS` others: sorting them takes quadratic time."""
    if len(text) <= SHORT:
        return text
    characters = list[str]()
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= MAX_MARKS:
            characters.append(character)
    return "".join(characters)


def script_problem(example: Example) -> str:
    """Which side is not in the script of its language, or ""."""
    for side, text, language, share in (
        ("source", example.source, example.source_language, MIN_SOURCE_SHARE),
        ("reference", example.reference, example.target_language, MIN_TARGET_SHARE),
    ):
        script = script_of(language)
        if script is not None and script_share(text, script) < share:
            return f"{side}{NOT_IN}{script_name(script)} script"
    return ""


def no_rule(example: Example) -> str:
    """The rule for a user's own text: none."""
    return ""


def problem(example: Example, limits: Limits, rule: Rule = no_rule) -> str:
    """Why a clean pair is dropped, or ""; `rule` is the one of its kind of text."""
    if not example.source or not example.reference:
        return "empty"
    if DAMAGED.search(example.source) or DAMAGED.search(example.reference):
        return "damaged characters"
    return rule(example) or script_problem(example) or limits.problem(*units(example))


def units(example: Example) -> tuple[int, int]:
    """Length of the source and of the first reference text, in units of their scripts."""
    sides = ((example.source, example.source_language), (example.reference, example.target_language))
    source, target = (count_units(text, script_of(language)) for text, language in sides)
    return source, target


def shorten(text: str, length: int = SHOWN) -> str:
    """The beginning of a text on one line, of at most `length` characters.

    >>> shorten("one\\ntwo three", 8)
    'one two…'
    """
    line = "".join(character if character.isprintable() else " " for character in text[: length + 1])
    return line if len(line) <= length else f"{line[: length - 1]}…"


def describe_pair(example: Example) -> str:
    """A pair in one line: its place and the beginnings of both texts."""
    return f"{example.id}: {isolate(shorten(example.source))} | {isolate(shorten(example.reference))}"


def clean(
    examples: Iterable[Example],
    limits: Limits,
    rule: Rule = no_rule,
    steps: Sequence[str] = DEFAULT,
    tally: Tally | None = None,
) -> Tally:
    """Clean all pairs and keep one for each source and target language. Exact copies are dropped; further
    reference texts join the first as `others`. Both count as drops, so that pairs read = pairs + drops.

    `tally`: the empty one to fill, where pairs and drops go elsewhere than into lists.
    """
    tally = tally or Tally()
    table = KeyTable()
    for example in _clean_texts(examples, steps):
        tally.num_read[example.origin] += 1
        reason = problem(example, limits, rule)
        key = hash(source_key(example))
        place = None if reason else _place_of(example, table.positions_of(key), tally.pairs)
        if place is not None:
            first = tally.pairs[place]
            reason = "duplicate" if example.reference in first.references else OTHER_REFERENCE
            if reason == OTHER_REFERENCE:
                tally.pairs[place] = replace(first, others=(*first.others, example.reference))
        if reason:
            tally.drop(example, reason)
        else:
            table.add(key, len(tally.pairs))
            tally.keep(example)
    return tally


def source_key(example: Example) -> tuple[str, str, str]:
    """What two pairs share that become one."""
    return example.source_language, example.target_language, example.source


def _place_of(example: Example, places: Iterable[int], pairs: Sequence[Example]) -> int | None:
    """Which of the places holds a pair with the same source, if any does."""
    key = source_key(example)
    return next((place for place in places if source_key(pairs[place]) == key), None)


def _clean_texts(examples: Iterable[Example], steps: Sequence[str]) -> Iterator[Example]:
    for example in examples:
        yield replace(
            example,
            source=clean_text(example.source, steps, example.source_language),
            reference=clean_text(example.reference, steps, example.target_language),
        )
