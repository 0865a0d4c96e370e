"""A translation memory as baseline: it answers with the reference text of the most similar training source.

A trained model should beat this look-up. Similarity is the cosine of tf-idf
weighted character n-gram counts, hashed into a fixed number of buckets (the hashing trick: Weinberger et al.,
2009) and searched exactly. The index keeps 6 bytes for each different n-gram of a text.
"""

import math
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.examples import Example

BUCKETS = 4096
ORDERS = (2, 3, 4)
BLOCK = 4096  # texts that are indexed, and compared with a source, at once: bounds memory beside the index
DIGITS = 9  # of a cosine that count: cosines are equal that differ by rounding only
Array = NDArray[np.float64]


def bucket_counts(text: str) -> Counter[int]:
    """How many character n-grams of a text fall into each bucket.

    A space is added at both ends, so every text has an n-gram. crc32 gives the same buckets on every machine.
    """
    line = f" {text} "
    grams = (line[start : start + order] for order in ORDERS for start in range(len(line) - order + 1))
    return Counter(zlib.crc32(gram.encode()) % BUCKETS for gram in grams)


@dataclass(frozen=True)
class Vector:
    """A text before weighting: the buckets it hits (k,), ascending, and 1 + ln count of each (k,)."""

    buckets: NDArray[np.uint16]
    factors: NDArray[np.float32]


def vector(text: str) -> Vector:
    """The buckets and factors of a text."""
    counts = sorted(bucket_counts(text).items())
    buckets, numbers = np.array(counts, dtype=np.int64).T
    return Vector(buckets.astype(np.uint16), (1 + np.log(numbers)).astype(np.float32))


def inverse_frequencies(text_counts: NDArray[np.int64], count: int) -> Array:
    """Smoothed inverse document frequency ln((1 + count) / (1 + n)) + 1 of each bucket.

    `text_counts`: n, how many of the `count` texts hit the bucket.
    """
    return np.asarray([math.log((1 + count) / (1 + number)) + 1 for number in text_counts.tolist()])


@dataclass(frozen=True)
class Block:
    """An inverted index of n texts: the rows starts[b] to starts[b + 1] hit bucket b, each with its
    factor.
    """

    starts: NDArray[np.int64]
    rows: NDArray[np.uint16]
    factors: NDArray[np.float32]
    n: int

    @classmethod
    def of(cls, vectors: Sequence[Vector]) -> "Block":
        """The index of up to BLOCK texts."""
        buckets = np.concatenate([one.buckets for one in vectors])
        rows = np.repeat(np.arange(len(vectors), dtype=np.uint16), [len(one.buckets) for one in vectors])
        order = np.argsort(buckets, kind="stable")
        starts = np.searchsorted(buckets[order], np.arange(BUCKETS + 1))
        return cls(starts, rows[order], np.concatenate([one.factors for one in vectors])[order], len(vectors))

    @property
    def text_counts(self) -> NDArray[np.int64]:
        """(BUCKETS,) how many of the texts hit each bucket."""
        return np.diff(self.starts)

    def norms(self, weights: Array) -> Array:
        """(n,) lengths of the weighted vectors."""
        values = self.factors * np.repeat(weights, self.text_counts)
        return np.sqrt(np.bincount(self.rows, values**2, minlength=self.n))

    def products(self, buckets: NDArray[np.uint16], values: Array) -> Array:
        """(n,) inner products with the vector that has `values` (k,) in `buckets` (k,), added up in fp64."""
        places = [slice(self.starts[bucket], self.starts[bucket + 1]) for bucket in buckets.tolist()]
        rows = np.concatenate([self.rows[place] for place in places])
        factors = np.concatenate([self.factors[place] for place in places])
        terms = factors * np.repeat(values, self.text_counts[buckets])
        return np.asarray(np.bincount(rows, terms, minlength=self.n), dtype=np.float64)


@dataclass(frozen=True)
class TranslationMemory:
    """The searchable training pairs: `references` and `norms` in the order of the texts of all `blocks`."""

    blocks: tuple[Block, ...]
    weights: Array
    norms: Array
    references: tuple[str, ...]

    def translate(self, sources: Sequence[str]) -> list[str]:
        """For each source the reference text of the nearest training source.

        The earlier of equals, by a cosine rounded to DIGITS decimals.
        """
        return [self.references[int(self.cosines(source).argmax())] for source in sources]

    def cosines(self, source: str) -> Array:
        """(number of pairs,) rounded cosines of a source and every training source."""
        query = vector(source)
        weights = self.weights[query.buckets]
        values = query.factors * weights
        values /= np.linalg.norm(values)
        products = np.concatenate([block.products(query.buckets, values * weights) for block in self.blocks])
        return np.round(products / self.norms, DIGITS)


def build_memory(examples: Sequence[Example]) -> TranslationMemory:
    """Index all training pairs (warm start and RL prompts together). Raises ValueError for no pairs.

    A pair takes 6 bytes for each different n-gram of its source, of which a sentence has 50 to 200.
    """
    if not examples:
        raise ValueError("a translation memory needs at least one training pair")
    sources = [example.source for example in examples]
    starts = range(0, len(sources), BLOCK)
    blocks = tuple(
        Block.of([vector(source) for source in sources[start : start + BLOCK]]) for start in starts
    )
    weights = inverse_frequencies(np.sum([block.text_counts for block in blocks], axis=0), len(examples))
    norms = np.concatenate([block.norms(weights) for block in blocks])
    return TranslationMemory(blocks, weights, norms, tuple(example.reference for example in examples))
