"""KL(policy || untouched) on the policy's own samples, against a dense softmax in fp64."""

from typing import Any

import pytest
import torch
from tiny import tiny_gemma

from data.examples import Example
from data.prompt import Prompt
from eval.forgetting.policy_kl import SAMPLES, measure_policy_kl, sample_texts

TASK = [Example(f"x{n}", f"\u0f40\u0f0b{n}", f"\u5b57{n}", "made", "none", "dz", "zh") for n in range(5)]


def test_it_is_the_policys_expectation_at_each_token_of_its_own_samples(tiny_tokenizer: Any) -> None:
    policy, base = tiny_gemma(0), tiny_gemma(1)
    prompt = Prompt.of(tiny_tokenizer)
    result = measure_policy_kl(policy, base, prompt, TASK, max_new_tokens=4)
    texts = sample_texts(policy, prompt, TASK, 4, fast=True)
    assert len({tuple(text.ids) for text in texts}) > 1 and result["n_samples"] == SAMPLES * 5
    expected = []
    for text in texts:
        with torch.inference_mode():
            own, other = (
                model(input_ids=torch.tensor([text.start + text.ids]))
                .logits[0, len(text.start) - 1 : -1]
                .double()
                .log_softmax(-1)
                for model in (policy, base)
            )
        expected.append(float((own.exp() * (own - other)).sum()))
    assert [row["kl"] for row in result["items"]] == pytest.approx(expected, rel=1e-4)
    assert result["n_tokens"] == sum(len(text.ids) for text in texts)
    assert result["kl_mean"] == pytest.approx(sum(expected) / result["n_tokens"], rel=1e-4)


def test_a_policy_that_has_not_moved_has_none_and_samples_alike(tiny_tokenizer: Any) -> None:
    policy = tiny_gemma(0)
    first, second = (measure_policy_kl(policy, policy, Prompt.of(tiny_tokenizer), TASK, 4) for _ in range(2))
    assert first == second and first["kl_mean"] == 0.0
