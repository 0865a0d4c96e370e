"""Terms `chrf` and `bleu`: sentence chrF and sentence BLEU by sacreBLEU, for ablations and mixtures.

Numbers are sacreBLEU's (Post, 2018) divided by 100, and several reference texts count as in sacreBLEU (chrF:
the best one, BLEU: n-grams of all, the closest length). The units of a target language are chosen here too,
and `eval.metrics.overlap` shares the choice. Chinese: sacreBLEU's `zh` tokeniser (each Han character a
token). Tibetan script: sacreBLEU has no tokeniser for it, and a Tibetan sentence has no spaces, so text is
first split into syllables at the tsheg, and at shad and other Tibetan marks, then tokenised by 13a. Other
scripts without spaces: characters. All else: 13a.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from data.script import UNSPACED, script_of
from reward.rows import per_row

if TYPE_CHECKING:  # a machine without it runs all other terms
    from sacrebleu.metrics.bleu import BLEU

TSHEG = re.compile("[\u0f0b\u0f0c]+")
TIBETAN_MARKS = re.compile("([\u0f01-\u0f0a\u0f0d-\u0f14]+)")


def split_syllables(text: str) -> str:
    """Tibetan text with a space for every tsheg and around every shad: two syllables and a shad -> 'a b
    །'.
    """
    return " ".join(TIBETAN_MARKS.sub(r" \1 ", TSHEG.sub(" ", text)).split())


def is_tibetan_script(language: str) -> bool:
    """Whether texts of `language` are counted in syllables."""
    return script_of(language) == "Tibt"


def tokenizer_input(texts: Sequence[str], language: str) -> list[str]:
    """The texts in the form that sacreBLEU's word tokeniser takes: one line each, since its 13a would join the
    words around a hyphen at a line end.
    """
    lines = [text.replace("\n", " ") for text in texts]
    return [split_syllables(text) for text in lines] if is_tibetan_script(language) else lines


def bleu_metric(language: str, *, effective_order: bool = False) -> "BLEU":
    """sacreBLEU's BLEU with the tokeniser of a target language; `effective_order` is for sentences, which may
    have no 4-gram.
    """
    from sacrebleu.metrics.bleu import BLEU

    script = script_of(language)
    tokenizer = "zh" if script == "Hani" else "char" if script in UNSPACED else "13a"
    return BLEU(tokenize=tokenizer, effective_order=effective_order)


def chrf(sources: Sequence[str], completions: Sequence[str], references: Sequence[Sequence[str]]) -> Tensor:
    """Term: sentence chrF2, in [0, 1]: N rows -> (N,) fp32."""
    from sacrebleu.metrics.chrf import CHRF

    metric = CHRF()

    def score(source: str, completion: str, texts: Sequence[str]) -> float:
        return min(1.0, metric.sentence_score(completion, list(texts)).score / 100)

    return per_row(score, sources, completions, references)


def bleu(
    sources: Sequence[str],
    completions: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    target_language: str,
) -> Tensor:
    """Term: sentence BLEU of up to 4-grams, in [0, 1]: N rows -> (N,) fp32."""
    metric = bleu_metric(target_language, effective_order=True)

    def score(source: str, completion: str, texts: Sequence[str]) -> float:
        output = tokenizer_input([completion], target_language)[0]
        return min(1.0, metric.sentence_score(output, tokenizer_input(texts, target_language)).score / 100)

    return per_row(score, sources, completions, references)
