"""Sentence chrF and BLEU are sacreBLEU's own, in the units of the target language."""

import pytest
import torch
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from data.script import script_of
from eval.metrics import overlap
from reward import lexical
from reward.lexical import bleu, bleu_tokenizer, chrf, split_syllables

TSHEG = "\u0f0b"
SHAD = "\u0f0d"
KA = "\u0f40"
KHA = "\u0f41"
GA = "\u0f42"
NGA = "\u0f44"
TIBETAN = TSHEG.join([KA, KHA, GA, NGA]) + SHAD


def bleu_of(completion: str, *references: str, language: str) -> float:
    return bleu(["s"], [completion], [list(references)], target_language=language).item()


@pytest.mark.parametrize(
    ("text", "language"),
    [("打开上次的文件", "zh"), ("是", "zh"), (TIBETAN, "dz"), ("open it", "en"), ("เปิดไฟล์", "th")],
)
def test_reference_text_itself_gets_1_and_silence_0(text: str, language: str) -> None:
    assert bleu_of(text, text, language=language) == bleu_of(text, "x", text, language=language) == 1
    assert bleu_of("", text, language=language) == 0
    assert chrf(["s"] * 2, [text, ""], [["x", text]] * 2).tolist() == [1.0, 0.0]


def test_scores_are_sacrebleu_sentence_scores() -> None:
    completion = "打开上次保存的文件"
    references = ["打开上一次的文件", "把上次的文件打开"]
    expected = BLEU(tokenize="zh", effective_order=True).sentence_score(completion, references).score / 100
    assert bleu_of(completion, *references, language="zh") == pytest.approx(expected)
    assert chrf(["s"], [completion], [references]).item() == pytest.approx(
        CHRF().sentence_score(completion, references).score / 100
    )


def test_chrf_is_of_the_nearest_reference_text_and_bleu_of_all() -> None:
    alone = [chrf(["s"], ["天地人山"], [[text]]).item() for text in ("天地人火", "水")]
    assert chrf(["s"], ["天地人山"], [["天地人火", "水"]]).item() == max(alone)
    assert bleu_of("天地人山", "天地", "人山", language="zh") > max(
        bleu_of("天地人山", text, language="zh") for text in ("天地", "人山")
    )


def test_tibetan_is_scored_by_syllables() -> None:
    """5 of 5 tokens (4 syllables and a shad), 1 of 4 pairs; orders without a match count as 1 / (2 * 3) and 1
    / (4 * 2).
    """
    other = TSHEG.join([KA, KHA, NGA, GA]) + SHAD
    expected = (5 / 5 * 1 / 4 * 1 / (2 * 3) * 1 / (4 * 2)) ** 0.25
    assert bleu_of(other, TIBETAN, language="bo") == pytest.approx(expected)
    assert split_syllables(TIBETAN) == f"{KA} {KHA} {GA} {NGA} {SHAD}"


def test_evaluation_and_reward_share_one_rule() -> None:
    assert overlap.bleu_metric is lexical.bleu_metric and overlap.tokenizer_input is lexical.tokenizer_input


def test_rows_come_back_in_order_as_fp32() -> None:
    values = bleu(["s"] * 3, ["天地", "水", ""], [["天地"], ["火"], ["天"]], target_language="zh")
    assert values.tolist() == [1.0, 0.0, 0.0] and values.dtype == torch.float32
    assert chrf([], [], []).shape == (0,)


@pytest.mark.parametrize(
    ("language", "tokenizer"),
    [
        ("zh", "zh"), ("en", "13a"), ("yo", "13a"), ("ru", "13a"), ("sr", "13a"), ("bo", "13a"), ("th", "char"), ("km", "char"),
        ("ug", "intl"), ("am", "intl"), ("hi", "intl"), ("ja", "char"), ("ko", "char"), ("qqq", "13a"),
    ],
)  # fmt: skip
def test_a_tokeniser_is_chosen_by_script(
    language: str, tokenizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lexical, "has_pieces", lambda: False)
    monkeypatch.setattr(lexical, "find_spec", lambda name: None)
    bleu_tokenizer.cache_clear()
    name, remark = bleu_tokenizer(script_of(language))
    assert name == tokenizer and bool(remark) == (language in ("ug", "am", "hi", "ja", "ko"))
    bleu_tokenizer.cache_clear()


def test_better_tokenisers_are_taken_where_they_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexical, "has_pieces", lambda: True)
    monkeypatch.setattr(lexical, "find_spec", lambda name: name)
    bleu_tokenizer.cache_clear()
    languages = ("ja", "ko", "ug", "en", "zh")
    names = [bleu_tokenizer(script_of(language))[0] for language in languages]
    assert names == ["ja-mecab", "ko-mecab", "flores200", "13a", "zh"]
    bleu_tokenizer.cache_clear()


def test_punctuation_of_another_script_is_no_part_of_a_word() -> None:
    assert bleu_of("ሰላም ለሁሉም ሰው ነው።", "ሰላም ለሁሉም ሰው ነው ።", language="am") == 1.0
