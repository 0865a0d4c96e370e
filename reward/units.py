"""Splits a text into the units of the guards: Tibetan syllables, single letters of scripts without spaces,
words and numbers otherwise.

One rule holds for every script, so a source and a completion in another script can be compared. A unit is a
run of letters, marks and digits; the tsheg and the shad are punctuation, so a Tibetan run is a syllable. A
letter of a script without spaces (Han, Kana, Thai, Lao, Khmer, Burmese ...) is a unit of its own, with its accents.
Case is folded and punctuation dropped. A zero width joiner, a non-joiner and the separator of Mongolian
vowels are no letters and end no word: Sorani, Persian, Sinhala and Mongolian words have them, and a word is the same unit
with and without. `data.script.count_units` counts a corpus in other units: it leaves out letters of other scripts.
"""

from functools import lru_cache

import regex

from data.script import UNSPACED

INSIDE_WORDS = regex.compile("[\u180e\u200c\u200d]")
CACHE_SIZE = 4096  # texts: every completion of a group has the same source and reference texts
SIGN = r"[\p{L}\p{M}\p{N}]"
LONE_LETTER = "[" + "".join(rf"\p{{Script={script}}}" for script in sorted(UNSPACED)) + "]"
UNIT = regex.compile(rf"(?={SIGN}){LONE_LETTER}(?:(?=\p{{M}})\p{{Inherited}})*|(?:(?!{LONE_LETTER}){SIGN})+")


@lru_cache(maxsize=CACHE_SIZE)
def units(text: str) -> tuple[str, ...]:
    """The units of `text` in order; none for a text without letters or digits.

    >>> units("\u0f56\u0f7c\u0f51\u0f0b\u0f66\u0f90\u0f51\u0f0d URL, \u6253\u5f00 12%")
    ('\u0f56\u0f7c\u0f51', '\u0f66\u0f90\u0f51', 'url', '\u6253', '\u5f00', '12')
    """
    return tuple(UNIT.findall(INSIDE_WORDS.sub("", text.casefold())))


def ngrams(tokens: tuple[str, ...], size: int) -> list[tuple[str, ...]]:
    """Every run of `size` consecutive units, in order; none where there are fewer.

    >>> ngrams(("a", "b", "c"), 2)
    [('a', 'b'), ('b', 'c')]
    """
    return [tokens[start : start + size] for start in range(len(tokens) - size + 1)]
