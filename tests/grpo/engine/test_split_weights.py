"""Weights as two halves: the same numbers as fp32 in all that a model does, and the sampler reads them in place."""

import copy
from collections.abc import Sequence
from functools import partial

import pytest
import torch
from packed_rows import LAYOUTS, logps_and_gradients, packed_of
from tiny import EOS, Make, tiny_gemma, tiny_gpt2, tiny_llama
from tiny_families import qwen2, qwen3
from torch import Tensor
from transformers import PreTrainedModel

from data.errors import InputError
from grpo.engine.gradient_checkpointing import recompute_layers
from grpo.engine.graph_decoder import GraphDecoder
from grpo.engine.halves import ExactParameters, load_exact, low_halves
from grpo.engine.model import parameter_hash
from grpo.engine.products import FORMATS, SplitLinear, use_format
from grpo.engine.sampler import Sampling, decode_in_slots, generate
from grpo.engine.weight_files import ModelTensors
from grpo.engine.weight_forms import groups_of, join_rows, split_weights

MODELS = [tiny_gemma, tiny_llama, qwen2, qwen3]  # a tied head, an own one, biases, norms of queries and keys
NAMES = ["fp32", "fp16", "bf16x2", "bf16"]
PACKED = packed_of(*LAYOUTS["ragged, some empty, beyond the window"])
PROMPTS = [[5, 9, 70, 33], [100, 4, 8], [7] * 11]


def pair(make: Make, name: str) -> list[PreTrainedModel]:
    """A model, and the same with split weights. No weight lies half-way between two numbers of bf16."""
    plain = make()
    models = [plain, copy.deepcopy(plain)]
    for parameter in (parameter for model in models for parameter in model.parameters()):
        bits = parameter.detach().view(torch.int32)
        bits += (bits & 0xFFFF) == 0x8000
    split_weights(models[1])
    join_rows(models[1])
    for model in models:
        use_format(model, FORMATS[name])
    return models


def assert_equal(first: Sequence[Tensor], second: Sequence[Tensor]) -> None:
    for one, other in zip(first, second, strict=True):
        assert one.dtype == other.dtype == torch.float32 and torch.equal(one, other)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", MODELS)
def test_logps_and_gradients_are_those_of_fp32_weights(make: Make, name: str) -> None:
    plain, split = pair(make, name)
    assert_equal([*logps_and_gradients(plain, PACKED)], [*logps_and_gradients(split, PACKED)])


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_gradients_are_the_same_where_layers_run_twice_and_in_a_copy(name: str) -> None:
    plain, split = pair(qwen3, name)
    for model in (plain, split):
        recompute_layers(model)
    expected = [*logps_and_gradients(plain, PACKED)]
    assert_equal(expected, [*logps_and_gradients(copy.deepcopy(split), PACKED)])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", MODELS)
def test_completions_are_those_of_fp32_weights(make: Make, name: str) -> None:
    settings = Sampling(3, 12, 0.8, (EOS,))
    with torch.no_grad():
        uniforms = torch.rand(9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        for decode in (partial(generate, seed=(3,)), partial(decode_in_slots, uniforms=uniforms)):
            first, second = (decode(model, PROMPTS, settings) for model in pair(make, name))
            assert torch.equal(first.completion_ids, second.completion_ids)
            assert torch.equal(first.sampling_logps, second.sampling_logps)


def test_only_matrices_of_layers_are_split_and_names_stay() -> None:
    plain, split = pair(qwen2, "fp32")
    assert [*dict(plain.named_parameters())] == [*dict(split.named_parameters())]
    assert [*plain.state_dict()] == [*split.state_dict()]
    halved = {name for name, p in split.named_parameters() if p.dtype == torch.bfloat16}
    assert halved == {
        name
        for name, p in plain.named_parameters()
        if p.dim() == 2 and ".layers." in name and "norm" not in name
    }
    assert sum(p.nbytes + low.nbytes for p, low in low_halves(split).items()) == sum(
        p.nbytes for name, p in plain.named_parameters() if name in halved
    )


def test_hash_and_saved_state_are_those_of_the_fp32_weights() -> None:
    plain, split = pair(qwen2, "bf16")
    assert parameter_hash(split) == parameter_hash(plain)
    saved, own = ModelTensors(split), ModelTensors(plain)
    assert saved.headers == own.headers
    for name in own.headers:
        assert torch.equal(saved.read(name), own.read(name))


def test_exact_values_are_taken_and_given_back_at_the_same_addresses() -> None:
    first = pair(tiny_gemma, "bf16")[1]
    second = pair(partial(tiny_gemma, seed=7), "bf16")[1]
    addresses = [p.data_ptr() for p in second.parameters()]
    values = ExactParameters(first)
    assert {value.dtype for value in values.values()} == {torch.float32}
    for name, value in values.items():
        load_exact(second, name, value)
    assert parameter_hash(first) == parameter_hash(second)
    assert addresses == [p.data_ptr() for p in second.parameters()]


@pytest.mark.parametrize("name", ["bf16", "bf16x2"])
def test_the_sampler_reads_high_halves_in_place_also_after_an_update(name: str) -> None:
    plain, split = pair(tiny_gemma, name)
    settings = Sampling(3, 12, 0.8, (EOS,))
    uniforms = torch.rand(9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def rollouts() -> list[Tensor]:
        with torch.no_grad():
            return [decode_in_slots(m, PROMPTS, settings, uniforms).sampling_logps for m in (plain, split)]

    first = rollouts()
    decoder = GraphDecoder.of(split)
    for layer, own in zip(split.base_model.layers, decoder.weights.layers, strict=True):
        for modules, matrix in zip(groups_of(layer), own[:4], strict=True):
            assert all(isinstance(module, SplitLinear) for module in modules)
            assert matrix.weight.data_ptr() == modules[0].weight.data_ptr()
            assert (
                matrix.weight.untyped_storage().data_ptr() == modules[-1].weight.untyped_storage().data_ptr()
            )
            assert torch.equal(matrix.weight, torch.cat([module.weight for module in modules]))
    for parameter in plain.parameters():
        parameter.data.mul_(0.9)
    for key, value in ExactParameters(plain).items():
        load_exact(split, key, value)
    second = rollouts()
    assert GraphDecoder.of(split) is decoder
    assert torch.equal(*first) and torch.equal(*second) and not torch.equal(first[0], second[0])


def test_a_decoder_goes_with_the_addresses_that_it_read() -> None:
    split = pair(tiny_gemma, "bf16")[1]
    decoder = GraphDecoder.of(split)
    join_rows(split)
    assert GraphDecoder.of(split) is not decoder


def test_a_model_without_linear_layers_is_refused() -> None:
    with pytest.raises(
        InputError, match=r'engine.weights = "split": gpt2 has no linear layers inside its layers'
    ):
        split_weights(tiny_gpt2())
