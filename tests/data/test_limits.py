"""Length limits of 0 come from the corpus."""

import random
from collections import Counter
from pathlib import Path

from data.clean import Limits
from data.config import DataConfig, check
from data.examples import Example
from data.limits import limits_of, shortest_keeping
from data.prepare import prepare


def pair(length: int, target: int) -> Example:
    return Example("1", " ".join("a" * length), " ".join("b" * target), "o", "l", "sw", "en")


def test_a_limit_of_zero_keeps_99_of_100_pairs() -> None:
    examples = [pair(length, 3) for length in range(1, 201)]
    limits, remarks = limits_of(Limits(2, 0, 2, 24), examples)
    assert limits == Limits(2, 198, 2, 24)
    assert remarks == ["data.max_source_units=0: up to 198 units are kept, as 99% of the pairs have"]
    assert limits_of(Limits(2, 24, 2, 24), examples) == (Limits(2, 24, 2, 24), [])
    assert limits_of(Limits(2, 0, 5, 0), examples)[0] == Limits(2, 198, 5, 5)


def test_the_shortest_that_keeps_a_share() -> None:
    assert [shortest_keeping(Counter({3: 50, 9: 49, 90: 1}), share) for share in (0.5, 0.51, 0.99, 1)] == [
        3,
        9,
        9,
        90,
    ]
    assert shortest_keeping(Counter(), 0.99) == 0


def test_a_corpus_of_long_texts_keeps_them(tmp_path: Path) -> None:
    draw = random.Random(0)
    texts = [" ".join("".join(draw.choices("abcdefgh", k=6)) for _ in range(43)) for _ in range(100)]
    lines = [f"{text[: 7 * 40]}\t{text[7 * 40 :]}\n" for text in texts]
    lines.append(f"{texts[0] * 20}\tvery long\n")
    (tmp_path / "a.tsv").write_text("".join(lines), encoding="utf-8")
    config = DataConfig(
        corpus=str(tmp_path / "a.tsv"), source_language="sw", target_language="en",
        max_source_units=0, max_target_units=0,
    )  # fmt: skip
    check(config)
    said: list[str] = []
    corpus = prepare(config, tmp_path / "cache", said.append)
    assert corpus.manifest["totals"]["kept"] == 100
    assert any(line.startswith("data: data.max_source_units=0: up to 40 units") for line in said)
