"""No near-duplicate on two sides of a border, nothing lost, sizes and languages as asked for."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from ngram_sets import ngrams

from data.cache import cache_dir
from data.clusters import Clusters, near_duplicate_labels, ngram_size
from data.examples import Example
from data.prepare import Corpus, load
from data.split import PARTS, Languages, SplitSizes, split

SIZES = SplitSizes(test=40, test_min_per_language=15, dev=20, warm_start_share=0.35)


def made_up(count: int, seed: int = 0, variants: float = 0.3) -> list[Example]:
    """Strings of Tibetan letters with strings of Han characters; a share of them are small changes of an
    earlier pair.
    """
    generator = random.Random(seed)
    examples: list[Example] = []
    for number in range(count):
        source = "\u0f0b".join(
            chr(generator.randint(0x0F40, 0x0F47)) + chr(generator.randint(0x0F58, 0x0F67)) for _ in range(9)
        )
        reference = "".join(chr(generator.randint(0x4E00, 0x4F00)) for _ in range(9))
        if examples and generator.random() < variants:
            source = generator.choice(examples).source + "\u0f0b\u0f40"
        if examples and generator.random() < variants / 3:
            reference = generator.choice(examples).reference + "\u4e86"
        examples.append(
            Example(
                str(number), source, reference, "made up", "none", "bo" if number % 9 == 0 else "dz", "zh"
            )
        )
    return examples


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other)


def parts_of(examples: list[Example], seed: int = 0, sizes: SplitSizes = SIZES) -> dict[str, list[Example]]:
    names = ["bo", "dz"]
    languages = Languages(np.array([names.index(example.source_language) for example in examples]), names)
    parts = split(languages, Clusters.of(near_duplicate_labels(examples, 0.7)), sizes, seed)
    return {name: [examples[place] for place in places] for name, places in parts.items()}


def test_no_near_neighbour_across_any_border() -> None:
    parts = parts_of(made_up(400))
    grams = [(name, ngrams(e.source, 4), ngrams(e.reference, 2)) for name in PARTS for e in parts[name]]
    across = [(a, b) for i, a in enumerate(grams) for b in grams[:i] if a[0] != b[0]]
    assert len(across) > 10_000
    assert max(max(jaccard(a[1], b[1]), jaccard(a[2], b[2])) for a, b in across) < 0.7


def test_clusters_join_over_source_and_reference() -> None:
    base = made_up(3, variants=0)
    clusters = [
        base[0],
        Example("s", base[0].source, base[1].reference, "made up", "none", "dz", "zh"),
        base[1],
        base[2],
    ]
    assert list(Clusters.of(near_duplicate_labels(clusters, 0.7))) == [(0, 1, 2), (3,)]


def test_clusters_join_over_further_references_too() -> None:
    base = made_up(3, variants=0)
    clusters = [replace(base[0], others=(base[2].reference,)), base[1], base[2]]
    assert list(Clusters.of(near_duplicate_labels(clusters, 0.7))) == [(0, 2), (1,)]


def test_every_pair_lands_in_exactly_one_part() -> None:
    examples = made_up(400)
    parts = parts_of(examples)
    ids = Counter(example.id for part in parts.values() for example in part)
    assert ids == Counter(example.id for example in examples)
    assert (len(parts["test"]), len(parts["dev"])) == (40, 20)
    rest = len(parts["warm_start"]) + len(parts["train"])
    assert len(parts["warm_start"]) / rest == pytest.approx(0.35, abs=0.01)


def test_each_language_has_its_minimum_in_test() -> None:
    languages = Counter(example.source_language for example in parts_of(made_up(400, variants=0.1))["test"])
    assert languages["bo"] >= 8  # a fifth of its 45 pairs, less than the wanted 15
    assert languages["dz"] >= 15


def test_same_seed_same_split_and_another_seed_another() -> None:
    """In every process, whatever order its sets have: ids written down."""
    examples = made_up(300)
    ids = {name: [int(example.id) for example in part] for name, part in parts_of(examples, 3).items()}
    assert ids["dev"] == [
        127,
        199,
        211,
        279,
        273,
        241,
        93,
        63,
        267,
        119,
        286,
        213,
        80,
        24,
        124,
        51,
        295,
        159,
        169,
        74,
    ]
    assert ids["test"][:10] == [61, 178, 141, 223, 195, 250, 121, 114, 163, 173]
    assert ids["warm_start"][:10] == [236, 264, 7, 47, 150, 160, 118, 130, 134, 296]
    assert ids["train"][:10] == [143, 32, 8, 68, 185, 247, 9, 102, 167, 14]
    assert {name: len(part) for name, part in ids.items()} == {
        "warm_start": 84,
        "train": 156,
        "dev": 20,
        "test": 40,
    }
    assert parts_of(examples, 3)["test"] != parts_of(examples, 4)["test"]


def test_large_cluster_trains_and_never_tests() -> None:
    examples = made_up(200, variants=0)
    copies = [
        Example(f"copy {n}", examples[0].source, chr(0x5000 + n) * 5, "made up", "none", "dz", "zh")
        for n in range(60)
    ]
    parts = parts_of(examples + copies)
    held_out = {example.id for name in ("test", "dev") for example in parts[name]}
    assert not any(example.id in held_out for example in copies)


def test_test_prefers_small_clusters() -> None:
    examples = made_up(200, variants=0)
    groups = [
        Example(f"group {n}", examples[n // 6].source, chr(0x5000 + n) * 5, "made up", "none", "dz", "zh")
        for n in range(120)
    ]
    test = parts_of(examples + groups, sizes=SplitSizes(60, 10, 0, 0.0))["test"]
    assert not any(example.id.startswith("group") for example in test)


def test_small_corpus_gives_a_fifth_to_test_and_a_tenth_to_dev() -> None:
    parts = parts_of(made_up(50, variants=0), sizes=SplitSizes(500, 100, 200, 0.35))
    assert {name: len(part) for name, part in parts.items()} == {
        "test": 10,
        "dev": 5,
        "warm_start": 12,
        "train": 23,
    }


def real_corpus() -> Corpus:
    """The newest built-in corpus in the cache."""
    folders = sorted(
        (cache_dir() / "corpus").glob("*/manifest.json"), key=lambda path: path.stat().st_mtime, reverse=True
    )
    for corpus in (load(path.parent) for path in folders):
        config = corpus.manifest["config"]
        is_part = config.get("reverse") or config.get("languages")
        if (config["corpus"], corpus.manifest["tier"], config["test_size"]) == (
            "tibetan",
            "full",
            500,
        ) and not is_part:
            return corpus
    pytest.skip("no built-in corpus in the cache; `make data` prepares it")


@pytest.mark.real
def test_real_corpus_has_no_near_neighbour_between_test_and_the_rest() -> None:
    """Exact overlaps of each test pair with all others by counting tokens: no filter, no index of `data.neighbours`."""
    corpus = real_corpus()
    threshold = corpus.manifest["near_duplicate_threshold"]
    others = [*corpus.warm_start, *corpus.train, *corpus.dev]
    assert len(corpus.test) == 500 and len(others) > 10_000
    for side, language in (("source", "source_language"), ("reference", "target_language")):
        grams = [ngrams(getattr(e, side), ngram_size(getattr(e, language))) for e in others]
        holders: dict[str, list[int]] = {}
        for place, tokens in enumerate(grams):
            for token in tokens:
                holders.setdefault(token, []).append(place)
        sizes = np.array([len(tokens) for tokens in grams])
        for example in corpus.test:
            tokens = ngrams(getattr(example, side), ngram_size(getattr(example, language)))
            num_shared = np.bincount(
                np.array([p for t in tokens for p in holders.get(t, [])], dtype=np.int64),
                minlength=len(others),
            )
            assert (num_shared / (sizes + len(tokens) - num_shared)).max() < threshold, example.id


@pytest.mark.real
def test_real_corpus_parts_are_disjoint_and_counted() -> None:
    corpus = real_corpus()
    parts = {name: getattr(corpus, name) for name in PARTS}
    keys = Counter((e.source_language, e.source) for part in parts.values() for e in part)
    assert max(keys.values()) == 1
    assert max(Counter(e.id for part in parts.values() for e in part).values()) == 1
    assert sum(map(len, parts.values())) == corpus.manifest["totals"]["kept"]
    assert min(Counter(e.source_language for e in corpus.test).values()) >= 100
    for name, facts in corpus.manifest["origins"].items():
        assert facts["read"] == facts["kept"] + sum(facts["dropped"].values()), name
