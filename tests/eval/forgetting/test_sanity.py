from typing import Any

import pytest

from data.script import script_share
from eval.forgetting.sanity import (
    BEGINNINGS,
    NEW_TOKENS,
    continuations,
    generation_sanity,
    repeated_share,
    sanity_of,
)
from grpo.engine.sampler import Sampling, generate


def test_beginnings_are_a_dozen_of_each_in_their_script_and_end_in_the_middle() -> None:
    assert {language: len(set(texts)) for language, texts in BEGINNINGS.items()} == {
        "english": 12,
        "chinese": 12,
    }
    assert all(script_share(text, "Latn") > 0.9 for text in BEGINNINGS["english"])
    assert all(script_share(text, "Hani") > 0.8 for text in BEGINNINGS["chinese"])
    assert not any(text.endswith((".", "\u3002")) for texts in BEGINNINGS.values() for text in texts)


def test_shares_by_hand() -> None:
    outputs = ["he went out", "", "\u0f56\u0f7c\u0f51\u0f0b\u0f66\u0f90\u0f51", "go go go go"]
    result = sanity_of("english", ("a", "b", "c", "d"), outputs)
    assert [row["in_script"] for row in result["items"]] == [True, False, False, True]
    assert [row["empty"] for row in result["items"]] == [False, True, False, False]
    assert (result["n"], result["in_script_share"], result["empty_share"]) == (4, 0.5, 0.25)
    assert result["repeated_share"] == pytest.approx((2 / 3) / 4)  # three pairs "go go", one of them new
    assert [row["output"] for row in result["items"]] == outputs


def test_tibetan_letters_in_chinese_are_a_failure_and_a_name_in_latin_letters_is_none() -> None:
    chinese = "\u4ed6\u4eec\u53bb\u4e86\u516c\u56ed"
    result = sanity_of("chinese", ("a", "b"), [f"{chinese}\u0f56", f"{chinese}A"])
    assert [row["in_script"] for row in result["items"]] == [False, True]


def test_repetition_counts_pairs_of_units() -> None:
    assert repeated_share("one two three four") == 0.0
    assert repeated_share("\u597d\u597d\u597d\u597d\u597d") == pytest.approx(3 / 4)
    assert repeated_share("") == repeated_share("one") == 0.0


def test_continuations_are_greedy_and_end_at_the_end_token(tiny_model: Any, tiny_tokenizer: Any) -> None:
    (text,) = continuations(tiny_model, tiny_tokenizer, ("In the",))
    prompt = [tiny_tokenizer.bos_token_id, *tiny_tokenizer.encode("In the", add_special_tokens=False)]
    rollout = generate(
        tiny_model,
        [prompt],
        Sampling(1, NEW_TOKENS, 0.0, (tiny_tokenizer.eos_token_id,), fast=False),
        seed=(0,),
    )
    (ids,) = rollout.completions()
    assert len(ids) <= NEW_TOKENS
    assert text == tiny_tokenizer.decode(ids, skip_special_tokens=True).strip()


def test_the_same_model_says_the_same_twice(tiny_model: Any, tiny_tokenizer: Any) -> None:
    first = generation_sanity(tiny_model, tiny_tokenizer)
    assert first == generation_sanity(tiny_model, tiny_tokenizer)
    assert {language: result["n"] for language, result in first.items()} == {"english": 12, "chinese": 12}
