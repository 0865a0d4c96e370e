import json
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest
import torch
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from torch import Tensor

from data.errors import InputError
from data.examples import Example
from eval.metrics.overlap import bleu_of_sums, chrf_of_sums
from eval.metrics.significance import resample_counts
from eval.metrics.similarity import cosines
from eval.systems import compare_systems, evaluate_system, slices, statistics, write_comparison, write_system

HAN = "天地人山水火土木金石"


def character_embed(texts: Sequence[str]) -> Tensor:
    """Unit rows of character counts: a stand-in for an encoder whose cosines can be worked out by hand."""
    counts = torch.tensor([[float(text.count(character)) for character in HAN] + [1e-9] for text in texts])
    return torch.nn.functional.normalize(counts, dim=1)


def first_character(texts: Sequence[str]) -> Tensor:
    """A second stand-in: which of HAN a text begins with."""
    rows = [
        [float(text.startswith(character)) for character in HAN] + [float(text[:1] not in HAN)]
        for text in texts
    ]
    return torch.tensor(rows)


def make_examples(count: int = 60) -> list[Example]:
    generator = random.Random(1)
    return [
        Example(
            f"item-{number:03d}",
            f"source {number}",
            "".join(generator.choices(HAN, k=8)),
            f"origin{number % 3}",
            "none",
            ("bo", "dz")[number % 2],
            "zh",
        )
        for number in range(count)
    ]


def noisy(examples: Sequence[Example], rate: float, seed: int) -> list[str]:
    generator = random.Random(seed)
    return [
        "".join(
            generator.choice(HAN) if generator.random() < rate else character
            for character in example.reference
        )
        for example in examples
    ]


def evaluate(name: str, examples: Sequence[Example], outputs: Sequence[str]) -> dict:
    return evaluate_system(
        name,
        examples,
        outputs,
        embed=character_embed,
        is_consistent=lambda text, reference: bool(text) and text[0] in HAN,
        encoder="counts",
        held_out=first_character,
        held_out_encoder="firsts",
    )


def test_figures_by_hand() -> None:
    examples = [
        Example("a", "s", "天地", "x", "none", "bo", "zh"),
        Example("b", "s", "人人人人", "y", "none", "dz", "zh"),
    ]
    assert evaluate("trained", examples, ["天人", "word"])["metrics"]["all"]["cosine_held_out"] == 0.5
    result = evaluate("trained", examples, ["天地", "word"])
    overall = result["metrics"]["all"]
    assert overall["n"] == 2
    assert overall["cosine"] == pytest.approx(0.5)
    assert overall["consistent_share"] == 0.5
    assert overall["length_ratio"] == pytest.approx(2 / 6)
    assert (overall["rouge_l"], overall["copied_share"]) == (0.5, 0.0)
    assert result["metrics"]["bo"]["cosine"] == pytest.approx(1.0)
    assert result["metrics"]["origin:y"]["chrf"] == 0.0
    assert [item["length_ratio"] for item in result["items"]] == [1.0, 0.0]
    assert result["signatures"]["cosine"] == "encoder:counts"
    assert result["signatures"]["cosine_held_out"] == "encoder:firsts"


def test_an_empty_output_has_cosine_zero_whatever_the_encoder_says() -> None:
    assert cosines(["", " ", "天"], [["天"], ["天"], ["天"]], lambda texts: torch.ones(len(texts), 1)) == [
        0.0,
        0.0,
        1.0,
    ]


def test_cosines_are_those_of_pairs_and_texts_are_embedded_in_one_call() -> None:
    calls: list[int] = []

    def embed(texts: Sequence[str]) -> Tensor:
        calls.append(len(texts))
        return character_embed(texts)

    assert cosines(["天地", "山"], [["天"], ["山"]], embed) == pytest.approx([0.5**0.5, 1.0])
    assert calls == [4]


def test_order_of_items_changes_nothing() -> None:
    examples = make_examples()
    outputs = noisy(examples, 0.5, 2)
    assert evaluate("trained", examples[::-1], outputs[::-1]) == evaluate("trained", examples, outputs)


def test_slices_partition_the_items_by_language_and_by_origin() -> None:
    groups = slices(evaluate("trained", make_examples(), noisy(make_examples(), 0.5, 2))["items"])
    assert sorted(groups) == ["all", "bo", "dz", "origin:origin0", "origin:origin1", "origin:origin2"]
    assert sorted(groups["bo"] + groups["dz"]) == groups["all"]
    assert (
        sorted(groups["origin:origin0"] + groups["origin:origin1"] + groups["origin:origin2"])
        == groups["all"]
    )


