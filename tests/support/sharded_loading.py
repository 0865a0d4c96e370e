"""Models that several processes load in shares: what the processes of test_loading_in_shares.py do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import torch
import torch.distributed as dist
from sharded import odd_gemma, peak_bytes, tiny_mixtral
from tiny import tiny_gemma, tiny_gpt2, tiny_llama
from tiny_families import qwen2
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from grpo.engine import loading
from grpo.engine.attention_choice import reads_blocks, trial
from grpo.engine.likelihood import log_likelihoods
from grpo.engine.model import load_frozen, load_policy
from grpo.engine.products import FORMATS
from grpo.engine.sharding import is_sharded, is_share, own_share, run_in, shard
from grpo.runtime.parallel import World

T = TypeVar("T")
CPU = torch.device("cpu")
BY_TRANSFORMERS = "mixtral"  # the names in its files are not those in memory
FAMILIES = {
    "tied": tiny_gemma,
    "untied": tiny_llama,
    "gpt2": tiny_gpt2,
    "biases": qwen2,
    "uneven": odd_gemma,
    BY_TRANSFORMERS: tiny_mixtral,
}
TEXTS = [[[5 + n, 6, 7]] for n in range(3)]


@dataclass
class FirstDoesAll:
    """A team whose other processes have no part."""

    is_first: bool

    def part(self, items: Sequence[T]) -> Sequence[T]:
        return items if self.is_first else items[:0]

    def merge(self, found: Mapping[int, T]) -> dict[int, T]:
        parts: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(parts, dict(found))
        return {number: value for part in parts for number, value in part.items()}


def large_llama() -> PreTrainedModel:
    """160 MB, no tensor above 17 MB; the head is not tied."""
    config = LlamaConfig(
        vocab_size=8192, hidden_size=512, intermediate_size=2048, num_hidden_layers=8, num_attention_heads=8,
        pad_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def assert_same_shares(found: PreTrainedModel, expected: PreTrainedModel) -> None:
    """Parameters, also what is tied, and buffers."""
    assert is_sharded(found)
    parameters = [[*model.named_parameters(remove_duplicate=False)] for model in (found, expected)]
    for (name, one), (other_name, other) in zip(*parameters, strict=True):
        assert name == other_name and is_share(one) and one.requires_grad == other.requires_grad
        assert one.dtype == other.dtype and one.shape == other.shape and one.stride() == other.stride()
        assert torch.equal(own_share(one), own_share(other)), name
    assert [*dict(found.named_parameters())] == [*dict(expected.named_parameters())]
    for one, other in zip(found.buffers(), expected.buffers(), strict=True):
        assert one.device == other.device and torch.equal(one, other)


def logits(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        return run_in(model, lambda inner: inner(torch.arange(4, 12)[None]).logits)


def load_both_ways(world: World, folder: Path) -> None:
    """Each family as policy and as frozen model: in shares, and whole and then cut."""
    for name in FAMILIES:
        with mock.patch.object(loading, "load_by_transformers", wraps=loading.load_by_transformers) as way:
            found = load_policy(folder / name, CPU, world=world)
        assert way.called == (name == BY_TRANSFORMERS)
        whole = load_policy(folder / name, CPU)
        expected = load_policy(folder / name, CPU)
        shard(expected, world)
        assert_same_shares(found, expected)
        assert found.config.to_dict() == expected.config.to_dict()
        assert torch.equal(logits(found), logits(expected))
        assert torch.allclose(logits(found), logits(whole), atol=1e-5)

        frozen = load_frozen(folder / name, CPU, format=FORMATS["bf16"], world=world)
        expected = load_frozen(folder / name, CPU, format=FORMATS["bf16"])
        shard(expected, world)
        assert_same_shares(frozen, expected)


def checks_before_training(world: World, folder: Path) -> None:
    """The trial of an attention, one that fails, and texts that not all processes have."""
    whole = load_policy(folder / "untied", CPU)
    found = load_policy(folder / "untied", CPU, world=world)
    for one, other in zip(trial(found), trial(whole), strict=True):
        assert other.abs().max() > 1e-3 and torch.allclose(one, other, rtol=1e-4, atol=1e-6)
    assert all(parameter.grad is None for parameter in found.parameters())

    def fail(*_: object) -> None:
        raise RuntimeError("inside of a layer")

    layers: Any = found.base_model.layers
    hook = layers[0].mlp.register_forward_pre_hook(fail)
    assert not reads_blocks(found)
    hook.remove()
    assert reads_blocks(found)
    assert torch.allclose(logits(found), logits(whole), atol=1e-5)

    contexts = [[1]] * len(TEXTS)
    scores = log_likelihoods(found, contexts, TEXTS, FirstDoesAll(world.is_first))
    assert torch.allclose(torch.tensor(scores), torch.tensor(log_likelihoods(whole, contexts, TEXTS)))


def memory_of_a_load(world: World, folder: Path) -> None:
    """The peak of a process is its share and at most the largest tensor beside it."""

    def load(name: str) -> None:
        found[:] = [loading.load_model(folder / name, CPU, lambda model: shard(model, world, CPU))]

    found: list[PreTrainedModel] = []
    load("untied")  # imports, and what the first exchange takes
    peak = peak_bytes(lambda: load("large"))
    share = sum(own_share(parameter).nbytes for parameter in found[0].parameters())
    largest = max(parameter.numel() * parameter.itemsize for parameter in found[0].parameters())
    whole = sum(parameter.numel() * parameter.itemsize for parameter in found[0].parameters())
    assert share * world.size == whole > 150e6
    assert 0.9 * share < peak <= share + largest, (peak, share, largest)
