"""Exact all-pairs Jaccard join over sets of character n-grams: every pair of texts with similarity >=
`threshold`, and no other.

There is no hashing and no sampling, so a split built on it leaks nothing. Prefix and length filter as in
Bayardo, Ma & Srikant 2007 (AllPairs), with a bound on the overlap behind the prefixes as in Xiao et al. 2008
(PPJoin): with tokens in order of rarity, two similar sets share a token among the first few of each.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

NgramSet = frozenset[str]
Walk = Callable[[Sequence[int]], Iterator[int]]
FINEST = 1_000_000


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


def similar_pairs(sets: Sequence[NgramSet], threshold: float, walk: Walk = iter) -> Iterator[tuple[int, int]]:
    """Every pair (i, j), i != j, each once, with |A & B| >= threshold * |A | B|. The arithmetic is in whole
    numbers; only the threshold is rounded, to six digits, as a finer fraction would exceed 64-bit integers.
    `walk` iterates over the numbers of the sets and may report progress.

    Raises ValueError unless 0 < threshold <= 1 and every set has a member.
    """
    if not 0 < threshold <= 1 or not all(sets):
        raise ValueError(
            f"similar_pairs needs 0 < threshold <= 1 (got {threshold}) and sets that are not empty"
        )
    ratio = max(Fraction(str(threshold)).limit_denominator(FINEST), Fraction(1, FINEST))
    high = ratio.numerator
    low = ratio.denominator
    order = sorted(range(len(sets)), key=lambda item: len(sets[item]))
    index = _Index([sets[item] for item in order], high, low)
    for place, item in enumerate(walk(order)):
        for candidate in index.candidates(place):
            other = order[candidate]
            num_shared = len(sets[item] & sets[other])
            if num_shared * low >= high * (len(sets[item]) + len(sets[other]) - num_shared):
                yield other, item


class _Index:
    """Which sets have which token in their prefix; the sets are in order of size and named by their place."""

    def __init__(self, sets: Sequence[NgramSet], high: int, low: int) -> None:
        self.high = high
        self.low = low
        self.count = len(sets)
        self.sizes = np.array([len(tokens) for tokens in sets], dtype=np.int64)
        self.prefixes = (
            self.sizes - self._ceil(high * self.sizes, low) + 1
        )  # so many of the rarest tokens must hold a shared one
        self.tokens = [row[:prefix] for row, prefix in zip(_by_rarity(sets), self.prefixes, strict=True)]
        self.last = np.array([row[-1] for row in self.tokens], dtype=np.int64)
        places = np.repeat(np.arange(self.count), self.prefixes)
        self.keys = np.sort(np.concatenate([*self.tokens, np.empty(0, np.int64)]) * self.count + places)
        self.places = self.keys % max(1, self.count)

    def candidates(self, place: int) -> list[int]:
        """Earlier sets that can still be similar enough, given the number of tokens that the two prefixes
        share.
        """
        first = int(
            np.searchsorted(self.sizes, self._ceil(self.high * self.sizes[place], self.low))
        )  # shorter ones are too short
        ranges = np.searchsorted(self.keys, self.tokens[place] * self.count + np.array([[first], [place]])).T
        places = [self.places[start:stop] for start, stop in ranges.tolist() if start < stop]
        if not places:
            return []
        others, num_shared = np.unique(np.concatenate(places), return_counts=True)
        # a shared token outside one prefix lies behind the end of the prefix that ends first
        beyond = np.where(
            self.last[place] <= self.last[others],
            self.sizes[place] - self.prefixes[place],
            self.sizes[others] - self.prefixes[others],
        )
        least = self._ceil(self.high * (self.sizes[place] + self.sizes[others]), self.high + self.low)
        return others[num_shared + beyond >= least].tolist()

    @staticmethod
    def _ceil(numerator: Any, denominator: int) -> Any:
        return -(-numerator // denominator)


def _by_rarity(sets: Sequence[NgramSet]) -> list[NDArray[np.int64]]:
    """Each set as sorted token numbers, the rarest token of the collection first."""
    frequency = Counter(token for tokens in sets for token in tokens)
    rank = {
        token: number
        for number, (token, _) in enumerate(sorted(frequency.items(), key=lambda entry: (entry[1], entry[0])))
    }
    return [np.sort(np.array([rank[token] for token in tokens], dtype=np.int64)) for tokens in sets]
