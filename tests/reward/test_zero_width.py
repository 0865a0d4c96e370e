"""Texts of scripts without spaces are written with and without zero width spaces between words: one text in both ways."""

from pathlib import Path

import pytest
from ngram_sets import ngrams
from sacrebleu.metrics.chrf import CHRF

from data.clean import clean_as_read, clean_text
from data.normalise import DEFAULT
from data.script import count_units, script_of
from data.sources.user_file import UserCorpus, read
from eval.metrics.overlap import bleu_statistics, chrf_of_sums, chrf_statistics, length_statistics, signatures
from reward.copying import uncopied
from reward.guards import length_fit
from reward.lexical import bleu, chrf
from reward.repetition import unrepeated

WORDS = {  # the words of a sentence
    "km": ("ខ្ញុំ", "ចង់", "ទៅ", "ផ្សារ", "ថ្ងៃ", "នេះ"),
    "th": ("ฉัน", "อยาก", "ไป", "ตลาด", "วันนี้"),
    "lo": ("ຂ້ອຍ", "ຢາກ", "ໄປ", "ຕະຫຼາດ", "ມື້ນີ້"),
    "my": ("ကျွန်တော်", "ဒီနေ့", "ဈေး", "သွား", "ချင်", "ပါတယ်"),
    "ja": ("わたし", "は", "市場", "へ", "行きたい"),
    "zh": ("我", "今天", "想", "去", "市场"),
}
ZERO_WIDTH = "\u200b"
LANGUAGES = pytest.mark.parametrize("language", WORDS)


@LANGUAGES
def test_terms_guards_and_scores_see_one_text(language: str) -> None:
    words = WORDS[language]
    plain, divided, spaced = (mark.join(words) for mark in ("", ZERO_WIDTH, " "))
    other = "".join(reversed(words)) + words[0] * 3
    for way in (divided, spaced):
        for texts, reference in (([way, plain], plain), ([other, other], plain), ([plain, plain], way)):
            for term in (chrf, length_fit, unrepeated):
                one, two = term([""] * 2, texts, [[reference], [plain]]).tolist()
                assert one == two, term
        assert uncopied([way, plain, plain], [plain, way, plain], [["x"]] * 3).tolist() == [0.0] * 3
        lengths = length_statistics([way, plain], [[plain], [way]], language)
        assert lengths[:, 0].tolist() == lengths[:, 1].tolist() and lengths[0, 0] > 4
    assert chrf([""], [divided], [[plain]]).item() == 1
    assert bleu([""], [divided], [[plain]], target_language=language).item() == 1
    rows = chrf_statistics([divided, plain], [[plain], [divided]])
    assert float(chrf_of_sums(rows.sum(axis=0))) == pytest.approx(100)
    assert (
        bleu_statistics([divided], [[plain]], language).tolist()
        == bleu_statistics([plain], [[divided]], language).tolist()
    )
    assert CHRF().sentence_score(divided, [plain]).score < 60  # sacreBLEU alone


@LANGUAGES
def test_signatures_say_it_where_there_are_such_texts(language: str) -> None:
    plain, divided = "".join(WORDS[language]), ZERO_WIDTH.join(WORDS[language])
    for outputs, references, is_said in (
        ([plain], [[plain]], 0),
        ([divided], [[plain]], 1),
        ([plain], [[divided]], 1),
    ):
        said = signatures(outputs, references, language)
        assert ["|zwsp:no" in said[name] for name in ("bleu", "chrf")] == [bool(is_said)] * 2


@LANGUAGES
def test_the_corpus_has_none_whatever_its_steps_so_that_near_duplicates_are_found(
    tmp_path: Path, language: str
) -> None:
    plain, divided = "".join(WORDS[language]), ZERO_WIDTH.join(WORDS[language])
    path = tmp_path / "a.tsv"
    path.write_text(f"{divided}\ta {language}\n{plain}\tb {language}\n", encoding="utf-8")
    texts = [example.source for example in read(UserCorpus(str(path), language, "en")).examples]
    assert texts == [plain, plain] and ngrams(divided, 3) != ngrams(plain, 3)
    for steps in ((), ("nfc",), DEFAULT):
        assert clean_as_read(divided, steps, language) == plain == clean_text(divided, DEFAULT, language)
    assert (
        clean_text(divided, (), language) == divided
    )  # what a policy was asked with, where the steps lack "invisible"
    assert count_units(divided, script_of(language)) == count_units(plain, script_of(language))
