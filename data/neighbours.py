"""Exact all-pairs Jaccard join over sets of character n-grams: every pair of texts with similarity >=
`threshold`, and no other.

There is no sampling, so a split built on it leaks nothing. Prefix and length filter as in
Bayardo, Ma & Srikant 2007 (AllPairs), with a bound on the overlap behind the prefixes as in Xiao et al. 2008
(PPJoin): with tokens in order of rarity, two similar sets share a token among the first few of each.
"""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.grams import Grams, Ints, overlaps, starts_of

Walk = Callable[[Sequence[int]], Iterator[int]]
FINEST = 1_000_000
TOGETHER = 1000  # sets whose candidates are compared at once


def similar_rows(grams: Grams, threshold: float, walk: Walk = iter) -> Iterator[tuple[int, int]]:
    """Every pair (i, j), i != j, of sets, each once, with |A & B| >= threshold * |A | B|. `walk` iterates
    over the numbers of the sets and may report progress.

    Raises ValueError unless 0 < threshold <= 1.
    """
    high, low = fraction_of(threshold)
    order = np.argsort(grams.sizes, kind="stable")
    index = _Index(grams.take(order), high, low)
    found = list[tuple[int, int]]()
    for place, _ in enumerate(walk(order.tolist())):
        found += [(other, place) for other in index.candidates(place)]
        if len(found) and (place % TOGETHER == TOGETHER - 1 or place == len(order) - 1):
            pairs = order[np.array(found)]
            is_near = is_similar(grams.take(pairs[:, 0]), grams.take(pairs[:, 1]), threshold)
            yield from map(tuple, pairs[is_near].tolist())
            found.clear()


def fraction_of(threshold: float) -> tuple[int, int]:
    """The threshold as a fraction, so that the arithmetic is in whole numbers; it is rounded to six digits,
    as a finer one would exceed 64-bit integers. Raises ValueError unless 0 < threshold <= 1.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"a similarity needs 0 < threshold <= 1 (got {threshold})")
    ratio = max(Fraction(str(threshold)).limit_denominator(FINEST), Fraction(1, FINEST))
    return ratio.numerator, ratio.denominator


def is_similar(one: Grams, other: Grams, threshold: float) -> NDArray[np.bool_]:
    """(n,) whether set i of `one` and set i of `other` have at least this Jaccard similarity."""
    high, low = fraction_of(threshold)
    num_shared = overlaps(one, other)
    return num_shared * low >= high * (one.sizes + other.sizes - num_shared)


class _Index:
    """Which sets have which token in their prefix; the sets are in order of size and named by their place."""

    def __init__(self, grams: Grams, high: int, low: int) -> None:
        self.high = high
        self.low = low
        self.sizes = grams.sizes
        self.count = len(self.sizes)
        # so many of the rarest tokens must hold a shared one
        self.prefixes = self.sizes - self._ceil(high * self.sizes, low) + 1
        ranks = _by_rarity(grams)
        behind = np.arange(len(ranks)) - np.repeat(grams.starts[:-1], self.sizes)
        self.tokens = ranks[behind < np.repeat(self.prefixes, self.sizes)]
        self.starts = starts_of(self.prefixes)
        self.last = self.tokens[self.starts[1:] - 1]
        self.keys = self.tokens * self.count + np.repeat(np.arange(self.count), self.prefixes)
        self.keys.sort()
        self.places = self.keys % max(1, self.count)

    def candidates(self, place: int) -> list[int]:
        """Earlier sets that can still be similar enough, given the number of tokens that the two prefixes share."""
        # shorter ones are too short
        first = int(np.searchsorted(self.sizes, self._ceil(self.high * self.sizes[place], self.low)))
        tokens = self.tokens[self.starts[place] : self.starts[place + 1]]
        ranges = np.searchsorted(self.keys, tokens * self.count + np.array([[first], [place]])).T
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


def _by_rarity(grams: Grams) -> Ints:
    """The tokens of every set as numbers, ascending in each, the rarest token of the collection first."""
    _, numbers, counts = np.unique(grams.hashes, return_inverse=True, return_counts=True)
    rank = np.empty(len(counts), np.int64)
    rank[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    keys = np.repeat(np.arange(len(grams)), grams.sizes) * max(1, len(counts)) + rank[numbers]
    keys.sort()
    return keys % max(1, len(counts))
