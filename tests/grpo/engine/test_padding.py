"""Rows that are padded because a model cannot compute packed ones."""

from pathlib import Path

import pytest
import torch
from model_families import made
from ragged import COMPLETIONS, PROMPTS
from tiny import Make, tiny_gemma, tiny_gpt2, tiny_llama
from transformers import GenerationConfig

from data.errors import InputError
from grpo.config import Config, EngineConfig, GuideConfig
from grpo.engine import attention_choice, private_apis
from grpo.engine.attention_choice import trouble_of_packing
from grpo.engine.logprob import completion_logps
from grpo.engine.model import as_policy, load_policy
from grpo.engine.packing import pack
from grpo.engine.padding import cause_of_padding, padded_rows, use_padding
from grpo.engine.sampler import Sampling, generate
from grpo.engine.self_check import check_shares
from grpo.loop import shares_prefix

CPU = torch.device("cpu")


def test_rows_by_hand() -> None:
    """A completion's last token is only predicted; one of a single token or of none feeds nothing."""
    packed = pack([[2, 5, 6], [3]], [[7, 8, 1], [9], [4, 1], []], 2)
    rows = padded_rows(packed)
    assert rows.input_ids.tolist() == [[2, 5, 6, 7, 8], [2, 5, 6, 0, 0], [3, 4, 0, 0, 0], [3, 0, 0, 0, 0]]
    assert rows.attention_mask.sum(dim=1).tolist() == [5, 3, 2, 1]
    assert packed.targets.tolist() == [7, 8, 1, 9, 4, 1]
    assert rows.source.tolist() == [2, 3, 4, 7, 10, 11]


def test_no_completions_are_one_row_that_predicts_nothing() -> None:
    rows = padded_rows(pack([], [], 3))
    assert rows.input_ids.tolist() == [[0]] and rows.source.tolist() == []


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama, tiny_gpt2])
def test_padded_rows_give_what_packed_ones_give(make: Make) -> None:
    packed = pack(PROMPTS, COMPLETIONS, 3)
    model = as_policy(make(), CPU)
    before = completion_logps(model, packed, 0.7)
    rollout = generate(model, PROMPTS, Sampling(3, 6, 0.7, (5,)), seed=(3,))
    assert not cause_of_padding(model)
    use_padding(model, "it is a test")
    after = completion_logps(model, packed, 0.7)
    torch.testing.assert_close(after.logps, before.logps, atol=1e-5, rtol=0)
    torch.testing.assert_close(after.entropy, before.entropy, atol=1e-5, rtol=0)
    again = generate(model, PROMPTS, Sampling(3, 6, 0.7, (5,)), seed=(3,))
    assert torch.equal(again.completion_ids, rollout.completion_ids)
    assert torch.equal(again.lengths, rollout.lengths) and torch.equal(again.finished, rollout.finished)
    torch.testing.assert_close(again.sampling_logps, rollout.sampling_logps, atol=1e-5, rtol=0)


def test_settings_of_generation_change_no_draw() -> None:
    """Those of a model folder would punish repetitions, forbid tokens, or cut the distribution."""
    model = tiny_gpt2()
    use_padding(model, "it is a test")
    plain = generate(model, PROMPTS, Sampling(3, 6, 1.0, ()), seed=(3,))
    model.generation_config = GenerationConfig(
        repetition_penalty=3.0, suppress_tokens=[*range(100)], do_sample=True, top_k=2, max_length=4
    )
    settings = model.generation_config
    again = generate(model, PROMPTS, Sampling(3, 6, 1.0, ()), seed=(3,))
    assert torch.equal(again.completion_ids, plain.completion_ids)
    assert torch.equal(again.sampling_logps, plain.sampling_logps)
    assert model.generation_config is settings


def test_a_leak_that_a_model_does_not_declare_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_apis, "STATEFUL", "_renamed")
    monkeypatch.setattr(
        attention_choice, "MASKABLE", attention_choice.MASKABLE | {"linear_attention", "conv"}
    )
    for family in ("LFM 2", "Jamba", "Qwen 3 Next"):
        model = load_policy(made(family, tmp_path / family), CPU)
        assert "looks where no mask says" in cause_of_padding(model), family


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama, tiny_gpt2])
def test_a_trial_finds_nothing_where_nothing_is(make: Make) -> None:
    assert trouble_of_packing(as_policy(make(), CPU)) == ""


def test_a_pass_counts_every_copy_of_a_prompt() -> None:
    """But for reference texts in a group, which need the group together."""
    packs, pads = tiny_gpt2(), tiny_gpt2()
    use_padding(pads, "it is a test")
    guided = Config(guide=GuideConfig(mode="member"))
    unshared = Config(engine=EngineConfig(share_prefix=False))
    assert [shares_prefix(Config(), model) for model in (packs, pads)] == [True, False]
    assert [shares_prefix(guided, model) for model in (packs, pads)] == [True, True]
    assert [shares_prefix(unshared, model) for model in (packs, pads)] == [False, False]


def test_shares_of_a_model_with_padded_rows_are_refused(tmp_path: Path) -> None:
    check_shares(tiny_gpt2())
    with pytest.raises(
        InputError, match=r"jamba cannot be shared out: it has recurrent .*; write parallel\.mode='data'"
    ):
        check_shares(load_policy(made("Jamba", tmp_path), CPU))
