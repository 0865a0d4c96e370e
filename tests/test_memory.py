import math
import random
import zlib

import numpy as np
import pytest

from data.examples import Example
from eval.memory import BUCKETS, bucket_counts, build_memory, inverse_frequencies, vectors


def example(source: str, reference: str) -> Example:
    return Example(source, source, reference, "invented", "none", "bo", "zh")


def invented(count: int, seed: int = 0) -> list[Example]:
    generator = random.Random(seed)
    return [example("".join(generator.choices("abcdefgh ", k=30)), f"reference {number}") for number in range(count)]


def test_a_source_of_the_memory_gets_its_own_reference() -> None:
    examples = invented(50)
    assert build_memory(examples).translate([item.source for item in examples]) == [item.reference for item in examples]


def test_the_nearest_source_is_found_through_small_changes() -> None:
    memory = build_memory(
        [example("open the file", "one"), example("close the window", "two"), example("insert a table", "three")]
    )
    assert memory.translate(["insert tables", "closing the window", "open files"]) == ["three", "two", "one"]


def test_order_of_the_sources_asked_changes_nothing() -> None:
    examples = invented(60)
    memory = build_memory(examples[:50])
    questions = [item.source for item in examples[50:]]
    assert memory.translate(questions[::-1]) == memory.translate(questions)[::-1]


def test_an_ngram_weighs_more_the_fewer_sources_have_it() -> None:
    counts = [bucket_counts(text) for text in ("ab", "ac", "ad")]
    weights = inverse_frequencies(counts)
    assert weights[zlib.crc32(b" a") % BUCKETS] == pytest.approx(1.0)  # in 3 of 3: ln(4 / 4) + 1
    assert weights[zlib.crc32(b"ab") % BUCKETS] == pytest.approx(math.log(4 / 2) + 1)  # in 1 of 3


def test_ngrams_of_two_to_four_characters_are_counted() -> None:
    """' ab ' has 3 pairs, 2 triples and 1 quadruple."""
    assert sum(bucket_counts("ab").values()) == 6
    assert bucket_counts("ab")[2659403885 % BUCKETS] == 1  # crc32 of b"ab"


def test_vectors_have_unit_length_even_of_an_empty_text() -> None:
    counts = [bucket_counts("abcabc"), bucket_counts("")]
    assert np.linalg.norm(vectors(counts, inverse_frequencies(counts)), axis=1) == pytest.approx([1.0, 1.0])


def test_nothing_asked_nothing_answered_and_nothing_learned_is_refused() -> None:
    assert build_memory(invented(3)).translate([]) == []
    with pytest.raises(ValueError, match="at least one training pair"):
        build_memory([])
