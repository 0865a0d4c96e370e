"""A translation memory as baseline: answer with the reference text of the most similar training source.

A model that does not beat this look-up has learned less than a table. Similarity is the cosine of tf-idf weighted character
n-gram counts, hashed into a fixed number of buckets (the hashing trick: Weinberger et al., 2009) and searched exactly by faiss.
"""

import math
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from data.examples import Example

BUCKETS = 4096
ORDERS = (2, 3, 4)
Matrix = NDArray[np.float32]


def bucket_counts(text: str) -> Counter[int]:
    """How often each bucket is hit by the character n-grams of a text between two spaces (so no text is without an n-gram).

    crc32 gives the same buckets on every machine.
    """
    padded = f" {text} "
    grams = (padded[start : start + order] for order in ORDERS for start in range(len(padded) - order + 1))
    return Counter(zlib.crc32(gram.encode()) % BUCKETS for gram in grams)


def inverse_frequencies(counts: Sequence[Counter[int]]) -> Matrix:
    """(BUCKETS,) smoothed inverse document frequency ln((1 + n) / (1 + df)) + 1."""
    seen = Counter(bucket for count in counts for bucket in count)
    weights = [math.log((1 + len(counts)) / (1 + seen[bucket])) + 1 for bucket in range(BUCKETS)]
    return np.asarray(weights, dtype=np.float32)


def vectors(counts: Sequence[Counter[int]], weights: Matrix) -> Matrix:
    """(n, BUCKETS) rows (1 + ln count) * weight of unit length."""
    rows = np.zeros((len(counts), BUCKETS), dtype=np.float32)
    for row, count in zip(rows, counts, strict=True):
        buckets = np.fromiter(count.keys(), dtype=np.int64, count=len(count))
        row[buckets] = 1 + np.log(np.fromiter(count.values(), dtype=np.float32, count=len(count)))
    rows *= weights
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@dataclass(frozen=True)
class TranslationMemory:
    """The searchable training pairs: `index` row i belongs to `references[i]`."""

    index: faiss.IndexFlatIP
    weights: Matrix
    references: tuple[str, ...]

    def translate(self, sources: Sequence[str]) -> list[str]:
        """For each source the reference text of the nearest training source (the earlier one of equals)."""
        if not sources:
            return []
        _, nearest = self.index.search(vectors([bucket_counts(source) for source in sources], self.weights), 1)
        return [self.references[row] for row in nearest[:, 0]]


def build_memory(examples: Sequence[Example]) -> TranslationMemory:
    """Index all training pairs (warm start and RL prompts together). 15,000 pairs take about 250 MB."""
    if not examples:
        raise ValueError("a translation memory needs at least one training pair")
    counts = [bucket_counts(example.source) for example in examples]
    weights = inverse_frequencies(counts)
    index = faiss.IndexFlatIP(BUCKETS)
    index.add(vectors(counts, weights))
    return TranslationMemory(index, weights, tuple(example.reference for example in examples))
