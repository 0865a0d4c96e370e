"""A guard against repetition: the share of a completion's n-grams that are not said more often than the
reference text says them.

    unrepeated = sum_g min(count(g), max(1, count in the reference text of g)) / sum_g count(g)        g: n-grams of `reward.units`

So a reference text repeated k times gets some 1/k, a repeated word or tail loses its share, and what the
reference text itself repeats is free. Clipped counts are BLEU's (Papineni et al. 2002); the floor of 1 makes
it a measure of repetition alone: words that the reference text lacks cost nothing the first time. Not for
paraphrases of a sentence inside one completion: no n-gram recurs.
"""

from collections import Counter
from collections.abc import Sequence

from torch import Tensor

from reward.rows import check_setting, per_row
from reward.units import ngrams, units


def fresh_share(completion: tuple[str, ...], reference: tuple[str, ...], size: int) -> float:
    """The share above, in (0, 1]; texts with fewer than `size` units are compared by n-grams of their own
    length.

    >>> fresh_share(("a", "b", "a", "b", "a", "b"), ("a", "b"), 2)  # ab ba ab ba ab: one each is free
    0.4
    """
    size = max(1, min(size, len(completion), len(reference)))
    counts = Counter(ngrams(completion, size))
    reference_counts = Counter(ngrams(reference, size))
    fresh = sum(min(count, max(1, reference_counts[gram])) for gram, count in counts.items())
    return fresh / counts.total() if counts else 1.0


def unrepeated(
    sources: Sequence[str], completions: Sequence[str], references: Sequence[Sequence[str]], *, ngram: int = 2
) -> Tensor:
    """Guard: 1 where no n-gram of `ngram` units is said too often, by the reference text that allows most: N
    rows -> (N,) fp32.
    """
    check_setting("unrepeated.ngram", ngram, 1)

    def score(source: str, completion: str, texts: Sequence[str]) -> float:
        return max(fresh_share(units(completion), units(text), ngram) for text in texts)

    return per_row(score, sources, completions, references)
