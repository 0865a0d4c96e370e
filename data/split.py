"""Splits a corpus into four parts without a common near-duplicate: warm start, train (the prompts of RL), dev
and test.

Two pairs are near-duplicates when their sources or any of their reference texts are (`data.neighbours`);
clusters are the connected components of that relation and are never divided. A random split by row would
leak: in catalogues of messages a third of the test items have a near neighbour elsewhere.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from data.console import silent
from data.examples import Example
from data.neighbours import NgramSet, ngrams, similar_pairs
from data.progress import Say, with_progress
from data.script import is_unspaced, script_of

PARTS = ("warm_start", "train", "dev", "test")
LARGE_CLUSTER = 50  # a larger one is boilerplate and only trains
SMALL_CLUSTER = 3
MAX_TEST_SHARE = 0.2  # of the corpus, and for the test minimum of each language
MAX_DEV_SHARE = 0.1
MAX_SHARES = {"test": (MAX_TEST_SHARE, "fifth"), "dev": (MAX_DEV_SHARE, "tenth")}

Cluster = tuple[int, ...]


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


def near_duplicate_clusters(
    examples: Sequence[Example], threshold: float, say: Say = silent
) -> list[Cluster]:
    """Connected components over both sides at Jaccard similarity >= `threshold`: indices into `examples`,
    each once, in order.

    `say` prints the progress of a long search.
    """
    parents = list(range(len(examples)))

    def root(item: int) -> int:
        while parents[item] != item:
            parents[item] = parents[parents[item]]
            item = parents[item]
        return item

    sources = [(item, example.source, example.source_language) for item, example in enumerate(examples)]
    references = [
        (item, text, example.target_language)
        for item, example in enumerate(examples)
        for text in example.references
    ]
    for name, side in (("source", sources), ("reference", references)):
        first: dict[
            NgramSet, int
        ] = {}  # joins equal sets here: a text that comes n times would make n * n pairs
        for item, text, language in with_progress(
            side, f"taking the n-grams of {len(side):,} {name} texts", say
        ):
            parents[root(item)] = root(first.setdefault(ngrams(text, ngram_size(language)), item))
        sets = list(first)
        items = list(first.values())
        work = f"looking for near-duplicates among {len(sets):,} {name} texts"
        for one, other in similar_pairs(sets, threshold, partial(with_progress, work=work, say=say)):
            parents[root(items[one])] = root(items[other])
    members: dict[int, list[int]] = {}
    for item in range(len(examples)):
        members.setdefault(root(item), []).append(item)
    return [tuple(items) for items in members.values()]


def ngram_size(language: str) -> int:
    """2 characters for scripts without spaces between words, such as Han; 4 otherwise."""
    return 2 if is_unspaced(script_of(language)) else 4


def split(
    examples: Sequence[Example], clusters: Sequence[Cluster], sizes: SplitSizes, seed: int
) -> dict[str, list[Example]]:
    """Assign whole clusters to the four parts, a pure function of its arguments; each part is shuffled.

    Test takes its minimum of every language first, and small clusters before large ones.
    """
    order = sorted(clusters)
    random.Random(f"clusters {seed}").shuffle(order)
    sizes = sizes.limit_to(len(examples))
    eligible = [cluster for cluster in order if len(cluster) <= LARGE_CLUSTER]
    eligible.sort(key=lambda cluster: len(cluster) > SMALL_CLUSTER)
    test = _take_languages(eligible, examples, sizes)
    test += _take(_without(eligible, test), sizes.test - _total(test))
    dev = _take(_without(eligible, test), sizes.dev)
    rest = _without(order, test + dev)
    warm_start = _take(rest, round(sizes.warm_start_share * _total(rest)))
    parts = (warm_start, _without(rest, warm_start), dev, test)
    return {name: _shuffle(part, examples, seed) for name, part in zip(PARTS, parts, strict=True)}


def _take_languages(
    clusters: Sequence[Cluster], examples: Sequence[Example], sizes: SplitSizes
) -> list[Cluster]:
    """Choose clusters that give the test its minimum of each language, the rarest language first."""
    counts = Counter(example.source_language for example in examples)
    test: list[Cluster] = []
    for language in sorted(counts, key=lambda name: (counts[name], name)):
        least = min(
            sizes.test_min_per_language, int(MAX_TEST_SHARE * counts[language]), sizes.test // len(counts)
        )
        num_pairs = sum(examples[item].source_language == language for cluster in test for item in cluster)
        of_language = [
            cluster
            for cluster in clusters
            if all(examples[item].source_language == language for item in cluster)
        ]
        test += _take(_without(of_language, test), least - num_pairs)
    return test


def _take(clusters: Sequence[Cluster], num_pairs: int) -> list[Cluster]:
    """Choose clusters in order, each that still fits, up to `num_pairs` pairs."""
    chosen_clusters: list[Cluster] = []
    for cluster in clusters:
        if len(cluster) <= num_pairs:
            chosen_clusters.append(cluster)
            num_pairs -= len(cluster)
    return chosen_clusters


def _without(clusters: Sequence[Cluster], excluded_clusters: Sequence[Cluster]) -> list[Cluster]:
    excluded_set = set(excluded_clusters)
    return [cluster for cluster in clusters if cluster not in excluded_set]


def _total(clusters: Sequence[Cluster]) -> int:
    return sum(len(cluster) for cluster in clusters)


def _shuffle(clusters: Sequence[Cluster], examples: Sequence[Example], seed: int) -> list[Example]:
    items = sorted(item for cluster in clusters for item in cluster)
    random.Random(f"items {seed}").shuffle(items)
    return [examples[item] for item in items]
