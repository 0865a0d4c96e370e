"""Guard against repetition: the share of a completion's n-grams that occur no more often than in the
reference text.

    unrepeated = sum_g min(count(g), max(1, count in the reference text of g)) / sum_g count(g)
                 g: n-grams of `reward.units`

A reference text repeated k times gets about 1/k, a repeated word or tail loses its share, and the repetitions
of the reference text are free. Clipped counts are BLEU's (Papineni et al. 2002). With the floor of 1 the
guard measures repetition alone: a word that the reference text lacks costs nothing the first time. It does
not see a sentence paraphrased within one completion, where no n-gram recurs.
"""

from collections import Counter
from collections.abc import Sequence

from torch import Tensor

from reward.rows import References, Texts, check_setting, per_row
from reward.units import ngrams, units


def fresh_share(completion: tuple[str, ...], reference: tuple[str, ...], size: int) -> float:
    """Share of the n-grams that occur no more often than in `reference`, in (0, 1]; texts with fewer than `size` units are
    compared by n-grams of the shorter length.

    >>> fresh_share(("a", "b", "a", "b", "a", "b"), ("a", "b"), 2)  # ab ba ab ba ab: one each is free
    0.4
    """
    size = max(1, min(size, len(completion), len(reference)))
    counts = Counter(ngrams(completion, size))
    reference_counts = Counter(ngrams(reference, size))
    fresh = sum(min(count, max(1, reference_counts[gram])) for gram, count in counts.items())
    return fresh / counts.total() if counts else 1.0


def unrepeated(sources: Texts, completions: Texts, references: References, *, ngram: int = 2) -> Tensor:
    """Guard: 1 where no n-gram of `ngram` units repeats more than in the most permissive reference text: N
    rows -> (N,) fp32. Raises InputError for an `ngram` below 1.
    """
    check_setting("unrepeated.ngram", ngram, 1)

    def score(source: str, completion: str, texts: Sequence[str]) -> float:
        return max(fresh_share(units(completion), units(text), ngram) for text in texts)

    return per_row(score, sources, completions, references)
