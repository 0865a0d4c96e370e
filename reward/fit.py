"""Measures whether the reward's encoder knows the language of the reference texts, on a run's own pairs,
before training.

An encoder that lacks the pieces of a script gives all its texts nearly one vector. Every completion then
earns the same and nothing is learnt. Three figures show it. A distractor has nearly the length of the right
text, so that length alone finds nothing:

    unrelated   mean cosine of two different texts
    cut_auc     AUC of finding a text by a copy that lacks a quarter of its characters; .5 = chance
    pair_auc    AUC of finding a reference text by its source; high only where the encoder knows both languages

On the Universal Declaration in 40 languages, "use" has for those it knows: unrelated .22 to .33, cut_auc from
.98, pair_auc from .99; for others in scripts it can spell: .37 to .85, from .97, .45 to .85; for scripts it
cannot spell: .90 to .99, .57 to .95, about .5.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Encode = Callable[[Sequence[str]], Tensor]

MOST_PAIRS = 300
LEAST_PAIRS = 20  # with fewer nothing is measured
DISTRACTORS = 10  # texts of nearly equal length among which a text is searched
CUT = 0.25  # of a text's characters
MIN_CUT_AUC = 0.9  # below, the encoder cannot tell texts apart: the reward would be noise
KNOWN_UNRELATED = 0.4  # of a language that the encoder knows
KNOWN_CUT_AUC = 0.95
GOOD_PAIR_AUC = 0.9  # below, the encoder does not see source and reference texts as translations
MIN_PAIR_AUC = 0.6  # below, with both languages known, the pairs are no translations
MAX_UNRELATED_REWARD = 0.4  # from here on a higher threshold is advised


@dataclass(frozen=True)
class Side:
    """One side of the pairs in the encoder's space: mean and standard deviation of the cosine of two texts,
    and `cut_auc`.
    """

    unrelated: float
    spread: float
    cut_auc: float

    @property
    def is_known(self) -> bool:
        """Whether the encoder seems to know the language; False in spaces where all texts lie close together."""
        return self.unrelated < KNOWN_UNRELATED and self.cut_auc >= KNOWN_CUT_AUC


@dataclass(frozen=True)
class EncoderFit:
    """The figures of both sides and of the pairs, over `pairs` pairs."""

    pairs: int
    sources: Side
    references: Side
    pair_auc: float

    def __str__(self) -> str:
        return (
            f"unrelated reference texts have a mean cosine of {self.references.unrelated:.2f} (spread "
            f"{self.references.spread:.2f}), "
            f"cut ones are found again with AUC {self.references.cut_auc:.2f}, from their source texts with "
            f"AUC {self.pair_auc:.2f} (0.50 is chance; {self.pairs} pairs)"
        )


def measure_fit(
    encode: Encode, sources: Sequence[str], references: Sequence[str], seed: int = 0
) -> EncoderFit | None:
    """Measure the fit of an encoder (n texts -> (n, D) unit rows) to pairs; None for fewer than LEAST_PAIRS
    different ones.

    Takes a sample of MOST_PAIRS pairs at most, a function of `seed`.
    """
    pairs = list(
        {
            pair[1]: pair
            for pair in {pair[0]: pair for pair in zip(sources, references, strict=True)}.values()
        }.values()
    )
    rng = random.Random(f"fit {seed}")
    pairs = rng.sample(pairs, min(MOST_PAIRS, len(pairs)))
    if len(pairs) < LEAST_PAIRS:
        return None
    texts, answers = ([pair[side] for pair in pairs] for side in (0, 1))
    (source_rows, source_side), (rows, side) = (_side(encode, one, rng) for one in (texts, answers))
    return EncoderFit(
        len(pairs), source_side, side, auc_among_equals(source_rows, rows, [*map(len, answers)])
    )


def _side(encode: Encode, texts: Sequence[str], rng: random.Random) -> tuple[Tensor, Side]:
    """The rows (n, D) fp64 of different texts, and their figures."""
    rows = encode(texts).double()
    cosines = (rows @ rows.T)[~torch.eye(len(texts), dtype=torch.bool)]
    cut_rows = encode([without_a_part(text, rng) for text in texts]).double()
    return rows, Side(
        cosines.mean().item(), cosines.std().item(), auc_among_equals(cut_rows, rows, [*map(len, texts)])
    )


def without_a_part(text: str, rng: random.Random) -> str:
    """The text without a run of a quarter of its characters, at a random place."""
    size = max(1, round(CUT * len(text)))
    start = rng.randrange(max(1, len(text) - size + 1))
    return text[:start] + text[start + size :]


def auc_among_equals(queries: Tensor, answers: Tensor, lengths: Sequence[int]) -> float:
    """Share of distractors that lie further from query i than answer i, ties half: (n, D), (n, D) unit rows,
    n > DISTRACTORS -> [0, 1].

    The distractors of answer i are the DISTRACTORS others nearest to it in the order of `lengths`.
    """
    order = torch.tensor(sorted(range(len(answers)), key=lambda row: (lengths[row], row)))
    place = torch.arange(len(order))
    first = (place - DISTRACTORS // 2).clamp(0, len(order) - DISTRACTORS - 1)
    window = first[:, None] + torch.arange(DISTRACTORS + 1)
    scores = (queries[order] @ answers[order].T).gather(1, window)
    right = scores.gather(1, (place - first)[:, None])
    wins = (scores < right).double() + 0.5 * (scores == right).double()
    return float((wins.sum(dim=1) - 0.5).mean() / DISTRACTORS)  # the right answer ties with itself


def below(auc: float, limit: float) -> str:
    """An AUC below a limit with two digits, which are never those of the limit.

    >>> below(0.899, 0.9), below(0.6251, 0.9)
    ('0.89', '0.63')
    """
    return f"{min(auc, limit - 0.01):.2f}"


def refusal(fit: EncoderFit) -> str:
    """Why the cosines of this encoder cannot teach anything on these pairs, and what to do; "" where they can."""
    knows_both = fit.sources.is_known and fit.references.is_known
    if fit.references.cut_auc < MIN_CUT_AUC:
        return (
            f"it cannot tell the reference texts apart (AUC {below(fit.references.cut_auc, MIN_CUT_AUC)}, {MIN_CUT_AUC} is needed), as an "
            "encoder that cannot spell their script; name one that knows the language, or make one of your pairs: docs/reward.md, "
            f"'An encoder of your own'; measured: {fit}"
        )
    if knows_both and fit.pair_auc < MIN_PAIR_AUC:
        return (
            f"it knows both languages, but the pairs do not belong together: {fit}. "
            "Look whether the two sides are shifted or mixed up"
        )
    return ""


def threshold_warning(fit: EncoderFit, threshold: float) -> str:
    """A warning where an unrelated text would earn much at this tau, (unrelated - tau) / (1 - tau); else ""."""
    reward = (fit.references.unrelated - threshold) / (1 - threshold)
    if reward <= MAX_UNRELATED_REWARD:
        return ""
    return (
        f"unrelated reference texts have a mean cosine of {fit.references.unrelated:.2f}, so with "
        f"reward.threshold = {threshold:.2f} a "
        f"wrong answer earns {reward:.2f}; write reward.threshold={fit.references.unrelated:.2f}"
    )


def warnings(fit: EncoderFit, threshold: float) -> list[str]:
    """Warnings about this encoder and these pairs before training, one sentence each. `threshold` is tau of
    the reward.
    """
    sentences = [sentence] if (sentence := threshold_warning(fit, threshold)) else []
    if fit.sources.is_known and fit.pair_auc < GOOD_PAIR_AUC:
        sentences.append(
            "it tells the source texts apart as those of a language that it knows, but finds the reference texts from "
            f"them only with AUC {below(fit.pair_auc, GOOD_PAIR_AUC)}, below {GOOD_PAIR_AUC}: it knows one of the languages by its "
            "spelling alone, or the pairs are no translations; a source that it does not know does no harm, as the reward compares "
            "reference texts"
        )
    return sentences
