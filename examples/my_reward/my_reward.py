"""An example of a reward term: the numbers of a completion must be those of the reference text.

A term is a function (sources, completions, references, *, settings) -> one number per completion. Row i
belongs to one completion; references[i] holds one or more texts. Copy this file, change the function, name it
in a configuration.
"""

import re
from collections import Counter
from collections.abc import Sequence


def same_numbers(
    sources: Sequence[str],
    completions: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    least: float = 0.0,
) -> list[float]:
    """F1 of the numbers in completion and reference text, the best of several references; 1 where neither has
    any.

    N rows -> N numbers in [0, 1], so that it can be a gate; a value under `least` is raised to it. Digits of
    any script count.

    >>> same_numbers(["", ""], ["3 天 10 人", "3 天"], [["༣ 天 10 人"], ["天"]])
    [1.0, 0.0]
    """
    rows = zip(completions, references, strict=True)
    return [max(least, *(overlap(numbers(text), numbers(other)) for other in texts)) for text, texts in rows]


def numbers(text: str) -> Counter[int]:
    """The whole numbers of a text with how often each stands there: '3 of 10' -> {3: 1, 10: 1}."""
    return Counter(map(int, re.findall(r"\d+", text)))


def overlap(one: Counter[int], other: Counter[int]) -> float:
    """2 x shared / all, 1 where both are empty."""
    total = one.total() + other.total()
    return 2 * (one & other).total() / total if total else 1.0
