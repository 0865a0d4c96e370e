"""Models that are only read: in the type that their products read, on the device or on the host, with the bits of the
model that they were made from.
"""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from packed_rows import LAYOUTS, packed_of
from tiny import Make, tiny_gemma, tiny_gpt2, tiny_llama
from tiny_families import qwen2
from torch import Tensor
from transformers import PreTrainedModel

from data.errors import InputError
from grpo.engine import offload
from grpo.engine.forward import packed_hidden
from grpo.engine.logprob import completion_logps
from grpo.engine.model import frozen_copy, load_frozen, load_policy, parameter_hash
from grpo.engine.model_kl import kl_to_base
from grpo.engine.offload import PassingLayers, keep_on_host
from grpo.engine.private_apis import layers_of
from grpo.engine.products import FORMATS, FP32, in_format, use_format
from grpo.engine.weight_forms import freeze, split_weights

CPU = torch.device("cpu")
PACKED = packed_of(*LAYOUTS["ragged, some empty, beyond the window"])
SIXTEEN_BITS = ["fp16", "bf16", "bf16x2"]


def policy(make: Make, name: str, is_split: bool = False) -> PreTrainedModel:
    model = make()
    use_format(model, FORMATS[name])
    if is_split:
        split_weights(model)
    return model


@torch.no_grad()
def logps(model: PreTrainedModel) -> Tensor:
    return completion_logps(model, PACKED, temperature=0.9).logps


@pytest.mark.parametrize("is_split", [False, True])
@pytest.mark.parametrize("name", ["fp32", *SIXTEEN_BITS])
@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama, qwen2])
def test_a_reference_has_the_bits_of_its_policy(make: Make, name: str, is_split: bool) -> None:
    model = policy(make, name, is_split)
    before = parameter_hash(model)
    expected = logps(model)
    for on_host in (False, True):
        assert torch.equal(logps(frozen_copy(model, on_host)), expected)
    reference = frozen_copy(model)
    assert not any(parameter.requires_grad for parameter in reference.parameters())
    for parameter in model.parameters():
        parameter.data.fill_(0.1)
    assert torch.equal(logps(reference), expected) and parameter_hash(model) != before


@pytest.mark.parametrize("is_split", [False, True])
@pytest.mark.parametrize("name", SIXTEEN_BITS)
def test_its_matrices_take_two_bytes_a_number_and_the_embedding_four(name: str, is_split: bool) -> None:
    """Llama's head is a matrix of its own; Gemma's is the embedding, of which a look-up takes exact rows."""
    for make, head in ((tiny_llama, "lm_head.weight"), (tiny_gemma, "")):
        reference = frozen_copy(policy(make, name, is_split))
        types = {key: tensor.dtype for key, tensor in reference.named_parameters()}
        expected = {
            key: FORMATS[name].forward if key.endswith("proj.weight") or key == head else torch.float32
            for key in types
        }
        assert types == expected
        assert not any("weight_low" in key for key, buffer in reference.named_buffers() if buffer is not None)


@pytest.mark.parametrize("is_split", [False, True])
def test_it_refuses_a_format_that_reads_more(is_split: bool) -> None:
    reference = frozen_copy(policy(tiny_gemma, "bf16", is_split))
    with pytest.raises(ValueError, match=r"weights in torch.bfloat16; load it anew to compute in fp32"):
        in_format(FP32, reference).__enter__()
    with pytest.raises(ValueError, match="compute in fp16"):
        use_format(reference, FORMATS["fp16"])
    use_format(reference, FORMATS["bf16x2"])  # its weights are read as bf16 too
    assert torch.equal(logps(reference), logps(policy(tiny_gemma, "bf16x2", is_split)))


@pytest.mark.parametrize("on_host", [False, True])
@pytest.mark.parametrize("is_split", [False, True])
@pytest.mark.parametrize("name", ["fp32", *SIXTEEN_BITS])
def test_an_untouched_model_from_a_folder_has_the_bits_of_the_policy(
    name: str, is_split: bool, on_host: bool, tiny_folder: Path
) -> None:
    format = FORMATS[name]
    model = load_policy(tiny_folder, CPU, format=format, is_split=is_split)
    base = load_frozen(tiny_folder, CPU, format=format, is_split=is_split, on_host=on_host)
    with torch.no_grad():
        assert torch.equal(packed_hidden(base, PACKED), packed_hidden(model, PACKED))
    assert abs(kl_to_base(model, base, PACKED).item()) < 1e-9
    assert model.config._attn_implementation == base.config._attn_implementation


