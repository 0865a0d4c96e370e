"""Turns a text into hashed features for the student, in two bags: its content, and its length and variety.

The first bag has every unit (a syllable, a number, a Latin word), its character n-grams with `<` and `>` at
the unit's ends, and the pairs and triples of neighbouring units, the text's two ends included. Units of
Tibetan script are syllables, of other scripts those of `reward.units`: words, or letters where no spaces are
written. Tibetan syllables are stacks with prefixes and suffixes, so a new syllable still shares most of its
pieces with known ones. Pairs and triples carry the order and count several times, as there are many more
pieces; numbers count several times too, as they decide what a text says. Hashed n-grams as in Bojanowski et
al., TACL 2017 (fastText). The second bag has what a mean loses: the length, and the share of distinct units,
which reveals repetition.
"""

import math
import re
import unicodedata
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward import units as any_script

BUCKETS = 1 << 17  # features share rows of one table; row 0 is the text without any unit
BAGS = 2
SHORTEST_PIECE = 2  # characters, the ends counted
LONGEST_PIECE = 5
MAX_UNITS = 256  # of a text; the rest is not read
FIRST = "^"
LAST = "$"
UNIT = re.compile("[\u0f40-\u0fbc]+|[0-9]+|[a-z]+")
DIGITS = {0x0F20 + digit: str(digit) for digit in range(10)}  # Tibetan digits
ORDER_COPIES = 3  # how often each pair and triple counts
NUMBER_COPIES = 5  # and each feature of a number: one digit can change what a text says
DISTINCT_LEVELS = 8
NUMBER_WORDS = (  # one to ten
    "\u0f42\u0f45\u0f72\u0f42", "\u0f42\u0f49\u0f72\u0f66", "\u0f42\u0f66\u0f74\u0f58", "\u0f56\u0f5e\u0f72", "\u0f63\u0f94",
    "\u0f51\u0fb2\u0f74\u0f42", "\u0f56\u0f51\u0f74\u0f53", "\u0f56\u0f62\u0f92\u0fb1\u0f51", "\u0f51\u0f42\u0f74", "\u0f56\u0f45\u0f74",
)  # fmt: skip
SETTINGS = {  # kept with a student: other features need another table
    "buckets": BUCKETS, "pieces": [SHORTEST_PIECE, LONGEST_PIECE], "neighbours": [2, 3], "order_copies": ORDER_COPIES,
    "number_copies": NUMBER_COPIES, "distinct_levels": DISTINCT_LEVELS, "max_units": MAX_UNITS, "hash": "crc32",
}  # fmt: skip


def units(text: str) -> list[str]:
    """Syllables, numbers and Latin words in order; Tibetan digits as 0-9, Latin in lower case; tsheg, shad
    and other characters are dropped.

    >>> units("\u0f56\u0f7c\u0f51\u0f0b\u0f61\u0f72\u0f42\u0f0b\u0f21\u0f22 PDF\u0f0d")
    ['\u0f56\u0f7c\u0f51', '\u0f61\u0f72\u0f42', '12', 'pdf']
    """
    return UNIT.findall(unicodedata.normalize("NFC", text).lower().translate(DIGITS))[:MAX_UNITS]


def units_of(script: str) -> Callable[[str], list[str]]:
    """The function that splits a text of `script` (ISO 15924) into the units of its features.

    >>> units_of("Latn")("Faili 3, \u0664 za mtumiaji")
    ['faili', '3', '4', 'za', 'mtumiaji']
    """
    return units if script == "Tibt" else _units_of_any_script


def _units_of_any_script(text: str) -> list[str]:
    digits = (
        str(unicodedata.decimal(character)) if character.isdecimal() else character for character in text
    )
    return list(any_script.units(unicodedata.normalize("NFC", "".join(digits))))[:MAX_UNITS]


def is_number(word: str) -> bool:
    """True for a number in digits and for a word from one to ten."""
    return word.isdecimal() or word in NUMBER_WORDS


def content_features(words: Sequence[str]) -> list[int]:
    """Rows of the table for every unit and its pieces, those of a number several times; [0] for no unit."""
    return [row for word in words for row in _pieces(word) * (NUMBER_COPIES if is_number(word) else 1)] or [0]


def order_features(words: Sequence[str]) -> list[int]:
    """Rows of the table for every two and three neighbours of ^ w1 ... wn $."""
    tokens = [FIRST, *words, LAST]
    pairs = [_row(f"2 {one} {two}") for one, two in pairwise(tokens)]
    return pairs + [
        _row(f"3 {one} {two} {three}")
        for one, two, three in zip(tokens, tokens[1:], tokens[2:], strict=False)
    ]


def size_features(words: Sequence[str]) -> list[int]:
    """Rows of the table for the length in half octaves and for the share of distinct units in eighths."""
    half_octaves = int(2 * math.log2(len(words) + 1))
    distinct = DISTINCT_LEVELS * len(set(words)) // max(1, len(words))
    return [_row(f"length {half_octaves}"), _row(f"distinct {distinct}")]


@lru_cache(maxsize=1 << 18)
def _row(feature: str) -> int:
    return zlib.crc32(feature.encode()) % (BUCKETS - 1) + 1


@lru_cache(maxsize=1 << 16)
def _pieces(word: str) -> tuple[int, ...]:
    marked_word = f"<{word}>"
    sizes = range(SHORTEST_PIECE, LONGEST_PIECE + 1)
    return (
        _row(f"1 {word}"),
        *(_row(f"c {marked_word[i : i + n]}") for n in sizes for i in range(len(marked_word) - n + 1)),
    )


@dataclass(frozen=True)
class Bags:
    """Features of n texts, flat: `ids` (T,) int64 are text 0's first bag, its second, text 1's first ...;
    `lengths` (2n,).
    """

    ids: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.lengths) // BAGS

    def take(self, items: Sequence[int] | NDArray[np.int64]) -> "Bags":
        """The bags of these texts, in this order."""
        places_of_bags = (BAGS * np.asarray(items, dtype=np.int64)[:, None] + np.arange(BAGS)).ravel()
        lengths = self.lengths[places_of_bags]
        starts = (self.lengths.cumsum() - self.lengths)[places_of_bags]
        places = (
            np.arange(lengths.sum())
            - np.repeat(lengths.cumsum() - lengths, lengths)
            + np.repeat(starts, lengths)
        )
        return Bags(self.ids[places], lengths)

    def join(self, others: "Bags") -> "Bags":
        """These texts, then those."""
        return Bags(np.concatenate([self.ids, others.ids]), np.concatenate([self.lengths, others.lengths]))

    def tensors(self) -> tuple[Tensor, Tensor]:
        """(ids, lengths) for the network."""
        return torch.from_numpy(self.ids), torch.from_numpy(self.lengths)


def bags(texts: Sequence[Sequence[str]]) -> Bags:
    """Features of texts given as units."""
    rows = [
        bag
        for words in texts
        for bag in (content_features(words) + ORDER_COPIES * order_features(words), size_features(words))
    ]
    lengths = np.array([len(bag) for bag in rows], dtype=np.int64)
    return Bags(
        np.fromiter((row for bag in rows for row in bag), dtype=np.int64, count=int(lengths.sum())), lengths
    )
