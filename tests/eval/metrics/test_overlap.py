import random

import pytest
from sacrebleu.metrics.chrf import CHRF

from eval.metrics.overlap import (
    bleu_of_sums,
    bleu_statistics,
    chrf_of_sums,
    chrf_statistics,
    length_statistics,
    length_units,
    signatures,
    streams,
)
from reward.lexical import bleu_metric, split_syllables, tokenizer_input

TSHEG = "\u0f0b"
SHAD = "\u0f0d"
KA = "\u0f40"
KHA = "\u0f41"
GA = "\u0f42"


def random_texts(seed: int, letters: str, count: int = 40) -> tuple[list[str], list[str]]:
    """Random references and outputs that share some of their characters."""
    generator = random.Random(seed)
    references = ["".join(generator.choices(letters, k=generator.randint(1, 14))) for _ in range(count)]
    outputs = [
        "".join(c for c in text if generator.random() < 0.7) + generator.choice(letters)
        for text in references
    ]
    return outputs, references


ALPHABETS = pytest.mark.parametrize(
    ("language", "letters"),
    [("zh", "天地人山水火土木"), ("en", "ab cd e."), ("bo", KA + KHA + GA + TSHEG + SHAD), ("th", "กขคง")],
)


@ALPHABETS
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_scores_of_sums_equal_sacrebleu(language: str, letters: str, seed: int) -> None:
    outputs, references = random_texts(seed, letters)
    alone = [[text] for text in references]
    bleu = (
        bleu_metric(language)
        .corpus_score(tokenizer_input(outputs, language), [tokenizer_input(references, language)])
        .score
    )
    assert float(bleu_of_sums(bleu_statistics(outputs, alone, language).sum(axis=0))) == pytest.approx(
        bleu, abs=1e-9
    )
    chrf = CHRF().corpus_score(outputs, [references]).score
    assert float(chrf_of_sums(chrf_statistics(outputs, alone).sum(axis=0))) == pytest.approx(chrf, abs=1e-9)


def test_sentence_chrf_equals_sacrebleu_row_by_row() -> None:
    outputs, references = random_texts(5, "天地人山水火土木")
    outputs[3] = ""
    ours = chrf_of_sums(chrf_statistics(outputs, [[text] for text in references]))
    theirs = [
        CHRF().sentence_score(output, [reference]).score
        for output, reference in zip(outputs, references, strict=True)
    ]
    assert ours == pytest.approx(theirs, abs=1e-9)


def test_identical_texts_score_100_and_disjoint_texts_0() -> None:
    texts = ["天地玄黄宇宙", "山水有相逢"]
    alone = [[text] for text in texts]
    assert float(bleu_of_sums(bleu_statistics(texts, alone, "zh").sum(axis=0))) == pytest.approx(100.0)
    assert float(chrf_of_sums(chrf_statistics(texts, alone).sum(axis=0))) == pytest.approx(100.0)
    others = ["甲乙丙丁戊己", "庚辛壬癸子"]
    assert float(bleu_of_sums(bleu_statistics(others, alone, "zh").sum(axis=0))) == 0.0
    assert float(chrf_of_sums(chrf_statistics(others, alone).sum(axis=0))) == 0.0


def test_bleu_by_hand() -> None:
    """5 of 6 characters, 3 of 5 pairs, 1 of 4 triples, no quadruple: (5/6 * 3/5 * 1/4 * 1/(2*3)) ** (1/4)."""
    score = float(bleu_of_sums(bleu_statistics(["天地人山水火"], [["天地人云水火"]], "zh").sum(axis=0)))
    assert score == pytest.approx(100 * (5 / 6 * 3 / 5 * 1 / 4 * 1 / 6) ** 0.25)


def test_empty_outputs_score_zero_without_a_warning() -> None:
    assert float(bleu_of_sums(bleu_statistics(["", ""], [["天"], ["地"]], "zh").sum(axis=0))) == 0.0
    assert float(chrf_of_sums(chrf_statistics(["", ""], [["天"], ["地"]]).sum(axis=0))) == 0.0


def test_tibetan_is_split_at_the_tsheg_and_around_the_shad() -> None:
    assert split_syllables(f"{KA}{TSHEG}{KHA}{TSHEG}{SHAD} {GA}") == f"{KA} {KHA} {SHAD} {GA}"


def test_tibetan_bleu_counts_syllables() -> None:
    text = f"{KA}{TSHEG}{KHA}{TSHEG}{GA}{SHAD}"
    rows = bleu_statistics([text], [[text]], "bo")
    assert rows[0, :2].tolist() == [4.0, 4.0]


