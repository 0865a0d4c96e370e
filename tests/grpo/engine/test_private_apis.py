"""What runs where a name that torch or transformers does not promise is gone: it is really taken, and its numbers
are the same.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ragged import COMPLETIONS, PROMPTS
from tiny import EOS, Make, tiny_gemma, tiny_gpt2, tiny_llama
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM, MambaConfig, PreTrainedModel

from data.errors import InputError
from grpo.engine import decode_step, private_apis
from grpo.engine.attention import uses_blocks
from grpo.engine.decode_step import product
from grpo.engine.gradient_checkpointing import recompute_layers
from grpo.engine.logprob import completion_logps
from grpo.engine.model import load_policy
from grpo.engine.packing import pack
from grpo.engine.padding import cause_of_padding
from grpo.engine.products import FP32
from grpo.engine.sampler import Sampling, generate
from grpo.engine.self_check import check_packing
from grpo.records import Rollout

CPU = torch.device("cpu")
WEIGHT = torch.randn(40, 24, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def fresh_trial() -> Iterator[None]:
    """The trial product is done anew in each test, and after it."""
    private_apis.has_onednn_product.cache_clear()
    yield
    private_apis.has_onednn_product.cache_clear()


def refuse(*_: object) -> None:
    raise RuntimeError("wrong number of arguments")


def double_product(*given: Any) -> torch.Tensor:
    return 2 * linear(given[0], given[1], given[2])


BROKEN: dict[str, Any] = {
    "gone": SimpleNamespace(),
    "one is gone": SimpleNamespace(_reorder_linear_weight=lambda weight, rows: weight),
    "takes other arguments": SimpleNamespace(_reorder_linear_weight=refuse, _linear_pointwise=refuse),
    "multiplies otherwise": SimpleNamespace(
        _reorder_linear_weight=lambda weight, rows: weight, _linear_pointwise=double_product
    ),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_product_without_onednn_is_torchs_own(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(5, 24, generator=torch.Generator().manual_seed(1))
    reordered = product(WEIGHT, 5, FP32)(x)
    private_apis.has_onednn_product.cache_clear()
    monkeypatch.setattr(torch.ops, "mkldnn", BROKEN[broken])
    assert not private_apis.has_onednn_product()
    assert torch.equal(product(WEIGHT, 5, FP32)(x), linear(x, WEIGHT))
    torch.testing.assert_close(reordered, linear(x, WEIGHT), atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_this_torch_has_the_fast_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the names have moved this fails; the rollout goes on, slower, until they are mended."""
    assert private_apis.has_onednn_product()
    monkeypatch.setattr(decode_step, "linear", refuse)
    assert product(WEIGHT, 5, FP32)(torch.ones(5, 24)).shape == (5, 40)


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama])
def test_a_rollout_without_onednn_is_the_same(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def rollout() -> Rollout:
        return generate(make(), PROMPTS, Sampling(4, 12, 1.0, (EOS, *range(10, 40))), seed=(3,))

    before = rollout()
    private_apis.has_onednn_product.cache_clear()
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())
    after = rollout()
    assert torch.equal(before.completion_ids, after.completion_ids)
    assert torch.allclose(before.sampling_logps, after.sampling_logps, atol=1e-5)


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama, tiny_gpt2])
def test_an_attention_without_a_name_takes_dense_masks(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make().save_pretrained(tmp_path)
    packed = pack(PROMPTS, COMPLETIONS, 3)

    def numbers(model: PreTrainedModel) -> list[torch.Tensor]:
        rollout = generate(model, PROMPTS, Sampling(2, 6, 1.0, (), fast=False), seed=(0,))
        return [completion_logps(model, packed).logps.detach(), rollout.sampling_logps]

    named = load_policy(tmp_path, CPU)
    expected = numbers(named)
    assert uses_blocks(named)
    monkeypatch.setattr(private_apis, "ATTENTION", "_renamed")
    unnamed = load_policy(tmp_path, CPU)
    assert private_apis.attention_name(unnamed) is None and not uses_blocks(unnamed)
    for ours, theirs in zip(numbers(unnamed), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_a_recurrent_model_that_does_not_say_so_is_known_by_its_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tests/grpo/engine/test_padding.py: where these do not say so either, its numbers do."""
    config = MambaConfig(vocab_size=259, hidden_size=32, num_hidden_layers=2, state_size=4)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    model = load_policy(tmp_path, CPU)
    assert private_apis.is_stateful(model) and "recurrent layers" in cause_of_padding(model)
    monkeypatch.setattr(private_apis, "STATEFUL", "_renamed")
    assert not private_apis.is_stateful(model)
    model = load_policy(tmp_path, CPU)
    assert "layers of the kind linear_attention" in cause_of_padding(model) and check_packing(model) < 1e-4


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama])
def test_layers_are_found_without_transformers_own_class(
    make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = make()
    recomputed = make()
    monkeypatch.delattr("transformers.modeling_layers.GradientCheckpointingLayer")
    calls = []
    recomputed.base_model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    assert recompute_layers(recomputed) == plain.config.num_hidden_layers
    results = []
    for model in (plain, recomputed):
        logps = completion_logps(model, pack(PROMPTS, COMPLETIONS, 3)).logps
        results.append([logps.detach(), *torch.autograd.grad(logps.sum(), list(model.parameters()))])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*results, strict=True))
    assert len(calls) == 2


def test_a_model_that_keeps_its_layers_elsewhere_is_then_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """GPT-2: it is not trained without a word, with more memory than was asked for."""
    assert len(private_apis.layers_of(tiny_gpt2())) == 2
    monkeypatch.delattr("transformers.modeling_layers.GradientCheckpointingLayer")
    with pytest.raises(InputError, match="gpt2 has no layers that can be computed again"):
        recompute_layers(tiny_gpt2())
