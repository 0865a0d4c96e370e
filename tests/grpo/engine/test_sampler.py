"""What the sampler records is what the model says, and what it draws follows the softmax."""

import pytest
import torch
from ragged import PROMPTS
from tiny import EOS, Make, tiny_gemma, tiny_llama
from transformers import PreTrainedModel

from grpo.engine.draw import draw, uniforms_for
from grpo.engine.logprob import completion_logps
from grpo.engine.packing import pack
from grpo.engine.sampler import Sampling, generate

MANY_STOPS = (EOS, *range(10, 60))  # so that rows end at different steps and the cache is compacted


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.3])
def test_recorded_logps_equal_teacher_forcing(make: Make, temperature: float) -> None:
    model = make()
    rollout = generate(model, PROMPTS, Sampling(4, 16, temperature, MANY_STOPS), seed=(0, 0))
    logps = completion_logps(model, pack(PROMPTS, rollout.completions(), 4, width=16), temperature).logps
    assert rollout.lengths.unique().numel() > 2
    assert torch.allclose(logps, rollout.sampling_logps * rollout.completion_mask, atol=1e-5)


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama])
def test_greedy_equals_transformers_generate(make: Make) -> None:
    model = make()
    rollout = generate(model, PROMPTS, Sampling(1, 12, 0.0, (EOS,)), seed=(0,))
    for prompt, completion in zip(PROMPTS, rollout.completions(), strict=True):
        ids = torch.tensor([prompt])
        expected = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=EOS,
            pad_token_id=0,
        )
        assert completion == expected[0, len(prompt) :].tolist()


def test_draw_never_returns_an_impossible_token() -> None:
    logits = torch.full((4, 700), -torch.inf)
    logits[:, [3, 290, 699]] = torch.tensor([0.0, 1.0, 0.5])
    tokens, _ = draw(logits, torch.tensor([0.0, 0.3, 0.9, 1.0 - 2**-53], dtype=torch.float64))
    assert set(tokens.tolist()) <= {3, 290, 699}
    assert tokens[0] == 3 and tokens[-1] == 699


def test_rows_draw_independently_and_are_addressed_by_row() -> None:
    one = uniforms_for((7, 3), range(4), 5)
    two = uniforms_for((7, 3), range(8), 5)
    assert torch.equal(one, two[:4])
    assert two.unique().numel() == 40
    assert not torch.equal(uniforms_for((7, 4), range(4), 5), one)


def test_same_seed_same_rollout(tiny_model: PreTrainedModel) -> None:
    settings = Sampling(4, 8, 1.0, (EOS,))
    first, second = (generate(tiny_model, PROMPTS, settings, seed=(1, 2)) for _ in range(2))
    assert torch.equal(first.completion_ids, second.completion_ids)
    assert not torch.equal(
        first.completion_ids, generate(tiny_model, PROMPTS, settings, seed=(1, 3)).completion_ids
    )


def test_end_token_counts_and_nothing_after_it(tiny_model: PreTrainedModel) -> None:
    rollout = generate(tiny_model, PROMPTS, Sampling(8, 16, 1.3, MANY_STOPS), seed=(0,))
    stops = torch.tensor(MANY_STOPS)
    for ids, length, finished in zip(rollout.completion_ids, rollout.lengths, rollout.finished, strict=True):
        assert torch.isin(ids[length - 1], stops).item() == finished.item()
        assert not torch.isin(ids[: length - 1], stops).any()
        assert finished or length == 16
    assert rollout.completion_mask.sum() == rollout.lengths.sum()


def test_compaction_changes_nothing(tiny_model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Sampling(4, 16, 1.0, MANY_STOPS)
    compacted = generate(tiny_model, PROMPTS, settings, seed=(5,))
    monkeypatch.setattr("grpo.engine.sampler.COMPACT_BELOW", 0.0)
    untouched = generate(tiny_model, PROMPTS, settings, seed=(5,))
    assert torch.equal(compacted.completion_ids, untouched.completion_ids)
    assert torch.allclose(compacted.sampling_logps, untouched.sampling_logps, atol=1e-5)
