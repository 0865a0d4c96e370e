from collections.abc import Sequence
from typing import Any

import pytest
import torch

from data.examples import Example
from data.prompt import Prompt
from grpo.engine.greedy import DecodeSettings, batches_by_length, greedy_outputs

EOS = 1


def invented() -> list[Example]:
    lengths = (9, 1, 30, 4, 17, 2, 25)
    return [Example(str(n), "ab " * n, "reference", "invented", "none", "bo", "zh") for n in lengths]


def naive_greedy(model: Any, tokenizer: Any, example: Example, max_new_tokens: int) -> str:
    """The whole sequence again for every token, one example alone."""
    prompt = list(Prompt.of(tokenizer).encode_prompt(example))
    ids: list[int] = []
    with torch.inference_mode():
        while len(ids) < max_new_tokens and EOS not in ids:
            ids.append(int(model(input_ids=torch.tensor([prompt + ids])).logits[0, -1].argmax()))
    return Prompt.of(tokenizer).decode_completion(ids)


def test_outputs_are_those_of_one_example_at_a_time(tiny_model: Any, tiny_tokenizer: Any) -> None:
    settings = DecodeSettings(max_new_tokens=8, stop_ids=(EOS,), batch_size=3)
    expected = [naive_greedy(tiny_model, tiny_tokenizer, example, 8) for example in invented()]
    assert greedy_outputs(tiny_model, Prompt.of(tiny_tokenizer), invented(), settings) == expected
    assert len(set(expected)) > 1


def test_order_and_batch_size_change_no_output(tiny_model: Any, tiny_tokenizer: Any) -> None:
    outputs = [
        greedy_outputs(tiny_model, Prompt.of(tiny_tokenizer), examples, DecodeSettings(6, (EOS,), size))
        for examples, size in ((invented(), 2), (invented(), 64), (invented()[::-1], 3))
    ]
    assert outputs[0] == outputs[1] == outputs[2][::-1]


def test_decoding_leaves_the_random_state_alone(tiny_model: Any, tiny_tokenizer: Any) -> None:
    before = torch.get_rng_state()
    greedy_outputs(tiny_model, Prompt.of(tiny_tokenizer), invented(), DecodeSettings(4, (EOS,)))
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_to_decode_gives_nothing(tiny_model: Any, tiny_tokenizer: Any) -> None:
    assert greedy_outputs(tiny_model, Prompt.of(tiny_tokenizer), [], DecodeSettings(4, (EOS,))) == []


@pytest.mark.parametrize("sizes", [[3, 1, 2], [5, 5, 5, 5], [1]])
def test_batches_hold_each_prompt_once_longest_first(sizes: Sequence[int]) -> None:
    prompts = [[0] * size for size in sizes]
    order = [index for batch in batches_by_length(prompts, 2) for index in batch]
    assert sorted(order) == list(range(len(sizes)))
    assert [sizes[index] for index in order] == sorted(sizes, reverse=True)
