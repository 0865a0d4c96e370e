"""Says where a user's texts write one letter or one digit in several ways, and which step of data.normalise makes one
of them. The words are then one word to the model, to chrF and to the search for duplicates.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from data.clean import describe_pair
from data.console import number_of
from data.examples import Example
from data.normalise import ARABIC_SHAPES, LANGUAGES_OF, SORANI_AE, SORANI_HEH
from data.script import primary, script_of

SOME = 0.01  # of the texts of a side: fewer are chance
MANY = 0.05  # of its texts with digits
DIGITS = re.compile(r"\d")


class Form(NamedTuple):
    """A step of data.normalise, what texts that need it have, in words, and its pattern."""

    step: str
    words: str
    pattern: re.Pattern[str]


FORMS = (
    Form("arabic_shapes", "letters in the shapes of old Arabic fonts", ARABIC_SHAPES),
    Form(
        "persian_letters", "the Arabic letters U+0643, U+064A or U+0649", re.compile("[\u0643\u064a\u0649]")
    ),
    Form("sorani_letters", "U+0647 with a non-joiner, or U+06BE", re.compile(f"{SORANI_AE}|{SORANI_HEH}")),
)


class Side(NamedTuple):
    """A side of the pairs: its name in a sentence, its text and its language in an example."""

    name: str
    text: Callable[[Example], str]
    language: Callable[[Example], str]


SIDES = (
    Side("source", lambda one: one.source, lambda one: one.source_language),
    Side("reference", lambda one: one.reference, lambda one: one.target_language),
)


def form_remarks(examples: Iterable[Example], steps: Sequence[str]) -> list[str]:
    """A sentence for each side and each step that is not among the `steps` and would change many texts."""
    counts = Counter[tuple[str, str]]()  # (side, step or zero digit) -> texts
    first = dict[tuple[str, str], Example]()
    num_texts = 0
    for example in examples:
        num_texts += 1
        for side in SIDES:
            for found in found_in(side.text(example), side.language(example)):
                counts[side.name, found] += 1
                first.setdefault((side.name, found), example)
    forms = [
        _sentence(counts[side.name, form.step], form.words, form.step, first[side.name, form.step], side)
        for side in SIDES
        for form in FORMS
        if form.step not in steps and counts[side.name, form.step] > SOME * num_texts
    ]
    if {"digits_ascii", "digits_script"} & set(steps):
        return forms
    return forms + [sentence for side in SIDES if (sentence := digits_remark(side, counts, first))]


def found_in(text: str, language: str) -> set[str]:
    """The steps that a text needs, and the zero of each kind of digits in it."""
    zeros = {chr(ord(digit) - int(digit)) for digit in DIGITS.findall(text)}
    if "Arab" not in (script_of(language) or "").split("+"):
        return zeros
    own = primary(language)
    return zeros | {
        form.step
        for form in FORMS
        if (form.step not in LANGUAGES_OF or own in LANGUAGES_OF[form.step]) and form.pattern.search(text)
    }


def digits_remark(
    side: Side, counts: Mapping[tuple[str, str], int], first: Mapping[tuple[str, str], Example]
) -> str:
    """A sentence where a side has two kinds of digits; ""."""
    kinds = Counter({zero: n for (name, zero), n in counts.items() if name == side.name and len(zero) == 1})
    if len(kinds) < 2:
        return ""
    (usual, most), (rare, fewer) = kinds.most_common(2)
    if fewer <= MANY * (most + fewer):
        return ""
    words = f"digits from U+{ord(rare):04X} on, beside {most:,} with those from U+{ord(usual):04X} on"
    return _sentence(fewer, words, "digits_ascii", first[side.name, rare], side)


def _sentence(number: int, words: str, step: str, example: Example, side: Side) -> str:
    return (
        f'{number_of(number, f"{side.name} text")} with {words}, e.g. {describe_pair(example)}; "{step}" in data.normalise writes '
        "them as one (docs/languages.md)"
    )
