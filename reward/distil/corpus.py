"""The pairs that the Tibetan encoder is distilled from, separated from the texts that it will judge.

An item is one Tibetan-script text with its Chinese and English translations, out of packages
(`data.sources.tibetan`, `.english`). Near neighbours are joined into clusters across both sides and all
scripts, together with every train, dev and test text of the RL configurations to keep out. A cluster with
such a text is dropped as a whole, so no encoder has memorised an answer that it scores. A warm start uses no
reward, so its examples may be learnt from. Whole clusters of the rest are held out for the figures.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from data.clean import Limits, clean
from data.clusters import ngram_size
from data.examples import Example
from data.grams import grams_of
from data.interface_text import interface_problem
from data.neighbours import similar_rows
from data.obtain import Archive
from data.script import script_of
from data.sources import english, package_corpus, tibetan

CHINESE = "zh"
ENGLISH = "en"
LARGEST_HELD_OUT = 6  # items of a cluster; a larger one is boilerplate and only trains

Text = tuple[str, str]  # (language, text)


@dataclass(frozen=True)
class Item:
    """A Tibetan-script text, its origin, and its translations into Chinese and English (either may be empty)."""

    text: str
    language: str
    chinese: tuple[str, ...]
    english: tuple[str, ...]
    origin: str
    licence: str

    @property
    def texts(self) -> tuple[Text, ...]:
        """All texts of the item with their languages."""
        renderings = (
            (language, text)
            for language, texts in ((CHINESE, self.chinese), (ENGLISH, self.english))
            for text in texts
        )
        return ((self.language, self.text), *renderings)


@dataclass(frozen=True)
class Separation:
    """Clusters of items without an RL text, and the number of items dropped because their cluster has one."""

    clusters: tuple[tuple[Item, ...], ...]
    num_dropped: int


def read_items(archives: dict[str, Archive], cache: Path, max_units: int) -> list[Item]:
    """Every usable item of the packages, each text once; `max_units` limits both sides, in units of their scripts."""
    limits = Limits(1, max_units, 1, max_units)
    examples = [
        *package_corpus.examples(tibetan.ORIGINS, archives, cache),
        *english.examples(archives, cache),
    ]
    sides = (
        [example for example in examples if example.target_language == language]
        for language in (CHINESE, ENGLISH)
    )
    return items(chain.from_iterable(clean(side, limits, interface_problem).pairs for side in sides))


def items(examples: Iterable[Example]) -> list[Item]:
    """Examples grouped by their Tibetan-script side, in the order of first appearance."""
    first: dict[Text, Example] = {}
    sides_of_text: dict[Text, dict[str, list[str]]] = {}
    for example in examples:
        key = (example.source_language, example.source)
        first.setdefault(key, example)
        sides_of_text.setdefault(key, {CHINESE: [], ENGLISH: []})[example.target_language] += (
            example.references
        )
    return [
        Item(
            text,
            language,
            tuple(dict.fromkeys(sides[CHINESE])),
            tuple(dict.fromkeys(sides[ENGLISH])),
            origin.origin,
            origin.licence,
        )
        for ((language, text), sides), origin in zip(sides_of_text.items(), first.values(), strict=True)
    ]


def texts_of(example: Example) -> tuple[Text, ...]:
    """Both sides of an example with their languages: the source and every reference text."""
    return (
        (example.source_language, example.source),
        *((example.target_language, text) for text in example.references),
    )


def separate(candidates: Sequence[Item], kept_out: Sequence[Example], threshold: float) -> Separation:
    """Drop every item in one near-duplicate cluster with an example of `kept_out`, and cluster the rest: a
    pure function.
    """
    labels = cluster_labels([*(item.texts for item in candidates), *map(texts_of, kept_out)], threshold)
    dropped_labels = set(labels[len(candidates) :])
    clusters: dict[int, list[Item]] = {}
    for item, label in zip(candidates, labels, strict=False):
        if label not in dropped_labels:
            clusters.setdefault(label, []).append(item)
    free = tuple(tuple(members) for members in clusters.values())
    return Separation(free, len(candidates) - sum(map(len, free)))


def cluster_labels(entries: Sequence[Sequence[Text]], threshold: float) -> list[int]:
    """One label per entry: equal where a chain of texts at Jaccard similarity >= `threshold` joins two
    entries.

    Unlike `data.clusters.near_duplicate_labels` it compares a text with every text of its script, on either
    side: a Chinese reference text of one task may be the source of another.
    """
    parents = list(range(len(entries)))

    def root(entry: int) -> int:
        while parents[entry] != entry:
            parents[entry] = parents[parents[entry]]
            entry = parents[entry]
        return entry

    # script -> text -> (an entry that has it, size of its n-grams)
    owners: dict[str, dict[str, tuple[int, int]]] = {}
    for entry, texts in enumerate(entries):
        for language, text in texts:
            owner_of_text = owners.setdefault(script_of(language) or language, {})
            other, _ = owner_of_text.setdefault(text, (entry, ngram_size(language)))
            parents[root(entry)] = root(other)
    for owner_of_text in owners.values():
        holders = list(owner_of_text.values())
        grams = grams_of(list(owner_of_text), [size for _, size in holders])
        for one, other in similar_rows(grams, threshold):
            parents[root(holders[one][0])] = root(holders[other][0])
    return [root(entry) for entry in range(len(entries))]


def hold_out(
    clusters: Sequence[Sequence[Item]], count: int, seed: int
) -> tuple[list[Item], list[tuple[Item, ...]]]:
    """Split clusters into items to train on and clusters of `count` items (a fifth of all at most) for the
    figures: a pure function.
    """
    order = list(clusters)
    random.Random(f"held out {seed}").shuffle(order)
    remaining = min(count, sum(map(len, clusters)) // 5)
    train: list[Item] = []
    held_out: list[tuple[Item, ...]] = []
    for cluster in order:
        if len(cluster) <= min(remaining, LARGEST_HELD_OUT):
            held_out.append(tuple(cluster))
            remaining -= len(cluster)
        else:
            train += cluster
    return train, held_out
