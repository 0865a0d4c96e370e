"""A translation memory as baseline: it answers with the reference text of the most similar training source.

A trained model should beat this look-up. Similarity is the cosine of tf-idf
weighted character n-gram counts, hashed into a fixed number of buckets (the hashing trick: Weinberger et al.,
2009) and searched exactly. The index keeps 6 bytes for each different n-gram of a text, in a file without a name:
memory holds a block of it, and a length for each text.
"""

import math
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.examples import Example
from data.grams import Ints
from data.records import Mapped
from eval.buckets import BUCKETS, entries_of

BLOCK = 4096  # texts that are indexed, and compared with a source, at once: bounds memory
DIGITS = 9  # of a cosine that count: cosines are equal that differ by rounding only
Array = NDArray[np.float64]


def inverse_frequencies(text_counts: NDArray[np.int64], count: int) -> Array:
    """Smoothed inverse document frequency ln((1 + count) / (1 + n)) + 1 of each bucket.

    `text_counts`: n, how many of the `count` texts hit the bucket.
    """
    return np.asarray([math.log((1 + count) / (1 + number)) + 1 for number in text_counts.tolist()])


def factors_of(counts: Ints) -> NDArray[np.float32]:
    """1 + ln count of each."""
    return (1 + np.log(counts)).astype(np.float32)


@dataclass(frozen=True)
class Block:
    """An inverted index of n texts: the rows starts[b] to starts[b + 1] hit bucket b, each with its factor."""

    starts: NDArray[np.int64]
    rows: NDArray[np.uint16]
    factors: NDArray[np.float32]
    n: int

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Block":
        """The index of up to BLOCK texts."""
        entries = entries_of(texts)
        order = np.argsort(entries.buckets.astype(np.uint16), kind="stable")
        starts = np.searchsorted(entries.buckets[order], np.arange(BUCKETS + 1))
        factors = factors_of(entries.counts)[order]
        return cls(starts, entries.rows[order].astype(np.uint16), factors, len(texts))

    @property
    def text_counts(self) -> NDArray[np.int64]:
        """(BUCKETS,) how many of the texts hit each bucket."""
        return np.diff(self.starts)

    def norms(self, weights: Array) -> Array:
        """(n,) lengths of the weighted vectors."""
        values = self.factors * np.repeat(weights, self.text_counts)
        return np.sqrt(np.bincount(self.rows, values**2, minlength=self.n))

    def products(self, buckets: Ints, values: Array) -> Array:
        """(n,) inner products with the vector that has `values` (k,) in `buckets` (k,), added up in fp64."""
        places = [slice(self.starts[bucket], self.starts[bucket + 1]) for bucket in buckets.tolist()]
        rows = np.concatenate([self.rows[place] for place in places])
        factors = np.concatenate([self.factors[place] for place in places])
        terms = factors * np.repeat(values, self.text_counts[buckets])
        return np.asarray(np.bincount(rows, terms, minlength=self.n), dtype=np.float64)


class Blocks:
    """Blocks in a file of `folder`, which goes with this object; None = the system's folder for such files."""

    def __init__(self, folder: Path | None) -> None:
        self.file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        weakref.finalize(self, self.file.close)
        self.sizes: list[tuple[int, int]] = []  # texts and entries of each block

    def append(self, block: Block) -> None:
        """Write a block behind the others."""
        for values in (block.starts, block.rows, block.factors):
            values.tofile(self.file)
        self.sizes.append((block.n, len(block.rows)))

    def __iter__(self) -> Iterator[Block]:
        self.file.seek(0)
        for n, count in self.sizes:
            starts = np.fromfile(self.file, np.int64, BUCKETS + 1)
            rows = np.fromfile(self.file, np.uint16, count)
            yield Block(starts, rows, np.fromfile(self.file, np.float32, count), n)


@dataclass(frozen=True)
class Query:
    """A source to look up: its buckets (k,), and its values in them (k,), of length 1 in all and then weighted."""

    buckets: Ints
    values: Array


@dataclass(frozen=True)
class TranslationMemory:
    """The searchable training pairs: `references` and `norms` in the order of the texts of all `blocks`."""

    blocks: Blocks
    weights: Array
    norms: Array
    references: Sequence[str]

    def translate(self, sources: Sequence[str]) -> list[str]:
        """For each source the reference text of the nearest training source.

        The earlier of equals, by a cosine rounded to DIGITS decimals.
        """
        queries = list(map(self._query, sources))
        best = [(-math.inf, 0)] * len(queries)
        for start, block in self._numbered_blocks():
            for number, query in enumerate(queries):
                cosines = self._cosines(query, block, start)
                place = int(cosines.argmax())
                if cosines[place] > best[number][0]:
                    best[number] = float(cosines[place]), start + place
        return [self.references[place] for _, place in best]

    def cosines(self, source: str) -> Array:
        """(number of pairs,) rounded cosines of a source and every training source."""
        query = self._query(source)
        return np.concatenate(
            [self._cosines(query, block, start) for start, block in self._numbered_blocks()]
        )

    def _numbered_blocks(self) -> Iterator[tuple[int, Block]]:
        """Every block with the number of its first text."""
        start = 0
        for block in self.blocks:
            yield start, block
            start += block.n

    def _query(self, source: str) -> Query:
        entries = entries_of([source])
        weights = self.weights[entries.buckets]
        values = factors_of(entries.counts) * weights
        values /= np.linalg.norm(values)
        return Query(entries.buckets, values * weights)

    def _cosines(self, query: Query, block: Block, start: int) -> Array:
        """(n,) rounded cosines of a source and the texts of a block."""
        products = block.products(query.buckets, query.values)
        return np.round(products / self.norms[start : start + block.n], DIGITS)


def build_memory(examples: Sequence[Example], folder: Path | None = None) -> TranslationMemory:
    """Index all training pairs (warm start and RL prompts together) in a file of `folder`. Raises ValueError for no
    pairs.

    A pair takes 6 bytes on disk for each different n-gram of its source, of which a sentence has 50 to 200.
    """
    if not examples:
        raise ValueError("a translation memory needs at least one training pair")
    blocks = Blocks(folder)
    text_counts = np.zeros(BUCKETS, np.int64)
    for start in range(0, len(examples), BLOCK):
        block = Block.of([example.source for example in examples[start : start + BLOCK]])
        text_counts += block.text_counts
        blocks.append(block)
    weights = inverse_frequencies(text_counts, len(examples))
    norms = np.concatenate([block.norms(weights) for block in blocks])
    return TranslationMemory(blocks, weights, norms, Mapped(examples, lambda example: example.reference))
