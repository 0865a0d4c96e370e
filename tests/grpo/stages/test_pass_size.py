"""The size of a forward pass from the memory: what a pass keeps is measured against the estimate."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from live_bytes import bytes_kept
from run_object import run_in
from tiny import tiny_gemma, tiny_gpt2
from tiny_families import mistral, qwen2, qwen3
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from grpo.config import AnchorConfig, Config, EngineConfig, SFTConfig
from grpo.engine.gradient_checkpointing import recompute_layers
from grpo.engine.logprob import completion_logps
from grpo.engine.packing import pack
from grpo.stages import pass_size
from grpo.stages.pass_size import bytes_per_token, fitting_tokens, tokens_per_pass


def llama() -> PreTrainedModel:
    """Wide enough that vectors and not masks are what a pass keeps."""
    sizes = {"hidden_size": 96, "intermediate_size": 256, "num_attention_heads": 6, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=300, num_hidden_layers=4, **sizes))


def saved_bytes(model: PreTrainedModel, tokens: int) -> int:
    """What autograd keeps of a pass."""
    ids = torch.arange(tokens).remainder(90).add(3).tolist()
    packed = pack([ids[: tokens // 8]] * 8, [[5, 6]] * 8, 1)
    return bytes_kept(model, lambda: completion_logps(model, packed).logps.sum())


@pytest.mark.parametrize("recomputed", [False, True])
def test_the_estimate_is_what_autograd_keeps(recomputed: bool) -> None:
    model = llama()
    if recomputed:
        recompute_layers(model)
    more, less = (saved_bytes(model, tokens) for tokens in (1024, 512))
    whole_layer = 4 * pass_size.layer_numbers(model) if recomputed else 0  # lives on the way back only
    expected = bytes_per_token(model, recomputed) - whole_layer
    assert (more - less) / 512 == pytest.approx(expected, rel=0.25)


def test_free_memory_gives_tokens_within_bounds() -> None:
    model = tiny_gemma()
    each = bytes_per_token(model, False)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    logits = 3 * 4 * 512 * model.config.vocab_size
    free = 12 * parameters + logits + 2 * each * 4000
    assert fitting_tokens(model, free, recomputed=False, with_anchor=False) == 3968  # a multiple of 128
    assert fitting_tokens(model, free + 4 * parameters, recomputed=False, with_anchor=True) == 3968
    assert fitting_tokens(model, free, recomputed=True, with_anchor=False) > 3968
    ewc = fitting_tokens(model, free + 8 * parameters, recomputed=False, with_anchor=False, protection="ewc")
    assert ewc == 3968
    # of 4 shares: 12 bytes a parameter become 3
    assert fitting_tokens(model, free - 9 * parameters, recomputed=False, with_anchor=False, shares=4) == 3968
    assert fitting_tokens(model, 0, recomputed=False, with_anchor=False) == pass_size.LEAST
    assert fitting_tokens(model, 10**15, recomputed=False, with_anchor=False) == pass_size.MOST


@pytest.mark.parametrize("make", [tiny_gpt2, tiny_gemma, mistral, qwen2, qwen3])
def test_every_family_has_a_size(make: object) -> None:
    assert callable(make) and bytes_per_token(make(), False) > 0


def test_zero_is_replaced_and_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    config = Config(sft=SFTConfig(max_tokens_per_pass=0), anchor=AnchorConfig(sft=1.0), engine=EngineConfig())
    run = run_in(tmp_path, config, said.append)
    assert tokens_per_pass(run, "sft", tiny_gemma()) == 2048
    assert said == ["sft.max_tokens_per_pass = 0: at most 2,048 tokens a pass on a CPU"]
    assert tokens_per_pass(run, "train", tiny_gemma()) == config.train.max_tokens_per_pass and len(said) == 1
    monkeypatch.setattr(pass_size, "free_memory_bytes", lambda _compute: 10**9)
    tokens = tokens_per_pass(replace(run), "sft", tiny_gemma())
    assert tokens == fitting_tokens(tiny_gemma(), 10**9, recomputed=False, with_anchor=True) > 2048
    assert said[1].startswith(f"sft.max_tokens_per_pass = 0: at most {tokens:,} tokens a pass, by 1.0 GB")
