"""Splits a corpus into four parts without a common near-duplicate: warm start, train (the prompts of RL), dev
and test.

Clusters of near-duplicates (`data.clusters`) are never divided. A random split by row would leak: in catalogues
of messages a third of the test items have a near neighbour elsewhere.
"""

import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.clusters import Clusters
from data.grams import Ints

PARTS = ("warm_start", "train", "dev", "test")
LARGE_CLUSTER = 50  # a larger one is boilerplate and only trains
SMALL_CLUSTER = 3
MAX_TEST_SHARE = 0.2  # of the corpus, and for the test minimum of each language
MAX_DEV_SHARE = 0.1
MAX_SHARES = {"test": (MAX_TEST_SHARE, "fifth"), "dev": (MAX_DEV_SHARE, "tenth")}

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class SplitSizes:
    """Requested sizes in pairs; a small corpus gives at most a fifth to test and a tenth to dev."""

    test: int
    test_min_per_language: int
    dev: int
    warm_start_share: float  # of what is neither test nor dev

    def limit_to(self, num_pairs: int) -> "SplitSizes":
        """The sizes that a corpus of `num_pairs` can have."""
        test = min(self.test, int(MAX_TEST_SHARE * num_pairs))
        dev = min(self.dev, int(MAX_DEV_SHARE * num_pairs))
        return SplitSizes(test, self.test_min_per_language, dev, self.warm_start_share)


@dataclass(frozen=True)
class Languages:
    """The language of every pair as a number, and the language that each number stands for."""

    numbers: Ints
    names: Sequence[str]

    def counts(self) -> dict[str, int]:
        """Pairs of each language, the rarest first."""
        numbers = np.bincount(self.numbers, minlength=len(self.names)).tolist()
        counts = {name: count for name, count in zip(self.names, numbers, strict=True) if count}
        return {name: counts[name] for name in sorted(counts, key=lambda name: (counts[name], name))}


def split(languages: Languages, clusters: Clusters, sizes: SplitSizes, seed: int) -> dict[str, Ints]:
    """Assign whole clusters to the four parts, a pure function of its arguments: the places of each part's
    pairs, shuffled.

    Test takes its minimum of every language first, and small clusters before large ones.
    """
    order = shuffle(np.arange(len(clusters)), f"clusters {seed}")
    sizes = sizes.limit_to(len(languages.numbers))
    eligible = order[clusters.sizes[order] <= LARGE_CLUSTER]
    eligible = eligible[np.argsort(clusters.sizes[eligible] > SMALL_CLUSTER, kind="stable")]
    choice = _Choice(clusters)
    test = _take_languages(choice, eligible, languages, sizes)
    test += choice.take(eligible, sizes.test - sum(map(choice.total, test)))
    dev = choice.take(eligible, sizes.dev)
    rest = order[~choice.is_taken[order]]
    warm_start = choice.take(rest, round(sizes.warm_start_share * choice.total(rest)))
    train = [order[~choice.is_taken[order]]]
    parts = (warm_start, train, dev, test)
    return {
        name: shuffle(choice.items(part), f"items {seed}") for name, part in zip(PARTS, parts, strict=True)
    }


class _Choice:
    """Which clusters are taken; a cluster is taken once."""

    def __init__(self, clusters: Clusters) -> None:
        self.clusters = clusters
        self.sizes = clusters.sizes
        self.is_taken: Bools = np.zeros(len(clusters), bool)

    def take(self, candidates: Ints, num_pairs: int) -> list[Ints]:
        """Choose clusters in order, each that is free and still fits, up to `num_pairs` pairs."""
        candidates = candidates[~self.is_taken[candidates]]
        totals = np.cumsum(self.sizes[candidates])
        first = int(np.searchsorted(totals, num_pairs, side="right"))  # so many fit one after the other
        chosen = candidates[:first].tolist() if num_pairs > 0 else []
        num_pairs -= int(totals[first - 1]) if chosen else 0
        for cluster in candidates[first:].tolist():
            if num_pairs <= 0:
                break
            if self.sizes[cluster] <= num_pairs:
                chosen.append(cluster)
                num_pairs -= int(self.sizes[cluster])
        self.is_taken[chosen] = True
        return [np.array(chosen, np.int64)]

    def total(self, clusters: Ints) -> int:
        """Pairs of some clusters."""
        return int(self.sizes[clusters].sum())

    def items(self, part: Sequence[Ints]) -> Ints:
        """The pairs of the clusters of a part, ascending."""
        is_in_part = np.zeros(len(self.clusters), bool)
        for clusters in part:
            is_in_part[clusters] = True
        return np.sort(self.clusters.items[np.repeat(is_in_part, self.sizes)])


def _take_languages(choice: _Choice, candidates: Ints, languages: Languages, sizes: SplitSizes) -> list[Ints]:
    """Choose clusters that give the test its minimum of each language, the rarest language first."""
    counts = languages.counts()
    numbers = languages.numbers[choice.clusters.items]
    test: list[Ints] = []
    for language, count in counts.items():
        least = min(sizes.test_min_per_language, int(MAX_TEST_SHARE * count), sizes.test // len(counts))
        is_of_language = numbers == languages.names.index(language)
        num_of_language = np.add.reduceat(is_of_language, choice.clusters.starts[:-1], dtype=np.int64)
        num_pairs = sum(int(num_of_language[clusters].sum()) for clusters in test)
        is_pure = num_of_language == choice.sizes
        test += choice.take(candidates[is_pure[candidates]], least - num_pairs)
    return test


def shuffle(items: Ints, seed: str) -> Ints:
    """The items in the order that `random.Random(seed).shuffle` gives a list of them."""
    order = array("q", items.astype(np.int64).tobytes())
    random.Random(seed).shuffle(order)
    return np.frombuffer(order, np.int64) if order else np.zeros(0, np.int64)