def test_signatures_name_the_tokenisation() -> None:
    assert "tok:zh" in signatures(["天"], [["天"]], "zh")["bleu"]
    assert "tok:tsheg-13a" in signatures([KA], [[KA]], "dz")["bleu"]
    assert "tok:13a" in signatures(["a"], [["a"]], "en")["bleu"]
    assert "nc:6" in signatures(["天"], [["天"]], "zh")["chrf"]


def test_lines_of_a_text_are_one_segment_and_the_signature_says_so() -> None:
    """sacreBLEU's 13a takes a hyphen at a line end for a divided word."""
    lines = ["a well-\nknown dog\nsleeps here"]
    line = ["a well- known dog sleeps here"]
    for language in ("en", "zh", "bo", "th"):
        assert (
            bleu_statistics(lines, [line], language).tolist()
            == bleu_statistics(line, [line], language).tolist()
        )
        assert chrf_statistics(lines, [line]).tolist() == chrf_statistics(line, [line]).tolist()
        assert signatures(lines, [line], language)["bleu"].endswith("|lines:joined")
        assert "lines" not in signatures(line, [line], language)["bleu"]


def test_lengths_are_counted_in_units_of_the_language() -> None:
    assert length_units("abc 天地，人", "zh") == 3
    assert length_units(f"{KA}{TSHEG}{KHA}{SHAD}", "dz") == 2
    assert length_units("two words", "en") == 2
    assert length_statistics(["天"], [["天地"]], "zh").tolist() == [[1.0, 2.0]]


def several(seed: int, letters: str, most: int) -> tuple[list[str], list[list[str]]]:
    """Outputs with two reference texts each, or with one to `most` of them."""
    generator = random.Random(seed)
    outputs, first = random_texts(seed, letters)
    others = random_texts(seed + 100, letters, len(first) * most)[1]
    numbers = [2 if most == 2 else generator.randint(1, most) for _ in first]
    return outputs, [
        [text, *others[most * row : most * row + numbers[row] - 1]] for row, text in enumerate(first)
    ]


@ALPHABETS
@pytest.mark.parametrize(("most", "count"), [(2, "2"), (4, "var")])
def test_several_reference_texts_count_as_in_sacrebleu(
    language: str, letters: str, most: int, count: str
) -> None:
    outputs, references = several(3, letters, most)
    padded = [[texts[rank] if rank < len(texts) else None for texts in references] for rank in range(most)]
    split = [[text and tokenizer_input([text], language)[0] for text in stream] for stream in padded]
    bleu = bleu_metric(language)
    chrf = CHRF()
    expected = (
        bleu.corpus_score(tokenizer_input(outputs, language), split).score,
        chrf.corpus_score(outputs, padded).score,
    )
    rows = bleu_statistics(outputs, references, language), chrf_statistics(outputs, references)
    assert float(bleu_of_sums(rows[0].sum(axis=0))) == pytest.approx(expected[0], abs=1e-9)
    assert float(chrf_of_sums(rows[1].sum(axis=0))) == pytest.approx(expected[1], abs=1e-9)
    alone = bleu_of_sums(bleu_statistics(outputs, [texts[:1] for texts in references], language).sum(axis=0))
    assert abs(float(alone) - expected[0]) > 1
    said = signatures(outputs, references, language)
    assert said["chrf"] == str(chrf.get_signature()) and all(
        f"nrefs:{count}|" in text for text in said.values()
    )


@pytest.mark.skipif(
    not hasattr(CHRF, "_extract_corpus_statistics"),
    reason="this sacreBLEU does not have its statistics by that name",
)
@ALPHABETS
def test_the_counts_of_an_item_are_those_that_sacrebleu_keeps_to_itself(language: str, letters: str) -> None:
    """Each number, with several reference texts, an empty output and an empty text."""
    outputs, references = several(7, letters, 4)
    outputs[0] = ""
    references[1] = ["", *references[1]]
    texts = streams([tokenizer_input(own, language) for own in references])
    bleu = bleu_metric(language)._extract_corpus_statistics(tokenizer_input(outputs, language), texts)
    chrf = CHRF()._extract_corpus_statistics(outputs, streams(references))
    assert bleu_statistics(outputs, references, language).tolist() == bleu
    assert chrf_statistics(outputs, references).tolist() == chrf


def test_length_is_held_to_the_closest_reference_text() -> None:
    """2 against 1, 3 and 7: the shorter of the two as close; 6 against 1, 3 and 7: the longest."""
    texts = ["天", "天地人", "天地人山水火土"]
    assert length_statistics(["天地", "天地人山水火"], [texts, texts], "zh").tolist() == [
        [2.0, 1.0],
        [6.0, 7.0],
    ]


def test_no_outputs_have_no_rows() -> None:
    assert [
        len(bleu_statistics([], [], "zh")),
        len(chrf_statistics([], [])),
        len(length_statistics([], [], "zh")),
    ] == [0, 0, 0]