def test_a_better_system_is_found_better_in_every_slice() -> None:
    examples = make_examples()
    comparison = compare_systems(
        evaluate("warm_start", examples, noisy(examples, 0.8, 3)),
        evaluate("trained", examples, noisy(examples, 0.3, 4)),
        seed=0,
    )
    assert (comparison["before"], comparison["after"], comparison["probes"]) == (
        "warm_start",
        "trained",
        None,
    )
    for differences in comparison["slices"].values():
        assert all(
            differences[metric]["low"] > 0 and differences[metric]["p_not_greater"] < 0.01
            for metric in ("cosine", "chrf", "bleu")
        )
        assert differences["consistent_share"]["difference"] == 0.0


def test_differences_are_those_of_the_reported_metrics() -> None:
    examples = make_examples()
    before = evaluate("warm_start", examples, noisy(examples, 0.8, 3))
    after = evaluate("trained", examples, noisy(examples, 0.7, 4))
    for name, differences in compare_systems(before, after, seed=0, resamples=50)["slices"].items():
        for metric, row in differences.items():
            assert row["difference"] == pytest.approx(
                after["metrics"][name][metric] - before["metrics"][name][metric]
            )
            assert row["low"] <= row["high"]


def test_comparison_depends_on_the_seed_only() -> None:
    examples = make_examples(20)
    before = evaluate("warm_start", examples, noisy(examples, 0.8, 3))
    after = evaluate("trained", examples, noisy(examples, 0.7, 4))
    assert compare_systems(before, after, seed=1, resamples=200) == compare_systems(
        before, after, seed=1, resamples=200
    )
    assert compare_systems(before, after, seed=1, resamples=200) != compare_systems(
        before, after, seed=2, resamples=200
    )


def test_systems_of_different_test_sets_are_not_compared() -> None:
    examples = make_examples(4)
    outputs = noisy(examples, 0.5, 1)
    with pytest.raises(ValueError, match="warm_start and trained were evaluated on different test items"):
        compare_systems(
            evaluate("warm_start", examples, outputs), evaluate("trained", examples[:3], outputs[:3]), seed=0
        )


def test_wrong_number_of_outputs_is_refused() -> None:
    with pytest.raises(ValueError, match="trained: 1 outputs for 4 examples; give one each"):
        evaluate("trained", make_examples(4), ["天"])


def test_written_results_are_read_back_and_compared_pair_by_pair(tmp_path: Path) -> None:
    examples = make_examples(12)
    for seed, name in enumerate(("untouched", "warm_start", "trained")):
        write_system(tmp_path, evaluate(name, examples, noisy(examples, 0.9 - 0.3 * seed, seed)))
    comparison = write_comparison(tmp_path, seed=0, resamples=40)
    assert [(pair["before"], pair["after"]) for pair in comparison["pairs"]] == [
        ("warm_start", "trained"),
        ("untouched", "trained"),
        ("untouched", "warm_start"),
    ]
    assert comparison["resamples"] == 40
    assert json.loads((tmp_path / "eval" / "comparison.json").read_text(encoding="utf-8")) == comparison


def test_one_reference_text_an_item_gives_the_numbers_it_always_gave() -> None:
    """Golden: of the version that knew one reference text only."""
    examples = make_examples(24)
    before = evaluate("warm_start", examples, noisy(examples, 0.6, 3))
    after = evaluate("trained", examples, noisy(examples, 0.3, 4))
    assert before["signatures"] == {
        "cosine": "encoder:counts",
        "cosine_held_out": "encoder:firsts",
        "bleu": "nrefs:1|case:mixed|eff:no|tok:zh|smooth:exp|version:2.6.0",
        "chrf": "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0",
        "rouge_l": "lcs:f1|case:lower|units:syllables+characters+words|stem:no|nrefs:1",
        "copied_share": "run:10|share:0.5|beyond the reference text",
    }
    assert before["metrics"]["all"] == pytest.approx(
        {
            "n": 24,
            "cosine": 0.6814978570620388,
            "cosine_held_out": 0.3333333333333333,
            "chrf": 17.107308201058203,
            "bleu": 15.44650838809799,
            "rouge_l": 0.5,
            "consistent_share": 1.0,
            "length_ratio": 1.0,
            "empty_share": 0.0,
            "copied_share": 0.0,
        },
        abs=1e-12,
    )
    differences = compare_systems(before, after, seed=0, resamples=50)["slices"]["all"]
    intervals = {name: (row["low"], row["high"]) for name, row in differences.items()}
    expected = {
        "cosine": (0.092368922807, 0.212955083608),
        "cosine_held_out": (0.134375, 0.490625),
        "chrf": (5.832155257937, 32.073102678571),
        "bleu": (9.06093563634, 44.131822802525),
        "rouge_l": (0.141276041667, 0.327473958333),
        "consistent_share": (0.0, 0.0),
        "length_ratio": (0.0, 0.0),
        "empty_share": (0.0, 0.0),
        "copied_share": (0.0, 0.0),
    }
    assert intervals.keys() == expected.keys()
    assert [*intervals.values()] == [pytest.approx(expected[name], abs=1e-9) for name in intervals]


