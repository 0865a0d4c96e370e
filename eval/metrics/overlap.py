"""Overlap with the reference texts: corpus BLEU, corpus and sentence chrF by sacreBLEU, and the length ratio.

Deliberately not a new metric: numbers and signatures are sacreBLEU's (Post, 2018). Several reference texts
count as they do there: BLEU takes n-grams of all and the closest length, chrF the text that scores best. The
sufficient statistics of each item are exposed as arrays, so that `eval.metrics.significance` can recompute a
corpus metric for thousands of resamples at once. Nothing of sacreBLEU is used that it does not show; tests
hold the statistics to its own, and `bleu_of_sums` and `chrf_of_sums` to its scores.

Units by target language are those of the reward's own BLEU, `reward.lexical`; for Tibetan script the
signature says `tok:tsheg-13a`, and where a better tokeniser is not installed it says so. BLEU reads the lines of
a text as one, which its signature says where there are such texts; chrF knows no space. Neither sees a zero width space,
which the signatures say too.
"""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.helpers import extract_all_char_ngrams

from data.script import count_units, script_of
from eval.metrics.significance import Array
from reward.guards import closest
from reward.lexical import (
    ZERO_WIDTH_SPACE,
    bleu_metric,
    bleu_tokenizer,
    is_tibetan_script,
    tokenizer_input,
    without_zero_width,
)

BLEU_ORDER = 4
CHRF_ORDER = 6
CHRF_BETA = 2
References = Sequence[Sequence[str]]  # one or more texts of each item


def streams(references: References) -> list[list[Any]]:
    """The reference texts as sacreBLEU takes them: a list of all first texts, one of all second texts.

    None stands where an item has none.

    >>> streams([["a", "b"], ["c"]])
    [['a', 'c'], ['b', None]]
    """
    return [list(stream) for stream in zip_longest(*references)]


def number_of(references: References) -> str:
    """How many reference texts an item has, as sacreBLEU's signatures say it: '1', '2', or 'var'."""
    counts = {len(texts) for texts in references}
    return str(counts.pop()) if len(counts) == 1 else "var"


def bleu_statistics(outputs: Sequence[str], references: References, language: str) -> Array:
    """(n, 10) per item: output length, closest reference length, 4 matched and 4 output n-gram counts."""
    metric = bleu_metric(language)
    own_texts = tokenizer_input(outputs, language)
    texts = [tokenizer_input(own, language) for own in references]
    rows = [bleu_row(metric, output, own) for output, own in zip(own_texts, texts, strict=True)]
    return np.asarray(rows, dtype=np.float64).reshape(len(outputs), 2 + 2 * BLEU_ORDER)


def bleu_row(metric: BLEU, output: str, texts: Sequence[str]) -> list[int]:
    """The counts of one item: those of a corpus that has nothing else in it."""
    score = metric.corpus_score([output], [[text] for text in texts])
    return [score.sys_len, score.ref_len, *score.counts, *score.totals]


def chrf_statistics(outputs: Sequence[str], references: References) -> Array:
    """(n, 18) per item: output, reference and matched n-gram counts for character orders 1 to 6.

    They are those of the reference text that scores best alone, the first of equals.
    """
    rows = [chrf_row(output, texts) for output, texts in zip(outputs, references, strict=True)]
    return np.asarray(rows, dtype=np.float64).reshape(len(outputs), 3 * CHRF_ORDER)


def chrf_row(output: str, texts: Sequence[str]) -> Array:
    """(18,) counts of one item. sacreBLEU's chrF shows none, so its n-grams are counted here."""
    ngrams = extract_all_char_ngrams(without_zero_width(output), CHRF_ORDER)
    rows = [
        [
            count
            for own, other in zip(ngrams, extract_all_char_ngrams(own_text, CHRF_ORDER), strict=True)
            for count in (own.total() if other else 0, other.total(), (own & other).total())
        ]
        for own_text in map(without_zero_width, texts)
    ]
    counts = np.asarray(rows, dtype=np.float64)
    best: Array = counts[int(chrf_of_sums(counts).argmax())]
    return best


def bleu_of_sums(sums: Array) -> Array:
    """(..., 10) summed statistics -> (...) BLEU in 0..100, with sacreBLEU's `exp` smoothing of empty orders.

    An order without matches counts as 1 / (2**k * total), k counting such orders; an order without n-grams
    makes BLEU 0.
    """
    lengths = sums[..., 0]
    reference_lengths = sums[..., 1]
    matches = sums[..., 2 : 2 + BLEU_ORDER]
    total = sums[..., 2 + BLEU_ORDER :]
    smooth_matches = np.where(matches > 0, matches, 0.5 ** np.cumsum(matches == 0, axis=-1))
    is_defined = (total > 0).all(axis=-1) & (matches > 0).any(axis=-1)
    log_precision = np.log(smooth_matches / np.maximum(total, 1)).mean(axis=-1)
    brevity = np.minimum(0.0, 1 - reference_lengths / np.maximum(lengths, 1))
    return np.where(is_defined, 100 * np.exp(log_precision + brevity), 0.0)


def chrf_of_sums(sums: Array) -> Array:
    """(..., 18) summed statistics -> (...) chrF2 in 0..100: precision and recall averaged over the orders
    both sides have.
    """
    outputs, references, matches = (sums[..., offset::3] for offset in range(3))
    is_used = (outputs > 0) & (references > 0)
    orders = np.maximum(is_used.sum(axis=-1), 1)
    precision = np.where(is_used, matches / np.maximum(outputs, 1), 0.0).sum(axis=-1) / orders
    recall = np.where(is_used, matches / np.maximum(references, 1), 0.0).sum(axis=-1) / orders
    denominator = CHRF_BETA**2 * precision + recall
    numerator = (1 + CHRF_BETA**2) * precision * recall
    return 100 * np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def signatures(outputs: Sequence[str], references: References, language: str) -> dict[str, str]:
    """sacreBLEU's description of how each number was made (it needs one scoring to know the number of references)."""
    bleu = bleu_metric(language)
    chrf = CHRF()
    bleu.corpus_score(
        tokenizer_input(outputs, language), streams([tokenizer_input(own, language) for own in references])
    )
    chrf.corpus_score(list(outputs), streams(references))
    signature = bleu.get_signature()
    if is_tibetan_script(language):
        signature.update("tok", f"tsheg-{signature.info['tok']}")
    remark = bleu_tokenizer(script_of(language))[1]
    texts = [*outputs, *(text for own in references for text in own)]
    lines = "|lines:joined" if any("\n" in text for text in texts) else ""
    spaces = "|zwsp:no" if any(ZERO_WIDTH_SPACE in text for text in texts) else ""
    text = f"{signature}{lines}{spaces}"
    return {"bleu": f"{text} ({remark})" if remark else text, "chrf": f"{chrf.get_signature()}{spaces}"}


def length_units(text: str, language: str) -> int:
    """Length of a text in the units of its language: Han characters, Tibetan syllables, else words."""
    return count_units(text, script_of(language))


def length_statistics(outputs: Sequence[str], references: References, language: str) -> Array:
    """(n, 2) per item: units of the output, units of the reference text closest to it in length.

    The length ratio is the ratio of their sums; of two reference texts as close the shorter one counts, as in
    BLEU.
    """
    pairs = []
    for output, texts in zip(outputs, references, strict=True):
        length = length_units(output, language)
        pairs.append((length, closest(length, [length_units(text, language) for text in texts])))
    return np.asarray(pairs, dtype=np.float64).reshape(len(pairs), 2)
