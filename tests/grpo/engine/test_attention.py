"""Packed attention by blocks: the numbers of the dense mask, fewer pairs, and nothing else of the model
touched.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from packed_rows import LAYOUTS, logps_and_gradients, packed_of, tokens
from tiny import EOS, Make, tiny_gemma, tiny_gpt2, tiny_llama
from transformers import PreTrainedModel

from grpo.engine import attention
from grpo.engine.attention import blocks_of, use_blocks, uses_blocks
from grpo.engine.gradient_checkpointing import recompute_layers
from grpo.engine.model import frozen_copy, load_policy
from grpo.engine.packing import visible
from grpo.engine.sampler import Sampling, generate


def both(make: Make) -> tuple[PreTrainedModel, PreTrainedModel]:
    dense = make()
    blocked = copy.deepcopy(dense)
    use_blocks(blocked)
    return dense, blocked


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama, tiny_gpt2])
def test_blocks_give_the_logps_and_gradients_of_the_dense_mask(
    make: Callable, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = packed_of(*LAYOUTS[name])
    calls = []
    attend = attention.attend
    monkeypatch.setattr(attention, "attend", lambda *inputs: calls.append(1) or attend(*inputs))
    dense, blocked = (model.double() for model in both(make))
    pairs = zip(logps_and_gradients(dense, packed), logps_and_gradients(blocked, packed), strict=True)
    assert max(float((a - b).abs().max()) for a, b in pairs) < 1e-6  # Gemma's norms compute in fp32
    assert len(calls) == dense.config.num_hidden_layers


@pytest.mark.parametrize("window", [None, 1, 4, 8])
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_token_weighs_exactly_the_tokens_that_the_mask_shows(name: str, window: int | None) -> None:
    """Equal scores, so that each weight is 1 / (visible tokens); values are one-hot, so that the result is
    the weights.
    """
    packed = packed_of(*LAYOUTS[name])
    size = packed.input_ids.shape[1]
    blocks = blocks_of(packed)
    assert blocks is not None
    result = attention.attend(
        torch.zeros(2, size, size), torch.randn(1, size, size), torch.eye(size)[None], blocks, 1.0, window
    )
    shown = visible(packed, window)[0, 0].float()
    torch.testing.assert_close(result, (shown / shown.sum(dim=1, keepdim=True)).expand(2, -1, -1))


def test_pairs_grow_with_the_group_and_not_with_its_square() -> None:
    pairs = [blocks_of(packed_of((30,) * 4, (32,) * 4 * group)) for group in (8, 16)]
    sizes = [blocks.pairs for blocks in pairs if blocks]
    assert sizes == [4 * 30**2 + 4 * group * 31 * 61 for group in (8, 16)]
    assert blocks_of(packed_of((1, 100, 1, 1, 1), (1,) * 5)) is None  # padding would cost more than the mask


def test_sampler_and_plain_forward_pass_are_bit_equal_with_blocks_in_use() -> None:
    dense, blocked = both(tiny_gemma)
    prompts = tokens((5, 12), 3)
    rollouts = [
        generate(model, prompts, Sampling(3, 9, 1.0, (EOS,)), seed=(1,)) for model in (dense, blocked)
    ]
    assert torch.equal(rollouts[0].sampling_logps, rollouts[1].sampling_logps)
    ids = torch.tensor(tokens((12, 12), 4))
    mask = torch.ones(2, 12, dtype=torch.int64)
    mask[0, :5] = 0
    plain = [model(input_ids=ids, attention_mask=mask).logits for model in (dense, blocked)]
    assert torch.equal(*plain)


def test_gradient_checkpointing_with_blocks_is_bit_equal() -> None:
    packed = packed_of(*LAYOUTS["long completions"])
    (_, kept) = both(tiny_gemma)
    recomputed = copy.deepcopy(kept)
    recompute_layers(recomputed)
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            logps_and_gradients(kept, packed), logps_and_gradients(recomputed, packed), strict=True
        )
    )


def test_switch_reference_copy_and_saved_folder(tmp_path: Path) -> None:
    tiny_gemma().save_pretrained(tmp_path / "model")
    cpu = torch.device("cpu")
    policy = load_policy(tmp_path / "model", cpu)
    assert uses_blocks(policy) and uses_blocks(frozen_copy(policy))
    assert not uses_blocks(load_policy(tmp_path / "model", cpu, packed_attention=False))
    policy.save_pretrained(tmp_path / "saved")
    assert "packed" not in json.dumps(json.loads((tmp_path / "saved" / "config.json").read_text()))
