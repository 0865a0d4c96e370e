import math
import random
import tracemalloc
import zlib
from collections import Counter

import numpy as np
import pytest

from data.examples import Example
from eval import memory as module
from eval.buckets import BUCKETS, ORDERS, TOGETHER, checksums, entries_of
from eval.memory import build_memory, factors_of


def bucket_counts(text: str) -> Counter[int]:
    """The definition: how many character n-grams of a text fall into each bucket."""
    line = f" {text} "
    grams = (line[start : start + order] for order in ORDERS for start in range(len(line) - order + 1))
    return Counter(zlib.crc32(gram.encode()) % BUCKETS for gram in grams)


def example(source: str, reference: str) -> Example:
    return Example(source, source, reference, "invented", "none", "bo", "zh")


def make_examples(count: int, seed: int = 0) -> list[Example]:
    generator = random.Random(seed)
    return [
        example("".join(generator.choices("abcdefgh ", k=30)), f"reference {number}")
        for number in range(count)
    ]


def test_a_source_of_the_memory_gets_its_own_reference() -> None:
    examples = make_examples(50)
    assert build_memory(examples).translate([item.source for item in examples]) == [
        item.reference for item in examples
    ]


def test_the_nearest_source_is_found_through_small_changes() -> None:
    memory = build_memory(
        [
            example("open the file", "one"),
            example("close the window", "two"),
            example("insert a table", "three"),
        ]
    )
    assert memory.translate(["insert tables", "closing the window", "open files"]) == ["three", "two", "one"]


def test_order_of_the_sources_asked_changes_nothing() -> None:
    examples = make_examples(60)
    memory = build_memory(examples[:50])
    questions = [item.source for item in examples[50:]]
    assert memory.translate(questions[::-1]) == memory.translate(questions)[::-1]


def test_an_ngram_weighs_more_the_fewer_sources_have_it() -> None:
    weights = build_memory([example(text, "") for text in ("ab", "ac", "ad")]).weights
    assert weights[zlib.crc32(b" a") % BUCKETS] == pytest.approx(1.0)  # in 3 of 3: ln(4 / 4) + 1
    assert weights[zlib.crc32(b"ab") % BUCKETS] == pytest.approx(math.log(4 / 2) + 1)  # in 1 of 3


def test_ngrams_of_two_to_four_characters_are_counted() -> None:
    """' ab ' has 3 pairs, 2 triples and 1 quadruple."""
    assert sum(bucket_counts("ab").values()) == 6
    assert bucket_counts("ab")[2659403885 % BUCKETS] == 1  # crc32 of b"ab"


def test_entries_are_the_counts_of_the_definition() -> None:
    """Characters of one to four bytes, an empty text, a long one, more texts than are counted at once."""
    draw = random.Random(3)
    letters = "ab é藏བོད😀"
    texts = [
        "",
        "x",
        "a" * 300,
        *("".join(draw.choices(letters, k=draw.randrange(40))) for _ in range(TOGETHER)),
    ]
    entries = entries_of(texts)
    found = list(zip(entries.rows.tolist(), entries.buckets.tolist(), entries.counts.tolist(), strict=True))
    expected = [
        (row, bucket, count)
        for row, text in enumerate(texts)
        for bucket, count in sorted(bucket_counts(text).items())
    ]
    assert found == expected


def test_checksums_of_runs_are_those_of_zlib() -> None:
    content = "天 ab😀".encode()
    begins, ends = np.array([0, 3, 2, 9]), np.array([3, 4, 2, 10])
    expected = [zlib.crc32(content[begin:end]) for begin, end in zip(begins, ends, strict=True)]
    assert checksums(np.frombuffer(content, np.uint8), begins, ends).tolist() == expected


def dense(texts: list[str], weights: np.ndarray) -> np.ndarray:
    """(n, BUCKETS) unit rows, by the formula: (1 + ln count) * weight."""
    rows = np.zeros((len(texts), BUCKETS))
    for row, text in zip(rows, texts, strict=True):
        for bucket, count in bucket_counts(text).items():
            row[bucket] = (1 + math.log(count)) * weights[bucket]
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_cosines_are_those_of_whole_vectors_over_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 16)
    texts = [item.source for item in make_examples(50)] + ["", "aaaaaaaa"]
    memory = build_memory([example(text, text) for text in texts])
    found = [bucket_counts(text) for text in texts]
    text_counts = [sum(bucket in counts for counts in found) for bucket in range(BUCKETS)]
    assert memory.weights.tolist() == pytest.approx(
        [math.log(53 / (1 + number)) + 1 for number in text_counts]
    )
    questions = ["abc abc", "aaaa", "", *(item.source for item in make_examples(20, seed=1))]
    expected = dense(questions, memory.weights) @ dense(texts, memory.weights).T
    assert np.stack([memory.cosines(text) for text in questions]) == pytest.approx(expected, abs=2e-7)
    assert memory.translate(questions) == [texts[row] for row in expected.argmax(axis=1)]


def test_of_equally_similar_sources_the_first_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """ "ab cd" has all 6 n-grams of "ab" and all 6 of "cd", which weigh the same; no source is like "zz"."""
    monkeypatch.setattr(module, "BLOCK", 2)
    memory = build_memory([example(text, str(row)) for row, text in enumerate(("xy", "cd", "xy", "ab"))])
    cosines = memory.cosines("ab cd")
    assert cosines[1] == cosines[3] > cosines[0] == cosines[2] == 0.0
    assert memory.translate(["ab cd", "xy", "ab", "zz"]) == ["1", "0", "3", "0"]


def test_a_text_hits_each_bucket_once_however_often() -> None:
    found = entries_of(["abcabc"])
    assert found.buckets.tolist() == sorted(bucket_counts("abcabc"))
    assert factors_of(found.counts).max() == pytest.approx(1 + math.log(2))


def test_a_pair_takes_a_few_bytes_for_each_different_ngram() -> None:
    """30 characters have at most 93 n-grams; dense rows of BUCKETS numbers would be 16 KB a pair."""
    examples = make_examples(3000)
    distinct = sum(len(bucket_counts(item.source)) for item in examples)
    tracemalloc.start()
    memory = build_memory(examples)
    memory.translate([examples[0].source])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(block.rows.nbytes + block.factors.nbytes for block in memory.blocks) == 6 * distinct
    assert peak < 6000 * len(examples)


def test_nothing_asked_nothing_answered_and_nothing_learned_is_refused() -> None:
    assert build_memory(make_examples(3)).translate([]) == []
    with pytest.raises(ValueError, match="at least one training pair"):
        build_memory([])
