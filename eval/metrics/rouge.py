"""How much of a reference text an output says in the same order: ROUGE-L, the usual figure of headline
generation, and lead copies.

ROUGE-L (Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004) of one output against its best
reference text, as F1: 2 * LCS / (units of the output + units of the reference text), LCS the length of their
longest common subsequence. Units are those of the guards, `reward.units`: Tibetan syllables, Han characters,
words of other scripts; case and punctuation do not count, and there is no stemming, so for English the figure
is a little below that of packages which stem.
"""

from collections.abc import Sequence

from data.script import is_unspaced, script_of
from eval.metrics.overlap import References, number_of
from reward.copying import uncopied
from reward.order import common_subsequence
from reward.units import units

COPIED_FROM = 0.5  # share of an output's units from which it counts as a copy of its source
RUN = 6  # units in a row; 6 % of real Dzongkha headlines, 3 % of English and 8 % of Chinese ones hold so many
CHARACTER_RUN = 10


def rouge_l(outputs: Sequence[str], references: References) -> list[float]:
    """ROUGE-L of each output, in [0, 1], the best over its reference texts; 0 where both texts are empty.

    >>> rouge_l(["the dog bit a man"], [["A man bit the dog."]])
    [0.4]
    """
    return [
        max(f1(units(output), units(text)) for text in texts)
        for output, texts in zip(outputs, references, strict=True)
    ]


def f1(first: Sequence[str], second: Sequence[str]) -> float:
    """2 * LCS / units of both."""
    return 2 * common_subsequence(first, second) / max(1, len(first) + len(second))


def signature(references: References) -> str:
    """How ROUGE-L is made."""
    return f"lcs:f1|case:lower|units:syllables+characters+words|stem:no|nrefs:{number_of(references)}"


def copies(
    sources: Sequence[str], outputs: Sequence[str], references: References, language: str
) -> list[bool]:
    """Whether at least half of an output lies in long runs out of its source, not counting as much as a
    reference text has.

    It is the measure of the guard `uncopied` (`reward.copying`); what it finds in headlines is nearly always
    the source's first words.
    """
    own_shares = uncopied(sources, outputs, references, run=copied_run(language))
    return [share <= 1 - COPIED_FROM for share in own_shares.tolist()]


def copied_run(language: str) -> int:
    """How many units in a row are a copy: more where a unit is a character."""
    return CHARACTER_RUN if is_unspaced(script_of(language)) else RUN


def copy_signature(language: str) -> str:
    """How the share of copies is made."""
    return f"run:{copied_run(language)}|share:{COPIED_FROM}|beyond the reference text"
