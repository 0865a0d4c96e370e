"""Clusters of near-duplicates: the connected components of pairs whose sources, or any of whose reference
texts, are alike.

Up to EXACT texts of a side are all compared (data/neighbours.py). More are compared where their sketches say
so (data/sketches.py), so that time grows with the number of texts and memory holds some numbers for each.
"""

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.console import silent
from data.examples import Example
from data.grams import Grams, Ints, grams_of, join, starts_of
from data.neighbours import is_similar, similar_rows
from data.progress import Say, with_progress
from data.records import View
from data.script import is_unspaced, script_of
from data.sketches import SketchFile, sketch
from data.system import usable_cores

EXACT = 50_000  # texts of a side; every corpus of ours has fewer
CHUNK = 4096  # texts whose n-grams are taken at once

Cluster = tuple[int, ...]
Labels = NDArray[np.int32]


@dataclass(frozen=True)
class Clusters(View[Cluster]):
    """Clusters in the order of their first item: cluster i has `items[starts[i] : starts[i + 1]]`, ascending."""

    items: Ints
    starts: Ints

    @classmethod
    def of(cls, labels: Labels) -> "Clusters":
        """The clusters of items with equal labels; a label is the cluster's first item."""
        items = np.argsort(labels, kind="stable")
        sizes = np.bincount(labels, minlength=len(labels))
        return cls(items, starts_of(sizes[sizes > 0]))

    @property
    def sizes(self) -> Ints:
        """(number of clusters,) items of each."""
        return np.diff(self.starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def item(self, place: int) -> Cluster:
        return tuple(self.items[self.starts[place] : self.starts[place + 1]].tolist())


class Components:
    """Items 0 .. count - 1 and which of them belong together."""

    def __init__(self, count: int) -> None:
        self.parents = np.arange(count, dtype=np.int32)

    def root(self, item: int) -> int:
        """The first item of the component."""
        parents = self.parents
        while (parent := int(parents[item])) != item:
            parents[item] = parents[parent]
            item = parent
        return item

    def join(self, one: int, other: int) -> None:
        """The two belong together."""
        first, second = sorted((self.root(one), self.root(other)))
        self.parents[second] = first

    def labels(self) -> Labels:
        """(count,) the first item of each item's component."""
        above = self.parents[self.parents]
        while not np.array_equal(above, self.parents):
            self.parents = above
            above = self.parents[self.parents]
        return self.parents


def near_duplicate_labels(examples: Sequence[Example], threshold: float, say: Say = silent) -> Labels:
    """The first example of the cluster of each example. `say` prints the progress of a long search."""
    components = Components(len(examples))
    for is_reference in (False, True):
        Side(examples, is_reference).join_near(components, threshold, say)
    return components.labels()


def ngram_size(language: str) -> int:
    """2 characters for scripts without spaces between words, such as Han; 4 otherwise."""
    return 2 if is_unspaced(script_of(language)) else 4


class Side:
    """The texts of one side of the examples in order; an example has one source and any number of reference texts."""

    def __init__(self, examples: Sequence[Example], is_reference: bool) -> None:
        self.examples = examples
        self.is_reference = is_reference
        self.name = "reference" if is_reference else "source"
        counts = np.ones(len(examples), np.int64)
        if is_reference:
            counts = np.fromiter((len(example.references) for example in examples), np.int64, len(examples))
        self.starts = starts_of(counts)  # the first text of each example
        self.items = np.repeat(np.arange(len(examples), dtype=np.int32), counts)  # the example of each text

    def __len__(self) -> int:
        return len(self.items)

    def texts_of(self, example: Example) -> tuple[str, ...]:
        """The texts of this side of an example."""
        return example.references if self.is_reference else (example.source,)

    def language_of(self, example: Example) -> str:
        """The language of these texts."""
        return example.target_language if self.is_reference else example.source_language

    def chunks(self) -> Iterator[Grams]:
        """The n-grams of all texts, CHUNK examples at a time."""
        examples = iter(self.examples)
        while chunk := list(islice(examples, CHUNK)):
            sizes = [ngram_size(self.language_of(example)) for example in chunk]
            texts = [self.texts_of(example) for example in chunk]
            yield grams_of(
                [text for group in texts for text in group],
                [size for size, group in zip(sizes, texts, strict=True) for _ in group],
            )

    def grams(self, texts: Ints) -> Grams:
        """The n-grams of some texts, by their numbers."""
        items = self.items[texts]
        examples = [self.examples[item] for item in items.tolist()]
        numbers = (texts - self.starts[items]).tolist()
        return grams_of(
            [self.texts_of(example)[number] for example, number in zip(examples, numbers, strict=True)],
            [ngram_size(self.language_of(example)) for example in examples],
        )

    def join_near(self, components: Components, threshold: float, say: Say) -> None:
        """Join the examples whose texts on this side are near-duplicates."""
        if len(self) <= EXACT:
            self._join_all(components, threshold, say)
        else:
            self._join_sketched(components, threshold, say)

    def _join_all(self, components: Components, threshold: float, say: Say) -> None:
        """The exact search: compare all texts."""
        grams = join(list(self.chunks()))
        distinct = self._join_equal(components, grams.keys())
        work = f"looking for near-duplicates among {len(distinct):,} {self.name} texts"
        items = self.items[distinct].tolist()
        walk = partial(with_progress, work=work, say=say)
        for one, other in similar_rows(grams.take(distinct), threshold, walk):
            components.join(items[one], items[other])

    def _join_equal(self, components: Components, keys: NDArray[np.uint64]) -> Ints:
        """Join the examples with equal sets; the first text of each different set, ascending."""
        order = np.argsort(keys, kind="stable")
        is_first = np.ones(len(keys), bool)
        is_first[1:] = keys[order[1:]] != keys[order[:-1]]
        firsts = order[is_first][np.cumsum(is_first) - 1]
        for one, other in zip(
            self.items[firsts[~is_first]].tolist(), self.items[order[~is_first]].tolist(), strict=True
        ):
            components.join(one, other)
        return np.sort(order[is_first])

    def _join_sketched(self, components: Components, threshold: float, say: Say) -> None:
        """The search by sketches: compare the texts that agree in a band."""
        workers = usable_cores()
        with (
            tempfile.TemporaryDirectory() as folder,
            SketchFile(Path(folder) / "sketches", len(self)) as file,
            ThreadPoolExecutor(workers) as pool,
        ):
            say(f"data: taking the n-grams of {len(self):,} {self.name} texts ...")
            keys, start = [], 0
            chunks = self.chunks()
            while batch := list(islice(chunks, 2 * workers)):
                for grams, words in zip(batch, pool.map(sketch, batch), strict=True):
                    file.write(start, words)
                    keys.append(grams.keys())
                    start += len(grams)
            distinct = self._join_equal(components, np.concatenate(keys))
            del keys
            say(f"data: looking for near-duplicates among {len(distinct):,} {self.name} texts ...")
            rejected = np.zeros(0, np.uint64)
            for pairs in file.candidates(distinct, threshold, workers):
                rejected = np.union1d(rejected, self._join_similar(components, pairs, rejected, threshold))

    def _join_similar(
        self, components: Components, pairs: Ints, rejected: NDArray[np.uint64], threshold: float
    ) -> NDArray[np.uint64]:
        """Join the candidates that are near; the others, each as one number. Those that are joined already or
        were rejected are skipped.
        """
        labels = components.labels()[self.items[pairs]]
        pairs = pairs[labels[:, 0] != labels[:, 1]]
        numbers, first = np.unique(
            pairs[:, 0].astype(np.uint64) << np.uint64(32) | pairs[:, 1].astype(np.uint64), return_index=True
        )
        pairs = pairs[first[~np.isin(numbers, rejected, assume_unique=True)]]
        misses = []
        for start in range(0, len(pairs), CHUNK):
            block = pairs[start : start + CHUNK]
            is_near = is_similar(self.grams(block[:, 0]), self.grams(block[:, 1]), threshold)
            for one, other in self.items[block[is_near]].tolist():
                components.join(one, other)
            misses.append(block[~is_near])
        missed = np.concatenate([np.zeros((0, 2), np.int64), *misses]).astype(np.uint64)
        return missed[:, 0] << np.uint64(32) | missed[:, 1]
