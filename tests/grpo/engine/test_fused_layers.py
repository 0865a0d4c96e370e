"""Fused layers: the numbers of plain ones, in the passes that they are for; what fails is left out."""

import copy
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import torch
from packed_rows import LAYOUTS, dense_kernel, logps_and_gradients, packed_of
from ragged import PROMPTS
from tiny import EOS, tiny_gemma, tiny_gpt2, tiny_llama
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from grpo.engine import fused_layers, groups
from grpo.engine.attention import GROUPS, use_blocks
from grpo.engine.attention_choice import with_attention
from grpo.engine.fused_layers import FusedForward, fuse_after_trial, fuse_layers, is_fused
from grpo.engine.gradient_checkpointing import recompute_layers
from grpo.engine.logprob import completion_logps
from grpo.engine.model import frozen_copy
from grpo.engine.packing import pack
from grpo.engine.products import FORMATS, FP32, in_format, use_format
from grpo.engine.sampler import Sampling, generate
from grpo.engine.self_check import largest_operands
from grpo.engine.weight_forms import split_weights

PACKED = packed_of(*LAYOUTS["groups of one"])
SAMPLER_GAP = 2e-3  # nats


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FusedForward, "is_on", True)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Layers that ran fused, with a compiler that leaves a function as it is."""
    found: list[object] = []

    def compiled(function: Callable[..., Any], _backend: str) -> Callable[..., Any]:
        def run(layer: object, *inputs: Any, **settings: Any) -> Any:
            found.append(layer)
            return function(layer, *inputs, **settings)

        return run

    monkeypatch.setattr(fused_layers, "compiled_for_lengths", compiled)
    yield found


def layers_of(model: Any) -> list[Any]:
    return [*model.base_model.layers]


def blocks(model: Any) -> Any:
    use_blocks(model)
    return model


def test_packed_rows_run_fused_and_nothing_else_does(calls: list[object]) -> None:
    model = blocks(tiny_gemma())
    assert fuse_layers(model).startswith(f"{len(layers_of(model))} layers are fused")
    completion_logps(model, PACKED)
    assert calls == layers_of(model)
    calls.clear()
    model(input_ids=torch.tensor([[5, 6]]))
    for fast in (False, True):
        generate(model, PROMPTS, Sampling(2, 4, 1.0, (EOS,), fast=fast), seed=(0,))
    assert calls == []


def test_a_hook_inside_of_a_layer_sees_what_passes(calls: list[object]) -> None:
    model = blocks(tiny_gemma())
    use_format(model, FORMATS["fp16"])
    fuse_layers(model, "a compiler")
    with torch.no_grad(), largest_operands(model) as largest:
        completion_logps(model, PACKED)
    assert calls == [] and len(largest) > len(layers_of(model))
    completion_logps(model, PACKED)
    assert calls == layers_of(model)


def test_another_number_format_is_not_fused(calls: list[object]) -> None:
    model = blocks(tiny_gemma())
    use_format(model, FORMATS["fp16"])
    fuse_layers(model, "a compiler")
    with in_format(FP32, model):
        completion_logps(model, PACKED)
    assert calls == []
    completion_logps(model, PACKED)
    assert calls == layers_of(model)


@pytest.mark.parametrize("on_host", [False, True])
def test_a_frozen_copy_runs_its_own_layers_fused(on_host: bool, calls: list[object]) -> None:
    policy = blocks(tiny_gemma())
    fuse_layers(policy)
    recompute_layers(policy)
    reference = frozen_copy(policy, on_host=on_host)
    before = completion_logps(reference, PACKED).logps
    assert calls == layers_of(reference)
    with torch.no_grad():
        for parameter in policy.base_model.layers.parameters():
            parameter.zero_()
    assert torch.equal(completion_logps(reference, PACKED).logps, before)


@pytest.mark.parametrize(("shift", "count"), [(0, 3), (1, 0)])
def test_layers_that_give_other_numbers_are_taken_back(
    shift: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiled(function: Callable[..., Any], _backend: str) -> Callable[..., Any]:
        return lambda *inputs, **settings: function(*inputs, **settings).roll(shift, dims=-1)

    monkeypatch.setattr(fused_layers, "compiled_for_lengths", compiled)
    monkeypatch.setattr(groups, "kernel", lambda _device: dense_kernel)
    model = tiny_gemma()
    use_blocks(model, GROUPS)
    sentence = fuse_after_trial(model)
    assert ("fused ones are off here (hidden states by " in sentence) == (count == 0)
    assert sum("forward" in vars(layer) for layer in layers_of(model)) == count


class CompilerFault(Exception):
    pass


def test_a_failing_compiler_is_left_out_and_one_sentence_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def compiled(_function: Callable[..., Any], _backend: str) -> Callable[..., Any]:
        def fail(*_: Any, **__: Any) -> Any:
            raise CompilerFault("no such processor")

        return fail

    monkeypatch.setattr(fused_layers, "compiled_for_lengths", compiled)
    model = blocks(tiny_gemma())
    plain = copy.deepcopy(model)
    fuse_layers(model)
    recompute_layers(model)
    results = [[*logps_and_gradients(one, PACKED)] for one in (model, plain)]
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    sentences = [record.message for record in caplog.records if "kernel by kernel" in record.message]
    assert sentences == [
        "layers run kernel by kernel: they were not fused (CompilerFault: no such processor)"
    ]


def test_memory_that_runs_out_is_no_failure_of_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(_function: Callable[..., Any], _backend: str) -> Callable[..., Any]:
        def fail(*_: Any, **__: Any) -> Any:
            raise torch.OutOfMemoryError("full")

        return fail

    monkeypatch.setattr(fused_layers, "compiled_for_lengths", compiled)
    model = blocks(tiny_gemma())
    fuse_layers(model)
    with pytest.raises(torch.OutOfMemoryError):
        completion_logps(model, PACKED)
    assert FusedForward.is_on


def in_16_bits(name: str) -> Any:
    model = blocks(tiny_gemma())
    use_format(model, FORMATS[name])
    return model


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda: tiny_gemma(), "its packed rows have a dense mask"),
        (lambda: in_16_bits("bf16x2"), "the compiler would leave out roundings of bf16x2 here"),
        (lambda: in_16_bits("fp16"), "the compiler would leave out roundings of fp16 here"),
        (lambda: blocks(tiny_gpt2()), ""),
    ],
)
def test_what_is_not_fused_says_why(make: Callable[[], Any], cause: str, calls: list[object]) -> None:
    sentence = fuse_layers(make())
    assert (cause in sentence and "kernel by kernel" in sentence) if cause else "are fused" in sentence


def test_the_setting() -> None:
    assert [is_fused(one, torch.device("cpu")) for one in ("auto", "on", "off")] == [False, True, False]
    assert [is_fused(one, torch.device("cuda")) for one in ("auto", "on", "off")] == [True, True, False]


# What follows runs torch's compiler: "aot_eager" makes its graphs, forward and backward, and runs them as they are.


def worst(results: list[Tensor], others: list[Tensor]) -> float:
    return max(
        float((a - b).norm() / b.norm().clamp_min(1e-12)) for a, b in zip(results, others, strict=True)
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the compiler itself
@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama])
@pytest.mark.parametrize("is_split", [False, True])
def test_in_fp16_the_numbers_are_those_of_plain_layers_and_of_the_sampler(
    make: Callable[[], Any], is_split: bool
) -> None:
    model = make()
    if is_split:
        split_weights(model)
    use_format(model, FORMATS["fp16"])
    with_attention(model, packed_attention=True)
    rows = [packed_of(*LAYOUTS[name]) for name in ("groups of one", "one prompt", "long completions")]
    plain = [[*logps_and_gradients(model, row)] for row in rows]
    assert "are fused" in fuse_layers(model, "aot_eager")
    for row, expected in zip(rows, plain, strict=True):
        logps, *gradients = logps_and_gradients(model, row)
        assert torch.equal(logps, expected[0]) and worst(gradients, expected[1:]) < 5e-3
    rollout = generate(model, PROMPTS, Sampling(4, 8, 1.0, (EOS,), fast=True), seed=(6,))
    row = pack(PROMPTS, rollout.completions(), 4)
    gaps = completion_logps(model, row).logps.detach() - rollout.sampling_logps[:, : row.shape[1]]
    assert float((gaps * rollout.completion_mask[:, : row.shape[1]]).abs().max()) < SAMPLER_GAP
    recompute_layers(model)
    assert worst([*logps_and_gradients(model, rows[0])], plain[0]) < 5e-3 and FusedForward.is_on


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the compiler itself
def test_what_inductor_makes_has_the_same_gradients_in_fp32() -> None:
    model = blocks(tiny_gemma())
    expected = [*logps_and_gradients(model, PACKED)]
    assert "are fused" in fuse_layers(model)
    assert worst([*logps_and_gradients(model, PACKED)], expected) < 1e-5 and FusedForward.is_on


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the compiler itself
def test_layers_with_and_without_a_window_share_their_compilations() -> None:
    """Three graphs with gradients and three without serve all layers and rows of any length. Past bug: ten, as the part
    before the attention was compiled for each window.
    """
    compiler = CompileCounterWithBackend("aot_eager")
    model = blocks(tiny_gemma())
    assert len(set(model.config.layer_types)) == 2
    assert "are fused" in fuse_layers(model, cast(str, compiler))
    for name in ("groups of one", "one prompt", "long completions"):
        row = packed_of(*LAYOUTS[name])
        assert all(gradient.isfinite().all() for gradient in logps_and_gradients(model, row))
        with torch.no_grad():
            completion_logps(model, row)
    assert compiler.frame_count == 6 and FusedForward.is_on
