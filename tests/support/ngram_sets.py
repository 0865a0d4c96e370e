"""Character n-grams as sets of texts, one text at a time: what data/grams.py hashes for many at once."""

import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np

from data.grams import Grams, starts_of
from data.neighbours import similar_rows

NgramSet = frozenset[str]


def ngrams(text: str, size: int) -> NgramSet:
    """Character n-grams of the letters and marks of `text`, everything else replaced by single spaces, with a
    space at each end.

    A text without any letter keeps its raw characters. Marks count, since in Tibetan vowels and subjoined
    letters are marks.

    >>> sorted(ngrams("Ab, ab!", 3))
    [' ab', 'ab ', 'b a']
    """
    letters = "".join(
        character if unicodedata.category(character)[0] in "LM" else " " for character in text.lower()
    ).split()
    characters = f" {' '.join(letters) or text} "
    return frozenset(characters[start : start + size] for start in range(max(1, len(characters) - size + 1)))


def similar_pairs(sets: Sequence[NgramSet], threshold: float) -> Iterator[tuple[int, int]]:
    """`similar_rows` of sets, none of which is empty."""
    numbers = dict[str, int]()
    rows = [sorted(numbers.setdefault(token, len(numbers)) for token in tokens) for tokens in sets]
    hashes = np.array([number for row in rows for number in row], np.uint64)
    grams = Grams(hashes, starts_of(np.array([len(row) for row in rows], np.int64)))
    return similar_rows(grams, threshold)
