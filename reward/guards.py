"""Two guards on the length of a completion: `nonempty` and `length_fit`.

A guard lies in [0, 1] and is 1 where nothing is wrong. The reference text itself always gets 1, and of
several the best counts. Guards multiply a reward, so a good guard is 1 nearly everywhere. They do not judge
meaning and do not cap the length: past the free band `length_fit` falls smoothly, so of two overlong
completions the shorter one still earns more.
"""

import math
from collections.abc import Sequence

from torch import Tensor

from reward.rows import References, Texts, check_setting, per_row
from reward.units import units


def letters_and_digits(text: str) -> int:
    """The number of letters and digits in a text.

    >>> letters_and_digits("a 1, \u597d\u3002")
    3
    """
    return sum(map(str.isalnum, text))


def nonempty(sources: Texts, completions: Texts, references: References, *, min_letters: int = 1) -> Tensor:
    """Guard: 0 for a completion with fewer than `min_letters` letters and digits, else 1: N rows -> (N,)
    fp32.

    Where a reference text has fewer, its number is enough; one letter or digit is always needed.
    """

    def score(source: str, completion: str, texts: Sequence[str]) -> float:
        least = min(min_letters, *map(letters_and_digits, texts))
        return float(letters_and_digits(completion) >= max(1, least))

    return per_row(score, sources, completions, references)


def length_ratio_penalty(first: int, second: int, slack: float, alpha: float) -> float:
    """exp(alpha * (1 - max(1, ratio / slack))), ratio = (longer + 1) / (shorter + 1), in (0, 1] (SimiLe:
    Wieting et al. 2019, arXiv 1909.06694, which has alpha = 0.25, no free band and no added one). The added
    one spares short texts: one word for two.

    >>> length_ratio_penalty(9, 11, slack=1.25, alpha=0.5), round(length_ratio_penalty(9, 24, slack=1.25, alpha=0.5), 4)
    (1.0, 0.6065)
    """
    ratio = (max(first, second) + 1) / (min(first, second) + 1)
    return math.exp(alpha * (1 - max(1.0, ratio / slack)))


def length_fit(
    sources: Texts, completions: Texts, references: References, *, slack: float = 1.25, alpha: float = 0.5
) -> Tensor:
    """Guard on the length in `reward.units`, against the reference text that fits best: N rows -> (N,) fp32.
    Too short counts as much as too long.

    Up to a ratio of `slack` it is 1; `alpha` is the rate of decay beyond. Raises InputError for a setting out
    of range.
    """
    check_setting("length_fit.slack", slack, 1)
    check_setting("length_fit.alpha", alpha, 0)

    def score(source: str, completion: str, texts: Sequence[str]) -> float:
        num_units = len(units(completion))
        return max(length_ratio_penalty(num_units, len(units(text)), slack, alpha) for text in texts)

    return per_row(score, sources, completions, references)


def closest(length: int, lengths: Sequence[int]) -> int:
    """The length in `lengths` nearest to `length`; of two equally near the shorter, as in BLEU.

    >>> closest(5, [2, 6, 4])
    4
    """
    return min(lengths, key=lambda other: (abs(other - length), other))


def length_ratio(sources: Texts, completions: Texts, references: References) -> Tensor:
    """Term for the log, no guard: units of the completion over those of the `closest` reference text: N rows
    -> (N,) fp32.
    """

    def score(source: str, completion: str, texts: Sequence[str]) -> float:
        num_units = len(units(completion))
        return num_units / max(1, closest(num_units, [len(units(text)) for text in texts]))

    return per_row(score, sources, completions, references)
