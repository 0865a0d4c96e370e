"""Guard on the order of the words: the longest common subsequence over the number of shared units.

    order = LCS(completion, reference text) / number of units that both have      (1 where they share fewer than two)

The numerator is that of ROUGE-L (Lin 2004, "ROUGE: A package for automatic evaluation of summaries"); that a
reordering shall cost by itself, apart from the words, is the idea of LRscore (Birch & Osborne 2010) and RIBES
(Isozaki et al. 2010). A text whose words are shuffled keeps about 2 / sqrt(n) of n, a list of its words in reverse
order 1 / n. A text in other words that shares a few of them loses nothing while these stand in the same order.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

from torch import Tensor

from reward.rows import References, Texts, check_setting, per_row
from reward.units import units


def common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, with one bit for each unit of `first` (Hyyro 2004, "Bit-parallel
    LCS-length computation revisited").

    >>> common_subsequence("abcde", "acebd")
    3
    """
    places: defaultdict[str, int] = defaultdict(int)
    for place, unit in enumerate(first):
        places[unit] |= 1 << place
    every = (1 << len(first)) - 1
    row = every  # a bit that is 0 adds one to the length
    for unit in second:
        matches = row & places.get(unit, 0)
        row = ((row + matches) | (row - matches)) & every
    return len(first) - row.bit_count()


def ordered_share(completion: Sequence[str], reference: Sequence[str]) -> float:
    """Longest common subsequence over the number of shared units, in (0, 1]; 1 where they share fewer than two.

    >>> ordered_share(("c", "b", "a", "x"), ("a", "b", "c"))
    0.3333333333333333
    """
    num_shared = (Counter(completion) & Counter(reference)).total()
    return common_subsequence(completion, reference) / num_shared if num_shared > 1 else 1.0


def order(sources: Texts, completions: Texts, references: References, *, floor: float = 0.0) -> Tensor:
    """Guard: `ordered_share` against the most permissive reference text, at least `floor`: N rows -> (N,) fp32.
    Raises InputError for a `floor` below 0.
    """
    check_setting("order.floor", floor, 0)

    def score(source: str, completion: str, texts: Sequence[str]) -> float:
        return max(floor, *(ordered_share(units(completion), units(text)) for text in texts))

    return per_row(score, sources, completions, references)