def test_on_the_host_a_layer_lies_in_one_block_but_for_its_turn() -> None:
    """While a layer computes, its tensors are in one buffer, and the next layer is in the other."""
    model = frozen_copy(policy(tiny_gemma, "fp16"))
    layers = layers_of(model)
    hashed = parameter_hash(model)
    keep_on_host(model, CPU)
    passing: Any = next(iter(layers[0]._forward_pre_hooks.values())).func.__self__
    buffers = [buffer.data_ptr() for buffer in passing.buffers]
    turns = []

    def look(number: int, attention: Any, *_: Any) -> None:
        own = attention.q_proj.weight.untyped_storage().data_ptr()
        turns.append((number, buffers.index(own), passing.inside[1 - buffers.index(own)]))

    for number, layer in enumerate(layers):
        layer.self_attn.register_forward_pre_hook(partial(look, number))
    for _ in range(2):
        logps(model)
    assert turns == [(0, 0, 1), (1, 1, 2), (2, 0, 0), (0, 1, 1), (1, 0, 2), (2, 1, 0)]
    assert parameter_hash(model) == hashed
    for number, layer in enumerate(layers):
        storages = {parameter.untyped_storage().data_ptr() for parameter in layer.parameters()}
        assert storages == {passing.blocks[number].untyped_storage().data_ptr()}


class Log:
    """Streams of a device that only write down what is asked of them, in its order."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def stream_of(self, name: str) -> Any:
        log = self

        class Stream:
            def wait_stream(self, _other: Any) -> None:
                log.calls.append(f"{name} waits")

            def __enter__(self) -> None:
                log.calls.append("copy")

            def __exit__(self, *_: Any) -> None: ...

        return Stream()


def test_a_copy_waits_for_the_layer_before_and_a_layer_for_its_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order that makes it right on an accelerator: layer 1's copy is asked for before layer 0 is."""
    log = Log()
    tensors = [[torch.full((2,), float(number))] for number in range(3)]
    passing = PassingLayers(tensors, CPU)
    passing.stream = log.stream_of("side")
    main = log.stream_of("main")
    monkeypatch.setattr(PassingLayers, "current", property(lambda self: main))
    monkeypatch.setattr(
        passing, "module", type("Module", (), {"stream": staticmethod(lambda stream: stream)})
    )
    for number in (0, 1, 2, 0):
        passing.before(number)
        log.calls.append(f"layer {number}")
        assert tensors[number][0].tolist() == [number] * 2
        passing.after(number)
    ahead = ["main waits", "side waits", "copy"]
    assert log.calls == ["side waits", "copy", *(x for n in (0, 1, 2, 0) for x in (*ahead, f"layer {n}"))]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_layers_passes_in_any_order(count: int) -> None:
    tensors = [[torch.full((3,), float(number)), torch.arange(5) + number] for number in range(count)]
    expected = copy.deepcopy(tensors)
    passing = PassingLayers(tensors, CPU)
    for number in [*range(count), *range(count), count - 1, 0]:
        passing.before(number)
        assert all(torch.equal(x, y) for x, y in zip(tensors[number], expected[number], strict=True))
        passing.after(number)
    for found, own in zip(tensors, expected, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(found, own, strict=True))


def test_models_of_other_families_pass_too_and_one_without_layers_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_gpt2()
    expected = logps(model)
    freeze(model)
    keep_on_host(model, CPU)
    assert torch.equal(logps(model), expected)
    monkeypatch.setattr(offload, "layers_of", lambda _model: [])
    with pytest.raises(
        InputError, match=r'engine.frozen = "host": gpt2 has no layers that are known; write "device"'
    ):
        keep_on_host(tiny_gpt2(), CPU)