def two_reference_examples(count: int = 30) -> tuple[list[Example], list[str]]:
    """Items of which two of three have a second reference text, which a third of the outputs repeat."""
    examples = make_examples(count)
    generator = random.Random(9)
    seconds = ["".join(generator.choices(HAN, k=generator.randint(3, 12))) for _ in examples]
    outputs = [seconds[row] if row % 3 == 1 else text for row, text in enumerate(noisy(examples, 0.4, 5))]
    return [
        replace(one, others=(seconds[row],)) if row % 3 else one for row, one in enumerate(examples)
    ], outputs


def test_every_score_takes_every_reference_text() -> None:
    examples, outputs = two_reference_examples()
    result = evaluate("trained", examples, outputs)
    for example, output, item in zip(examples, outputs, result["items"], strict=True):
        assert (item["reference"], item["references"]) == (example.reference, list(example.references))
        if output in example.others:
            exact = (
                item["cosine"],
                item["cosine_held_out"],
                item["chrf"],
                item["rouge_l"],
                item["length_ratio"],
            )
            assert exact == pytest.approx((1.0, 1.0, 100.0, 1.0, 1.0))
    streams = list(zip_longest(*(example.references for example in examples)))
    bleu = BLEU(tokenize="zh")
    chrf = CHRF()
    assert result["metrics"]["all"]["bleu"] == pytest.approx(
        bleu.corpus_score(outputs, streams).score, abs=1e-9
    )
    assert result["metrics"]["all"]["chrf"] == pytest.approx(
        chrf.corpus_score(outputs, streams).score, abs=1e-9
    )
    assert (result["signatures"]["bleu"], result["signatures"]["chrf"]) == (
        str(bleu.get_signature()),
        str(chrf.get_signature()),
    )
    assert "nrefs:var|" in result["signatures"]["bleu"] and result["signatures"]["rouge_l"].endswith(
        "nrefs:var"
    )


def test_a_resample_is_the_corpus_score_of_the_items_drawn() -> None:
    examples, outputs = two_reference_examples()
    rows = statistics(evaluate("trained", examples, outputs)["items"], "zh")
    counts = resample_counts(len(outputs), np.random.default_rng(0), 5)
    bleus = bleu_of_sums(counts @ rows["bleu"])
    chrfs = chrf_of_sums(counts @ rows["chrf"])
    for item_counts, bleu, chrf in zip(counts, bleus, chrfs, strict=True):
        drawn_rows = np.repeat(np.arange(len(outputs)), item_counts.astype(int))
        texts = [outputs[row] for row in drawn_rows]
        streams = list(zip_longest(*(examples[row].references for row in drawn_rows)))
        assert bleu == pytest.approx(BLEU(tokenize="zh").corpus_score(texts, streams).score, abs=1e-9)
        assert chrf == pytest.approx(CHRF().corpus_score(texts, streams).score, abs=1e-9)


def test_items_from_before_all_reference_texts_were_kept() -> None:
    """With one each they compare as ever. With several the old figures are of the first alone: they are not
    compared.
    """
    examples = make_examples(12)
    single = [
        evaluate(name, examples, noisy(examples, 0.5, seed))
        for seed, name in enumerate(("warm_start", "trained"))
    ]
    expected = compare_systems(*single, seed=0, resamples=30)
    several, outputs = two_reference_examples()
    old, new = (evaluate(name, several, outputs) for name in ("warm_start", "trained"))
    for item in [*single[0]["items"], *old["items"]]:
        del item["references"]
    assert compare_systems(*single, seed=0, resamples=30) == expected
    with pytest.raises(ValueError, match="different test items; evaluate both again"):
        compare_systems(old, new, seed=0, resamples=30)


def test_an_empty_test_set_is_refused_in_one_sentence() -> None:
    with pytest.raises(InputError, match=r"^trained: there is no test item to evaluate; set data.test_size"):
        evaluate("trained", [], [])
