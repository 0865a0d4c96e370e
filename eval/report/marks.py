"""Marks in one text what differs from another: syllables of Tibetan, characters of unspaced scripts, else words."""

from difflib import SequenceMatcher

import regex

from data.script import is_unspaced, script_of

SIGNS = "\u0f0b-\u0f14"  # between the syllables and sentences of Tibetan
WORDS = regex.compile(rf"\s+|(?:[^\s{SIGNS}]+[{SIGNS}]*|[{SIGNS}]+)\s*")
CHARACTERS = regex.compile(r"\X")
Run = tuple[str, bool]


def units(text: str, language: str) -> list[str]:
    """A text in pieces that may be marked alone, none of which breaks a stack of letters; joined they are the text.

    >>> units("a bc", "en"), len(units("\\u0f40\\u0f0b\\u0f41\\u0f0d", "bo"))
    (['a ', 'bc'], 2)
    """
    pattern = CHARACTERS if is_unspaced(script_of(language)) else WORDS
    return pattern.findall(text)


def new_runs(before: str, after: str, language: str) -> list[Run]:
    """`after` as runs of text, each with whether `before` lacks it at that place.

    >>> new_runs("a b", "a c", "en")
    [('a ', False), ('c', True)]
    """
    new = units(after, language)
    codes = matcher(before, after, language).get_opcodes()
    return [("".join(new[low:high]), code != "equal") for code, _, _, low, high in codes if high > low]


def changed_share(before: str, after: str, language: str) -> float:
    """The share of the units of both texts that the other one lacks, whatever their order: 0 equal, 1 nothing in common."""
    return 1 - matcher(before, after, language).quick_ratio()


def matcher(before: str, after: str, language: str) -> SequenceMatcher[str]:
    """The comparison of two texts by unit; space around a unit does not count."""
    old, new = ([unit.strip() for unit in units(text, language)] for text in (before, after))
    return SequenceMatcher(None, old, new, autojunk=False)
