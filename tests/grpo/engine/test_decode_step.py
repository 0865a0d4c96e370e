"""The forward pass written out for the sampler is the model's own: families, windows, biases, rows that end,
number formats.
"""

import pytest
import torch
from ragged import PROMPTS
from tiny import EOS, Make, tiny_gemma, tiny_gpt2, tiny_llama
from tiny_families import KNOWN

import grpo.engine.sampler
from grpo.engine.decode_step import FastDecoder, distinct_beginnings, is_known
from grpo.engine.model import parameter_hash
from grpo.engine.model_decoder import ModelDecoder
from grpo.engine.sampler import Sampling, generate


@pytest.mark.parametrize("make", KNOWN)
@pytest.mark.parametrize("group_size", [1, 3])
@torch.no_grad()
def test_logits_are_those_of_the_models_own_forward_while_rows_end(make: Make, group_size: int) -> None:
    """Rows are dropped within a group, then a whole prompt, the longest, so that padding goes too."""
    model = make()
    rows = len(PROMPTS) * group_size
    assert is_known(model)
    decoders = [FastDecoder(model, 12, rows), ModelDecoder(model, 12)]
    logits = [decoder.prefill(PROMPTS, group_size) for decoder in decoders]
    row_ids = [list(prompt) for prompt in PROMPTS for _ in range(group_size)]
    generator = torch.Generator().manual_seed(0)
    for t in range(12):
        plain = torch.stack([model(input_ids=torch.tensor([row])).logits[0, -1] for row in row_ids])
        assert torch.allclose(logits[0], plain, atol=1e-5) and torch.allclose(logits[1], plain, atol=1e-5)
        if t in (3, 6):
            kept = torch.tensor(
                [
                    i
                    for i in range(len(row_ids))
                    if (i != 1 if t == 3 else len(row_ids[i]) - t < len(PROMPTS[0]))
                ]
            )
            row_ids = [row_ids[int(i)] for i in kept]
            for decoder in decoders:
                decoder.keep(kept)
        tokens = torch.randint(10, 259, (len(row_ids),), generator=generator)
        logits = [decoder.step(tokens) for decoder in decoders]
        row_ids = [[*row, token] for row, token in zip(row_ids, tokens.tolist(), strict=True)]
    assert len(row_ids) < rows


def test_the_switch_and_an_unknown_family_use_the_models_own_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the written-out pass was used")

    monkeypatch.setattr(grpo.engine.sampler, "FastDecoder", refuse)
    generate(tiny_gemma(), PROMPTS, Sampling(2, 3, 1.0, (), fast=False), seed=(0,))
    assert not is_known(tiny_gpt2())
    generate(tiny_gpt2(), PROMPTS, Sampling(2, 3, 1.0, ()), seed=(0,))
    with pytest.raises(AssertionError):
        generate(tiny_gemma(), PROMPTS, Sampling(2, 3, 1.0, ()), seed=(0,))


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama])
def test_both_ways_draw_the_same_rollout(make: Make) -> None:
    stops = (EOS, *range(10, 40))
    fast, own = (
        generate(make(), PROMPTS, Sampling(6, 20, 1.0, stops, fast=choice), seed=(3,))
        for choice in (True, False)
    )
    assert torch.equal(fast.completion_ids, own.completion_ids) and torch.equal(fast.lengths, own.lengths)
    assert torch.allclose(fast.sampling_logps, own.sampling_logps, atol=1e-5)
    assert fast.lengths.unique().numel() > 3


def test_a_head_with_a_cap_or_attention_with_one_is_left_to_the_model() -> None:
    for setting in ("final_logit_softcapping", "attn_logit_softcapping"):
        model = tiny_gemma()
        setattr(model.config, setting, 30.0)
        assert not is_known(model)


def test_weights_laid_out_for_a_rollout_follow_the_policy_and_leave_it_alone() -> None:
    """The next rollout sees an update; the parameters themselves are not touched."""
    model = tiny_gemma()
    before = parameter_hash(model)
    settings = Sampling(2, 6, 1.0, ())
    first = generate(model, PROMPTS, settings, seed=(1,))
    assert parameter_hash(model) == before
    with torch.no_grad():
        model.base_model.layers[1].mlp.down_proj.weight.copy_(model.base_model.layers[0].mlp.down_proj.weight)
    second, own = (
        generate(model, PROMPTS, Sampling(2, 6, 1.0, (), fast=fast), seed=(1,)) for fast in (True, False)
    )
    assert not torch.allclose(first.sampling_logps, second.sampling_logps, atol=1e-3)
    assert torch.allclose(second.sampling_logps, own.sampling_logps, atol=1e-5)


def test_a_prompt_is_kept_once_for_its_group() -> None:
    model = tiny_gemma()
    prompts = [[2, *range(40, 140)], [2, 90]]
    decoder = FastDecoder(model, 4, 16)
    with torch.no_grad():
        decoder.prefill(prompts, 8)
    keys, _ = decoder.cache.prefixes[0]
    assert keys.shape == (2, 1, 101, 8)
    assert decoder.cache.tails[0][0].shape == (16, 1, 4, 8)


def test_distinct_beginnings_are_numbered_as_they_appear() -> None:
    found = distinct_beginnings([[2, 7], [2, 7, 9], [2, 5], [2, 7]], torch.device("cpu"))
    assert found.ids.tolist() == [2, 7, 9, 5] and found.positions.tolist() == [0, 1, 2, 1]
    assert found.of_token.tolist() == [0, 1, 0, 1, 2, 0, 3, 0, 1] and found.first.tolist() == [0, 1, 4, 6]


@pytest.mark.parametrize("make", KNOWN)
@torch.no_grad()
def test_a_beginning_that_prompts_share_runs_once_and_means_the_same(make: Make) -> None:
    """A prompt inside another, one twice, a branch behind a window; equal tokens behind different ones are
    not shared.
    """
    model = make()
    long = [2, *range(40, 54)]
    prompts = [long, long[:3], [*long[:12], 90, 91], long, [3, *long[1:]]]
    decoder = FastDecoder(model, 4, 5)
    ran = []
    body = decoder.body
    decoder.body = lambda ids, *given: ran.append(len(ids)) or body(ids, *given)  # type: ignore[method-assign]
    logits = decoder.prefill(prompts, 1)
    assert ran == [15 + 2 + 15]
    for tokens in ([50, 60, 70, 80, 90], [50, 50, 50, 50, 50]):
        plain = torch.stack([model(input_ids=torch.tensor([row])).logits[0, -1] for row in prompts])
        assert torch.allclose(logits, plain, atol=1e-5)
        logits = decoder.step(torch.tensor(tokens))
        prompts = [[*row, token] for row, token in zip(prompts, tokens, strict=True)]
